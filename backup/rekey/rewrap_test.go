package rekey_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/backup/rekey"
	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/envelope/slot"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/internal/store/local"
	"github.com/takumi-backup/takumi-backup/keystore"
	"github.com/takumi-backup/takumi-backup/stream"
)

var keyA, keyB, keyC = kek.Generate(), kek.Generate(), kek.Generate()

// provider is where a key is kept, and the last of its answers are good.
type provider struct {
	key  *kek.Key
	good *int
}

func (p provider) Load(context.Context) (*kek.Key, error) {
	if *p.good--; *p.good < 0 {
		return nil, &keystore.Error{URI: p.String(), Kind: keystore.ErrUnreachable, Reason: "no answer"}
	}
	return kek.New(p.key.Bytes())
}
func (p provider) String() string { return "test:" + string(p.key.ID()) }

func always(k *kek.Key) provider { n := 1 << 30; return provider{k, &n} }

func options(t testing.TB, from ...keystore.Source) rekey.RewrapOptions {
	ring := keystore.NewRing(from...)
	t.Cleanup(ring.Close)
	return rekey.RewrapOptions{Place: local.Folder{}, State: filepath.Join(t.TempDir(), "state"), From: ring, To: []*kek.Key{keyC}, Meter: new(backup.Meter)}
}

// write makes a backup of size zeros.
func write(t testing.TB, path string, size int64, keys ...*kek.Key) {
	t.Helper()
	f, err := local.Create(path, store.Options{Sidecar: true})
	if err != nil {
		t.Fatal(err)
	}
	w, err := envelope.NewWriter(t.Context(), f, envelope.Label{Created: time.Now(), Kind: "stream", Name: "x", Codec: "none"}, slot.Recipients(keys...)...)
	if err == nil {
		_, err = w.ReadFrom(io.LimitReader(zeros{}, size))
	}
	if err == nil {
		err = w.Close()
	}
	if err == nil {
		_, err = f.Commit()
	}
	if err != nil {
		t.Fatal(err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// checked checks a backup that keyC opens, and its sidecar.
func checked(t testing.TB, path string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	r, err := envelope.Open(t.Context(), bytes.NewReader(text), envelope.Options{}, keyC)
	if err == nil {
		_, err = r.WriteTo(io.Discard)
	}
	line, _ := os.ReadFile(path + store.SidecarSuffix)
	if err != nil || string(line) != store.FormatSidecar(sha256.Sum256(text), filepath.Base(path)) {
		t.Errorf("%s: %v, sidecar %q", path, err, line)
	}
}

// TestOneFailsOthersGoOn: each has its own clear end.
func TestOneFailsOthersGoOn(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	for name, key := range map[string]*kek.Key{"good": keyA, "wrong": kek.Generate(), "down": keyB, "held": keyA, "gone": keyA, "rot": keyA, "last": keyA} {
		write(t, in(name), 100_000, key)
	}
	none := 0
	o := options(t, always(keyA), provider{keyB, &none})
	lock, err := rekey.Take(o.State, in("held"))
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Release()
	flip(t, in("rot"), 5000)
	if err := os.Remove(in("gone")); err != nil {
		t.Fatal(err)
	}
	unreachable := func(err error) bool { return errors.Is(err, keystore.ErrUnreachable) }
	for _, tc := range []struct {
		name string
		fits func(error) bool
	}{
		{"good", func(err error) bool { return err == nil }},
		{"wrong", func(err error) bool { return errors.As(err, new(*envelope.WrongKeyError)) }},
		{"down", unreachable},
		{"held", func(err error) bool { return errors.Is(err, rekey.ErrHeld) }},
		{"gone", func(err error) bool { return errors.Is(err, os.ErrNotExist) }},
		{"rot", func(err error) bool { return errors.Is(err, rekey.ErrRot) }},
		{"last", func(err error) bool { return err == nil }},
	} {
		before, _ := os.ReadFile(in(tc.name))
		_, err := rekey.Rewrap(t.Context(), in(tc.name), o)
		if !tc.fits(err) {
			t.Errorf("%s: %v", tc.name, err)
		}
		if after, _ := os.ReadFile(in(tc.name)); (err == nil) == bytes.Equal(before, after) {
			t.Errorf("%s: error %v, and the file is the same: %v", tc.name, err, bytes.Equal(before, after))
		}
		if _, err := os.Lstat(in(tc.name) + envelope.DetachedSuffix); err == nil {
			t.Errorf("%s: an envelope was left beside it", tc.name)
		}
	}
	checked(t, in("good"))
	checked(t, in("last"))
}

func flip(t testing.TB, path string, at int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b [1]byte
	f.ReadAt(b[:], at)
	b[0] ^= 1
	if _, err := f.WriteAt(b[:], at); err != nil {
		t.Fatal(err)
	}
}

// TestSidecarIsOnlyRenewedForWhatIsGood: the sidecar never comes to vouch for rot.
func TestSidecarIsOnlyRenewedForWhatIsGood(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		spoil func(path string) error
		rot   bool
		chunk bool // it is told which chunk is bad
		good  bool
	}{
		"nothing":                     {spoil: func(string) error { return nil }, good: true},
		"no sidecar":                  {spoil: func(path string) error { return os.Remove(path + store.SidecarSuffix) }, good: true},
		"rot and no sidecar":          {spoil: func(path string) error { flip(t, path, 5000); return os.Remove(path + store.SidecarSuffix) }, chunk: true},
		"rot":                         {spoil: func(path string) error { flip(t, path, 5000); return nil }, rot: true},
		"another's sidecar":           {spoil: func(path string) error { return os.WriteFile(path+store.SidecarSuffix, []byte("hello\n"), 0o600) }, rot: true},
		"rot beside a journal":        {spoil: func(path string) error { flip(t, path, 5000); return journal(path) }, rot: true, chunk: true},
		"torn, with a journal":        {spoil: func(path string) error { err := journal(path); flip(t, path, 200); return err }, good: true},
		"an empty envelope beside it": {spoil: func(path string) error { return os.WriteFile(path+envelope.DetachedSuffix, nil, 0o600) }},
	} {
		path := filepath.Join(t.TempDir(), "x.enc")
		write(t, path, 100_000, keyA)
		if err := tc.spoil(path); err != nil {
			t.Fatal(err)
		}
		side, _ := os.ReadFile(path + store.SidecarSuffix)
		_, err := rekey.Rewrap(t.Context(), path, options(t, always(keyA)))
		if tc.good != (err == nil) || tc.rot != errors.Is(err, rekey.ErrRot) || tc.chunk != errors.As(err, new(*stream.ChunkError)) {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil {
			checked(t, path)
			continue
		}
		if now, _ := os.ReadFile(path + store.SidecarSuffix); !bytes.Equal(now, side) {
			t.Errorf("%s: the sidecar is another", name)
		}
	}
}

// journal puts the envelope of a backup beside it.
func journal(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return os.WriteFile(path+envelope.DetachedSuffix, text[:envelope.Unit], 0o600)
}

// TestStopped: the end of the context leaves everything as it was.
func TestStopped(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "x.enc")
	write(t, path, 4<<20, keyA)
	before, _ := os.ReadFile(path)
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	o := options(t, always(keyA))
	place := &stopping{Store: o.Place, stop: func() { cancel(why) }}
	o.Place = place
	if _, err := rekey.Rewrap(ctx, path, o); !errors.Is(err, why) {
		t.Errorf("error %v", err)
	}
	after, _ := os.ReadFile(path)
	entries, _ := os.ReadDir(filepath.Dir(path))
	if !bytes.Equal(before, after) || len(entries) != 2 {
		t.Errorf("changed: %v, files %v", !bytes.Equal(before, after), entries)
	}
}

// stopping ends the work when the new envelope stands beside the backup.
type stopping struct {
	store.Store
	stop func()
}

func (s *stopping) PutBeside(ctx context.Context, path, suffix string, content []byte) error {
	defer s.stop()
	return s.Store.PutBeside(ctx, path, suffix, content)
}

// TestCost: reading a file once for two sums takes hardly longer than for one. With
// TAKUMI_TEST_LONG=1 the file has 4 GiB and the bound counts.
func TestCost(t *testing.T) {
	size, tries := int64(64<<20), 1
	long := os.Getenv("TAKUMI_TEST_LONG") == "1"
	if long {
		size, tries = 4<<30, 3
	}
	path := filepath.Join(t.TempDir(), "x.enc")
	write(t, path, size, keyA)
	o := options(t, always(keyA), always(keyB), always(keyC))
	var hashing, inPlace, detached []time.Duration
	timed := func(into *[]time.Duration, do func() error) {
		began := time.Now()
		if err := do(); err != nil {
			t.Fatal(err)
		}
		*into = append(*into, time.Since(began))
	}
	for try := range tries + 1 { // the first brings the file into memory, as far as it fits
		timed(&hashing, func() error {
			f, err := os.Open(path)
			if err != nil {
				return err
			}
			defer f.Close()
			_, err = io.CopyBuffer(sha256.New(), struct{ io.Reader }{f}, make([]byte, 256<<10))
			return err
		})
		o.To = []*kek.Key{[]*kek.Key{keyB, keyC}[try%2]}
		timed(&inPlace, func() error { _, err := rekey.Rewrap(t.Context(), path, o); return err })
		o.Detached, o.To = true, []*kek.Key{keyA}
		timed(&detached, func() error { _, err := rekey.Rewrap(t.Context(), path, o); return err })
		o.Detached = false
	}
	ratio := slices.Min(inPlace).Seconds() / slices.Min(hashing).Seconds()
	t.Logf("%d MiB: SHA-256 %v, rewrap %v (%.2f times), detached %v", size>>20, slices.Min(hashing), slices.Min(inPlace), ratio, slices.Min(detached))
	if long && (ratio > 1.15 || slices.Min(detached) > 100*time.Millisecond) {
		t.Errorf("rewrapping takes %.2f times as long as hashing, detached %v", ratio, slices.Min(detached))
	}
}
