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

	"github.com/takumi-backup/takumi-backup/stream/pack/dumpzstd"
)

// Two gigabytes, with TAKUMI_TEST_LONG=full twenty, of what is on the machine and of what the maker
// makes, each MiB as it is and with random changes, by both finders. The library
// unpacks every frame, the reference implementation all of them as one stream, and
// Go packs one in sixteen as well.
func TestLong(t *testing.T) {
	if os.Getenv("TAKUMI_TEST_LONG") == "" {
		t.Skip("set TAKUMI_TEST_LONG=1 to run it, as scripts/test --long does")
	}
	total := int64(2e9)
	if os.Getenv("TAKUMI_TEST_LONG") == "full" {
		total = 20e9
	}
	l := newLong(t)
	for seed := byte(100); l.done < total; seed++ {
		l.maker = newMaker(seed)
		for _, in := range [][]byte{l.rows(dumpzstd.MaxInput), l.mixed(dumpzstd.MaxInput), l.numbers(dumpzstd.MaxInput)} {
			for range 20 {
				l.changed(t, in)
			}
		}
		if l.done < total*3/4 {
			l.files(t, total*3/4)
		}
	}
	l.end(t)
	t.Logf("%d bytes, %d of them from %d files", l.done, l.fromFiles, l.fileCount)
}

type long struct {
	maker
	e                          dumpzstd.Encoder
	dec                        *zstd.Decoder
	plain, frame               []byte
	in, out                    hash.Hash
	zstd                       *exec.Cmd
	frames                     io.WriteCloser
	done, fromFiles, fileCount int64
}

func newLong(t *testing.T) *long {
	l := &long{in: sha256.New(), out: sha256.New(), zstd: exec.CommandContext(t.Context(), "zstd", "-dcq")}
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
		l.done += int64(len(in))
	}
}

// changed packs in from somewhere on, with some bytes changed, for good.
func (l *long) changed(t *testing.T, in []byte) {
	for range l.IntN(1 << l.IntN(12)) {
		in[l.IntN(len(in))] = byte(l.Uint32() >> l.IntN(8))
	}
	l.pack(t, in[l.IntN(1+len(in)>>(1+l.IntN(8))):])
}

// files packs what is in the Go distribution, in packages of npm as Debian unpacks
// them, and in all other packages, up to that many bytes.
func (l *long) files(t *testing.T, until int64) {
	buf := make([]byte, 0, 2*dumpzstd.MaxInput)
	for _, root := range []string{runtime.GOROOT(), "/usr/share/nodejs", "/usr/share", "/usr/lib", "/usr/bin"} {
		filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if l.done >= until {
				return fs.SkipAll
			}
			if err != nil || !d.Type().IsRegular() {
				return nil // what cannot be read does not matter
			}
			f, err := os.Open(path)
			if err != nil {
				return nil
			}
			defer f.Close()
			l.fileCount++
			for {
				n, err := f.Read(buf[len(buf):dumpzstd.MaxInput])
				buf = buf[:len(buf)+n]
				if len(buf) == dumpzstd.MaxInput {
					l.fromFiles += int64(len(buf))
					l.pack(t, buf)
					l.changed(t, buf)
					buf = buf[:0]
				}
				if err != nil {
					return nil
				}
			}
		})
	}
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
