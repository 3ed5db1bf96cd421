package rekey

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestTake(t *testing.T) {
	t.Parallel()
	state, store := filepath.Join(t.TempDir(), "state"), t.TempDir()
	path, link, other := filepath.Join(store, "a.enc"), filepath.Join(store, "link.enc"), filepath.Join(store, "b.enc")
	for _, name := range []string{path, other} {
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, path, again string
		free              bool
	}{
		{"the same", path, path, false},
		{"through a link", path, link, false},
		{"by another spelling", path, store + "/./a.enc", false},
		{"another", path, other, true},
		{"remote", "s3://b/a.enc", "s3://b/a.enc", false},
		{"another remote", "s3://b/a.enc", "s3://b/b.enc", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			lock, err := Take(state, tc.path)
			if err != nil {
				t.Fatal(err)
			}
			second, err := Take(state, tc.again)
			if tc.free && err != nil || !tc.free && !errors.Is(err, ErrHeld) {
				t.Errorf("second lock: %v", err)
			}
			second.Release()
			lock.Release()
			third, err := Take(state, tc.again)
			if err != nil {
				t.Errorf("after the release: %v", err)
			}
			third.Release()
		})
	}
	if _, err := Take(state, filepath.Join(store, "none.enc")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("for no backup: %v", err)
	}
	entries, err := os.ReadDir(store)
	if err != nil || len(entries) != 3 {
		t.Errorf("the store holds %v, %v", entries, err)
	}
}
