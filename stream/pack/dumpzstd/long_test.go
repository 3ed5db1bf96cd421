package dumpzstd_test

import (
	"bytes"
	"crypto/sha256"
	"hash"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/klauspost/compress/zstd"

	pgtest "github.com/takumi-backup/takumi-backup/internal/testkit/postgres"
	"github.com/takumi-backup/takumi-backup/stream/pack/dumpzstd"
)

// Two gigabytes, with TAKUMI_TEST_LONG=full twenty, of what is on the machine, of a dump of
// pgbench, and of what the maker makes: each MiB as it is and with random changes, by both
// finders. The library unpacks every frame, the reference implementation all of them as one
// stream, and Go packs one in sixteen as well.
func TestLong(t *testing.T) {
	if os.Getenv("TAKUMI_TEST_LONG") == "" {
		t.Skip("set TAKUMI_TEST_LONG=1 to run it, as scripts/test --long does")
	}
	total := int64(2e9)
	if os.Getenv("TAKUMI_TEST_LONG") == "full" {
		total = 20e9
	}
	l := newLong(t)
	sources := []func(*testing.T, int64){l.database}
	for _, root := range roots(t) {
		sources = append(sources, func(t *testing.T, until int64) { l.files(t, root, until) })
	}
	for i, source := range sources { // three quarters, in equal shares of what is left
		source(t, l.done+(total*3/4-l.done)/int64(len(sources)-i))
	}
	for seed := byte(100); l.done < total; seed++ {
		l.maker = newMaker(seed)
		for _, in := range [][]byte{l.rows(dumpzstd.MaxInput), l.mixed(dumpzstd.MaxInput), l.numbers(dumpzstd.MaxInput)} {
			for range 20 {
				l.changed(t, in)
			}
		}
	}
	l.end(t)
	t.Logf("%d bytes in %d frames", l.done, l.packed)
}

// roots are what bench may have made, packages of npm as Debian unpacks them, the Go
// distribution and its modules, and all other packages.
func roots(t *testing.T) []string {
	modules, err := exec.CommandContext(t.Context(), "go", "env", "GOMODCACHE").Output()
	if err != nil {
		t.Fatal(err)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	return []string{filepath.Join(cache, "takumi-backup-bench"), "/usr/share/nodejs", runtime.GOROOT(), string(bytes.TrimSpace(modules)),
		"/usr/share", "/usr/bin", "/usr/lib"}
}

type long struct {
	maker
	e            dumpzstd.Encoder
	dec          *zstd.Decoder
	plain, frame []byte
	in, out      hash.Hash
	zstd         *exec.Cmd
	frames       io.WriteCloser
	buf          []byte // of a source, the beginning of the next MiB
	done, packed int64  // bytes that went in, frames that came out
}

func newLong(t *testing.T) *long {
	l := &long{maker: newMaker(99), buf: make([]byte, 0, dumpzstd.MaxInput), in: sha256.New(), out: sha256.New(), zstd: exec.CommandContext(t.Context(), "zstd", "-dcq")}
	var err error
	if l.dec, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.dec.Close)
	l.zstd.Stdout = l.out
	if l.frames, err = l.zstd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := l.zstd.Start(); err != nil {
		t.Fatal(err)
	}
	return l
}

// pack packs in by both finders.
func (l *long) pack(t *testing.T, in []byte) {
	t.Helper()
	if l.done>>20%16 == 0 {
		check(t, &l.e, in)
	}
	for way, encode := range ways {
		l.frame = encode(&l.e, l.frame[:0], in)
		var err error
		if l.plain, err = l.dec.DecodeAll(l.frame, l.plain[:0]); err != nil || !bytes.Equal(l.plain, in) {
			t.Fatalf("%s: something else comes out, %v", way, err)
		}
		if _, err := l.frames.Write(l.frame); err != nil {
			t.Fatal(err)
		}
		l.in.Write(in)
		l.packed++
	}
	l.done += int64(len(in))
}

// changed packs in from somewhere on, with some bytes changed, for good.
func (l *long) changed(t *testing.T, in []byte) {
	for range l.IntN(1 << l.IntN(12)) {
		in[l.IntN(len(in))] = byte(l.Uint32() >> l.IntN(8))
	}
	l.pack(t, in[l.IntN(1+len(in)>>(1+l.IntN(8))):])
}

// stream packs what comes from r, with files before and after it, up to that many bytes.
func (l *long) stream(t *testing.T, r io.Reader, until int64) {
	t.Helper()
	for l.done < until {
		n, err := r.Read(l.buf[len(l.buf):dumpzstd.MaxInput])
		l.buf = l.buf[:len(l.buf)+n]
		if len(l.buf) == dumpzstd.MaxInput {
			l.pack(t, l.buf)
			l.changed(t, l.buf)
			l.buf = l.buf[:0]
		}
		if err != nil {
			return
		}
	}
}

// files packs what is under root, of one file an eighth at most.
func (l *long) files(t *testing.T, root string, until int64) {
	was := l.done
	filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if l.done >= until {
			return fs.SkipAll
		}
		if err != nil || !d.Type().IsRegular() {
			return nil // what cannot be read does not matter
		}
		if f, err := os.Open(path); err == nil {
			defer f.Close()
			l.stream(t, f, min(until, l.done+(until-was)/8))
		}
		return nil
	})
	t.Logf("%d bytes of %s", l.done-was, root)
}

// database packs a dump of pgbench's tables.
func (l *long) database(t *testing.T, until int64) {
	if os.Getenv(pgtest.Switch) != "1" {
		t.Logf("no dump of pgbench, which needs PostgreSQL and %s=1", pgtest.Switch)
		return
	}
	c := pgtest.Start(t)
	const name = "bench"
	c.CreateDB(t, name)
	for _, args := range [][]string{{"-i", "-q", "-s", "50"}, {"-n", "-t", "20000"}} {
		if out, err := c.Command("pgbench", append(args, name)...).CombinedOutput(); err != nil {
			t.Fatalf("pgbench: %v\n%s", err, out)
		}
	}
	dump := c.Command("pg_dump", name)
	out, err := dump.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := dump.Start(); err != nil {
		t.Fatal(err)
	}
	l.stream(t, out, until)
	out.Close() // which ends it, if not all is wanted
	_ = dump.Wait()
	t.Logf("%d bytes of a dump of pgbench", l.done)
}

func (l *long) end(t *testing.T) {
	l.frames.Close()
	if err := l.zstd.Wait(); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(l.in.Sum(nil), l.out.Sum(nil)) {
		t.Error("the reference implementation unpacks something else")
	}
}
