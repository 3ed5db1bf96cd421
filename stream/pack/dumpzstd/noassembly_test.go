//go:build !amd64 || purego || noasm

package dumpzstd

// InGo runs f without assembly.
func InGo(f func()) { f() }
