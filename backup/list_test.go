package backup_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/envelope/slot"
	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/internal/store/local"
	"github.com/takumi-backup/takumi-backup/keystore"
)

// held is a key, and a ring that has it.
type held struct {
	key *kek.Key
	backup.Options
}

func newHeld(t *testing.T) held {
	t.Helper()
	material := kek.Generate().Bytes()
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, []byte(hex.EncodeToString(material)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	key, err := kek.New(material)
	if err != nil {
		t.Fatal(err)
	}
	ring := keystore.NewRing(keystore.File{Path: path})
	t.Cleanup(ring.Close)
	return held{key, backup.Options{Keys: ring}}
}

// sealed returns a backup of some chunks.
func sealed(t *testing.T, name string, created time.Time, keys ...*kek.Key) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := envelope.NewWriter(t.Context(), &b, envelope.Label{Created: created, Kind: "database", Name: name, Codec: "none"}, slot.Recipients(keys...)...)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(make([]byte, 100_000)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func put(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func flipped(content []byte, at int) []byte {
	b := slices.Clone(content)
	b[(at+len(b))%len(b)] ^= 1
	return b
}

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// TestRead: what every sort of file is taken for, with its key, with another
// one, and without any.
func TestRead(t *testing.T) {
	ours, theirs := newHeld(t), newHeld(t)
	root := t.TempDir()
	made := func(hour int, keys ...*kek.Key) []byte {
		return sealed(t, fmt.Sprintf("n%d", hour), noon.Add(time.Duration(hour)*time.Hour), keys...)
	}
	files := []struct {
		name    string
		content []byte
		state   backup.State
		err     error
	}{ // in the order that List returns
		{"both.enc", made(9, theirs.key, ours.key), backup.Authentic, nil},
		{"theirs.enc", made(8, theirs.key), backup.Claimed, nil},
		{"middle.enc", flipped(made(7, ours.key), 30_000), backup.Authentic, nil}, // only Verify finds it
		{"label.enc", bytes.Replace(made(6, ours.key), []byte("name n6"), []byte("name x6"), 1), backup.Bad, envelope.ErrDamagedHead},
		{"appended.enc", append(made(5, ours.key), "more"...), backup.Bad, nil},
		{"last.enc", flipped(made(4, ours.key), -1), backup.Bad, nil},
		{"cut.enc", made(3, ours.key)[:60_000], backup.Bad, nil},
		{"database/good.enc", made(2, ours.key), backup.Authentic, nil},
		{"empty.enc", nil, backup.Bad, nil},
		{"garbage.enc", []byte("garbage"), backup.Bad, envelope.ErrNotSealed},
	}
	for _, f := range files {
		put(t, filepath.Join(root, f.name), f.content)
	}
	put(t, filepath.Join(root, "both.enc.sha256"), []byte("x"))
	put(t, filepath.Join(root, ".new.enc.partial"), []byte("x"))

	read := func(o backup.Options) []backup.Backup {
		t.Helper()
		entries, err := backup.List(t.Context(), local.Folder{}, root, o)
		if err != nil || len(entries) != len(files) {
			t.Fatalf("%d entries, %v", len(entries), err)
		}
		return entries
	}
	for i, e := range read(ours.Options) {
		want := files[i]
		if e.Path != filepath.Join(root, want.name) || e.State != want.state || want.err != nil && !errors.Is(e.Err, want.err) ||
			(e.Err == nil) != (e.State == backup.Authentic) || e.Sidecar != (i == 0) {
			t.Errorf("%s: got %s, %v, %v; want %v, %v", want.name, e.Path, e.State, e.Err, want.state, want.err)
		}
	}
	for i, e := range read(backup.Options{}) {
		parses := i < 8
		if (e.State == backup.Claimed) != parses || (e.Err == nil) != parses || (e.Readable()) != parses {
			t.Errorf("without a key, %s: %v, %v", e.Path, e.State, e.Err)
		}
	}
	for _, e := range read(theirs.Options)[:2] {
		if e.State != backup.Authentic {
			t.Errorf("with the other key, %s: %v, %v", e.Path, e.State, e.Err)
		}
	}

	gone := backup.Options{Keys: keystore.NewRing(keystore.File{Path: filepath.Join(root, "no key")})}
	for _, e := range read(gone)[:8] {
		if e.State != backup.Claimed || e.Err == nil {
			t.Errorf("with a key that cannot be had, %s: %v, %v", e.Path, e.State, e.Err)
		}
	}
}

// TestDetached: the envelope next to a backup opens it, or does no harm.
func TestDetached(t *testing.T) {
	ours, theirs := newHeld(t), newHeld(t)
	path := filepath.Join(t.TempDir(), "a.enc")
	put(t, path, sealed(t, "a", noon, ours.key))
	for _, beside := range [][]byte{nil, []byte("garbage"), sealed(t, "b", noon, theirs.key)[:envelope.Unit]} {
		if beside != nil {
			put(t, path+envelope.DetachedSuffix, beside)
		}
		entries, err := backup.List(t.Context(), local.Folder{}, filepath.Dir(path), ours.Options)
		if err != nil || len(entries) != 1 || entries[0].State != backup.Authentic || len(entries[0].Keys) != 1 {
			t.Errorf("%.9q: %+v, %v", beside, entries, err)
		}
		if err := backup.Prove(t.Context(), local.Folder{}, path, ours.Options); err != nil {
			t.Errorf("%.9q: %v", beside, err)
		}
	}
}

// TestTorn: the envelope next to a backup stands in for the slot that is torn.
func TestTorn(t *testing.T) {
	ours := newHeld(t)
	path := filepath.Join(t.TempDir(), "a.enc")
	whole := sealed(t, "a", noon, ours.key)
	torn := slices.Clone(whole)
	slot := bytes.Index(torn, []byte("slot key ")) + len("slot key ") + len(ours.key.ID()) + 1
	copy(torn[slot:], "AAAA")
	put(t, path, torn)
	for _, want := range []backup.State{backup.Bad, backup.Authentic} {
		entries, err := backup.List(t.Context(), local.Folder{}, filepath.Dir(path), ours.Options)
		if err != nil || len(entries) != 1 || entries[0].State != want {
			t.Errorf("want %v: %+v, %v", want, entries, err)
		}
		if err := backup.Prove(t.Context(), local.Folder{}, path, ours.Options); (err == nil) != (want == backup.Authentic) {
			t.Errorf("want %v: %v", want, err)
		}
		put(t, path+envelope.DetachedSuffix, whole[:envelope.Unit])
	}
}

// swapped is a place whose object says which sum a swap noted in it.
type swapped struct {
	local.Folder
	path string
	sum  [sha256.Size]byte
}

type swappedObject struct {
	store.Object
	sum [sha256.Size]byte
}

func (o swappedObject) Noted() ([sha256.Size]byte, bool) { return o.sum, true }

func (p swapped) Open(ctx context.Context, path string) (store.Object, error) {
	o, err := p.Folder.Open(ctx, path)
	if err == nil && path == p.path {
		o = swappedObject{o, p.sum}
	}
	return o, err
}

// TestKilledSwap: a backup whose change was killed before the sidecar got its place is
// whole; one that merely has another sidecar is not.
func TestKilledSwap(t *testing.T) {
	ours := newHeld(t)
	path := filepath.Join(t.TempDir(), "a.enc")
	content := sealed(t, "a", noon, ours.key)
	sum, other := sha256.Sum256(content), sha256.Sum256(nil)
	put(t, path, content)
	put(t, path+store.SidecarSuffix, []byte(store.FormatSidecar(other, "a.enc")))
	proves := func(st store.Store, want error) {
		t.Helper()
		if err := backup.Prove(t.Context(), st, path, ours.Options); !errors.Is(err, want) {
			t.Errorf("%v, want %v", err, want)
		}
	}
	proves(swapped{path: path, sum: sum}, nil)
	proves(swapped{path: path, sum: other}, backup.ErrSidecar)
	for text, want := range map[string]error{
		store.FormatSidecar(sum, "a.enc"):   nil,
		store.FormatSidecar(other, "a.enc"): backup.ErrSidecar,
		store.FormatSidecar(sum, "b.enc"):   backup.ErrSidecar,
		"half":                              backup.ErrSidecar,
	} {
		put(t, local.Partial(path+store.SidecarSuffix), []byte(text))
		proves(local.Folder{}, want)
	}
}

// TestRoot: a root that cannot be read is an error, a folder in it an entry,
// and an empty one neither.
func TestRoot(t *testing.T) {
	dir := t.TempDir()
	if entries, err := backup.List(t.Context(), local.Folder{}, dir, backup.Options{}); err != nil || entries != nil {
		t.Errorf("empty: %v, %v", entries, err)
	}
	if _, err := backup.List(t.Context(), local.Folder{}, filepath.Join(dir, "none"), backup.Options{}); !store.IsStoreFault(err) {
		t.Errorf("missing: %v", err)
	}
	file := filepath.Join(dir, "file")
	put(t, file, nil)
	if _, err := backup.List(t.Context(), local.Folder{}, file, backup.Options{}); !store.IsStoreFault(err) {
		t.Errorf("a file: %v", err)
	}
	if err := os.Symlink("/nowhere", filepath.Join(dir, "link.enc")); err != nil {
		t.Fatal(err)
	}
	entries, err := backup.List(t.Context(), local.Folder{}, dir, backup.Options{})
	if err != nil || len(entries) != 1 || entries[0].State != backup.Bad || entries[0].Path != filepath.Join(dir, "link.enc") {
		t.Errorf("a link to nowhere: %+v, %v", entries, err)
	}
	stopped := errors.New("stopped")
	ctx, stop := context.WithCancelCause(t.Context())
	stop(stopped)
	if _, err := backup.List(ctx, local.Folder{}, dir, backup.Options{}); !errors.Is(err, stopped) {
		t.Errorf("stopped: %v", err)
	}
}

// TestLatest: the newest that verifies to its end, and what was passed over.
func TestLatest(t *testing.T) {
	ours, theirs := newHeld(t), newHeld(t)
	root := t.TempDir()
	at := func(hour int) time.Time { return noon.Add(time.Duration(hour) * time.Hour) }
	put(t, filepath.Join(root, "future.enc"), sealed(t, "f", at(99), ours.key))
	put(t, filepath.Join(root, "theirs.enc"), sealed(t, "t", at(4), theirs.key))
	put(t, filepath.Join(root, "middle.enc"), flipped(sealed(t, "m", at(3), ours.key), 30_000))
	put(t, filepath.Join(root, "good.enc"), sealed(t, "g", at(2), ours.key))
	put(t, filepath.Join(root, "old.enc"), sealed(t, "o", at(1), ours.key))
	entries, err := backup.List(t.Context(), local.Folder{}, root, ours.Options)
	if err != nil {
		t.Fatal(err)
	}
	past := func(e *backup.Backup) bool { return e.Created.Before(at(10)) }
	var passed []string
	o := ours.Options
	o.Warn = func(format string, args ...any) { passed = append(passed, fmt.Sprintf(format, args...)) }
	found, why, err := backup.Latest(t.Context(), local.Folder{}, entries, past, o, nil)
	if err != nil || found == nil || filepath.Base(found.Path) != "good.enc" || len(passed) != 2 || !strings.HasPrefix(passed[0], filepath.Join(root, "theirs.enc")+" was passed over: ") || !backup.NoKey(why) {
		t.Fatalf("%+v, %q, %v, %v", found, passed, why, err)
	}
	none, _, err := backup.Latest(t.Context(), local.Folder{}, entries, func(*backup.Backup) bool { return false }, ours.Options, nil)
	if none != nil || err != nil {
		t.Errorf("none: %v, %v", none, err)
	}
	if err := backup.Prove(t.Context(), local.Folder{}, found.Path, backup.Options{}); !errors.Is(err, keystore.ErrNone) {
		t.Errorf("without a key: %v", err)
	}
}

// counting is a folder that counts the bytes that are read in order of each file.
type counting struct {
	local.Folder
	read map[string]*atomic.Int64
}

func (c counting) Open(ctx context.Context, path string) (store.Object, error) {
	o, err := c.Folder.Open(ctx, path)
	if n := c.read[path]; n != nil && err == nil {
		o = counted{o, n}
	}
	return o, err
}

type counted struct {
	store.Object
	n *atomic.Int64
}

func (c counted) Read(p []byte) (int, error) {
	n, err := c.Object.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// TestLatestInUse: the newest backup is read once when it is used, and proved only when it
// seems damaged; what else fails is no reason for an older one.
func TestLatestInUse(t *testing.T) {
	t.Parallel()
	ours, root := newHeld(t), t.TempDir()
	older, newest := filepath.Join(root, "older.enc"), filepath.Join(root, "newest.enc")
	good, other := sealed(t, "n", noon.Add(time.Hour), ours.key), errors.New("the target is full")
	put(t, older, sealed(t, "o", noon, ours.key))
	for name, tc := range map[string]struct {
		content      []byte
		fault        error
		want         string // what is found
		newest, rest int64  // how often each is read
	}{
		"good":               {good, nil, newest, 1, 0},
		"damaged":            {flipped(good, 30_000), nil, older, 2, 1},
		"another fault":      {good, other, newest, 1, 0},
		"whole all the same": {good, fail.New(fail.Damaged, "", "a member is not as it should be"), newest, 2, 0},
	} {
		put(t, newest, tc.content)
		place := counting{read: map[string]*atomic.Int64{older: new(atomic.Int64), newest: new(atomic.Int64)}}
		entries, err := backup.List(t.Context(), place, root, ours.Options)
		if err != nil {
			t.Fatal(err)
		}
		found, _, err := backup.Latest(t.Context(), place, entries, func(*backup.Backup) bool { return true }, ours.Options, func(b *backup.Backup) error {
			h, err := backup.Open(t.Context(), place, b.Path, ours.Options)
			if err != nil {
				return err
			}
			defer h.Close()
			return errors.Join(h.Unpack(io.Discard), tc.fault)
		})
		if !errors.Is(err, tc.fault) || found == nil || found.Path != tc.want {
			t.Errorf("%s: %+v, %v", name, found, err)
		}
		size := int64(len(tc.content))
		if a, b := place.read[newest].Load(), place.read[older].Load(); a > tc.newest*size || a <= (tc.newest-1)*size || b > tc.rest*size || b < tc.rest*size {
			t.Errorf("%s: of the newest %d bytes were read, of the older one %d; a backup has %d", name, a, b, size)
		}
	}
}

// TestVerifyPipe: a named pipe where a backup was does not make anybody wait.
func TestVerifyPipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.enc")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := backup.Prove(t.Context(), local.Folder{}, path, newHeld(t).Options); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Error(err)
	}
}

func TestSeries(t *testing.T) {
	for name, want := range map[string]string{
		"takumi_db_20261123_020000.sql.zst":         "takumi_db.sql",
		"takumi_db_20261123_020000-2.sql.gz":        "takumi_db.sql",
		"takumi_db_20261123_020000.sql.zst.enc":     "takumi_db.sql",
		"takumi_db_20261123_020000.dump":            "takumi_db.dump",
		"contract_snapshot_20261123_020000.tar.zst": "contract_snapshot.tar",
		"a_20200101_000000_db_20261123_020000.sql":  "a_20200101_000000_db.sql",
		"takumi_db_20261123_020000.manifest.zst":    "takumi_db.manifest",
		"nightly":                                   "nightly",
		"nightly.sql.zst":                           "nightly.sql.zst",
		"uploads-2026-11-23":                        "uploads-2026-11-23",
		"_20261123_020000":                          "",
	} {
		e := backup.Backup{Label: envelope.Label{Name: name}}
		if got := e.Series(); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	if got := new(backup.Backup).Series(); got != "" {
		t.Errorf("without an envelope: %q", got)
	}
}
