package source

import (
	"syscall"
	"time"
)

// stopPoll is how often a stop looks whether a process group is empty, which no
// system call waits for.
const stopPoll = 10 * time.Millisecond

// stopGrace is how long a child that is told to stop has until it is killed. A
// variable for the tests.
var stopGrace = 5 * time.Second

// Close stops the child if it still runs, with SIGTERM and after five seconds
// SIGKILL, and waits for it. Without a terminal that goes for everything that
// the child started and that kept its process group, unless the output was read
// to its good end: what runs on after that was meant to. Close may be called
// again and next to Read, and always returns nil.
func (c *Cmd) Close() error {
	c.stop.Do(func() {
		c.unhook()
		// First, so that a child that is writing does not go on to wait for us.
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

// signal sends sig to the child, or to the group that it leads. That nobody is
// there to receive it is as good as success.
func (c *Cmd) signal(sig syscall.Signal) {
	pid := c.cmd.Process.Pid
	if !c.group {
		_ = c.cmd.Process.Signal(sig)
		return
	}
	select {
	case <-c.exited:
		// A group keeps its number from being given out again, also after the
		// leader is gone. If a process has that number, the group is gone too
		// and this is a stranger.
		if syscall.Kill(pid, 0) != syscall.ESRCH {
			return
		}
	default:
	}
	_ = syscall.Kill(-pid, sig)
}
