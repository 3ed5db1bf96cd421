//go:build !linux

package main

import "syscall"

// diesWithUs is Linux's alone: elsewhere a child of a process that is killed
// runs on.
func diesWithUs() *syscall.SysProcAttr { return nil }
