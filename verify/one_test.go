package verify

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/backup/rekey"
	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/envelope/slot"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/internal/store/local"
	"github.com/takumi-backup/takumi-backup/stream/pack"
)

// put seals content and stores it, and returns its path.
func put(t testing.TB, content []byte, kind, name string, codec pack.Codec, keys ...*kek.Key) string {
	t.Helper()
	label := envelope.Label{Created: time.Now(), Kind: kind, Name: name}
	path := filepath.Join(t.TempDir(), name+backup.Suffix)
	data := seal(t, content, label, codec, keys...)
	write(t, path, data)
	write(t, path+store.SidecarSuffix, sidecarOf(data, path))
	return path
}

// TestContent: what was sealed is judged as what it is.
func gzipped(t testing.TB, data []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestContent(t *testing.T) {
	t.Parallel()
	key := kek.Generate()
	rng := rand.New(rand.NewPCG(5, 6))
	dump, custom := sample(t, "dump.sql"), sample(t, "file.dump")
	unknown := bytes.Clone(custom)
	unknown[6] = 99 // a version that nobody knows
	snapshot := func(state string) []byte {
		return tarOf(t, "snapshot_20261123_020000/contract_state.json", []byte(state))
	}
	for name, tc := range map[string]struct {
		kind    string
		content []byte
		want    []Code
	}{
		"a dump":                       {backup.KindDatabase, dump, nil},
		"half a dump":                  {backup.KindDatabase, dump[:len(dump)/2], []Code{Incomplete}},
		"a dump of the custom format":  {backup.KindDatabase, custom, nil},
		"half of one":                  {backup.KindDatabase, custom[:len(custom)/2], []Code{Incomplete}},
		"a large one that breaks off":  {backup.KindDatabase, plainDump(t, rng, 3<<20)[:2<<20], []Code{Incomplete}},
		"no archive":                   {backup.KindUploads, []byte(strings.Repeat("x", 2000)), []Code{NotRestorable}},
		"a compressed archive":         {backup.KindUploads, gzipped(t, archive(t, rng, map[string]int{"a": 5000})), nil},
		"half a compressed archive":    {backup.KindUploads, gzipped(t, archive(t, rng, map[string]int{"a": 5000}))[:3000], []Code{Incomplete}},
		"names that lead upwards":      {backup.KindUploads, archive(t, rng, map[string]int{"../a": 10}), []Code{NotRestorable}},
		"the same, of another kind":    {backup.KindStream, archive(t, rng, map[string]int{"../a": 10}), []Code{NotRestorable}},
		"half an archive":              {backup.KindUploads, archive(t, rng, map[string]int{"a": 5000})[:4000], []Code{Incomplete}},
		"half a gzip":                  {backup.KindStream, sample(t, "dump.sql.gz")[:200], []Code{Incomplete}},
		"nothing":                      {backup.KindStream, nil, []Code{Incomplete}},
		"a snapshot without a state":   {backup.KindContracts, archive(t, rng, map[string]int{"snapshot_x/artifacts/A.json": 100}), nil},
		"a state that is no JSON":      {backup.KindContracts, snapshot(`{"version":`), []Code{NotRestorable}},
		"a state of another version":   {backup.KindContracts, snapshot(`{"version": 99}`), []Code{NotRestorable}},
		"a manifest":                   {"manifest", []byte(`{"version": 1, "backup": "x"}`), nil},
		"a manifest that is no JSON":   {"manifest", []byte(`{"version": 1`), []Code{NotRestorable}},
		"anything else":                {"other", []byte("words"), nil},
		"a dump of an unknown version": {backup.KindDatabase, unknown, []Code{Incomplete}},
		"no archive, of contracts":     {backup.KindContracts, []byte(strings.Repeat("x", 2000)), []Code{NotRestorable}},
		"a dump that is an archive":    {backup.KindDatabase, archive(t, rng, map[string]int{"../a": 10}), nil},
	} {
		codec := []pack.Codec{pack.Zstd, pack.Gzip, pack.None}[len(name)%3]
		b := check(t, put(t, tc.content, tc.kind, "x", codec, key), Content, key)
		proven := Content
		if b.Worst() == Error {
			proven = None
		}
		if !slices.Equal(codesOf(b.Findings), tc.want) || b.Proven != proven || b.Content != int64(len(tc.content)) {
			t.Errorf("%s, %s: %s", name, codec, asJSON(b))
		}
	}
}

// TestLister: pg_restore gets a dump as it streams past, and ends when it likes.
func TestLister(t *testing.T) {
	t.Parallel()
	program := NewChecker(Options{}).pgRestore()
	switch {
	case program == "" && os.Getenv("TAKUMI_TEST_INTEGRATION") == "1":
		t.Fatal("pg_restore is not here; scripts/test installs it")
	case program == "":
		t.Skip("pg_restore is not here; scripts/test installs it")
	}
	dump := sample(t, "file.dump")
	for _, tc := range []struct {
		content []byte
		good    bool
	}{{dump, true}, {append(bytes.Clone(dump), make([]byte, 5<<20)...), true}, {dump[:100], false}, {make([]byte, 5<<20), false}} {
		l := newLister(t.Context(), program)
		if n, err := l.Write(tc.content); n != len(tc.content) || err != nil {
			t.Errorf("%d, %v", n, err)
		}
		if err := l.finish(); (err == nil) != tc.good {
			t.Errorf("%d bytes: %v", len(tc.content), err)
		}
	}
}

// TestListed: what pg_restore does not like of a dump that seems whole is a warning; without
// pg_restore nobody asks it.
func TestListed(t *testing.T) {
	t.Parallel()
	key, custom := kek.Generate(), sample(t, "file.dump")
	for _, tc := range []struct {
		program, kind string
		content       []byte
		want          []Code
	}{
		{"cat", backup.KindDatabase, custom, []Code{NotRestorable}}, // which knows no --list
		{"cat", backup.KindDatabase, custom[:len(custom)/2], []Code{Incomplete}},
		{"cat", backup.KindDatabase, sample(t, "dump.sql"), nil},
		{"cat", backup.KindStream, custom, nil},
		{"true", backup.KindDatabase, custom, nil},
		{"", backup.KindDatabase, custom, nil},
	} {
		c := NewChecker(Options{Place: local.Folder{}, Keys: ringOf(key), Level: Content, pause: time.Millisecond})
		c.pgRestore = func() string { return tc.program }
		b := c.One(t.Context(), put(t, tc.content, tc.kind, "x", pack.None, key))
		if !slices.Equal(codesOf(b.Findings), tc.want) || b.Proven != Content {
			t.Errorf("%s, %s: %s", tc.program, tc.kind, asJSON(b))
		}
		if b.has(NotRestorable) && !strings.HasPrefix(b.Findings[0].Message, "cat --list does not read it (exit status 1): cat: unrecognized option '--list'") {
			t.Errorf("%q", b.Findings[0].Message)
		}
	}
}

func check(t testing.TB, path string, level Level, keys ...*kek.Key) Backup {
	t.Helper()
	return NewChecker(Options{Place: local.Folder{}, Keys: ringOf(keys...), Level: level, pause: time.Millisecond}).One(t.Context(), path)
}

// TestSealedGarbage: what is authentic and does not unpack is not damage.
func TestSealedGarbage(t *testing.T) {
	t.Parallel()
	key := kek.Generate()
	var out bytes.Buffer
	w, err := envelope.NewWriter(t.Context(), &out, envelope.Label{Created: time.Now().UTC().Truncate(time.Second), Kind: "stream", Name: "x", Codec: "zstd"}, key)
	if err != nil {
		t.Fatal(err)
	}
	w.Write(bytes.Repeat([]byte("no zstd"), 100_000))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "x.enc")
	write(t, path, out.Bytes())
	write(t, path+store.SidecarSuffix, sidecarOf(out.Bytes(), path))
	if b := check(t, path, Content, key); !slices.Equal(codesOf(b.Findings), []Code{NotRestorable}) {
		t.Error(asJSON(b))
	}
	if b := check(t, path, Auth, key); b.Proven != Auth || b.Findings != nil {
		t.Error(asJSON(b))
	}
	// Damage behind what does not unpack is found all the same.
	bad := out.Bytes()
	bad[len(bad)-100] ^= 1
	write(t, path, bad)
	for _, level := range []Level{Content, Auth} {
		if b := check(t, path, level, key); !slices.Equal(codesOf(b.Findings), []Code{Damaged, SidecarDiffers}) {
			t.Error(asJSON(b))
		}
	}
}

// TestLarge: what is read on all cores gives the same as what is not.
func TestLarge(t *testing.T) {
	t.Parallel()
	key := kek.Generate()
	content := bytes.Repeat([]byte("0123456789abcdef"), 17<<20/16)
	rand.NewChaCha8([32]byte{}).Read(content)
	for level, codec := range map[Level]pack.Codec{Content: pack.Zstd, Auth: pack.None} {
		path := put(t, content, "stream", "large", codec, key)
		if b := check(t, path, level, key); b.Proven != level || b.Findings != nil || b.SHA256 == "" {
			t.Error(asJSON(b))
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		data[len(data)/2] ^= 1
		write(t, path, data)
		want := sidecarOf(data, path)[:64]
		b := check(t, path, level, key)
		if !slices.Equal(codesOf(b.Findings), []Code{Damaged, SidecarDiffers}) || b.SHA256 != string(want) {
			t.Error(asJSON(b))
		}
		if f := b.Findings[0]; f.Chunk == nil || *f.Offset > int64(len(data)/2) || *f.Offset+16400 <= int64(len(data)/2) || b.Err().Error() == "" {
			t.Error(asJSON(f))
		}
	}
}

// TestRewrapped: backups that are rewrapped all the time while they are verified
// are good.
func TestRewrapped(t *testing.T) {
	t.Parallel()
	key, other := kek.Generate(), kek.Generate()
	path := put(t, bytes.Repeat([]byte("row\n"), 100_000), "stream", "x", pack.None, key)
	checked := func(level Level) Backup { // with patience for a machine that is busy
		return NewChecker(Options{Place: local.Folder{}, Keys: ringOf(key, other), Level: level, pause: 50 * time.Millisecond}).One(t.Context(), path)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan int)
	state := t.TempDir()
	go func() {
		n := 0
		for ; ctx.Err() == nil; n++ {
			to := [][]*kek.Key{{other}, {key, other}, {key}}[n%3]
			_, err := rekey.Rewrap(context.Background(), path, rekey.RewrapOptions{Options: rekey.Options{
				Store: local.Folder{}, StateDir: state, From: ringOf(key, other), To: slot.Recipients(to...), Meter: new(backup.Meter),
			}})
			if err != nil {
				t.Error(err)
			}
			time.Sleep(time.Duration(n%7) * 5 * time.Millisecond)
		}
		done <- n
	}()
	looked := 0
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); looked++ {
		level := Level(1 + looked%3)
		if b := checked(level); b.Worst() == Error {
			t.Errorf("a false alarm: %s", asJSON(b))
		}
	}
	cancel()
	t.Logf("looked %d times during %d rewraps", looked, <-done)
}

// TestBetween: while a writer is between the file and its sidecar, nothing is said
// of the backup, and no longer than it takes.
func TestBetween(t *testing.T) {
	t.Parallel()
	key := kek.Generate()
	for _, locks := range []string{".x.enc.sha256.partial", ".x.enc.partial"} {
		path := put(t, []byte("words"), "stream", "x", pack.None, key)
		sidecar := mustRead(t, path+store.SidecarSuffix)
		if locks == ".x.enc.sha256.partial" {
			os.Remove(path + store.SidecarSuffix)
		} else {
			write(t, path+store.SidecarSuffix, sidecarOf([]byte("the old file"), path))
		}
		temp := filepath.Join(filepath.Dir(path), locks)
		writer, err := os.OpenFile(temp, os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.Flock(int(writer.Fd()), unix.LOCK_EX); err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(300*time.Millisecond, func() {
			os.WriteFile(temp, sidecar, 0o600)
			os.Rename(temp, path+store.SidecarSuffix)
			writer.Close()
		})
		const longer = 100 * time.Millisecond // so that a minute is long here too
		c := NewChecker(Options{Place: local.Folder{}, Keys: ringOf(key), Level: Content, pause: longer})
		if b := c.One(t.Context(), path); b.Findings != nil || b.Proven != Content {
			t.Error(asJSON(b))
		}
	}
	// A reencrypt that was killed has left the right sidecar under that name.
	killed := put(t, []byte("words"), "stream", "x", pack.None, key)
	if err := os.Rename(killed+store.SidecarSuffix, local.Partial(killed+store.SidecarSuffix)); err != nil {
		t.Fatal(err)
	}
	write(t, killed+store.SidecarSuffix, sidecarOf([]byte("the old file"), killed))
	if b := check(t, killed, Content, key); !slices.Equal(codesOf(b.Findings), []Code{SideFile}) || b.Worst() == Error || b.Proven != Content {
		t.Error(asJSON(b))
	}
	// What a writer that is dead has left keeps nobody waiting.
	path := put(t, []byte("words"), "stream", "x", pack.None, key)
	os.Remove(path + store.SidecarSuffix)
	write(t, filepath.Join(filepath.Dir(path), ".x.enc.sha256.partial"), nil)
	if b := check(t, path, Content, key); !slices.Equal(codesOf(b.Findings), []Code{SidecarMissing}) {
		t.Error(asJSON(b))
	}
	if b := check(t, path, Checksum); b.Proven != None || !b.ProvenAt.IsZero() {
		t.Errorf("proved by nothing: %s", asJSON(b))
	}
}

// TestLeftByRewrap: what an interrupted rewrap leaves is named.
func TestLeftByRewrap(t *testing.T) {
	t.Parallel()
	key := kek.Generate()
	path := put(t, []byte("words"), "stream", "x", pack.None, key)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	own, err := envelope.Parse(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	write(t, path+envelope.DetachedSuffix, own.Bytes())
	if b := check(t, path, Content, key); !slices.Equal(codesOf(b.Findings), []Code{SideFile}) || b.Proven != Content {
		t.Error(asJSON(b))
	}
	for _, junk := range []string{"junk", ""} {
		write(t, path+envelope.DetachedSuffix, []byte(junk))
		if b := check(t, path, Content, key); !slices.Equal(codesOf(b.Findings), []Code{SideFile}) || b.Proven != Content {
			t.Error(asJSON(b))
		}
	}
	write(t, path+envelope.DetachedSuffix, own.Bytes())
	data[100] ^= 1 // torn
	write(t, path, data)
	b := check(t, path, Content, key)
	if !slices.Equal(codesOf(b.Findings), []Code{SidecarDiffers}) || !strings.Contains(b.Findings[0].Advice, "rewrap") {
		t.Error(asJSON(b))
	}
}

// slow is a place whose files can be read only after a while, or not at all.
type slow struct {
	local.Folder
	wait   map[string]chan struct{}
	broken map[string]bool
	open   atomic.Int64
}

type slowFile struct {
	store.Object
	s     *slow
	path  string
	ctx   context.Context
	close sync.Once
}

func (s *slow) Open(ctx context.Context, path string) (store.Object, error) {
	obj, err := s.Folder.Open(ctx, path)
	if err != nil {
		return nil, err
	}
	s.open.Add(1)
	return &slowFile{Object: obj, s: s, path: path, ctx: ctx}, nil
}

func (f *slowFile) Read(p []byte) (int, error) {
	if f.s.broken[f.path] {
		return 0, errors.New("input/output error")
	}
	if wait := f.s.wait[f.path]; wait != nil {
		select {
		case <-wait:
		case <-f.ctx.Done():
			return 0, context.Cause(f.ctx)
		}
	}
	return f.Object.Read(p)
}

func (f *slowFile) Close() error {
	f.close.Do(func() { f.s.open.Add(-1) })
	return f.Object.Close()
}

// TestOthersGoOn: one file that is slow, one that is broken; the others are
// verified, a stop leaves a report of that, and no file stays open.
func TestOthersGoOn(t *testing.T) {
	t.Parallel()
	s := newTestStore(t)
	stuck, broken := s.backups[0].path, s.backups[7].path
	place := &slow{wait: map[string]chan struct{}{stuck: make(chan struct{})}, broken: map[string]bool{broken: true}}
	j := s.job(Content)
	j.Place = place
	var checked atomic.Int64
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	j.CanRestore = func(*Backup) bool { return true }
	j.Level = Restore
	j.Restore = func(context.Context, *Backup) []Finding {
		if checked.Add(1) == int64(len(s.backups)-2) {
			cancel(why)
		}
		return nil
	}
	r, err := j.Run(ctx)
	if !errors.Is(err, why) || r == nil || !r.Interrupted {
		t.Fatalf("%v, %v", r, err)
	}
	all := byPath(r)
	if b := all[stuck]; b.Checked || b.Why == "" || b.Findings != nil {
		t.Error(asJSON(b))
	}
	if b := all[broken]; !slices.Equal(codesOf(b.Findings), []Code{Unreadable}) {
		t.Error(asJSON(b))
	}
	if sum := r.Summary(); sum.Checked < len(s.backups)-2 || sum.Failed != 1 { // the last may have been stopped too
		t.Errorf("%+v", sum)
	}
	if n := place.open.Load(); n != 0 {
		t.Errorf("%d files are open", n)
	}
}

func TestFitsName(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 23, 2, 0, 0, 0, time.UTC)
	for _, tc := range []struct {
		file, name string
		want       Severity
	}{
		{"takumi_db_20261123_020000.sql.zst.enc", "takumi_db_20261123_020000.sql.zst", ""},
		{"host1-takumi_db_20261123_020000.sql.zst.enc", "takumi_db_20261123_020000.sql.zst", ""},
		{"takumi_db_20261123_020000-2.sql.zst.enc", "takumi_db_20261123_020000.sql.zst", Error},
		{"takumi_db_20261122_020000.sql.zst.enc", "takumi_db_20261123_020000.sql.zst", Error},
		{"nightly_20261123_020000.sql.zst.enc", "nightly", ""},
		{"nightly_20261124_020000.sql.zst.enc", "nightly", Error},   // an older one is here
		{"nightly_20261123_110000.sql.zst.enc", "nightly", Warning}, // a user's own time, of another zone
		{"nightly_20240101_000000.bin.enc", "nightly", Warning},
		{"mine_20261122_030000.enc", "nightly", ""}, // -o with a time of the user's own
		{"latest.enc", "takumi_db_20261123_020000.sql.zst", ""},
		{"latest.enc", "latest", ""},
	} {
		if got := fitsName(tc.file, tc.name, at); got != tc.want {
			t.Errorf("%s, which calls itself %s: %q", tc.file, tc.name, got)
		}
	}
}
