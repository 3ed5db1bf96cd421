package vectors

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/envelope/agekey"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/envelope/slot"
	"github.com/takumi-backup/takumi-backup/stream"
	"github.com/takumi-backup/takumi-backup/stream/pack"
)

var update = flag.Bool("update", false, "write docs/vectors and the example of docs/FORMAT.md anew")

// TestPublished holds the committed files against the recipes, byte for byte,
// both ways. With -update it writes them.
func TestPublished(t *testing.T) {
	seen := map[string]bool{"README.md": true, ".gitattributes": true, signatures: true}
	counts := map[bool]int{}
	for _, r := range recipes() {
		if seen[r.name] {
			t.Errorf("two vectors are called %s", r.name)
		}
		seen[r.name] = true
		counts[r.expect == opens]++
		want := r.vector().encode()
		path := filepath.Join(folder, r.name)
		if *update {
			if err := os.WriteFile(path, want, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not what its recipe makes (%v); if the change is meant, run go test -update", r.name, err)
		}
	}
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if !seen[entry.Name()] {
			t.Errorf("%s has no recipe", entry.Name())
		}
	}
	t.Logf("%d vectors open and %d are refused", counts[true], counts[false])
	if counts[true]+counts[false] < 40 || counts[false] < 30 {
		t.Error("at least 40 vectors are wanted, 30 of them refused")
	}
}

// class names an error as docs/FORMAT.md does.
func class(err error) string {
	switch {
	case err == nil:
		return opens
	case errors.Is(err, envelope.ErrNotSealed):
		return notSealed
	case errors.As(err, new(*envelope.VersionError)):
		return newer
	case errors.As(err, new(*envelope.SyntaxError)):
		return malformed
	case errors.Is(err, envelope.ErrTruncated), errors.Is(err, stream.ErrTruncated):
		return truncated
	case errors.As(err, new(*envelope.WrongKeyError)):
		return wrongKey
	case errors.Is(err, envelope.ErrDamagedSlot), errors.Is(err, envelope.ErrDamagedHead), errors.As(err, new(*stream.ChunkError)):
		return damaged
	case errors.Is(err, envelope.ErrAltered):
		return altered
	case errors.As(err, new(*stream.TrailingError)):
		return trailing
	case errors.As(err, new(*pack.Error)):
		return unpack
	}
	return "no class: " + err.Error()
}

// chunkOf returns the chunk that an error names, or -1.
func chunkOf(err error) int {
	if e := new(stream.ChunkError); errors.As(err, &e) {
		return int(e.Index)
	}
	return -1
}

// way is one way to read a backup. It returns what was released and the error.
type way func(v *vector, o envelope.Options, keys []*kek.Key) ([]byte, error)

func inOrder(source func(io.Reader) io.Reader, packed bool) way {
	return func(v *vector, o envelope.Options, keys []*kek.Key) ([]byte, error) {
		var out bytes.Buffer
		r, err := envelope.Open(context.Background(), source(bytes.NewReader(v.file)), o, slot.Identities(keys...)...)
		if err == nil {
			err = backup.Unseal(&out, r, packed, new(backup.Meter))
		}
		return out.Bytes(), err
	}
}

func plainReads(v *vector, o envelope.Options, keys []*kek.Key) ([]byte, error) {
	r, err := envelope.Open(context.Background(), bytes.NewReader(v.file), o, slot.Identities(keys...)...)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(struct{ io.Reader }{r})
}

func atRandom(v *vector, o envelope.Options, keys []*kek.Key) ([]byte, error) {
	r, err := envelope.OpenAt(context.Background(), bytes.NewReader(v.file), int64(len(v.file)), o, slot.Identities(keys...)...)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.NewSectionReader(r, 0, r.Size()))
}

// TestVectors reads every published vector in every way.
func TestVectors(t *testing.T) {
	all, err := published()
	if err != nil {
		t.Fatal(err)
	}
	itself := func(r io.Reader) io.Reader { return r }
	for _, v := range all {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			v.testPacked(t, "all cores", inOrder(itself, true))
			v.testPacked(t, "a pipe of single bytes", inOrder(iotest.OneByteReader, true))
			v.testPacked(t, "Read", plainReads)
			v.testUnpacked(t)
			v.testRescue(t)
			v.testIdentity(t)
			v.testAtRandom(t)
			v.testParse(t)
		})
	}
}

// options parses what is offered with the file.
func (v *vector) options(t *testing.T) (o envelope.Options, keys []*kek.Key) {
	t.Helper()
	for _, material := range v.keys {
		k, err := kek.New(material)
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, k)
	}
	if v.detached != nil {
		var err error
		if o.Detached, err = envelope.Parse(bytes.NewReader(v.detached)); err != nil {
			t.Fatal(err)
		}
	}
	return o, keys
}

// packedClass is the class for a reader that does not unpack.
func (v *vector) packedClass() string {
	if v.expect == unpack {
		return opens
	}
	return v.expect
}

func (v *vector) testPacked(t *testing.T, name string, open way) {
	o, keys := v.options(t)
	got, err := open(v, o, keys)
	if class(err) != v.packedClass() {
		t.Errorf("%s: %v, want %s", name, err, v.packedClass())
	}
	if digestOf(got) != v.released {
		t.Errorf("%s: released %d bytes, want %d (or not these)", name, len(got), v.released.size)
	}
	if v.chunk != nil && v.expect == damaged && chunkOf(err) != *v.chunk {
		t.Errorf("%s: %v, want chunk %d", name, err, *v.chunk)
	}
}

func (v *vector) testUnpacked(t *testing.T) {
	o, keys := v.options(t)
	got, err := inOrder(func(r io.Reader) io.Reader { return r }, false)(v, o, keys)
	if class(err) != v.expect {
		t.Errorf("unpacked: %v, want %s", err, v.expect)
	}
	if v.plaintext != nil && digestOf(got) != *v.plaintext {
		t.Errorf("unpacked: %d bytes, want %d (or not these)", len(got), v.plaintext.size)
	}
}

func (v *vector) testRescue(t *testing.T) {
	o, keys := v.options(t)
	o.Rescue = true
	got, err := plainReads(v, o, keys)
	if v.rescued == nil {
		if class(err) != v.packedClass() || digestOf(got) != v.released {
			t.Errorf("the rescue option changes the outcome to %v, %d bytes", err, len(got))
		}
	} else if err != nil || digestOf(got) != *v.rescued {
		t.Errorf("rescued %d bytes, want %d (or not these): %v", len(got), v.rescued.size, err)
	}
}

// testIdentity opens with the age identity alone.
func (v *vector) testIdentity(t *testing.T) {
	if v.identity == "" {
		return
	}
	all, err := agekey.ParseIdentities(strings.NewReader(v.identity), v.name, agekey.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var got []byte
	r, err := envelope.Open(t.Context(), bytes.NewReader(v.file), envelope.Options{}, all[0].Named())
	if err == nil {
		got, err = io.ReadAll(r)
	}
	want, released := cmp.Or(v.identityExpect, opens), v.released
	if want != opens {
		released = digestOf(nil)
	}
	if class(err) != want || digestOf(got) != released {
		t.Errorf("with the identity: %v, %d bytes; want %s", err, len(got), want)
	}
}

// testAtRandom checks what random access can: it takes the length of the file
// for that of the backup, so that trailing bytes look like a bad final chunk.
func (v *vector) testAtRandom(t *testing.T) {
	o, keys := v.options(t)
	got, err := atRandom(v, o, keys)
	want := v.packedClass()
	if c := class(err); c != want && !(want == trailing && (c == damaged || c == truncated)) {
		t.Errorf("at random: %v, want %s", err, want)
	}
	if err == nil && digestOf(got) != v.released {
		t.Errorf("at random: %d bytes, want %d (or not these)", len(got), v.released.size)
	}
}

// testParse checks that what is well formed is so without any key, and that
// the parser keeps to the envelope.
func (v *vector) testParse(t *testing.T) {
	src := bytes.NewReader(v.file)
	e, err := envelope.Parse(src)
	switch class(err) {
	case opens:
		if used := len(v.file) - src.Len(); used != len(e.Bytes()) || !bytes.Equal(e.Bytes(), v.file[:used]) {
			t.Error("Parse does not keep to the envelope")
		}
	case v.expect:
	default:
		// One that is torn opens with the envelope beside it.
		if v.detached == nil {
			t.Errorf("Parse: %v, want %s", err, v.expect)
		}
	}
	if err == nil && (v.expect == malformed || v.expect == notSealed || v.expect == newer) {
		t.Errorf("Parse accepts what is %s", v.expect)
	}
}
