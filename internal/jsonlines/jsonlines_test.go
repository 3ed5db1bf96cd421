package jsonlines

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestCut: what a crash leaves of a line costs that line, and no other.
func TestCut(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "state", "lines")
	read := func() (lines []string, whole int64) {
		whole, err := Read(path, func(n int, line []byte) error {
			if lines = append(lines, strings.TrimSpace(string(line))); n != len(lines) {
				t.Errorf("line %d is the %dth", n, len(lines))
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return lines, whole
	}
	if _, err := Read(path, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	for n := range 2 {
		if err := Append(path, n); err != nil {
			t.Fatal(err)
		}
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.WriteString(`"half`); err != nil || file.Close() != nil {
		t.Fatal(err)
	}
	if lines, whole := read(); !slices.Equal(lines, []string{"0", "1"}) || whole != 4 {
		t.Errorf("%q, %d", lines, whole)
	}
	if err := Append(path, strings.Repeat("x", maxLine)); err != nil {
		t.Fatal(err)
	}
	if err := Append(path, 2); err != nil {
		t.Fatal(err)
	}
	if lines, _ := read(); !slices.Equal(lines, []string{"0", "1", `"half`, "", "2"}) {
		t.Errorf("%.40q", lines)
	}
	stop := errors.New("stop")
	if whole, err := Read(path, func(int, []byte) error { return stop }); err != stop || whole != 0 {
		t.Errorf("%d, %v", whole, err)
	}
}
