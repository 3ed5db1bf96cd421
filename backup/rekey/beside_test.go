package rekey_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/backup/rekey"
	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/internal/store/local"
)

// TestHardLinks: a rewrap in place would make the sidecars of the other names wrong.
func TestHardLinks(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "x.enc")
	write(t, path, 50_000, keyA)
	if err := os.Link(path, path+"2"); err != nil {
		t.Fatal(err)
	}
	o := options(t, always(keyA))
	if _, err := rekey.Rewrap(t.Context(), path, o); !errors.Is(err, rekey.ErrLinked) {
		t.Errorf("in place: %v", err)
	}
	o.Detached = true
	if _, err := rekey.Rewrap(t.Context(), path, o); err != nil {
		t.Errorf("detached: %v", err)
	}
}

// TestCurrentWithSidecars: being for the right keys is not all.
func TestCurrentWithSidecars(t *testing.T) {
	t.Parallel()
	other := store.FormatSidecar([32]byte{}, "x.enc")
	for name, tc := range map[string]struct {
		spoil   func(path string) error
		dry     bool
		skipped bool
		rot     bool
	}{
		"good":          {func(string) error { return nil }, false, true, false},
		"none":          {func(path string) error { return os.Remove(path + store.SidecarSuffix) }, false, false, false},
		"none, dry":     {func(path string) error { return os.Remove(path + store.SidecarSuffix) }, true, false, false},
		"nonsense":      {func(path string) error { return os.WriteFile(path+store.SidecarSuffix, []byte("hello\n"), 0o600) }, false, false, true},
		"nonsense, dry": {func(path string) error { return os.WriteFile(path+store.SidecarSuffix, []byte("hello\n"), 0o600) }, true, false, true},
		"old": {func(path string) error {
			before := time.Now().Add(-time.Hour)
			return errors.Join(os.WriteFile(path+store.SidecarSuffix, []byte(other), 0o600), os.Chtimes(path+store.SidecarSuffix, before, before))
		}, false, false, true},
		"killed between two renames": {func(path string) error {
			return errors.Join(os.Rename(path+store.SidecarSuffix, local.Partial(path+store.SidecarSuffix)), os.WriteFile(path+store.SidecarSuffix, []byte(other), 0o600))
		}, false, true, false},
	} {
		path := filepath.Join(t.TempDir(), "x.enc")
		write(t, path, 50_000, keyC)
		if err := tc.spoil(path); err != nil {
			t.Fatal(err)
		}
		o := options(t, always(keyC))
		o.DryRun = tc.dry
		r, err := rekey.Rewrap(t.Context(), path, o)
		if errors.Is(err, rekey.ErrRot) != tc.rot || (err == nil) == tc.rot || err == nil && (r.Skipped != "") != tc.skipped {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
		if entries, _ := os.ReadDir(filepath.Dir(path)); err == nil && !tc.dry && len(entries) == 2 {
			checked(t, path)
		} else if err == nil && !tc.dry {
			t.Errorf("%s: files %v", name, entries)
		}
	}
}

// TestKilledReencrypt: a new backup whose sidecar has not got its name yet.
func TestKilledReencrypt(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "x.enc")
	write(t, path, 50_000, keyA)
	err := errors.Join(os.Rename(path+store.SidecarSuffix, local.Partial(path+store.SidecarSuffix)),
		os.WriteFile(path+store.SidecarSuffix, []byte(store.FormatSidecar([32]byte{}, "x.enc")), 0o600))
	if err == nil {
		_, err = rekey.Rewrap(t.Context(), path, options(t, always(keyA)))
	}
	if err != nil {
		t.Fatal(err)
	}
	checked(t, path)
}

// TestRenamed: a backup that has another name than in its sidecar is not damaged.
func TestRenamed(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "x.enc")
	write(t, path, 50_000, keyA)
	to := filepath.Join(filepath.Dir(path), "y.enc")
	if err := errors.Join(os.Rename(path, to), os.Rename(path+store.SidecarSuffix, to+store.SidecarSuffix)); err != nil {
		t.Fatal(err)
	}
	r, err := rekey.Rewrap(t.Context(), to, options(t, always(keyA)))
	if err != nil || len(r.Warnings) != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
	checked(t, to)
}

// TestForeignEnvelope: what to do about it is said.
func TestForeignEnvelope(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "x.enc")
	write(t, path, 50_000, keyA)
	write(t, path+"2", 50_000, keyA)
	if err := errors.Join(journal(path+"2"), os.Rename(path+"2"+envelope.DetachedSuffix, path+envelope.DetachedSuffix)); err != nil {
		t.Fatal(err)
	}
	_, err := rekey.Rewrap(t.Context(), path, options(t, always(keyA)))
	if !errors.Is(err, rekey.ErrForeign) || errors.Is(err, rekey.ErrBeside) || !strings.Contains(err.Error(), "delete it") {
		t.Errorf("error %v", err)
	}
}

// TestTwoHomes: what another run, with locks elsewhere, does to the same backup at
// the worst time is neither undone nor hidden.
func TestTwoHomes(t *testing.T) {
	t.Parallel()
	for _, detached := range []bool{false, true} {
		path := filepath.Join(t.TempDir(), "x.enc")
		write(t, path, 50_000, keyA)
		other := options(t, always(keyA), always(keyC))
		other.To = []*kek.Key{keyB}
		other.Detached = true
		o := options(t, always(keyA))
		o.Detached = detached
		var second error
		o.Place = &stopping{Store: o.Place, stop: func() { _, second = rekey.Rewrap(t.Context(), path, other) }}
		if _, err := rekey.Rewrap(t.Context(), path, o); err != nil {
			t.Error(err)
		}
		if !errors.Is(second, store.ErrBusy) {
			t.Errorf("detached %v: the second run: %v", detached, second)
		}
		// And one that comes after the first has looked.
		write(t, path+"2", 50_000, keyA)
		o.Place = &reserving{Store: local.Folder{}, before: func() { _, second = rekey.Rewrap(t.Context(), path+"2", other) }}
		if _, err := rekey.Rewrap(t.Context(), path+"2", o); second != nil || !errors.Is(err, store.ErrChanged) {
			t.Errorf("detached %v: after the other run: %v, %v", detached, err, second)
		}
	}
}

// reserving lets somebody else go first.
type reserving struct {
	store.Store
	before func()
}

func (r *reserving) Reserve(ctx context.Context, path string) (func() error, error) {
	r.before()
	return r.Store.Reserve(ctx, path)
}
