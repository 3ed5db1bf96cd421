//go:build (amd64 || arm64) && !purego

package dumpzstd

import "unsafe"

// load64 and store64 read and write 8 bytes at b[i:], which the caller knows to
// be there. These processors do it at any address, the lowest byte first.
func load64(b []byte, i int) uint64 {
	return *(*uint64)(unsafe.Add(unsafe.Pointer(unsafe.SliceData(b)), i))
}

func store64(b []byte, i int, v uint64) {
	*(*uint64)(unsafe.Add(unsafe.Pointer(unsafe.SliceData(b)), i)) = v
}
