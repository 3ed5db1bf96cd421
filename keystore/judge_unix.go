//go:build unix

package keystore

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// openFlags keep a named pipe without a writer from blocking and a terminal
// from becoming the controlling one. Neither changes how a regular file reads.
const openFlags = os.O_RDONLY | syscall.O_NONBLOCK | syscall.O_NOCTTY

const rootUID = 0

// judge says what keeps a file with this metadata from being a key file, and
// how to mend it; both are empty when nothing does. It asks isDelivered, which
// is costlier, only where the answer counts.
func judge(path string, info fs.FileInfo, isDelivered func() bool) (reason, fix string) {
	if !info.Mode().IsRegular() {
		return "it is " + kindOf(info.Mode()) + ", not a regular file", ""
	}
	owner := info.Sys().(*syscall.Stat_t).Uid
	if owner != rootUID && int(owner) != os.Geteuid() {
		return fmt.Sprintf("it belongs to uid %d, who can change it; want uid %d (the caller) or root", owner, os.Geteuid()), ownerFix(path)
	}
	switch mode := octal(info.Mode()); {
	case mode == "0600", mode == "0400":
		return "", ""
	case owner == rootUID && isDelivered():
		if mode == "0440" {
			return "", ""
		}
		return "its mode is " + mode + "; want 0440, 0400 or 0600",
			"chmod 0440 " + shellWord(path) + " # for a Kubernetes secret: defaultMode: 0440"
	case mode == "0440":
		return "its mode is 0440, which is for files that root delivers in memory or under $CREDENTIALS_DIRECTORY; want 0600 or 0400",
			"chmod 0400 " + shellWord(path)
	default:
		return "its mode is " + mode + "; want 0600 or 0400, so that its owner alone can read it", "chmod 0600 " + shellWord(path)
	}
}

// delivered reports whether the open file is one that the system handed to a
// service: it stands under $CREDENTIALS_DIRECTORY, or only in memory.
func delivered(path string, file *os.File, info fs.FileInfo) bool {
	if inMemory(file) {
		return true
	}
	dir := os.Getenv("CREDENTIALS_DIRECTORY")
	if !filepath.IsAbs(dir) {
		return false
	}
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return false
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil || !strings.HasPrefix(real, dir+"/") {
		return false
	}
	// The path was walked a second time just now: it must have led to the
	// same file.
	now, err := os.Lstat(real)
	return err == nil && os.SameFile(now, info)
}

func ownerFix(path string) string {
	return fmt.Sprintf("chown %d %s # as root", os.Geteuid(), shellWord(path))
}

// octal writes permission and setuid, setgid and sticky bits as chmod takes them.
func octal(m fs.FileMode) string {
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
	case m&fs.ModeNamedPipe != 0:
		return "a named pipe"
	case m&fs.ModeSocket != 0:
		return "a socket"
	case m&fs.ModeDevice != 0:
		return "a device"
	}
	return "something special"
}
