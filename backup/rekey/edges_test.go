package rekey

import (
	"context"
	"crypto/sha256"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/envelope/slot"
	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/stream/pack"
)

// TestThroughALink: what belongs to a backup is next to the file, not next to a link to it.
func TestThroughALink(t *testing.T) {
	t.Parallel()
	b := newBenchOf(t, pack.None, 10)
	links := t.TempDir()
	link := filepath.Join(links, "link.enc")
	if err := os.Symlink(b.path, link); err != nil {
		t.Fatal(err)
	}
	r, err := Rewrap(t.Context(), link, RewrapOptions{Options: b.o.Options})
	if err != nil || len(r.Warnings) != 0 {
		t.Fatalf("%q, %v", r.Warnings, err)
	}
	b.opens(b.path, "new")
	sidecarHolds(t, b.path)
	wantFiles(t, b.dir, "x.enc", "x.enc.sha256")
	wantFiles(t, links, "link.enc")
	if text := readFile(t, b.path); r.Size != int64(len(text)) || store.FormatSidecar(sha256.Sum256(text), "x.enc") != r.SHA256+"  x.enc\n" {
		t.Errorf("of %d bytes it says %d, %s", len(text), r.Size, r.SHA256)
	}
}

// TestRewrapForOthersAlone: what no new key opens, and no sidecar proves, is read back by the
// slots that it had.
func TestRewrapForOthersAlone(t *testing.T) {
	t.Parallel()
	for lies, opens := range map[bool]string{false: "new", true: "old"} {
		b := newBenchOf(t, pack.None, 10_000)
		if err := os.Remove(b.path + store.SidecarSuffix); err != nil {
			t.Fatal(err)
		}
		o := RewrapOptions{Options: b.o.Options}
		o.To = []slot.Recipient{public{b.o.To[0]}}
		if lies {
			o.Store = lyingPlace{}
		}
		if _, err := Rewrap(t.Context(), b.path, o); (err != nil) != lies {
			t.Errorf("lies %v: %v", lies, err)
		}
		b.opens(b.path, opens)
	}
}

// TestMissing: what is not there is said to be missing, and by what was looked for.
func TestMissing(t *testing.T) {
	t.Parallel()
	b := newBenchOf(t, pack.None, 10)
	gone := filepath.Join(b.dir, "gone.enc")
	_, err := Rewrap(t.Context(), gone, RewrapOptions{Options: b.o.Options})
	if !errors.Is(err, fs.ErrNotExist) || !strings.HasPrefix(err.Error(), "locking ") {
		t.Errorf("rewrap: %v", err)
	}
	for name, detached := range map[string]bool{"dry": false, "detached": true} {
		o := RewrapOptions{Options: b.o.Options, Detached: detached}
		o.DryRun = !detached
		if _, err := Rewrap(t.Context(), gone, o); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Import(t.Context(), gone, importing(t)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("import: %v", err)
	}
	wantFiles(t, b.dir, "x.enc", "x.enc.sha256")
}

// TestDryRewrap: a dry run reads what it needs to say what would be done, and writes
// nothing, nor into a folder that takes nothing.
func TestDryRewrap(t *testing.T) {
	t.Parallel()
	b := newBenchOf(t, pack.None, 10)
	before := string(readFile(t, b.path))
	o := RewrapOptions{Options: b.o.Options}
	o.DryRun = true
	r, err := Rewrap(t.Context(), b.path, o)
	if err != nil || r.New == nil || r.Old == nil || r.Skipped != "" || r.Size != int64(len(before)) || len(r.Warnings) != 0 {
		t.Errorf("%+v, %v", r, err)
	}
	if err := os.Remove(b.path + store.SidecarSuffix); err != nil {
		t.Fatal(err)
	}
	if r, err := Rewrap(t.Context(), b.path, o); err != nil || len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], "no sidecar") {
		t.Errorf("without a sidecar: %q, %v", r.Warnings, err)
	}
	o.Detached = true
	if r, err := Rewrap(t.Context(), b.path, o); err != nil || len(r.Warnings) != 0 {
		t.Errorf("detached: %q, %v", r.Warnings, err)
	}
	if string(readFile(t, b.path)) != before {
		t.Error("it was changed")
	}
	wantFiles(t, b.dir, "x.enc")
}

// TestTwice: a second run finds the keys and does nothing.
func TestTwice(t *testing.T) {
	t.Parallel()
	for _, detached := range []bool{false, true} {
		b := newBenchOf(t, pack.None, 10)
		b.o.From = ring(t, keySource{seed: "old"}, keySource{seed: "new"})
		o := RewrapOptions{Options: b.o.Options, Detached: detached}
		for n := range 2 {
			r, err := Rewrap(t.Context(), b.path, o)
			if err != nil || (r.Skipped != "") != (n == 1) || (r.New == nil) != (n == 1) {
				t.Errorf("detached %v, run %d: %+v, %v", detached, n+1, r, err)
			}
		}
		if _, err := os.Stat(b.path + envelope.DetachedSuffix); (err == nil) != detached {
			t.Errorf("detached %v: %v", detached, err)
		}
	}
}

// TestNoRoom: a disk that is full, or a quota that is, is named with what helps; nothing
// else is.
func TestNoRoom(t *testing.T) {
	t.Parallel()
	for err, want := range map[error]bool{syscall.ENOSPC: true, syscall.EDQUOT: true, syscall.EIO: false, context.Canceled: false} {
		got := noRoom(&store.Error{Op: "write", Path: "x", Err: err})
		class, hint := fail.Of(got)
		if !errors.Is(got, err) || strings.Contains(hint, "--detached") != want || want && class != fail.Store {
			t.Errorf("%v: %v, %q", err, class, hint)
		}
	}
}

// TestNoStateFile: without --state the folder where the program runs does not matter.
func TestNoStateFile(t *testing.T) {
	b := newBenchOf(t, pack.None, 10)
	t.Chdir(b.dir)
	if _, err := CheckOutside(b.path, nil, t.TempDir(), true, ""); err != nil {
		t.Error(err)
	}
}

// TestRenews: new holders take the place of slots of their own type alone.
func TestRenews(t *testing.T) {
	t.Parallel()
	o := Options{To: slot.Recipients(key(t, "new"))}
	if !o.renews(slotType(t, o)) || o.renews("X25519") {
		t.Error("other types")
	}
}

func slotType(t *testing.T, o Options) string {
	h, known := slot.HolderOf(o.To[0])
	if !known {
		t.Fatal("a key has no holder")
	}
	return h.Type
}
