//go:build unix

package keystore

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
)

// keyIn writes a new key file and returns it with its key.
func keyIn(t *testing.T, dir string) (File, *kek.Key) {
	t.Helper()
	f, key := File{Path: filepath.Join(dir, "key")}, kek.Generate()
	if err := WriteFile(f.Path, key); err != nil {
		t.Fatal(err)
	}
	return f, key
}

func mustStore(t *testing.T, f File, key *kek.Key, before kek.ID) {
	t.Helper()
	if err := f.Store(t.Context(), key, before); err != nil {
		t.Fatal(err)
	}
}

// isKey checks which key a source gives.
func isKey(t *testing.T, src Source, want kek.ID) {
	t.Helper()
	key, err := src.Load(t.Context())
	if err != nil {
		t.Error(err)
		return
	}
	defer key.Wipe()
	if key.ID() != want {
		t.Errorf("%s is key %s, want %s", src, key.ID(), want)
	}
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

func TestStore(t *testing.T) {
	dir := t.TempDir()
	f, a := keyIn(t, dir)
	b, c := kek.Generate(), kek.Generate()
	mustStore(t, f, b, a.ID())
	mustStore(t, f, b, a.ID()) // it is there already
	isKey(t, f, b.ID())
	mustStore(t, f, c, b.ID())
	newer, older := a, b // not in the order of their names
	if a.ID() < b.ID() {
		newer, older = b, a
	}
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(f.former(older.ID()).Path, old, old); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"key.bak": "x", "key.0123456789ABCDEF": "x", "key.0123456789abcde": "x", "keys.0123456789abcdef": "x", ".0123456789abcdef": "x",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	versions, err := f.Versions(t.Context())
	if err != nil || len(versions) != 3 {
		t.Fatalf("%+v, %v", versions, err)
	}
	for n, want := range []*kek.Key{c, newer, older} {
		v := versions[n]
		isKey(t, v.Source, want.ID())
		if v.Current != (n == 0) || v.Created.IsZero() || n > 0 && v.Name != "key."+string(want.ID()) {
			t.Errorf("version %d is %+v", n, v)
		}
	}
	// A former key becomes the current one again, and is listed once; one that is lost is
	// listed last.
	mustStore(t, f, a, c.ID())
	isKey(t, f, a.ID())
	if err := os.Symlink("nowhere", f.former(nobodys).Path); err != nil {
		t.Fatal(err)
	}
	if versions, err := f.Versions(t.Context()); err != nil || len(versions) != 4 || versions[3].Name != "key."+string(nobodys) || !versions[3].Created.IsZero() {
		t.Errorf("%+v, %v", versions, err)
	}
}

func TestStoreNew(t *testing.T) {
	dir := t.TempDir()
	f, key := File{Path: filepath.Join(dir, "key")}, kek.Generate()
	if err := f.Store(t.Context(), key, nobodys); !errors.Is(err, ErrConflict) || !strings.Contains(err.Error(), "it holds no key, where key "+string(nobodys)+" was expected") {
		t.Errorf("where there should be a key: %v", err)
	}
	if err := (File{Path: filepath.Join(dir, "none", "key")}).Store(t.Context(), key, ""); !errors.Is(err, ErrRefused) || !errors.Is(err, syscall.ENOENT) {
		t.Errorf("where there is no folder: %v", err)
	}
	mustStore(t, f, key, "")
	isKey(t, f, key.ID())
	if got := names(t, dir); !slices.Equal(got, []string{"key"}) {
		t.Errorf("the folder holds %q", got)
	}
	if _, err := (File{Path: filepath.Join(dir, "none")}).Versions(t.Context()); !errors.Is(err, ErrNotFound) {
		t.Errorf("versions of nothing: %v", err)
	}
}

// TestStoreUnchanged: a failure before the key is replaced is a refusal, so that a
// caller knows that nothing comes of it later.
func TestStoreUnchanged(t *testing.T) {
	dir := t.TempDir()
	f := File{Path: filepath.Join(dir, strings.Repeat("k", 250))} // no room for the id of a former key
	key := kek.Generate()
	mustStore(t, f, key, "")
	err := f.Store(t.Context(), kek.Generate(), key.ID())
	if e, ok := errors.AsType[*Error](err); !ok || e.Kind != ErrRefused || !errors.Is(err, syscall.ENAMETOOLONG) {
		t.Errorf("the former key: %v", err)
	}
	isKey(t, f, key.ID())
	if got := names(t, dir); len(got) != 1 {
		t.Errorf("the folder holds %q", got)
	}
	for name, path := range map[string]string{"no folder": "none/key", "in a file": filepath.Base(f.Path) + "/key", "nothing to replace": "gone"} {
		err := File{Path: filepath.Join(dir, path)}.replace(kek.Generate())
		if e, ok := errors.AsType[*Error](err); !ok || e.Kind != ErrRefused || e.Err == nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := names(t, dir); len(got) != 1 {
		t.Errorf("then the folder holds %q", got)
	}
}

func TestStoreRefuses(t *testing.T) {
	dir := t.TempDir()
	f, a := keyIn(t, dir)
	key := kek.Generate()
	for name, before := range map[string]kek.ID{"another key": nobodys, "no key": ""} {
		if err := f.Store(t.Context(), key, before); !errors.Is(err, ErrConflict) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// The name of the former key is taken by something else.
	if err := WriteFile(f.former(a.ID()).Path, kek.Generate()); err != nil {
		t.Fatal(err)
	}
	if err := f.Store(t.Context(), key, a.ID()); !errors.Is(err, ErrRefused) {
		t.Errorf("with a stranger at the former key's name: %v", err)
	}
	os.Remove(f.former(a.ID()).Path)
	// A key file that may not be used is not replaced either.
	if err := os.Chmod(f.Path, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := f.Store(t.Context(), key, a.ID()); !errors.Is(err, ErrRefused) {
		t.Errorf("in place of an open file: %v", err)
	}
	os.Chmod(f.Path, 0o600)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.Store(ctx, key, a.ID()); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	isKey(t, f, a.ID())
	if got := names(t, dir); !slices.Equal(got, []string{"key"}) {
		t.Errorf("the folder holds %q", got)
	}
}

func TestStoreThroughLink(t *testing.T) {
	dir := t.TempDir()
	f, a := keyIn(t, dir)
	link := File{Path: filepath.Join(t.TempDir(), "link")}
	if err := os.Symlink(f.Path, link.Path); err != nil {
		t.Fatal(err)
	}
	b := kek.Generate()
	mustStore(t, link, b, a.ID())
	if info, err := os.Lstat(link.Path); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link is gone: %v, %v", info, err)
	}
	isKey(t, f, b.ID())
	isKey(t, f.former(a.ID()), a.ID())
	versions, err := link.Versions(t.Context())
	if err != nil || len(versions) != 2 {
		t.Fatalf("%+v, %v", versions, err)
	}
	isKey(t, versions[1].Source, a.ID())

	// A link to nothing is somebody's mistake.
	dangling := File{Path: filepath.Join(dir, "dangling")}
	if err := os.Symlink("nowhere", dangling.Path); err != nil {
		t.Fatal(err)
	}
	if err := dangling.Store(t.Context(), kek.Generate(), ""); err == nil {
		t.Error("a key was stored through a dangling link")
	}
}

func TestStoreKeepsModeAndOwner(t *testing.T) {
	dir := t.TempDir()
	f, a := keyIn(t, dir)
	if err := os.Chmod(f.Path, 0o400); err != nil {
		t.Fatal(err)
	}
	b := kek.Generate()
	mustStore(t, f, b, a.ID())
	like := func(path string, uid uint32) {
		t.Helper()
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != 0o400 || info.Sys().(*syscall.Stat_t).Uid != uid {
			t.Errorf("%s: mode %v, owner %d; want 0400 and %d", path, info.Mode(), info.Sys().(*syscall.Stat_t).Uid, uid)
		}
	}
	like(f.Path, uint32(os.Geteuid()))
	like(f.former(a.ID()).Path, uint32(os.Geteuid()))

	// A run that was killed between writing the former key and this.
	if err := os.Chmod(f.former(a.ID()).Path, 0o600); err != nil {
		t.Fatal(err)
	}
	mustStore(t, f, a, b.ID())
	mustStore(t, f, b, a.ID())
	like(f.former(a.ID()).Path, uint32(os.Geteuid()))
}

// TestStoreAtOnce: of many that replace the same key, one wins, and all others
// learn that they did not.
func TestStoreAtOnce(t *testing.T) {
	dir := t.TempDir()
	f, a := keyIn(t, dir)
	var winner atomic.Pointer[kek.Key]
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			key := kek.Generate()
			err := f.Store(t.Context(), key, a.ID())
			if err == nil && !winner.CompareAndSwap(nil, key) {
				t.Error("two writers succeeded")
			}
			if err != nil && !errors.Is(err, ErrConflict) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if winner.Load() == nil {
		t.Fatal("nobody won")
	}
	isKey(t, f, winner.Load().ID())
	isKey(t, f.former(a.ID()), a.ID())
	if got := names(t, dir); !slices.Equal(got, []string{"key", "key." + string(a.ID())}) {
		t.Errorf("the folder holds %q", got)
	}
}

// TestStoreWaits: somebody else holds the lock, and the caller's patience ends.
func TestStoreWaits(t *testing.T) {
	dir := t.TempDir()
	f, a := keyIn(t, dir)
	unlock, err := f.lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*lockPause)
	defer cancel()
	if err := f.Store(ctx, kek.Generate(), a.ID()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	unlock()
	mustStore(t, f, kek.Generate(), a.ID())
}

// TestStoreRemovesStrays: what a killed run has left holds a key.
func TestStoreRemovesStrays(t *testing.T) {
	dir := t.TempDir()
	f, a := keyIn(t, dir)
	stray, err := writeTemp(dir, textOf(kek.Generate()), nil)
	if err != nil {
		t.Fatal(err)
	}
	b := kek.Generate()
	mustStore(t, f, b, a.ID())
	if _, err := os.Lstat(stray); err != nil {
		t.Errorf("the file of what may be a live writer is gone: %v", err)
	}
	old := time.Now().Add(-strayAge - time.Minute)
	if err := os.Chtimes(stray, old, old); err != nil {
		t.Fatal(err)
	}
	mustStore(t, f, kek.Generate(), b.ID())
	if _, err := os.Lstat(stray); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a stray is left: %v", err)
	}
}
