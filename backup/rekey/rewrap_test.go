package rekey_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/backup/rekey"
	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/envelope/slot"
	"github.com/takumi-backup/takumi-backup/internal/fail"
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
	return rekey.RewrapOptions{Options: rekey.Options{
		Store: local.Folder{}, StateDir: filepath.Join(t.TempDir(), "state"), From: ring, To: slot.Recipients(keyC), Meter: new(backup.Meter),
	}}
}

// write makes a backup of size zeros.
func write(t testing.TB, path string, size int64, keys ...*kek.Key) {
	t.Helper()
	writeFor(t, path, size, slot.Recipients(keys...)...)
}

func writeFor(t testing.TB, path string, size int64, to ...envelope.Recipient) {
	t.Helper()
	f, err := local.Create(path, store.Options{Sidecar: true})
	if err != nil {
		t.Fatal(err)
	}
	w, err := envelope.NewWriter(t.Context(), f, envelope.Label{Created: time.Now(), Kind: "stream", Name: "x", Codec: "none"}, to...)
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
	lock, err := rekey.Take(o.StateDir, in("held"))
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
			t.Errorf("%s: an envelope was left next to it", tc.name)
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
	nothing := func(string) error { return nil }
	rot := func(path string) error { flip(t, path, 5000); return nil }
	torn := func(path string) error { err := detach(path); flip(t, path, 200); return err }
	auth := func(path string) error {
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		at := envelope.Unit - 20 // among the digits of the authenticator, and it stays base64
		text[at] = map[bool]byte{true: 'B', false: 'A'}[text[at] == 'A']
		return os.WriteFile(path, text, 0o600)
	}
	unpaired := func(path string) error { return os.Remove(path + store.SidecarSuffix) }
	both := func(a, b func(string) error) func(string) error {
		return func(path string) error { return errors.Join(a(path), b(path)) }
	}
	for name, tc := range map[string]struct {
		spoil  func(path string) error
		rescue bool
		wants  func(error) bool
	}{
		"nothing":            {nothing, false, succeeds},
		"no sidecar":         {unpaired, false, succeeds},
		"rot and no sidecar": {both(rot, unpaired), false, isChunk},
		"rot":                {rot, false, isRot},
		"rot, rescued":       {rot, true, isChunk},
		"another's sidecar":  {func(path string) error { return os.WriteFile(path+store.SidecarSuffix, []byte("hello\n"), 0o600) }, false, isRot},
		"another's sidecar, rescued": {func(path string) error {
			return os.WriteFile(path+store.SidecarSuffix, []byte(store.FormatSidecar([32]byte{}, "x.enc")), 0o600)
		}, true, succeeds},
		"rot next to an envelope":               {both(rot, detach), false, isRot},
		"damaged, next to an envelope":          {torn, false, isRot},
		"damaged, next to an envelope, rescued": {torn, true, succeeds},
		"altered":                               {auth, false, func(err error) bool { return errors.Is(err, envelope.ErrAltered) }},
		"altered, rescued":                      {auth, true, succeeds},
		"altered, no sidecar, rescued":          {both(auth, unpaired), true, succeeds},
		"altered and rot, rescued":              {both(auth, rot), true, isChunk},
		"an empty envelope next to it":          {func(path string) error { return os.WriteFile(path+envelope.DetachedSuffix, nil, 0o600) }, false, func(err error) bool { return errors.Is(err, rekey.ErrForeign) }},
	} {
		path := filepath.Join(t.TempDir(), "x.enc")
		write(t, path, 100_000, keyA)
		was := label(t, path)
		if err := tc.spoil(path); err != nil {
			t.Fatal(err)
		}
		side, _ := os.ReadFile(path + store.SidecarSuffix)
		o := options(t, always(keyA))
		o.Rescue = tc.rescue
		r, err := rekey.Rewrap(t.Context(), path, o)
		if !tc.wants(err) {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil {
			checked(t, path)
			if now := label(t, path); now != was {
				t.Errorf("%s: the label was %v, and is %v", name, was, now)
			}
			if tc.rescue && len(r.Warnings) == 0 {
				t.Errorf("%s: nothing is said of it", name)
			}
			continue
		}
		if now, _ := os.ReadFile(path + store.SidecarSuffix); !bytes.Equal(now, side) {
			t.Errorf("%s: the sidecar is another", name)
		}
	}
}

func succeeds(err error) bool { return err == nil }
func isRot(err error) bool    { return errors.Is(err, rekey.ErrRot) && !isChunk(err) }
func isChunk(err error) bool {
	return errors.As(err, new(*stream.ChunkError)) && !errors.Is(err, rekey.ErrRot)
}

// label returns what the preamble of a backup says.
func label(t testing.TB, path string) envelope.Label {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	e, err := envelope.Parse(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return e.Label
}

// detach puts the envelope of a backup next to it.
func detach(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return os.WriteFile(path+envelope.DetachedSuffix, text[:envelope.Unit], 0o600)
}

// TestRewrapStopped: the end of the context, and a disk that is full, leave
// everything as it was.
func TestRewrapStopped(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "x.enc")
	write(t, path, 4<<20, keyA)
	before, _ := os.ReadFile(path)
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	for name, tc := range map[string]struct {
		copying func() error
		wants   func(error) bool
	}{
		"stopped": {func() error { cancel(why); return nil }, func(err error) bool { return errors.Is(err, why) }},
		"full": {func() error { return syscall.ENOSPC }, func(err error) bool {
			_, hint := fail.Of(err)
			return errors.Is(err, syscall.ENOSPC) && strings.Contains(hint, "--detached")
		}},
	} {
		o := options(t, always(keyA))
		o.Store = hooked{Store: o.Store, copying: tc.copying}
		ctx := ctx
		if name == "full" {
			ctx = t.Context()
		}
		if _, err := rekey.Rewrap(ctx, path, o); !tc.wants(err) {
			t.Errorf("%s: %v", name, err)
		}
		after, _ := os.ReadFile(path)
		entries, _ := os.ReadDir(filepath.Dir(path))
		if !bytes.Equal(before, after) || len(entries) != 2 {
			t.Errorf("%s: changed: %v, files %v", name, !bytes.Equal(before, after), entries)
		}
	}
}

// hooked is a store in which something happens meanwhile.
type hooked struct {
	store.Store
	copying func() error // before a payload is copied
	putting func() error // before a detached envelope is written, once
	once    *sync.Once
}

func (h hooked) Put(ctx context.Context, path, suffix string, was, now []byte) error {
	var err error
	if h.putting != nil {
		h.once.Do(func() { err = h.putting() })
	}
	if err != nil {
		return err
	}
	return h.Store.Put(ctx, path, suffix, was, now)
}

func (h hooked) Replace(ctx context.Context, path string) (store.Replacement, error) {
	r, err := h.Store.Replace(ctx, path)
	if err != nil || h.copying == nil {
		return r, err
	}
	return hookedReplacement{r, h.copying}, nil
}

type hookedReplacement struct {
	store.Replacement
	copying func() error
}

func (r hookedReplacement) CopyFrom(ctx context.Context, off int64, seen io.Writer) error {
	if err := r.copying(); err != nil {
		return err
	}
	return r.Replacement.CopyFrom(ctx, off, seen)
}

// TestCost: rewrapping costs little more than copying and hashing, both of which it
// does. With TAKUMI_TEST_LONG the file has 4 GiB and the bound counts.
func TestCost(t *testing.T) {
	size, tries := int64(64<<20), 1
	long := os.Getenv("TAKUMI_TEST_LONG") != ""
	if long {
		size, tries = 4<<30, 5
	}
	path := filepath.Join(t.TempDir(), "x.enc")
	write(t, path, size, keyA)
	o := options(t, always(keyA), always(keyB), always(keyC))
	var tools, whole, detached []time.Duration
	timed := func(into *[]time.Duration, do func() error) {
		began := time.Now()
		if err := do(); err != nil {
			t.Fatal(err)
		}
		*into = append(*into, time.Since(began))
	}
	for try := range tries {
		timed(&tools, func() error {
			return errors.Join(exec.Command("cp", path, path+".cp").Run(), exec.Command("openssl", "dgst", "-sha256", path).Run())
		})
		if err := os.Remove(path + ".cp"); err != nil {
			t.Fatal(err)
		}
		o.To = slot.Recipients([]*kek.Key{keyB, keyC}[try%2])
		timed(&whole, func() error { _, err := rekey.Rewrap(t.Context(), path, o); return err })
		o.Detached, o.To = true, slot.Recipients(keyA)
		timed(&detached, func() error { _, err := rekey.Rewrap(t.Context(), path, o); return err })
		o.Detached = false
	}
	ratio := slices.Min(whole).Seconds() / slices.Min(tools).Seconds()
	t.Logf("%d MiB: cp and openssl %v, rewrap %v (%.2f times), detached %v", size>>20, tools, whole, ratio, slices.Min(detached))
	if long && (ratio > 1.3 || slices.Min(detached) > 100*time.Millisecond) {
		t.Errorf("rewrapping takes %.2f times as long as cp and openssl, detached %v", ratio, slices.Min(detached))
	}
}
