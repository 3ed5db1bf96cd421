//go:build unix && !linux

package source

import "syscall"

func groupRuns(pgid int) bool { return syscall.Kill(-pgid, 0) != syscall.ESRCH }
