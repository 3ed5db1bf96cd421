package sealed_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/internal/sealed"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/kek"
	"github.com/takumi-backup/takumi-backup/keystore"
)

// racing is a place in which, after so many opens of the backup, another file
// stands there.
type racing struct {
	store.Folder
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

func put(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func backupFor(t *testing.T, key *kek.Key) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := envelope.NewWriter(&out, envelope.Label{Created: time.Now(), Kind: "stream", Name: "x", Codec: "none"}, key)
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
	o := sealed.Options{Keys: ringOf(t, key)}
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
		place := func() store.Place {
			put(t, path, tc.first)
			return &racing{path: path, opens: 2, next: func() { put(t, path, tc.then) }}
		}
		f, err := sealed.Open(t.Context(), place(), path, o)
		if (err == nil) != tc.opens {
			t.Errorf("%s: Open: %v", name, err)
		}
		if err == nil {
			if got, err := io.ReadAll(f); err != nil || string(got) != "content" {
				t.Errorf("%s: %q, %v", name, got, err)
			}
			f.Close()
		}
		seen, err := sealed.Look(t.Context(), place(), path, o)
		if (err == nil && seen.Opened != nil) != tc.opens {
			t.Errorf("%s: Look: %+v, %v", name, seen, err)
		}
	}
}

func TestNoKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.enc")
	put(t, path, backupFor(t, kek.Generate()))
	missing := keystore.NewRing(keystore.File{Path: filepath.Join(t.TempDir(), "none")})
	defer missing.Close()
	for name, ring := range map[string]*keystore.Ring{"no ring": nil, "no source": keystore.NewRing(), "a key that is not there": missing, "another key": ringOf(t, kek.Generate())} {
		if _, err := sealed.Open(t.Context(), store.Folder{}, path, sealed.Options{Keys: ring}); !sealed.NoKey(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	put(t, path, []byte("something else"))
	if _, err := sealed.Open(t.Context(), store.Folder{}, path, sealed.Options{Keys: ringOf(t, kek.Generate())}); sealed.NoKey(err) || !errors.Is(err, envelope.ErrNotSealed) {
		t.Errorf("no backup: %v", err)
	}
}
