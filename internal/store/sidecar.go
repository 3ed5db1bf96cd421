package store

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
)

// SidecarSuffix ends the name of a backup's sidecar.
const SidecarSuffix = ".sha256"

// FormatSidecar returns the line that sha256sum writes for a file called name, which must
// be free of backslash, CR and LF.
func FormatSidecar(sum [sha256.Size]byte, name string) string {
	return hex.EncodeToString(sum[:]) + "  " + name + "\n"
}

var sidecarLine = regexp.MustCompile(`^([0-9a-f]{64}) [ *]([^\n]+)\n?$`)

// ParseSidecar returns the sum, in hex, and the name in a sidecar.
func ParseSidecar(text string) (sum, name string, ok bool) {
	match := sidecarLine.FindStringSubmatch(text)
	if match == nil {
		return "", "", false
	}
	return match[1], match[2], true
}

// MaxSidecar is larger than any sidecar.
const MaxSidecar = 4096
