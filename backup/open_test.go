package backup_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/envelope/sign"
	"github.com/takumi-backup/takumi-backup/envelope/slot"
	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/internal/store/local"
	"github.com/takumi-backup/takumi-backup/keystore"
)

// racing is a place in which, after so many opens of the backup, another file
// is there.
type racing struct {
	local.Folder
	path  string
	opens int
	next  func()
}

func (r *racing) Open(ctx context.Context, path string) (store.Object, error) {
	if path == r.path {
		if r.opens--; r.opens == 0 {
			r.next()
		}
	}
	return r.Folder.Open(ctx, path)
}

func backupFor(t *testing.T, key *kek.Key) []byte { return backupNamed(t, "x", key) }

func backupNamed(t *testing.T, name string, key *kek.Key) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := envelope.NewWriter(t.Context(), &out, envelope.Label{Created: time.Now(), Kind: "stream", Name: name, Codec: "none"}, key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, "content"); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func ringOf(t *testing.T, key *kek.Key) *keystore.Ring {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key")
	if err := keystore.WriteFile(path, key); err != nil {
		t.Fatal(err)
	}
	ring := keystore.NewRing(keystore.File{Path: path})
	t.Cleanup(ring.Close)
	return ring
}

// TestChangedWhileOpened: what a rewrap disturbs is opened again, and what is
// damaged for good is said to be.
func TestChangedWhileOpened(t *testing.T) {
	key := kek.Generate()
	good, torn := backupFor(t, key), []byte(nil)
	torn = bytes.Clone(good)
	copy(torn[bytes.Index(torn, []byte("slot ")):], "garbage")
	o := backup.Options{Keys: ringOf(t, key)}
	for name, tc := range map[string]struct {
		first, then []byte
		opens       bool
	}{
		"torn, then whole":   {torn, good, true},
		"torn, then another": {torn, backupFor(t, kek.Generate()), false},
		"torn for good":      {torn, torn, false},
		"whole":              {good, good, true},
	} {
		path := filepath.Join(t.TempDir(), "x.enc")
		place := func() store.Store {
			put(t, path, tc.first)
			return &racing{path: path, opens: 2, next: func() { put(t, path, tc.then) }}
		}
		f, err := backup.Open(t.Context(), place(), path, o)
		if (err == nil) != tc.opens {
			t.Errorf("%s: Open: %v", name, err)
		}
		if err == nil {
			if got, err := io.ReadAll(f); err != nil || string(got) != "content" {
				t.Errorf("%s: %q, %v", name, got, err)
			}
			f.Close()
		}
		seen, err := backup.Look(t.Context(), place(), path, o)
		if (err == nil && seen.Opened != nil) != tc.opens {
			t.Errorf("%s: Look: %+v, %v", name, seen, err)
		}
	}
}

// closing is a stream that notes when it is closed.
type closing struct {
	io.Reader
	closed bool
}

func (c *closing) Close() error {
	c.closed = true
	return nil
}

// TestAccepted: however a backup is opened, it is the one that was verified, where one was,
// and under its own name, where that counts, or else a warning says so; and a stream that
// does not open is closed.
func TestAccepted(t *testing.T) {
	t.Parallel()
	key, path := kek.Generate(), filepath.Join(t.TempDir(), "a_db_20260102_030405.sql.enc")
	content := backupNamed(t, "b_db_20260102_030405.sql", key)
	put(t, path, content)
	e, err := envelope.Parse(bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	signers, err := sign.ParseSigners(strings.NewReader("a ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIHQ8mvgEzEoEW8Bt0j1/uVgTDBHLUQQJ0IlKnJ2Bhyk"))
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		o             backup.Options
		file, stream  error
		warned, usage bool
	}{
		"any":           {warned: true},
		"the same":      {o: backup.Options{ID: e.ID}, warned: true},
		"another":       {o: backup.Options{ID: envelope.ID{1}}, file: store.ErrChanged, stream: store.ErrChanged},
		"its own name":  {o: backup.Options{Named: true}, file: backup.ErrMisnamed},
		"signers":       {o: backup.Options{Signers: signers}, file: backup.ErrUnsigned, usage: true},
		"same and name": {o: backup.Options{ID: e.ID, Named: true}, file: backup.ErrMisnamed},
	} {
		warned, opened := 0, 0
		tc.o.Keys = ringOf(t, key)
		tc.o.Warn = func(string, ...any) { warned++ }
		tc.o.Opened = func(*envelope.Opened) { opened++ }
		f, err := backup.Open(t.Context(), local.Folder{}, path, tc.o)
		if !errors.Is(err, tc.file) || (warned > 0) != tc.warned || (opened == 1) != (tc.o.Signers == nil) {
			t.Errorf("%s: Open: %v, %d warnings, opened %d times", name, err, warned, opened)
		}
		if err == nil {
			f.Close()
		}
		at, err := backup.OpenAt(t.Context(), local.Folder{}, path, tc.o)
		if !errors.Is(err, tc.file) {
			t.Errorf("%s: OpenAt: %v", name, err)
		}
		if err == nil {
			at.Close()
		}
		in := &closing{Reader: bytes.NewReader(content)}
		f, err = backup.OpenInput(t.Context(), in, tc.o)
		if class, _ := fail.Of(err); !tc.usage && !errors.Is(err, tc.stream) || (class == fail.Usage) != tc.usage || in.closed != (err != nil) {
			t.Errorf("%s: OpenInput: %v, closed %v", name, err, in.closed)
		}
		if err != nil {
			continue
		}
		if got, err := io.ReadAll(f); err != nil || string(got) != "content" || f.Size() != -1 || f.Close() != nil || !in.closed {
			t.Errorf("%s: %q of %d bytes, %v, closed %v", name, got, f.Size(), err, in.closed)
		}
	}
}

// TestDoubts: random access warns of what reading in order warns of, and counts its bytes.
func TestDoubts(t *testing.T) {
	t.Parallel()
	key := kek.Generate()
	content := backupFor(t, key)
	altered := bytes.Clone(content)
	altered[bytes.Index(altered, []byte("\nauth "))+30] ^= 1
	for name, tc := range map[string]struct {
		content, beside []byte
		rescue          bool
	}{
		"passed over": {content: content, beside: []byte("junk")},
		"altered":     {content: altered, rescue: true},
	} {
		path := filepath.Join(t.TempDir(), "x.enc")
		put(t, path, tc.content)
		if tc.beside != nil {
			put(t, path+envelope.DetachedSuffix, tc.beside)
		}
		var said [2][]string
		var meter backup.Meter
		o := func(i int) backup.Options {
			return backup.Options{Keys: ringOf(t, key), Rescue: tc.rescue, Meter: &meter, Warn: func(format string, args ...any) { said[i] = append(said[i], fmt.Sprintf(format, args...)) }}
		}
		f, err := backup.Open(t.Context(), local.Folder{}, path, o(0))
		if err != nil {
			t.Fatal(name, err)
		}
		f.Close()
		before := meter.In()
		at, err := backup.OpenAt(t.Context(), local.Folder{}, path, o(1))
		if err != nil {
			t.Fatal(name, err)
		}
		at.Close()
		if len(said[0]) == 0 || !slices.Equal(said[0], said[1]) || meter.In() <= before {
			t.Errorf("%s: warnings %q, %d bytes", name, said, meter.In()-before)
		}
	}
}

func TestNoKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.enc")
	content := backupFor(t, kek.Generate())
	put(t, path, content)
	missing := keystore.NewRing(keystore.File{Path: filepath.Join(t.TempDir(), "none")})
	defer missing.Close()
	for name, ring := range map[string]*keystore.Ring{"no ring": nil, "no source": keystore.NewRing(), "a key that is not there": missing, "another key": ringOf(t, kek.Generate())} {
		if _, err := backup.Open(t.Context(), local.Folder{}, path, backup.Options{Keys: ring}); !backup.NoKey(err) {
			t.Errorf("%s: %v", name, err)
		}
		in := &closing{Reader: bytes.NewReader(content)}
		if _, err := backup.OpenInput(t.Context(), in, backup.Options{Keys: ring}); !backup.NoKey(err) || !in.closed {
			t.Errorf("%s, in order: %v, closed %v", name, err, in.closed)
		}
	}
	put(t, path, []byte("something else"))
	if _, err := backup.Open(t.Context(), local.Folder{}, path, backup.Options{Keys: ringOf(t, kek.Generate())}); backup.NoKey(err) || !errors.Is(err, envelope.ErrNotSealed) {
		t.Errorf("no backup: %v", err)
	}
}

// TestPassedOver: what is wrong with the envelope next to a backup is not taken for
// the lack of a key alone.
func TestPassedOver(t *testing.T) {
	from, to := kek.Generate(), kek.Generate()
	content := backupFor(t, from)
	w, err := envelope.Rewrap(t.Context(), bytes.NewReader(content), int64(len(content)), envelope.Options{
		Find: func(context.Context, []slot.Holder) ([]envelope.Identity, error) {
			return []envelope.Identity{from}, nil
		},
	}, envelope.RewrapOptions{}, to)
	if err != nil {
		t.Fatal(err)
	}
	altered := bytes.Clone(w.New.Bytes())
	at := bytes.Index(altered, []byte("\nauth ")) + len("\nauth ")
	altered[at] = "AB"[bytes.IndexByte([]byte("BA"), altered[at])&1]
	for name, tc := range map[string]struct {
		beside []byte
		noKey  bool
		is     error
		says   string
	}{
		"cut":       {w.New.Bytes()[:4000], true, envelope.ErrTruncated, "x.enc.envelope was passed over"},
		"altered":   {altered, false, envelope.ErrAltered, "with the envelope next to it"},
		"another's": {backupFor(t, to)[:envelope.Unit], true, nil, "belongs to another backup"},
	} {
		path := filepath.Join(t.TempDir(), "x.enc")
		put(t, path, content)
		put(t, path+envelope.DetachedSuffix, tc.beside)
		_, err := backup.Open(t.Context(), local.Folder{}, path, backup.Options{Keys: ringOf(t, to)})
		if err == nil || backup.NoKey(err) != tc.noKey || tc.is != nil && !errors.Is(err, tc.is) || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%s: %v", name, err)
		}
		if seen, _ := backup.Look(t.Context(), local.Folder{}, path, backup.Options{Keys: ringOf(t, to)}); seen.Err == nil || seen.Err.Error() != err.Error() {
			t.Errorf("%s: Look says %v", name, seen.Err)
		}
	}
	path := filepath.Join(t.TempDir(), "x.enc")
	put(t, path, content)
	put(t, path+envelope.DetachedSuffix, w.New.Bytes())
	_, err = backup.Open(t.Context(), local.Folder{}, path, backup.Options{Keys: ringOf(t, kek.Generate())})
	var wrong *envelope.WrongKeyError
	if !errors.As(err, &wrong) || !slices.Equal(wrong.Wanted, []slot.Holder{to.Holder(), from.Holder()}) {
		t.Errorf("with a third key: %v", err)
	}
}
