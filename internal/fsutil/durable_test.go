package fsutil_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/takumi-backup/takumi-backup/internal/fsutil"
)

func TestNothingIsReplaced(t *testing.T) {
	for name, rename := range map[string]func(from, to string) error{"RenameNew": fsutil.RenameNew, "LinkNew": fsutil.LinkNew} {
		dir := t.TempDir()
		temp, path := filepath.Join(dir, "temp"), filepath.Join(dir, "final")
		for _, text := range []string{"first", "second"} {
			if err := os.WriteFile(temp, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := rename(temp, path); errors.Is(err, fs.ErrExist) != (text == "second") {
				t.Errorf("%s, %s: %v", name, text, err)
			}
		}
		if text, err := os.ReadFile(path); string(text) != "first" {
			t.Errorf("%s: the file holds %q, %v", name, text, err)
		}
		if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
		if err := rename(filepath.Join(dir, "missing"), filepath.Join(dir, "other")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s of a missing file: %v", name, err)
		}
	}
	if err := fsutil.SyncDir(t.TempDir()); err != nil {
		t.Error(err)
	}
	if err := fsutil.SyncDir(filepath.Join(t.TempDir(), "missing")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("SyncDir of a missing folder: %v", err)
	}
}
