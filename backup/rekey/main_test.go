package rekey

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/envelope/slot"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/internal/store/local"
	"github.com/takumi-backup/takumi-backup/keystore"
	"github.com/takumi-backup/takumi-backup/stream/pack"
)

// keySource gives a key made of one seed, a number of times.
type keySource struct {
	seed string
	err  error
}

func (k keySource) Load(context.Context) (*kek.Key, error) {
	if k.err != nil {
		return nil, k.err
	}
	material := sha256.Sum256([]byte(k.seed))
	return kek.New(material[:])
}
func (k keySource) String() string { return "test:" + k.seed }

func key(t testing.TB, seed string) *kek.Key {
	t.Helper()
	k, err := keySource{seed: seed}.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func ring(t testing.TB, sources ...keystore.Source) *keystore.Ring {
	r := keystore.NewRing(sources...)
	t.Cleanup(r.Close)
	return r
}

// bench is one backup in a folder, and the options for re-encrypting it from the
// key "old" to the key "new".
type bench struct {
	testing.TB
	dir, path string
	content   []byte
	o         ReencryptOptions
}

var created = time.Date(2026, 11, 23, 2, 0, 0, 0, time.UTC)

func newBench(t testing.TB, codec pack.Codec) *bench {
	t.Helper()
	return newBenchOf(t, codec, 40_000)
}

func newBenchOf(t testing.TB, codec pack.Codec, rows int) *bench {
	t.Helper()
	b := &bench{TB: t, dir: t.TempDir(), content: bytes.Repeat([]byte("INSERT INTO t VALUES (1);\n"), rows)}
	b.path = filepath.Join(b.dir, "x.enc")
	b.o = ReencryptOptions{ReadBack: ring(t, keySource{seed: "new"}), Options: Options{
		Store: local.Folder{}, From: ring(t, keySource{seed: "old"}), To: slot.Recipients(key(t, "new")),
		StateDir: t.TempDir(), Meter: new(backup.Meter),
	}}
	b.seal(codec, "old")
	return b
}

func (b *bench) seal(codec pack.Codec, seeds ...string) {
	b.Helper()
	f, err := local.Create(b.path, store.Options{Sidecar: true})
	if err != nil {
		b.Fatal(err)
	}
	var keys []*kek.Key
	for _, s := range seeds {
		keys = append(keys, key(b, s))
	}
	_, err = backup.Seal(b.Context(), f, bytes.NewReader(b.content),
		envelope.Label{Created: created, Kind: "database", Name: "x.sql"}, pack.Options{Codec: codec}, slot.Recipients(keys...)...)
	if err == nil {
		_, err = f.Commit()
	}
	if err != nil {
		b.Fatal(err)
	}
}

// opens checks that the backup at path opens with the key and holds the content,
// and returns its envelope.
func (b *bench) opens(path, seed string) *envelope.Envelope {
	b.Helper()
	f, err := backup.Open(b.Context(), local.Folder{}, path, backup.Options{Keys: ring(b, keySource{seed: seed})})
	if err != nil {
		b.Fatalf("%s does not open with the key %s: %v", path, seed, err)
	}
	defer f.Close()
	var got bytes.Buffer
	if err := backup.Unseal(&got, f.Reader, false, new(backup.Meter)); err != nil {
		b.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), b.content) {
		b.Errorf("%s holds %d bytes, not the %d that were sealed", path, got.Len(), len(b.content))
	}
	return f.Envelope
}

// packed returns the packed bytes of the backup.
func (b *bench) packed(seed string) []byte {
	b.Helper()
	f, err := backup.Open(b.Context(), local.Folder{}, b.path, backup.Options{Keys: ring(b, keySource{seed: seed})})
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	var got bytes.Buffer
	if _, err := f.WriteTo(&got); err != nil {
		b.Fatal(err)
	}
	return got.Bytes()
}

// sidecarHolds checks the sidecar of a file.
func sidecarHolds(t testing.TB, path string) {
	t.Helper()
	content, err := os.ReadFile(path)
	line, lineErr := os.ReadFile(path + store.SidecarSuffix)
	if err := errors.Join(err, lineErr); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(content)
	if want := fmt.Sprintf("%s  %s\n", hex.EncodeToString(sum[:]), filepath.Base(path)); string(line) != want {
		t.Errorf("the sidecar is %q, want %q", line, want)
	}
}

func wantFiles(t testing.TB, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%s holds %q, want %q", dir, got, want)
	}
}

func writeFile(t testing.TB, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func readFile(t testing.TB, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}
