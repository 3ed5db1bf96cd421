//go:build amd64 && !purego && !noasm

package dumpzstd

// InGo runs f without assembly.
func InGo(f func()) {
	defer func(was bool) { fast = was }(fast)
	fast = false
	f()
}
