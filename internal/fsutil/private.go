//go:build unix

package fsutil

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

const rootUID = 0

// Private judges a file with a secret by its metadata: why others may read or change it,
// and the shell command against it; both are empty when nobody can. word is path for a
// shell command. file is the open file, or nil if it cannot be opened.
//
// The file must belong to root or to the caller, unless that is root, with mode 0600 or
// 0400. Root may hand it to a service with a wider mode: 0440 in memory (tmpfs or ramfs) or
// under $CREDENTIALS_DIRECTORY, as systemd and Kubernetes do; 0444 in memory, as a Docker
// secret has; and any mode without write access for others in memory that is mounted
// read-only, as in Kubernetes. A pipe is as private as its mode.
func Private(path, word string, info fs.FileInfo, file *os.File) (reason, fix string) {
	pipe := info.Mode()&fs.ModeNamedPipe != 0
	if !info.Mode().IsRegular() && !pipe {
		return "it is " + kindOf(info.Mode()) + ", not a regular file", ""
	}
	owner, caller := info.Sys().(*syscall.Stat_t).Uid, os.Geteuid()
	if caller != rootUID && owner != rootUID && int(owner) != caller {
		return fmt.Sprintf("it belongs to uid %d, who can change it; want uid %d (the caller) or root", owner, caller), OwnerFix(word)
	}
	mode := Octal(info.Mode())
	if mode == "0600" || mode == "0400" {
		return "", ""
	}
	if owner == rootUID && !pipe && file != nil {
		where := placeOf(path, file, info)
		switch {
		case mode == "0440" && where != onDisk, mode == "0444" && where >= inMemory, where == readOnly && info.Mode()&^0o644 == 0:
			return "", ""
		case where != onDisk:
			return "its mode is " + mode + "; want 0440, 0400 or 0600", "chmod 0440 " + word + " # for a Kubernetes secret: defaultMode: 0440"
		}
	}
	if mode == "0440" {
		return "its mode is 0440, which is for files that root delivers in memory or under $CREDENTIALS_DIRECTORY; want 0600 or 0400", "chmod 0400 " + word
	}
	return "its mode is " + mode + "; want 0600 or 0400, so that its owner alone can read it", "chmod 0600 " + word
}

type place int

const (
	onDisk place = iota
	credential
	inMemory
	readOnly // in memory, and nobody can write there
)

func placeOf(path string, file *os.File, info fs.FileInfo) place {
	if where := memory(file); where != onDisk {
		return where
	}
	dir := os.Getenv("CREDENTIALS_DIRECTORY")
	if !filepath.IsAbs(dir) {
		return onDisk
	}
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return onDisk
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil || !strings.HasPrefix(real, dir+"/") {
		return onDisk
	}
	// The path was walked again: it must lead to the same file.
	if now, err := os.Lstat(real); err != nil || !os.SameFile(now, info) {
		return onDisk
	}
	return credential
}

// OwnerFix is the command that gives a file to the caller.
func OwnerFix(word string) string { return fmt.Sprintf("chown %d %s # as root", os.Geteuid(), word) }

// Octal formats a mode for chmod, with setuid, setgid and sticky bits.
func Octal(m fs.FileMode) string {
	bits := uint32(m.Perm())
	for i, special := range []fs.FileMode{fs.ModeSticky, fs.ModeSetgid, fs.ModeSetuid} {
		if m&special != 0 {
			bits |= 0o1000 << i
		}
	}
	return fmt.Sprintf("%04o", bits)
}

func kindOf(m fs.FileMode) string {
	switch {
	case m.IsDir():
		return "a folder"
	case m&fs.ModeSocket != 0:
		return "a socket"
	case m&fs.ModeDevice != 0:
		return "a device"
	}
	return "something special"
}
