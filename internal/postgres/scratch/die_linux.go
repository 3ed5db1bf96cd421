package scratch

import "syscall"

// setDeathSignal lets the kernel signal a child when the thread that starts it ends,
// as it does when this process is killed.
func setDeathSignal(attr *syscall.SysProcAttr, sig syscall.Signal) { attr.Pdeathsig = sig }
