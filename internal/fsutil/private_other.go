//go:build !unix

package fsutil

import (
	"io/fs"
	"os"
)

// Private refuses every file: without Unix owners and modes nobody knows who can read it.
func Private(string, string, fs.FileInfo, *os.File) (reason, fix string) {
	return "files with secrets need Unix owners and modes, which this system lacks", ""
}

// OwnerFix is empty: there are no owners.
func OwnerFix(string) string { return "" }

// Octal is the mode as Go writes it.
func Octal(m fs.FileMode) string { return m.Perm().String() }
