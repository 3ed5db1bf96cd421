package rekey

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/envelope/sign"
	"github.com/takumi-backup/takumi-backup/envelope/slot"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/internal/store/local"
	storetest "github.com/takumi-backup/takumi-backup/internal/testkit/store"
	"github.com/takumi-backup/takumi-backup/stream"
	"github.com/takumi-backup/takumi-backup/stream/pack"
)

func TestOne(t *testing.T) {
	t.Parallel()
	for _, codec := range []pack.Codec{pack.None, pack.Gzip, pack.Zstd} {
		t.Run(string(codec), func(t *testing.T) {
			b := newBench(t, codec)
			old, packed := b.opens(b.path, "old"), b.packed("old")
			r, err := Reencrypt(t.Context(), b.path, b.o)
			if err != nil {
				t.Fatal(err)
			}
			e := b.opens(b.path, "new")
			if e.ID == old.ID || r.Old.ID != old.ID || r.New.ID != e.ID {
				t.Errorf("ids %s, then %s; told %s, then %s", old.ID, e.ID, r.Old.ID, r.New.ID)
			}
			if e.Label != old.Label {
				t.Errorf("label %v, want %v", e.Label, old.Label)
			}
			if !bytes.Equal(b.packed("new"), packed) {
				t.Error("the packed bytes are others")
			}
			if _, err := backup.Open(t.Context(), b.o.Store, b.path, backup.Options{Keys: b.o.From}); !backup.NoKey(err) {
				t.Errorf("with the old key: %v", err)
			}
			sidecarHolds(t, b.path)
			wantFiles(t, b.dir, "x.enc", "x.enc.sha256")
			if r.Size != int64(len(readFile(t, b.path))) {
				t.Errorf("size %d", r.Size)
			}
		})
	}
}

func TestRepack(t *testing.T) {
	t.Parallel()
	b := newBench(t, pack.None)
	b.o.Pack = &pack.Options{Codec: pack.Zstd}
	if _, err := Reencrypt(t.Context(), b.path, b.o); err != nil {
		t.Fatal(err)
	}
	if e := b.opens(b.path, "new"); e.Codec != "zstd" {
		t.Errorf("codec %s", e.Codec)
	}
	if n := len(readFile(t, b.path)); n > len(b.content)/2 {
		t.Errorf("the file has %d bytes", n)
	}
}

func TestSeveralKeysAndTheSameAgain(t *testing.T) {
	t.Parallel()
	b := newBench(t, pack.Zstd)
	b.o.To = slot.Recipients(key(t, "new"), key(t, "old"))
	b.o.ReadBack = ring(t, keySource{seed: "new"}, keySource{seed: "old"})
	before := b.opens(b.path, "old").ID
	if _, err := Reencrypt(t.Context(), b.path, b.o); err != nil {
		t.Fatal(err)
	}
	if b.opens(b.path, "new").ID != b.opens(b.path, "old").ID || b.opens(b.path, "old").ID == before {
		t.Error("not one new backup for both keys")
	}
}

// The old backup stands, and nothing else, whatever is refused.
func TestRefused(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		do   func(b *bench)
		want func(err error) bool
	}{
		{"wrong key", func(b *bench) { b.o.From = ring(b, keySource{seed: "third"}) }, backup.NoKey},
		{"flipped byte", func(b *bench) { b.change(func(f []byte) []byte { f[len(f)/2] ^= 1; return f }) }, isChunk},
		{"cut at a chunk", func(b *bench) { b.change(func(f []byte) []byte { return f[:4096+56+16400] }) }, is(stream.ErrTruncated)},
		{"cut to nothing", func(b *bench) { b.change(func(f []byte) []byte { return nil }) }, is(envelope.ErrNotSealed)},
		{"appended to", func(b *bench) { b.change(func(f []byte) []byte { return append(f, 'x') }) }, isTrailing},
		{"altered", func(b *bench) {
			b.change(func(f []byte) []byte {
				at := bytes.Index(f, []byte("\nauth ")) + len("\nauth ")
				if f[at]++; f[at] == 'Z'+1 || f[at] == 'z'+1 || f[at] == '9'+1 || f[at] == ',' {
					f[at] = 'A'
				}
				return f
			})
		}, is(envelope.ErrAltered)},
		{"locked", func(b *bench) {
			lock, err := Take(b.o.StateDir, b.path)
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(lock.Release)
		}, is(ErrHeld)},
		{"new key gone", func(b *bench) { b.o.ReadBack = ring(b, keySource{err: os.ErrDeadlineExceeded}) }, is(os.ErrDeadlineExceeded)},
		{"new key changed", func(b *bench) { b.o.ReadBack = ring(b, keySource{seed: "third"}) }, isReadBack},
		{"one new key of two changed", func(b *bench) {
			b.o.To = append(b.o.To, key(b, "second"))
			b.o.ReadBack = ring(b, keySource{seed: "new"}, keySource{seed: "third"})
		}, isReadBack},
		{"the disk lies", func(b *bench) { b.o.Store = lyingPlace{} }, isReadBack},
		{"a packing that there is not", func(b *bench) { b.o.Pack = &pack.Options{Codec: "rar"} }, func(err error) bool { return err != nil }},
		{"replaced meanwhile", func(b *bench) { b.o.Store = busyPlace{path: b.path} }, is(store.ErrChanged)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, pack.None)
			tc.do(b)
			_, err := Reencrypt(t.Context(), b.path, b.o)
			if !tc.want(err) {
				t.Errorf("error %v", err)
			}
			wantFiles(t, b.dir, "x.enc", "x.enc.sha256")
			if tc.name != "replaced meanwhile" && bytes.Contains(readFile(t, b.path), []byte(key(t, "new").ID())) {
				t.Error("it was replaced all the same")
			}
		})
	}
}

func (b *bench) change(do func([]byte) []byte) { writeFile(b, b.path, do(readFile(b, b.path))) }

func is(want error) func(error) bool { return func(err error) bool { return errors.Is(err, want) } }
func isChunk(err error) bool         { return errors.As(err, new(*stream.ChunkError)) }
func isTrailing(err error) bool      { return errors.As(err, new(*stream.TrailingError)) }
func isReadBack(err error) bool      { return errors.As(err, new(*ReadBackError)) }

// lyingPlace does not give back what was written.
type lyingPlace struct{ local.Folder }

func (p lyingPlace) Replace(ctx context.Context, path string) (store.Replacement, error) {
	r, err := p.Folder.Replace(ctx, path)
	return lyingReplacement{r}, err
}

type lyingReplacement struct{ store.Replacement }

func (r lyingReplacement) Open(ctx context.Context) (store.Object, error) {
	o, err := r.Replacement.Open(ctx)
	return lyingObject{o}, err
}

type lyingObject struct{ store.Object }

func (o lyingObject) Read(p []byte) (int, error) {
	n, err := o.Object.Read(p)
	if n > 20_000 {
		p[20_000] ^= 1
	}
	return n, err
}

// busyPlace has another backup put in place while one is re-encrypted.
type busyPlace struct {
	local.Folder
	path string
}

func (p busyPlace) Replace(ctx context.Context, path string) (store.Replacement, error) {
	r, err := p.Folder.Replace(ctx, path)
	if err == nil {
		content, _ := os.ReadFile(p.path)
		err = errors.Join(os.WriteFile(p.path+".other", content, 0o600), os.Rename(p.path+".other", p.path))
	}
	return r, err
}

func TestStopped(t *testing.T) {
	t.Parallel()
	b := newBench(t, pack.None)
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	b.o.Store = stoppingPlace{cancel: func() { cancel(enough) }}
	if _, err := Reencrypt(ctx, b.path, b.o); !errors.Is(err, enough) {
		t.Errorf("error %v", err)
	}
	b.opens(b.path, "old")
	wantFiles(t, b.dir, "x.enc", "x.enc.sha256")
}

// stoppingPlace calls cancel when something is written.
type stoppingPlace struct {
	local.Folder
	cancel func()
}

type stoppingReplacement struct {
	store.Replacement
	cancel func()
}

func (p stoppingPlace) Replace(ctx context.Context, path string) (store.Replacement, error) {
	r, err := p.Folder.Replace(ctx, path)
	return stoppingReplacement{r, p.cancel}, err
}

func (r stoppingReplacement) Write(p []byte) (int, error) {
	r.cancel()
	return r.Replacement.Write(p)
}

func TestDetachedEnvelope(t *testing.T) {
	t.Parallel()
	b := newBench(t, pack.Zstd)
	writeFile(t, b.path+envelope.DetachedSuffix, readFile(t, b.path)[:4096])
	if _, err := Reencrypt(t.Context(), b.path, b.o); err != nil {
		t.Fatal(err)
	}
	wantFiles(t, b.dir, "x.enc", "x.enc.sha256")
	b.opens(b.path, "new")
}

// A holder that cannot be sealed for does not lose the backup unasked.
func TestOtherSlots(t *testing.T) {
	t.Parallel()
	for _, drop := range []bool{false, true} {
		b := newBench(t, pack.Zstd)
		e := &envelope.Envelope{Slots: []envelope.Slot{{Type: "key", Args: []string{"0011223344556677", "x"}}, {Type: "age", Args: []string{"x"}}}}
		b.o.DropOther = drop
		if err := b.o.checkSlots(e, nil); errors.Is(err, ErrOtherSlots) == drop {
			t.Errorf("drop %v: %v", drop, err)
		}
		// Also one of the envelope that did not open it.
		if err := b.o.checkSlots(new(envelope.Envelope), &backup.Seen{Own: e}); errors.Is(err, ErrOtherSlots) == drop {
			t.Errorf("drop %v, of the other envelope: %v", drop, err)
		}
	}
}

// TestStrangersSlot: in either envelope it stops a re-encryption before anything is
// changed, and what a killed rewrap left next to the backup goes with one that succeeds.
func TestStrangersSlot(t *testing.T) {
	t.Parallel()
	strange := func(b *bench) []byte {
		var text bytes.Buffer
		w, err := envelope.NewWriter(t.Context(), &text, envelope.Label{Created: created, Kind: "database", Name: "x.sql", Codec: "none"}, key(t, "old"), foreign{})
		if err == nil {
			err = w.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
		return text.Bytes()
	}
	for _, dry := range []bool{true, false} {
		b := newBench(t, pack.Zstd)
		text := strange(b)
		sum := sha256.Sum256(text)
		writeFile(t, b.path, text)
		writeFile(t, b.path+store.SidecarSuffix, []byte(store.FormatSidecar(sum, "x.enc")))
		b.o.DryRun = dry
		if _, err := Reencrypt(t.Context(), b.path, b.o); !errors.Is(err, ErrOtherSlots) {
			t.Errorf("dry %v: %v", dry, err)
		}
		if !bytes.Equal(readFile(t, b.path), text) {
			t.Error("the file changed")
		}
		writeFile(t, local.Partial(b.path+envelope.DetachedSuffix), []byte("half"))
		if b.o.DropOther = true; dry {
			continue
		}
		if _, err := Reencrypt(t.Context(), b.path, b.o); err != nil {
			t.Error(err)
		}
		wantFiles(t, b.dir, "x.enc", "x.enc.sha256")
	}
}

// newShared is a backup that others, of whom one has no key here, have an envelope next to.
func newShared(t *testing.T) *bench {
	t.Helper()
	b := newBenchOf(t, pack.None, 10)
	o := RewrapOptions{Options: b.o.Options, Detached: true}
	o.To = []slot.Recipient{key(t, "third"), foreign{}}
	if _, err := Rewrap(t.Context(), b.path, o); err != nil {
		t.Fatal(err)
	}
	return b
}

// TestHolderMeanwhile: so does one whom another host adds next to the backup meanwhile,
// also in an envelope that no key at hand opens.
func TestHolderMeanwhile(t *testing.T) {
	t.Parallel()
	b := newShared(t)
	text := readFile(t, b.path+envelope.DetachedSuffix)
	if err := os.Remove(b.path + envelope.DetachedSuffix); err != nil {
		t.Fatal(err)
	}
	b.o.Store = lateEnvelope{text: text, looks: new(int)}
	if _, err := Reencrypt(t.Context(), b.path, b.o); !errors.Is(err, ErrOtherSlots) {
		t.Errorf("error %v", err)
	}
	b.opens(b.path, "old")
}

// TestHolderUnread: in a rescue too, a holder who was seen is not forgotten when his envelope
// cannot be read again.
func TestHolderUnread(t *testing.T) {
	t.Parallel()
	b := newShared(t)
	looks := 0
	b.o.Rescue, b.o.Store = true, &storetest.Faulty{Store: local.Folder{}, Before: func(op, path string) error {
		if op == "open" && strings.HasSuffix(path, envelope.DetachedSuffix) {
			if looks++; looks == 2 {
				return syscall.EIO
			}
		}
		return nil
	}}
	if _, err := Reencrypt(t.Context(), b.path, b.o); !errors.Is(err, ErrOtherSlots) {
		t.Errorf("error %v", err)
	}
	b.opens(b.path, "old")
}

// lateEnvelope has an envelope put next to a backup after the first look for one.
type lateEnvelope struct {
	local.Folder
	text  []byte
	looks *int
}

func (l lateEnvelope) Open(ctx context.Context, path string) (store.Object, error) {
	if strings.HasSuffix(path, envelope.DetachedSuffix) {
		if *l.looks++; *l.looks == 2 {
			if err := os.WriteFile(path, l.text, 0o600); err != nil {
				return nil, err
			}
		}
	}
	return l.Folder.Open(ctx, path)
}

// TestForOthersAlone: what no key at hand opens any more is read back all the same.
func TestForOthersAlone(t *testing.T) {
	t.Parallel()
	for lies, want := range map[bool]func(error) bool{false: is(nil), true: isReadBack} {
		b := newBench(t, pack.None)
		b.o.To, b.o.ReadBack = []slot.Recipient{public{b.o.To[0]}}, ring(t)
		b.o.ReadBack.AddRecipients(b.o.To...)
		if lies {
			b.o.Store = lyingPlace{}
		}
		_, err := Reencrypt(t.Context(), b.path, b.o)
		if !want(err) {
			t.Errorf("lies %v: %v", lies, err)
		}
		b.opens(b.path, map[bool]string{false: "new", true: "old"}[lies])
	}
}

// public seals and does not open.
type public struct{ slot.Recipient }

// foreign is a holder of a kind that this program does not know.
type foreign struct{}

func (foreign) Wrap(context.Context, slot.ID, []byte) (slot.Slot, error) {
	return slot.Slot{Type: "foreign", Args: []string{"somebody"}}, nil
}

func TestDryRun(t *testing.T) {
	t.Parallel()
	b := newBench(t, pack.Zstd)
	b.o.DryRun = true
	before := readFile(t, b.path)
	r, err := Reencrypt(t.Context(), b.path, b.o)
	if err != nil || r.Old == nil || r.New != nil {
		t.Errorf("%+v, %v", r, err)
	}
	if !bytes.Equal(readFile(t, b.path), before) {
		t.Error("the file changed")
	}
	wantFiles(t, b.dir, "x.enc", "x.enc.sha256")
	wantFiles(t, b.o.StateDir)
	b.o.From = ring(t, keySource{seed: "third"})
	if _, err := Reencrypt(t.Context(), b.path, b.o); !backup.NoKey(err) {
		t.Errorf("with a wrong key: %v", err)
	}
	b.o.DryRun, b.o.From = false, ring(t, keySource{seed: "old"})
	if b.o.State, err = Begin(filepath.Join(b.o.StateDir, "state"), []string{string(key(t, "new").ID())}); err != nil {
		t.Fatal(err)
	}
	defer b.o.State.End(true)
	made, err := Reencrypt(t.Context(), b.path, b.o)
	if err != nil {
		t.Fatal(err)
	}
	b.o.DryRun = true
	if r, err = Reencrypt(t.Context(), b.path, b.o); err != nil || r.Skipped == "" || r.Old.ID != made.New.ID {
		t.Errorf("after a run that did it: %+v, %v", r, err)
	}
	b.o.From, b.o.ReadBack = ring(t, keySource{seed: "new"}), ring(t, keySource{seed: "third"})
	if r, err := Reencrypt(t.Context(), b.path, b.o); err != nil || r.Skipped != "" {
		t.Errorf("where it is for others than the new holders: %+v, %v", r, err)
	}
}

func TestState(t *testing.T) {
	t.Parallel()
	b := newBench(t, pack.Zstd)
	path := filepath.Join(b.o.StateDir, "state")
	to := []string{string(key(t, "new").ID())}
	begin := func() *State {
		t.Helper()
		s, err := Begin(path, to)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	b.o.State = begin()
	first, err := Reencrypt(t.Context(), b.path, b.o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Begin(path, to); err == nil {
		t.Error("a second run has the state too")
	}
	b.o.State.End(false)
	// A torn line, as a crash leaves it, and an old envelope.
	writeFile(t, path, append(readFile(t, path), `{"time":"2026`...))
	other := newBench(t, pack.Zstd)
	writeFile(t, b.path+envelope.DetachedSuffix, readFile(t, other.path)[:4096])
	_, secret, _ := ed25519.GenerateKey(nil)
	signer, err := ssh.NewSignerFromKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	signed := func(b *bench, seed string) {
		if _, _, err := backup.Sign(t.Context(), local.Folder{}, b.path, signer, backup.Options{Keys: ring(t, keySource{seed: seed})}); err != nil {
			t.Fatal(err)
		}
	}
	signed(other, "old")
	writeFile(t, b.path+sign.Suffix, readFile(t, other.path+sign.Suffix))
	b.o.State = begin()
	if n := b.o.State.Len(); n != 1 {
		t.Errorf("%d are done", n)
	}
	again, err := Reencrypt(t.Context(), b.path, b.o)
	if err != nil || again.Skipped == "" || again.Old.ID != first.New.ID {
		t.Errorf("the next run: %+v, %v", again, err)
	}
	wantFiles(t, b.dir, "x.enc", "x.enc.sha256")
	if len(again.Warnings) != 1 {
		t.Errorf("of the old signature it says %q", again.Warnings)
	}
	signed(b, "new")
	if again, err = Reencrypt(t.Context(), b.path, b.o); err != nil || again.Skipped == "" || len(again.Warnings) != 0 {
		t.Errorf("with its own signature: %+v, %v", again, err)
	}
	wantFiles(t, b.dir, "x.enc", "x.enc.sha256", "x.enc.sig")
	os.Remove(b.path + sign.Suffix)
	// What comes next is a line of its own, for the run after.
	other.o.State = b.o.State
	if _, err := Reencrypt(t.Context(), other.path, other.o); err != nil {
		t.Fatal(err)
	}
	b.o.State.End(false)
	if b.o.State = begin(); b.o.State.Len() != 2 {
		t.Errorf("%d are done", b.o.State.Len())
	}
	// What was rewrapped for others since is done again.
	others := RewrapOptions{Options: b.o.Options}
	others.From, others.To = b.o.ReadBack, slot.Recipients(key(t, "old"))
	if _, err := Rewrap(t.Context(), b.path, others); err != nil {
		t.Fatal(err)
	}
	if r, err := Reencrypt(t.Context(), b.path, b.o); err != nil || r.Skipped != "" {
		t.Errorf("what was rewrapped: %+v, %v", r, err)
	}
	b.opens(b.path, "new")
	// What claims the id and does not open is not taken for done.
	b.change(func(f []byte) []byte { f[len(f)-1] ^= 1; return f })
	if _, err := Reencrypt(t.Context(), b.path, b.o); err == nil {
		t.Error("a damaged file passes for done")
	}
	b.o.State.End(false)
	if s, err := Read(path, []string{"third"}); !errors.Is(err, ErrOtherRun) {
		t.Errorf("for another key: %v, %v", s, err)
	}
	if text := string(readFile(t, path)); strings.Count(text, "\n") != 4 {
		t.Errorf("the state is %q", text)
	}
	begin().End(true)
	wantFiles(t, b.o.StateDir, "locks")
}

// TestStateIsOnDisk: what did not come to disk is not said to be noted, nor is anything
// behind it, and of two runs that begin at once the second has the state of the first.
func TestStateIsOnDisk(t *testing.T) {
	path, to := filepath.Join(t.TempDir(), "state"), []string{"new"}
	file, dir := syncFile, syncDir
	defer func() { syncFile, syncDir = file, dir }()
	fail := func() { syncFile = func(*os.File) error { return syscall.EIO } }
	fail()
	if _, err := Begin(path, to); !errors.Is(err, syscall.EIO) {
		t.Errorf("beginning: %v", err)
	}
	wantFiles(t, filepath.Dir(path))
	syncFile, syncDir = file, func(string) error { return syscall.EIO }
	if _, err := Begin(path, to); !errors.Is(err, syscall.EIO) {
		t.Errorf("beginning, without its folder: %v", err)
	}
	syncDir = dir
	if err := create(path, []string{"other"}); err != nil {
		t.Errorf("beginning as the second: %v", err)
	}
	s, err := Begin(path, to)
	if err != nil {
		t.Fatal(err)
	}
	fail()
	for range 2 {
		if err := s.add("x", envelope.ID{}, envelope.ID{1}); !errors.Is(err, syscall.EIO) || s.has(envelope.ID{1}) {
			t.Errorf("noting: %v", err)
		}
		syncFile = file
	}
	if err := s.End(false); err != nil {
		t.Error(err)
	}
	wantFiles(t, filepath.Dir(path))
}

// What is not a state is neither cut nor removed, however short it is.
func TestNoState(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"my notes\n", "", "a key without an end", `{"version":1}`, "{}\n{}", strings.Repeat("x", 100_000)} {
		path := filepath.Join(t.TempDir(), "precious")
		writeFile(t, path, []byte(text))
		for _, open := range []func(string, []string) (*State, error){Begin, Read} {
			s, err := open(path, []string{"new"})
			if !errors.Is(err, ErrState) {
				t.Errorf("%.20q: %v", text, err)
			}
			s.End(true)
		}
		if got := readFile(t, path); string(got) != text {
			t.Errorf("%.20q became %.20q", text, got)
		}
		wantFiles(t, filepath.Dir(path), "precious")
	}
}
