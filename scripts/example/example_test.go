package main

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
	s3test "github.com/takumi-backup/takumi-backup/internal/testkit/s3"
	"github.com/takumi-backup/takumi-backup/keystore"
)

// TestExample: a backup comes back from a folder and from a bucket.
func TestExample(t *testing.T) {
	s3test.Serve(t, s3test.NewMemory())
	dir := t.TempDir()
	keyFile := filepath.Join(t.TempDir(), "backup.key")
	if err := keystore.WriteFile(keyFile, kek.Generate()); err != nil {
		t.Fatal(err)
	}
	for _, root := range []string{filepath.Join(dir, "store"), "s3://bucket/prefix"} {
		var out bytes.Buffer
		if err := run(t.Context(), &out, keyFile, root, "the content"); err != nil {
			t.Fatalf("%s: %v", root, err)
		}
		if got, want := out.String(), "1 of kind stream, authentic\nthe content"; got != want {
			t.Errorf("%s: got %q, want %q", root, got, want)
		}
	}
}

// TestPublicPackages: the example needs none of the project's internal packages.
func TestPublicPackages(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", `{{join .Imports "\n"}}`, ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(out), "/internal/") {
		t.Errorf("it imports:\n%s", out)
	}
}
