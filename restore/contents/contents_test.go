package contents

import (
	"archive/tar"
	"bufio"
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/takumi-backup/takumi-backup/restore/tree"
)

// TestFileWithoutIndex: of an archive that has a name several times the last counts, through
// a hard link the last before it, and links that lead to each other end.
func TestFileWithoutIndex(t *testing.T) {
	var made bytes.Buffer
	w := tar.NewWriter(&made)
	for _, e := range []struct{ name, link, content string }{
		{"a", "", "one"}, {"l", "a", ""}, {"a", "", "two"}, {"m", "l", ""}, {"late", "c", ""}, {"c", "", "three"},
		{"x", "y", ""}, {"y", "x", ""}, {"x", "y", ""}, {"self", "self", ""},
	} {
		h := &tar.Header{Name: e.name, Mode: 0o600, Size: int64(len(e.content)), Typeflag: tar.TypeReg, Linkname: e.link}
		if e.link != "" {
			h.Typeflag = tar.TypeLink
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	c := Content{Read: func(f func(*bufio.Reader) error) error {
		return f(bufio.NewReader(bytes.NewReader(made.Bytes())))
	}}
	for name, want := range map[string]string{"a": "two", "l": "one", "m": "one", "c": "three", "late": "", "x": "", "self": "", "none": ""} {
		var got bytes.Buffer
		err := c.WriteFile(name, &got)
		if got.String() != want || (want == "") != errors.Is(err, tree.ErrNoMatch) || want != "" && err != nil {
			t.Errorf("%s: %q, %v, want %q", name, &got, err, want)
		}
	}
}
