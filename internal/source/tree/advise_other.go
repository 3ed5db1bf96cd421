//go:build unix && !linux

package tree

// advise does nothing here: the call that it stands for is Linux's own.
func advise(int, int64) {}
