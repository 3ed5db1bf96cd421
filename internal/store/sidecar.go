package store

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
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
