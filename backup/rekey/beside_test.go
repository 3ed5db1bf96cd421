package rekey_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/backup/rekey"
	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/envelope/slot"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/internal/store/local"
	"github.com/takumi-backup/takumi-backup/keystore"
)

// TestHardLinks: the other names of a file keep what it was, and its sidecar right.
func TestHardLinks(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "x.enc")
	write(t, path, 50_000, keyA)
	was, _ := os.ReadFile(path)
	if err := os.Link(path, path+"2"); err != nil {
		t.Fatal(err)
	}
	r, err := rekey.Rewrap(t.Context(), path, options(t, always(keyA)))
	if err != nil || len(r.Warnings) != 1 {
		t.Errorf("%+v, %v", r, err)
	}
	checked(t, path)
	if other, _ := os.ReadFile(path + "2"); !bytes.Equal(other, was) {
		t.Error("the other name has changed")
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
	if err := errors.Join(detach(path+"2"), os.Rename(path+"2"+envelope.DetachedSuffix, path+envelope.DetachedSuffix)); err != nil {
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
	run := func(path string, to *kek.Key, detached bool, s hooked) error {
		o := options(t, always(keyA), always(keyB))
		o.Detached, o.To = detached, slot.Recipients(to)
		s.Store, s.once = o.Store, new(sync.Once)
		o.Store = s
		_, err := rekey.Rewrap(t.Context(), path, o)
		return err
	}
	var second error
	other := func(path string, detached bool) func() error {
		return func() error { second = run(path, keyB, detached, hooked{}); return nil }
	}
	foreign := func(path string) func() error { // by a host that shares no locks
		return func() error { second = nil; return detach(path) }
	}
	for name, tc := range map[string]struct {
		detached      bool
		during        func(path string) hooked
		first, second error
		opens         *kek.Key // afterwards
	}{
		"while the other copies":       {false, func(path string) hooked { return hooked{copying: other(path, false)} }, nil, store.ErrBusy, keyC},
		"a detached one meanwhile":     {false, func(path string) hooked { return hooked{copying: other(path, true)} }, nil, store.ErrBusy, keyC},
		"a foreign envelope meanwhile": {false, func(path string) hooked { return hooked{copying: foreign(path)} }, store.ErrChanged, nil, keyA},
		"both detached":                {true, func(path string) hooked { return hooked{putting: other(path, true)} }, store.ErrChanged, nil, keyB},
		"detached, the other is not":   {true, func(path string) hooked { return hooked{putting: other(path, false)} }, store.ErrChanged, nil, keyB},
		"detached, and pruned meanwhile": {true, func(path string) hooked {
			return hooked{putting: func() error { second = nil; return os.Remove(path) }}
		}, store.ErrChanged, nil, nil},
		"detached, and a full disk": {true, func(string) hooked { return hooked{putting: func() error { second = nil; return syscall.ENOSPC }} }, syscall.ENOSPC, nil, keyA},
		"detached, and another backup": {true, func(path string) hooked {
			return hooked{putting: func() error {
				second = nil
				os.Remove(path)
				os.Remove(path + store.SidecarSuffix)
				write(t, path, 10, keyB)
				return nil
			}}
		}, store.ErrChanged, nil, keyB},
	} {
		path := filepath.Join(t.TempDir(), "x.enc")
		write(t, path, 50_000, keyA)
		if err := run(path, keyC, tc.detached, tc.during(path)); !errors.Is(err, tc.first) {
			t.Errorf("%s: %v, want %v", name, err, tc.first)
		}
		if !errors.Is(second, tc.second) {
			t.Errorf("%s: the second run: %v, want %v", name, second, tc.second)
		}
		if tc.opens == nil {
			if _, err := os.Lstat(path + envelope.DetachedSuffix); err == nil {
				t.Errorf("%s: a stray envelope was left", name)
			}
			continue
		}
		ring := keystore.NewRing(always(tc.opens))
		defer ring.Close()
		f, err := backup.Open(t.Context(), local.Folder{}, path, backup.Options{Keys: ring})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if _, err := io.Copy(io.Discard, f); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		f.Close()
	}
}

// TestDetachedIsReadBack: what reports success and wrote nothing is found out.
func TestDetachedIsReadBack(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "x.enc")
	write(t, path, 50_000, keyA)
	o := options(t, always(keyA))
	o.Detached, o.Store = true, idle{o.Store}
	if r, err := rekey.Rewrap(t.Context(), path, o); err == nil {
		t.Errorf("%+v", r)
	}
}

type idle struct{ store.Store }

func (idle) Put(context.Context, string, string, []byte, []byte) error { return nil }

// TestHoldersElsewhere: a slot of another kind in the envelope that did not open the
// backup is not dropped unsaid.
func TestHoldersElsewhere(t *testing.T) {
	t.Parallel()
	for _, drop := range []bool{false, true} {
		path := filepath.Join(t.TempDir(), "x.enc")
		writeFor(t, path, 50_000, keyA, stranger{})
		o := options(t, always(keyA))
		o.Detached, o.DropOther = true, true // so that the one next to it has no such slot
		if _, err := rekey.Rewrap(t.Context(), path, o); err != nil {
			t.Fatal(err)
		}
		o = options(t, always(keyC))
		o.DropOther, o.To = drop, slot.Recipients(keyB)
		r, err := rekey.Rewrap(t.Context(), path, o)
		if errors.Is(err, rekey.ErrOtherSlots) == drop {
			t.Errorf("drop %v: %+v, %v", drop, r, err)
		}
		if drop && (len(r.Warnings) != 2 || !strings.Contains(strings.Join(r.Warnings, "\n"), "stranger")) {
			t.Errorf("warnings %q", r.Warnings) // the stranger, and the key of the backup's own envelope
		}
	}
}

// stranger is a holder of a kind that this program does not know.
type stranger struct{}

func (stranger) Wrap(context.Context, slot.ID, []byte) (slot.Slot, error) {
	return slot.Slot{Type: "stranger", Args: []string{"somebody"}}, nil
}

// TestLeftoversGo: what a run left that was killed in the middle of its writing goes
// with the next run that succeeds.
func TestLeftoversGo(t *testing.T) {
	t.Parallel()
	for _, detached := range []bool{false, true} {
		dir := t.TempDir()
		path := filepath.Join(dir, "x.enc")
		write(t, path, 50_000, keyA)
		for _, left := range []string{path, path + envelope.DetachedSuffix, path + store.SidecarSuffix} {
			if detached && left == path+store.SidecarSuffix {
				continue
			}
			if err := os.WriteFile(local.Partial(left), []byte("half"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		o := options(t, always(keyA))
		o.Detached = detached
		if _, err := rekey.Rewrap(t.Context(), path, o); err != nil {
			t.Fatal(err)
		}
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			if strings.HasPrefix(e.Name(), ".") {
				t.Errorf("detached %v: %s is still there", detached, e.Name())
			}
		}
	}
}
