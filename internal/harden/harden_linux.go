package harden

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

func process() error {
	limitErr := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})
	if limitErr != nil {
		limitErr = fmt.Errorf("set the core file limit to 0: %w", limitErr)
	}
	const notDumpable = 0
	markErr := unix.Prctl(unix.PR_SET_DUMPABLE, notDumpable, 0, 0, 0)
	if markErr != nil {
		markErr = fmt.Errorf("mark the process as not dumpable: %w", markErr)
	}
	return errors.Join(limitErr, markErr)
}
