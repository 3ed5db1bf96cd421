package harden

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Nice lowers the priority of this process and its later children: of the processor (1 to
// 19; 0 leaves it), and of the disk ("idle", "best-effort" or ""). On Linux priorities are
// those of threads, and new threads and processes inherit them. See setpriority(2) and
// ioprio_set(2).
func Nice(nice int, io string) error {
	const whoProcess, classShift = 1, 13
	priority := map[string]int{"best-effort": 2<<classShift | 7, "idle": 3 << classShift}[io]
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return fmt.Errorf("lowering the priority: %w", err)
	}
	for _, task := range tasks {
		id, err := strconv.Atoi(task.Name())
		if err != nil {
			continue
		}
		if nice != 0 {
			err = unix.Setpriority(unix.PRIO_PROCESS, id, nice)
		}
		if priority != 0 && err == nil {
			if _, _, errno := unix.Syscall(unix.SYS_IOPRIO_SET, whoProcess, uintptr(id), uintptr(priority)); errno != 0 {
				err = errno
			}
		}
		if err != nil && !errors.Is(err, unix.ESRCH) { // the thread has ended
			return fmt.Errorf("lowering the priority: %w", err)
		}
	}
	return nil
}
