package source

import (
	"syscall"
	"time"
)

// stopPoll is the interval for checking that a process group is empty, which no system call
// waits for.
const stopPoll = 10 * time.Millisecond

// stopGrace is the time between SIGTERM and SIGKILL. A variable for tests.
var stopGrace = 5 * time.Second

// Close stops a running child, with SIGTERM and after five seconds SIGKILL, and waits for
// it. Without a terminal it also stops the rest of its process group, unless the output was
// read to a good end. Close may be called repeatedly and concurrently with Read, and always
// returns nil.
func (c *Cmd) Close() error {
	c.stop.Do(func() {
		c.unhook()
		// First, so that a child that is writing does not wait for us.
		c.out.Close()
		if !c.whole.Load() {
			c.stopChild()
		}
		<-c.exited
	})
	return nil
}

func (c *Cmd) stopChild() {
	grace := time.NewTimer(stopGrace)
	defer grace.Stop()
	c.signal(syscall.SIGTERM)
	select {
	case <-c.exited:
	case <-grace.C:
		c.signal(syscall.SIGKILL)
		return
	}
	for c.group && groupRuns(c.cmd.Process.Pid) {
		select {
		case <-time.After(stopPoll):
		case <-grace.C:
			c.signal(syscall.SIGKILL)
			return
		}
	}
}

// signal sends sig to the child, or to the group that it leads. A missing receiver is fine.
func (c *Cmd) signal(sig syscall.Signal) {
	pid := c.cmd.Process.Pid
	if !c.group {
		_ = c.cmd.Process.Signal(sig)
		return
	}
	select {
	case <-c.exited:
		// A group reserves its number even after its leader is gone. If a process has that
		// number, the group is gone too and this is a stranger.
		if syscall.Kill(pid, 0) != syscall.ESRCH {
			return
		}
	default:
	}
	_ = syscall.Kill(-pid, sig)
}
