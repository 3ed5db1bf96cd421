package store

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
)

// SidecarSuffix is appended to a backup's name to name its sidecar.
const SidecarSuffix = ".sha256"

// FormatSidecar returns the one line of the sidecar of a file called name, as
// sha256sum writes it. The name must be free of backslash, CR and LF.
func FormatSidecar(sum [sha256.Size]byte, name string) string {
	return hex.EncodeToString(sum[:]) + "  " + name + "\n"
}

var sidecarLine = regexp.MustCompile(`^([0-9a-f]{64}) [ *]([^\n]+)\n?$`)

// ParseSidecar returns the sum, in hex, and the name in the text of a sidecar.
func ParseSidecar(text string) (sum, name string, ok bool) {
	match := sidecarLine.FindStringSubmatch(text)
	if match == nil {
		return "", "", false
	}
	return match[1], match[2], true
}

// MaxSidecar is more than any sidecar holds.
const MaxSidecar = 4096

// removeOrphan removes the sidecar of path when path itself does not exist: a
// writer died between its two renames, or the backup was deleted. A file of
// that name with any other content is not ours to remove. The caller holds the
// reservations of path and of the sidecar.
func removeOrphan(path string) error {
	orphan := path + SidecarSuffix
	if !isSidecarOf(orphan, filepath.Base(path)) {
		return nil
	}
	if err := sys.remove(orphan); err != nil {
		return fault("remove the orphan", orphan, err)
	}
	return nil
}

// isSidecarOf reports whether the file at path is a well-formed sidecar for
// name. It reads no more than such a sidecar holds.
func isSidecarOf(path, name string) bool {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return false
	}
	defer file.Close()
	size := len(FormatSidecar([sha256.Size]byte{}, name))
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() || info.Size() != int64(size) {
		return false
	}
	line := make([]byte, size)
	if _, err := io.ReadFull(file, line); err != nil {
		return false
	}
	digits, rest := string(line[:2*sha256.Size]), string(line[2*sha256.Size:])
	return strings.Trim(digits, "0123456789abcdef") == "" && rest == "  "+name+"\n"
}
