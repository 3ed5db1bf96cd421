package rekey

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/internal/store/local"
	storetest "github.com/takumi-backup/takumi-backup/internal/testkit/store"
	"github.com/takumi-backup/takumi-backup/stream/pack"
)

// TestEveryFailure lets each call to the store fail in turn. What is said to be done
// opens with the new key alone, with its sidecar and nothing else next to it; after a
// failure the backup opens with the old key or the new one, and the next run does it.
func TestEveryFailure(t *testing.T) {
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		t.Setenv("TMPDIR", "/dev/shm") // syncing costs nothing there
	}
	rewrap := func(b *bench) error {
		_, err := Rewrap(b.Context(), b.path, RewrapOptions{Options: b.o.Options})
		return err
	}
	detach := func(b *bench) error {
		_, err := Rewrap(b.Context(), b.path, RewrapOptions{Options: b.o.Options, Detached: true})
		return err
	}
	for name, tc := range map[string]struct {
		do              func(b *bench) error
		beside, without bool // an envelope is next to it; it has no sidecar
		detached        bool
	}{
		"rewrap":                    {do: rewrap},
		"rewrap, envelope beside":   {do: rewrap, beside: true},
		"rewrap, without a sidecar": {do: rewrap, without: true},
		"detached":                  {do: detach, detached: true},
		"reencrypt": {do: func(b *bench) error {
			r, err := Reencrypt(b.Context(), b.path, b.o)
			if slices.ContainsFunc(r.Warnings, func(w string) bool { return strings.Contains(w, "the old envelope next to it is still there") }) {
				return errors.Join(err, os.Remove(b.path+envelope.DetachedSuffix)) // as it was told
			}
			return err
		}, beside: true},
	} {
		t.Run(name, func(t *testing.T) {
			for point, more := 0, true; more; point++ {
				b := newBenchOf(t, pack.None, 10)
				if tc.beside {
					e := b.opens(b.path, "old")
					writeFile(t, b.path+envelope.DetachedSuffix, e.Bytes())
				}
				if tc.without {
					if err := os.Remove(b.path + store.SidecarSuffix); err != nil {
						t.Fatal(err)
					}
				}
				failed, calls := "", 0
				place := &storetest.Faulty{Store: local.Folder{}, Before: func(op, path string) error {
					if calls++; calls-1 == point {
						failed = op + " " + filepath.Base(path)
						return &store.Error{Op: op, Path: path, Err: syscall.EIO}
					}
					return nil
				}}
				b.o.Store = place
				err := tc.do(b)
				more = failed != ""
				what := fmt.Sprintf("call %d, %s", point, failed)
				if n := place.Left(); n != 0 {
					t.Errorf("%s: %d files are left open", what, n)
				}
				if err != nil && (!more || !errors.Is(err, syscall.EIO) && !isReadBack(err)) {
					t.Errorf("%s: %v", what, err)
				}
				if err != nil {
					if !b.openable("old") && !b.openable("new") {
						t.Fatalf("%s: no key opens it any more", what)
					}
					place.Before = func(string, string) error { return nil }
					if err := tc.do(b); err != nil {
						t.Errorf("%s: the next run: %v", what, err)
					}
				}
				b.opens(b.path, "new")
				if tc.detached {
					wantFiles(t, b.dir, "x.enc", "x.enc.envelope", "x.enc.sha256")
					continue
				}
				if b.openable("old") {
					t.Errorf("%s: the old key opens it still", what)
				}
				sidecarHolds(t, b.path)
				wantFiles(t, b.dir, "x.enc", "x.enc.sha256")
				if t.Failed() {
					t.Fatalf("%s: %v", what, err)
				}
			}
		})
	}
}

// TestEveryFailureOfAnImport lets each call to the store fail in turn, while a folder is
// looked through and what is in it is imported. A file of which nothing is said is imported,
// of one that failed nothing is made, and the next run does it.
func TestEveryFailureOfAnImport(t *testing.T) {
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		t.Setenv("TMPDIR", "/dev/shm") // syncing costs nothing there
	}
	_, aead := oldKey(t)
	iv := []byte("twelve bytes")
	gcm := aead.Seal(nil, iv, dump, nil)
	tag := len(gcm) - aead.Overhead()
	old := map[string][]byte{
		"a_20251125_020000.sql.gz.enc": encrypt(t, zipped(t, dump)),
		"b_20251125_020000.sql.enc":    gcm[:tag], "b_20251125_020000.sql.enc.iv": iv, "b_20251125_020000.sql.enc.tag": gcm[tag:],
	}
	made := []string{"a_20251125_020000.sql.zst.enc", "a_20251125_020000.sql.zst.enc.sha256", "b_20251125_020000.sql.zst.enc", "b_20251125_020000.sql.zst.enc.sha256"}
	names := slices.Collect(maps.Keys(old))
	for point, more := 0, true; more; point++ {
		dir := t.TempDir()
		for name, content := range old {
			writeFile(t, filepath.Join(dir, name), content)
		}
		failed, calls := "", 0
		place := &storetest.Faulty{Store: local.Folder{}, Before: func(op, path string) error {
			if calls++; calls-1 == point {
				failed = op + " " + filepath.Base(path)
				return &store.Error{Op: op, Path: path, Err: syscall.EIO}
			}
			return nil
		}}
		o := importing(t)
		o.Store, o.From = place, ring(t, keySource{seed: "old"})
		run := func() error {
			found, _, err := FindLegacy(t.Context(), place, []string{dir})
			for _, b := range found {
				if b.Err == nil {
					_, b.Err = Import(t.Context(), b.Path, o)
				}
				if !errors.As(b.Err, new(passedOver)) {
					err = errors.Join(err, b.Err)
				}
			}
			return err
		}
		err := run()
		more = failed != ""
		if err == nil {
			wantFiles(t, dir, append(names, made...)...)
		} else if !more || !errors.Is(err, syscall.EIO) && !isReadBack(err) {
			t.Errorf("call %d, %s: %v", point, failed, err)
		}
		if n := place.Left(); n != 0 {
			t.Errorf("call %d, %s: %d files are left open", point, failed, n)
		}
		place.Before = func(string, string) error { return nil }
		if err := run(); err != nil {
			t.Errorf("call %d, %s: the next run: %v", point, failed, err)
		}
		wantFiles(t, dir, append(names, made...)...)
		if t.Failed() {
			t.Fatalf("call %d, %s: %v", point, failed, err)
		}
	}
}

// openable reports whether the backup opens with the key.
func (b *bench) openable(seed string) bool {
	f, err := backup.Open(b.Context(), local.Folder{}, b.path, backup.Options{Keys: ring(b, keySource{seed: seed})})
	if err != nil {
		return false
	}
	return f.Close() == nil
}
