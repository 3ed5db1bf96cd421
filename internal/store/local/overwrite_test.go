package local

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/internal/store"
)

func TestOverwrite(t *testing.T) {
	ctx := t.Context()
	head := []byte("HEAD")
	fresh := append(bytes.Clone(head), content[4:]...)
	for name, tc := range map[string]struct {
		meanwhile func(path string) error // after the file was opened
		head      []byte
		want      error // nil: any
		good      bool
	}{
		"as it was":         {func(string) error { return nil }, head, nil, true},
		"without a sidecar": {func(path string) error { return os.Remove(path + store.SidecarSuffix) }, head, nil, true},
		"gone":              {os.Remove, head, store.ErrChanged, false},
		"another file":      {func(path string) error { return errors.Join(os.Remove(path), os.WriteFile(path, content, 0o600)) }, head, store.ErrChanged, false},
		"longer":            {func(path string) error { return os.Truncate(path, int64(len(content)+1)) }, head, store.ErrChanged, false},
		"touched":           {func(path string) error { return os.Chtimes(path, time.Now(), time.Now().Add(time.Hour)) }, head, store.ErrChanged, false},
		"a link now":        {func(path string) error { return errors.Join(os.Rename(path, path+"2"), os.Symlink(path+"2", path)) }, head, nil, false},
		"no sidecar, a folder": {func(path string) error {
			return errors.Join(os.Remove(path+store.SidecarSuffix), os.Mkdir(path+store.SidecarSuffix, 0o700))
		}, head, store.ErrExists, false},
		"too long a head": {func(string) error { return nil }, append(content, 1), nil, false},
		"another writer":  {func(path string) error { _, err := reserve(path + store.SidecarSuffix); return err }, head, store.ErrBusy, false},
	} {
		path := filepath.Join(t.TempDir(), "x.enc")
		if _, err := save(path, content, store.Options{Sidecar: true}); err != nil {
			t.Fatal(err)
		}
		was, err := Folder{}.Open(ctx, path)
		if err != nil {
			t.Fatal(err)
		}
		if err := tc.meanwhile(path); err != nil {
			t.Fatal(err)
		}
		before, _ := os.ReadFile(path)
		names := list(t, filepath.Dir(path))
		err = Folder{}.Overwrite(ctx, path, was, tc.head, sha256.Sum256(fresh))
		was.Close()
		if tc.good {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			checkBackup(t, path, fresh)
			wantFiles(t, filepath.Dir(path), "x.enc", "x.enc.sha256")
			continue
		}
		if err == nil || tc.want != nil && !errors.Is(err, tc.want) {
			t.Errorf("%s: error %v, want %v", name, err, tc.want)
		}
		if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
			t.Errorf("%s: the file was changed", name)
		}
		wantFiles(t, filepath.Dir(path), names...)
	}
}

// TestReserve: one writer at a time, and what a Swap that was killed has left is
// settled.
func TestReserve(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.enc")
	if _, err := save(path, content, store.Options{Sidecar: true}); err != nil {
		t.Fatal(err)
	}
	line, err := os.ReadFile(path + store.SidecarSuffix)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, path+store.SidecarSuffix, sumOf(nil)+"  x.enc\n")
	writeFile(t, Partial(path+store.SidecarSuffix), string(line))
	release, err := Folder{}.Reserve(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	checkBackup(t, path, content)
	if _, err := (Folder{}).Reserve(t.Context(), path); !errors.Is(err, store.ErrBusy) {
		t.Errorf("a second: %v", err)
	}
	if err := release(); err != nil {
		t.Error(err)
	}
	wantFiles(t, filepath.Dir(path), "x.enc", "x.enc.sha256")
}

// TestOwner: what root writes beside a backup belongs to the backup's owner.
func TestOwner(t *testing.T) {
	needIntegration(t)
	path := filepath.Join(t.TempDir(), "x.enc")
	if _, err := save(path, content, store.Options{Sidecar: true}); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(path, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	was, err := Folder{}.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer was.Close()
	if err := (Folder{}).PutBeside(t.Context(), path, ".envelope", nil); err != nil {
		t.Fatal(err)
	}
	if err := (Folder{}).Overwrite(t.Context(), path, was, []byte("HEAD"), [32]byte{}); err != nil {
		t.Fatal(err)
	}
	for _, suffix := range []string{"", store.SidecarSuffix, ".envelope"} {
		info, err := os.Stat(path + suffix)
		if err != nil {
			t.Fatal(err)
		}
		if owner := info.Sys().(*syscall.Stat_t); owner.Uid != 65534 || owner.Gid != 65534 || info.Mode() != 0o600 {
			t.Errorf("%s: owner %d:%d, %v", path+suffix, owner.Uid, owner.Gid, info.Mode())
		}
	}
}

// TestOverwriteBesidePrune: a backup that is deleted while it is written over
// leaves nothing that would go with the next one of that name.
func TestOverwriteBesidePrune(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.enc")
	if _, err := save(path, content, store.Options{Sidecar: true}); err != nil {
		t.Fatal(err)
	}
	was, err := Folder{}.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer was.Close()
	withSys(t, func(s *system) {
		real := s.rename
		s.rename = func(from, to string) error {
			return errors.Join(os.Remove(path), os.Remove(path+store.SidecarSuffix), real(from, to))
		}
	})
	if err := (Folder{}).Overwrite(t.Context(), path, was, []byte("HEAD"), [32]byte{}); !errors.Is(err, store.ErrChanged) {
		t.Errorf("error %v, want ErrChanged", err)
	}
	wantFiles(t, filepath.Dir(path))
}

func TestRemoveBeside(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.enc")
	for range 2 { // what is not there is no error
		if err := (Folder{}).RemoveBeside(t.Context(), path, ".envelope", []byte("one")); err != nil {
			t.Error(err)
		}
		if err := (Folder{}).PutBeside(t.Context(), path, ".envelope", []byte("one")); err != nil {
			t.Fatal(err)
		}
		wantFiles(t, filepath.Dir(path), "x.enc.envelope")
		for _, content := range []string{"", "on", "one more"} {
			if err := (Folder{}).RemoveBeside(t.Context(), path, ".envelope", []byte(content)); !errors.Is(err, store.ErrChanged) {
				t.Errorf("%q: %v", content, err)
			}
		}
		if err := (Folder{}).RemoveBeside(t.Context(), path, ".envelope", []byte("one")); err != nil {
			t.Error(err)
		}
	}
	wantFiles(t, filepath.Dir(path))
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := (Folder{}).RemoveBeside(ended, path, ".envelope", []byte("one")); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}
