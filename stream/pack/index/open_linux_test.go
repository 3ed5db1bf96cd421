package index_test

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/takumi-backup/takumi-backup/stream/pack/index"
)

// openFileIn finds the file in dir that this process has open, though its name is
// gone.
func openFileIn(t *testing.T, dir string) string {
	t.Helper()
	links, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, link := range links {
		if target, err := os.Readlink(link); err == nil && strings.HasPrefix(target, dir) {
			return link
		}
	}
	t.Fatal("there is no temporary file")
	return ""
}

// TestSpillIsSealed: what waits in a file is not to be read there, and a changed
// file is noticed.
func TestSpillIsSealed(t *testing.T) {
	dir := t.TempDir()
	w, err := index.NewWriter([]byte(header), index.Options{Memory: 50 << 10, Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	for i := range 5000 {
		if err := w.Add(key(i), line(i)); err != nil {
			t.Fatal(err)
		}
	}
	spilled := openFileIn(t, dir)
	text, err := os.ReadFile(spilled)
	if err != nil || len(text) < 100<<10 || bytes.Contains(text, []byte("folder")) {
		t.Fatalf("%d bytes, %v", len(text), err)
	}
	file, err := os.OpenFile(spilled, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.WriteAt([]byte{text[90_000] ^ 1}, 90_000); err != nil {
		t.Fatal(err)
	}
	content, err := w.Finish()
	if err == nil {
		_, err = io.Copy(io.Discard, content)
	}
	if err == nil {
		t.Error("a changed temporary file is not noticed")
	}
}
