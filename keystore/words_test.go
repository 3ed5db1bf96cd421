package keystore

import (
	"context"
	"encoding/base64"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/takumi-backup/takumi-backup/internal/fail"
)

const sampleHex = "a1f6e3d0c92b7f4488d1530e6ab7c4f95d2e9a01b8c3764f1e0dd7a2935b8c6e"

// TestWhatIsWrongWithAText: the words fit what is there, at each boundary.
func TestWhatIsWrongWithAText(t *testing.T) {
	for _, tc := range []struct{ text, want string }{
		{"", "it is empty"},
		{strings.Repeat("pass phrase ", 3)[:32], "32 bytes of text"},
		{strings.Repeat("pass phrase ", 3)[:31], "blanks or several lines"},
		{strings.Repeat("z", 33), "character 1 is not a hex digit"},
		{sampleHex[:63], "it holds 63 hex digits"},
		{sampleHex + "a", "it holds 65 hex digits"},
		{sampleHex + "ab", "more than 64 hex digits"},
		{sampleHex + "aG", "character 66 is not a hex digit"},
		{sampleHex + "\n" + sampleHex, "blanks or several lines"},
		{strings.Repeat("z", maxText-1), "character 1 is not"},
		{strings.Repeat("z", maxText), "more than 64 hex digits"},
		{sampleHex[:9] + "/" + sampleHex[10:], "character 10 is not"},
		{sampleHex[:9] + ":" + sampleHex[10:], "character 10 is not"},
		{sampleHex[:9] + "@" + sampleHex[10:], "character 10 is not"},
		{sampleHex[:9] + "G" + sampleHex[10:], "character 10 is not"},
		{sampleHex[:9] + "`" + sampleHex[10:], "character 10 is not"},
		{sampleHex[:9] + "g" + sampleHex[10:], "character 10 is not"},
		{"09afAF-", "character 7 is not"},
		{strings.Repeat("z", 42) + "!", "character 1 is not"},
	} {
		if _, err := ParseText([]byte(tc.text)); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%q: %v, want %q", tc.text, err, tc.want)
		}
	}
	for _, text := range []string{"\ufeff" + sampleHex + "\r\n", " \t" + sampleHex, strings.ToUpper(sampleHex)} {
		if key, err := ParseText([]byte(text)); err != nil || string(key.Bytes()[:2]) != "\xa1\xf6" {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// TestWideText: only what has the mark of UTF-16 is read as that.
func TestWideText(t *testing.T) {
	wide := func(mark string, high int) string {
		text := []byte(mark)
		for _, c := range []byte(sampleHex) {
			pair := [2]byte{c, c}
			pair[high] = 0
			text = append(text, pair[:]...)
		}
		return string(text)
	}
	for _, tc := range []struct {
		text string
		good bool
	}{
		{wide("\xff\xfe", 1), true}, {wide("\xfe\xff", 0), true}, {wide("\xff\xfe", 1) + "\n", true},
		{wide("\xff\x00", 1), false}, {wide("\x00\xfe", 1), false}, {wide("\xfe\x00", 0), false}, {wide("\x00\xff", 0), false},
		{wide("\xff\xfe", 0), false}, {wide("\xfe\xff", 1), false},
		{strings.Replace(wide("\xff\xfe", 1), "a\x00", "a\x01", 1), false},
		{"\xff\xfe", false}, {"\xff", false},
	} {
		if _, err := Import("-", []byte(tc.text)); (err == nil) != tc.good {
			t.Errorf("%q: %v", tc.text, err)
		}
	}
}

// TestControlCharactersAreNoText: bytes below a blank, and those behind "~", are of a
// random key; those that end lines and set columns are of a text.
func TestControlCharactersAreNoText(t *testing.T) {
	const text = "correct horse\tbattery\r\nstaple ~1"
	for _, tc := range []struct {
		text string
		weak bool
	}{
		{text, true}, {strings.Replace(text, " ", "\x1f", 1), false}, {strings.Replace(text, " ", "\x7f", 1), false}, {strings.Replace(text, " ", "\x80", 1), false},
	} {
		if _, err := FromBytes([]byte(tc.text)); errors.Is(err, ErrWeak) != tc.weak || (err == nil) == tc.weak {
			t.Errorf("%q: %v", tc.text, err)
		}
	}
}

func TestLooksLikeKey(t *testing.T) {
	padded := base64.StdEncoding.EncodeToString([]byte("0123456789abcdef0123456789abcd\xff\xff"))
	for text, want := range map[string]bool{
		sampleHex: true, sampleHex + "\n": true, sampleHex[:63]: false, sampleHex + "a": false,
		padded: true, strings.ReplaceAll(padded, "/", "_"): true,
		strings.Repeat("a", 44): false, strings.Repeat("a", 43): false, strings.Repeat("a", 47) + "=": false,
		strings.Repeat(".", 43) + "=": false,
	} {
		if got := looksLikeKey(text); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
	for path, want := range map[string]string{
		"/k/" + sampleHex[:47]: "/k/" + sampleHex[:47], "/k/" + sampleHex[:48]: "/k/[redacted]", sampleHex: redacted, "/k/\n": `"/k/\n"`, "/k/\xff": `"/k/\xff"`,
	} {
		if got := display(path); got != want {
			t.Errorf("%q: %s", path, got)
		}
	}
}

// TestErrorParts: what an error shows of its parts, and what can be asked of it.
func TestErrorParts(t *testing.T) {
	for _, tc := range []struct {
		e    Error
		text string
		hint bool
	}{
		{Error{URI: "file:k", Kind: ErrNotFound, Reason: "gone"}, "key file:k: gone", true},
		{Error{URI: "file:k", Kind: ErrNotFound, Reason: "gone", Fix: "look"}, "key file:k: gone; to fix: look", false},
		{Error{URI: "file:k", Kind: ErrRefused, Reason: "no", Err: fs.ErrPermission}, "key file:k: no", false},
	} {
		class, hint := tc.e.Fail()
		if tc.e.Error() != tc.text || class != fail.Key || (hint != "") != tc.hint || !errors.Is(&tc.e, tc.e.Kind) || errors.Is(&tc.e, fs.ErrPermission) != (tc.e.Err != nil) {
			t.Errorf("%+v: %v, %q", tc.e, class, hint)
		}
		if n := len(tc.e.Unwrap()); n != 1 && tc.e.Err == nil {
			t.Errorf("%+v: %d causes", tc.e, n)
		}
	}
	for _, err := range []error{
		&fs.PathError{Op: "open", Path: "/k", Err: syscall.EIO}, &os.LinkError{Op: "rename", Old: "/a", New: "/b", Err: syscall.EIO},
		os.NewSyscallError("flock", syscall.EIO), syscall.EIO,
	} {
		if cause(err) != syscall.EIO {
			t.Errorf("%v: %v", err, cause(err))
		}
		got := File{Path: "/k"}.unchanged("it cannot be kept", err)
		if !errors.Is(got, ErrRefused) || got.Error() != "key file:/k: it cannot be kept: input/output error; nothing was changed" {
			t.Errorf("%v: %v", err, got)
		}
	}
	for _, known := range []error{&Error{URI: "file:/l", Kind: ErrConflict}, context.Canceled, context.DeadlineExceeded} {
		if got := (File{Path: "/k"}).unchanged("it cannot be kept", known); !errors.Is(got, known) || errors.Is(got, ErrRefused) {
			t.Errorf("%v", got)
		}
	}
}

// TestNoFolderOfItsOwn: from a folder that was removed nobody can say where a key is.
func TestNoFolderOfItsOwn(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "gone")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	if err := unix.Rmdir(dir); err != nil {
		t.Fatal(err)
	}
	if inside, err := (File{Path: "k"}).Inside("/"); err == nil {
		t.Errorf("inside: %v", inside)
	}
}
