package archive

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

func inMemory(content []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate("contents", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoMemory, err)
	}
	f := os.NewFile(uintptr(fd), "contents")
	if _, err := f.Write(content); err != nil {
		f.Close()
		return nil, fmt.Errorf("writing a file in memory: %w", err)
	}
	return f, nil
}
