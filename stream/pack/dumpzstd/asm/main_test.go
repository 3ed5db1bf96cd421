package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// What is committed is what the generator writes.
func TestOutputIsCommitted(t *testing.T) {
	out := t.TempDir()
	files := []string{"fast_amd64.s", "declare_amd64.go"}
	args := []string{"run", ".", "-pkg", "dumpzstd", "-out", filepath.Join(out, files[0]), "-stubs", filepath.Join(out, files[1])}
	if text, err := exec.CommandContext(t.Context(), "go", args...).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	for _, name := range files {
		fresh, err := os.ReadFile(filepath.Join(out, name))
		if err != nil {
			t.Fatal(err)
		}
		committed, err := os.ReadFile(filepath.Join("..", name))
		if err != nil {
			t.Fatal(err)
		}
		_, fresh, _ = bytes.Cut(fresh, []byte("\n")) // the first line is the command
		if _, committed, _ = bytes.Cut(committed, []byte("\n")); !bytes.Equal(fresh, committed) {
			t.Errorf("%s: the generator writes something else: run the command of its documentation", name)
		}
	}
}
