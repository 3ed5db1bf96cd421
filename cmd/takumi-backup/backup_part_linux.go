package main

import "syscall"

// diesWithUs lets the kernel stop a child when the thread that starts it ends,
// as it does when this process is killed.
func diesWithUs() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM} }
