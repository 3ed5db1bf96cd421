//go:build !unix

package keystore

import (
	"io/fs"
	"os"
)

const openFlags = os.O_RDONLY

// judge refuses every file: without Unix owners and modes nothing tells who
// else could read it.
func judge(string, fs.FileInfo, func() bool) (reason, fix string) {
	return "key files need Unix owners and modes, which this system lacks", ""
}

func delivered(string, *os.File, fs.FileInfo) bool { return false }

func ownerFix(string) string { return "" }

func octal(m fs.FileMode) string { return m.Perm().String() }
