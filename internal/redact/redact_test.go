package redact_test

import (
	"io/fs"
	"strings"
	"testing"

	"github.com/takumi-backup/takumi-backup/internal/redact"
)

func TestKeys(t *testing.T) {
	hex := strings.Repeat("8f1c5a0e", 8)
	base64 := "jxxaDp0vTxyLem1eTDsqGdAN8A3K/koRsKfx4dXA/+4="
	for in, want := range map[string]string{
		hex:                               "[redacted]",
		strings.ToUpper(hex):              "[redacted]",
		"no such file: /etc/" + hex + "x": "no such file: /etc/[redacted]x",
		hex[:48]:                          "[redacted]",
		hex[:47]:                          hex[:47],
		"key=" + base64 + "!":             "key=[redacted]!",
		base64[:43] + base64 + "=":        "[redacted]=", // 64 bytes
		"block 0x" + hex:                  "block 0x" + hex,
		"-r AGE-SECRET-KEY-PQ-10WVTDPGK4PPVSUTSZTAFJWE": "-r [redacted]",
		"age-secret-key-1vlagtxwclglrrt4eerq056x1":      "[redacted]",
		"stream_20261123_020000.enc":                    "stream_20261123_020000.enc",
	} {
		if got := redact.Keys(in); got != want || redact.HasKey(in) != (in != want) {
			t.Errorf("%s: got %s", in, got)
		}
	}
}

func TestPath(t *testing.T) {
	path := "a/" + strings.Repeat("8f1c5a0e", 8)
	for err, want := range map[error]string{nil: path, fs.ErrPermission: path, fs.ErrNotExist: "a/[redacted]"} {
		if got := redact.Path(path, err); got != want {
			t.Errorf("%v: got %s, want %s", err, got, want)
		}
	}
}

func TestLine(t *testing.T) {
	hex := strings.Repeat("8f1c5a0e", 8)
	for in, want := range map[string]string{
		"two\nlines\x1b[2J":      "two lines [2J",
		"bad \xff byte":          "bad byte",
		strings.Repeat("äb", 20): "äbäbäbäbäbäbäbä…",
		hex:                      "[redacted]",
		"x " + hex:               "x [redacted]",
		" a \t b\n":              "a b",
	} {
		if got := redact.Line(in, 15); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}
