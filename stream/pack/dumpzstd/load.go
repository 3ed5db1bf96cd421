//go:build !(amd64 || arm64) || purego

package dumpzstd

import "encoding/binary"

// load64 and store64 read and write 8 bytes at b[i:], the lowest byte first.
func load64(b []byte, i int) uint64 { return binary.LittleEndian.Uint64(b[i:]) }

func store64(b []byte, i int, v uint64) { binary.LittleEndian.PutUint64(b[i:], v) }
