//go:build unix && !linux

package source

import "syscall"

// groupRuns reports whether the process group pgid has members.
func groupRuns(pgid int) bool { return syscall.Kill(-pgid, 0) != syscall.ESRCH }
