package verify

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/envelope/slot"
	"github.com/takumi-backup/takumi-backup/internal/guard"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/internal/store/local"
	"github.com/takumi-backup/takumi-backup/keystore"
	"github.com/takumi-backup/takumi-backup/stream/pack"
)

// source is a key that is at hand.
type source struct{ key *kek.Key }

func (s source) Load(context.Context) (*kek.Key, error) { return kek.New(bytes.Clone(s.key.Bytes())) }
func (s source) String() string                         { return "test:" + string(s.key.ID()) }

func ringOf(keys ...*kek.Key) *keystore.Ring {
	var sources []keystore.Source
	for _, k := range keys {
		sources = append(sources, source{k})
	}
	return keystore.NewRing(sources...)
}

// good is a backup of the test store, and what was next to it.
type good struct {
	path          string
	data, sidecar []byte
	head          int64 // of the file: its envelope
	created       time.Time
	label         envelope.Label
	content       []byte
	series        int
}

// testStore is a store of good backups: all kinds, codecs, and two keys.
type testStore struct {
	dir     string
	keys    []*kek.Key
	backups []good
}

func (s *testStore) ring() *keystore.Ring { return ringOf(s.keys...) }

// restore puts back what the store held at first.
func (s *testStore) restore(t testing.TB) {
	t.Helper()
	if err := os.RemoveAll(s.dir); err != nil {
		t.Fatal(err)
	}
	for _, b := range s.backups {
		write(t, b.path, b.data)
		write(t, b.path+store.SidecarSuffix, b.sidecar)
	}
}

func write(t testing.TB, path string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func sidecarOf(data []byte, path string) []byte {
	return []byte(store.FormatSidecar(sha256.Sum256(data), filepath.Base(path)))
}

func seal(t testing.TB, content []byte, label envelope.Label, codec pack.Codec, keys ...*kek.Key) []byte {
	t.Helper()
	var out bytes.Buffer
	_, err := backup.Seal(t.Context(), &out, bytes.NewReader(content), label,
		pack.Options{Codec: codec, BlockSize: pack.MinBlockSize}, slot.Recipients(keys...)...)
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func sample(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "internal", "guard", "testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// plainDump is a dump with n bytes of data in its middle.
func plainDump(t testing.TB, rng *rand.Rand, n int) []byte {
	t.Helper()
	dump := sample(t, "dump.sql")
	at := bytes.Index(dump, []byte("\n\n"))
	rows := make([]byte, n/2)
	for i := range rows {
		rows[i] = byte(rng.Uint32())
	}
	return bytes.Join([][]byte{dump[:at], fmt.Appendf(nil, "\n-- %x\n", rows), dump[at:]}, nil)
}

func archive(t testing.TB, rng *rand.Rand, files map[string]int) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for name, size := range files {
		body := make([]byte, size)
		for i := range body {
			body[i] = byte(rng.Uint32())
		}
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: int64(size)}); err != nil {
			t.Fatal(err)
		}
		w.Write(body)
	}
	w.Close()
	return out.Bytes()
}

func tarOf(t testing.TB, name string, body []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: int64(len(body))}); err != nil {
		t.Fatal(err)
	}
	w.Write(body)
	w.Close()
	return out.Bytes()
}

const perSeries = 5

// newTestStore makes a store of 40 backups: eight series of five.
func newTestStore(t testing.TB) *testStore {
	t.Helper()
	s := &testStore{dir: filepath.Join(t.TempDir(), "store"), keys: []*kek.Key{kek.Generate(), kek.Generate()}}
	rng := rand.New(rand.NewPCG(1, 2))
	now := time.Now().UTC().Truncate(time.Second)
	for n, series := range []struct {
		kind, base string
		format     guard.Format
		codec      pack.Codec
		named      bool // the envelope has a name of its own
		content    func(size int) []byte
	}{
		{backup.KindDatabase, "takumi_db", guard.PlainDump, pack.Zstd, false, func(size int) []byte { return plainDump(t, rng, size) }},
		{backup.KindDatabase, "skills_db", guard.PlainDump, pack.Gzip, false, func(size int) []byte { return plainDump(t, rng, size) }},
		{backup.KindDatabase, "custom", guard.CustomDump, pack.None, true, func(int) []byte { return sample(t, "file.dump") }},
		{backup.KindUploads, "uploads", guard.Tar, pack.Zstd, false, func(size int) []byte { return archive(t, rng, map[string]int{"a/1.png": size, "b": 17}) }},
		{backup.KindUploads, "avatars", guard.Tar, pack.None, true, func(size int) []byte { return archive(t, rng, map[string]int{"x": size}) }},
		{backup.KindContracts, "contracts", guard.Tar, pack.Gzip, false, func(size int) []byte {
			return archive(t, rng, map[string]int{"snapshot_20261123_020000/artifacts/A.json": size})
		}},
		{backup.KindStream, "etc", guard.Unknown, pack.Zstd, true, func(size int) []byte { return archive(t, rng, map[string]int{"raw": size})[512:][:size] }},
		{backup.KindStream, "stream", guard.Unknown, pack.None, false, func(int) []byte { return []byte("a short one") }},
	} {
		for i := range perSeries {
			at := now.Add(-time.Duration(i)*24*time.Hour - time.Duration(n)*time.Minute)
			naming := backup.Naming{Base: series.base, Kind: series.kind, Format: series.format, Codec: series.codec, Time: at}
			file := naming.FileName(1)
			label := envelope.Label{Created: at, Kind: series.kind, Name: file[:len(file)-len(backup.Suffix)]}
			if series.named {
				label.Name = series.base
			}
			keys := [][]*kek.Key{s.keys[:1], s.keys[1:], s.keys}[(n+i)%3]
			content := series.content(60_000 + rng.IntN(40_000))
			b := good{
				path: filepath.Join(s.dir, series.kind, file), label: label, created: at, content: content, series: n,
				data: seal(t, content, label, series.codec, keys...),
			}
			e, err := envelope.Parse(bytes.NewReader(b.data))
			if err != nil {
				t.Fatal(err)
			}
			b.label.Codec, b.head = e.Codec, int64(len(e.Bytes()))
			b.sidecar = sidecarOf(b.data, b.path)
			s.backups = append(s.backups, b)
		}
	}
	s.restore(t)
	return s
}

// job returns a job over the store that does not wait.
func (s *testStore) job(level Level) *Job {
	return &Job{Options: Options{Place: local.Folder{}, Keys: s.ring(), Level: level, pause: time.Millisecond}, Paths: []string{s.dir}, Program: "test"}
}

func run(t testing.TB, j *Job) *Report {
	t.Helper()
	r, err := j.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func codesOf(findings []Finding) (codes []Code) {
	for _, f := range findings {
		codes = append(codes, f.Code)
	}
	return codes
}

func byPath(r *Report) map[string]*Backup {
	all := make(map[string]*Backup)
	for _, b := range r.Backups.All() {
		all[b.Path] = b
	}
	return all
}

func asJSON(v any) string {
	text, _ := json.Marshal(v)
	return string(text)
}
