package guard_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/takumi-backup/takumi-backup/internal/guard"
)

// samples were made by the real tools: pg_dump and pg_dumpall 15 on a
// database with two tables and a large object, GNU tar, gzip, zstd, bzip2, xz,
// lz4, mariadb-dump 10.11, sqlite3 and redis-cli --rdb of Redis 7.0.
var samples = []struct {
	name   string
	format guard.Format
	// known is the shortest beginning that shows the format.
	known int
	// whole is what the shortest beginning that is in truth complete ends
	// with, when that is not the end of the file.
	whole string
}{
	{"dump.sql", guard.PlainDump, 30, "\n-- PostgreSQL database dump complete\n"},
	{"all.sql", guard.PlainDump, 38, "\n-- PostgreSQL database cluster dump complete\n"},
	{"pipe.dump", guard.CustomDump, 5, ""},   // offsets not set
	{"file.dump", guard.CustomDump, 5, ""},   // offsets set, not compressed
	{"schema.dump", guard.CustomDump, 5, ""}, // no data blocks
	{"pg.tar", guard.Tar, 262, ""},
	{"gnu.tar", guard.Tar, 262, ""}, // long name, sparse file with a second map
	{"pax.tar", guard.Tar, 262, ""},
	{"dump.sql.gz", guard.Gzip, 3, ""},
	{"dump.sql.zst", guard.Zstd, 4, ""},
	{"dump.sql.bz2", guard.Bzip2, 4, ""},
	{"dump.sql.xz", guard.XZ, 6, ""},
	{"dump.sql.lz4", guard.LZ4, 4, ""},
	{"mariadb.sql", guard.MySQLDump, 57, "\n-- Dump completed"},
	{"sqlite.sql", guard.SQLiteDump, 44, "\nCOMMIT;"},
	{"redis.rdb", guard.RedisDump, 9, "\x1c\x6a"},
}

func sample(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// run returns what the guard hands out of src, and its verdict.
func run(src io.Reader, opts guard.Options) ([]byte, error) {
	r := guard.NewReader(src, opts)
	defer r.Close()
	return io.ReadAll(r)
}

func verdict(data []byte) error {
	_, err := run(bytes.NewReader(data), guard.Options{})
	return err
}

func TestSamples(t *testing.T) {
	for _, s := range samples {
		t.Run(s.name, func(t *testing.T) {
			data := sample(t, s.name)
			if got := guard.Sniff(data[:min(len(data), guard.SniffLen)]); got != s.format {
				t.Errorf("Sniff = %v, want %v", got, s.format)
			}
			out, err := run(bytes.NewReader(data), guard.Options{})
			if err != nil {
				t.Error(err)
			}
			if !bytes.Equal(out, data) {
				t.Error("the bytes changed")
			}
		})
	}
}

// long is for proofs that take minutes.
var long = os.Getenv("TAKUMI_TEST_LONG") != ""

// TestEveryCut: of the larger samples, which are tar archives of blocks of 512 bytes, every
// cut next to the end of a block and a few in each is one; all of them are a long proof.
func TestEveryCut(t *testing.T) {
	for _, s := range samples {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			data := sample(t, s.name)
			whole := len(data)
			if s.whole != "" {
				whole = bytes.LastIndex(data, []byte(s.whole)) + len(s.whole)
			}
			for n := 1; n < whole; n++ {
				if whole > 8<<10 && n > 1024 && (n+2)%512 > 4 && n%61 > 0 && !long {
					continue
				}
				var incomplete *guard.IncompleteError
				switch err := verdict(data[:n]); {
				case n < s.known:
					if err != nil {
						t.Errorf("cut at %d: %v, before the format shows", n, err)
					}
				case !errors.As(err, &incomplete):
					t.Errorf("cut at %d: got %v", n, err)
				case incomplete.Format != s.format || incomplete.Offset != int64(n) || errors.Is(err, guard.ErrUnsupported):
					t.Errorf("cut at %d: got %+v", n, incomplete)
				}
			}
			for n := whole; n < len(data); n++ {
				if err := verdict(data[:n]); err != nil {
					t.Errorf("cut at %d, in truth complete: %v", n, err)
				}
			}
		})
	}
}

func TestPiecesDoNotMatter(t *testing.T) {
	readers := map[string]func(io.Reader) io.Reader{
		"one byte":      iotest.OneByteReader,
		"half":          iotest.HalfReader,
		"data with EOF": iotest.DataErrReader,
	}
	for _, s := range samples {
		for name, pieces := range readers {
			t.Run(s.name+"/"+name, func(t *testing.T) {
				data := sample(t, s.name)
				out, err := run(pieces(bytes.NewReader(data)), guard.Options{})
				if err != nil || !bytes.Equal(out, data) {
					t.Errorf("whole: %d of %d bytes, %v", len(out), len(data), err)
				}
				cut := data[:len(data)*2/3]
				out, err = run(pieces(bytes.NewReader(cut)), guard.Options{})
				var incomplete *guard.IncompleteError
				if !errors.As(err, &incomplete) || !bytes.Equal(out, cut) {
					t.Errorf("cut: %d of %d bytes, %v", len(out), len(cut), err)
				}
			})
		}
		t.Run(s.name+"/TestReader", func(t *testing.T) {
			data := sample(t, s.name)
			r := guard.NewReader(bytes.NewReader(data), guard.Options{})
			defer r.Close()
			if err := iotest.TestReader(r, data); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestEmpty(t *testing.T) {
	for name, data := range map[string]string{"nothing": "", "gzip of nothing": pack(t, gzipped, "")} {
		if _, err := run(strings.NewReader(data), guard.Options{}); !errors.Is(err, guard.ErrEmpty) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := run(strings.NewReader(data), guard.Options{AllowEmpty: true}); err != nil {
			t.Errorf("%s, allowed: %v", name, err)
		}
	}
}

func TestUnknownPasses(t *testing.T) {
	for _, data := range []string{
		"x",
		"--\n",
		"-- PostgreSQL database dumps\n",
		"SELECT 1;\n-- PostgreSQL database dump\n",
		strings.Repeat("\x00", 4096),
	} {
		if err := verdict([]byte(data)); err != nil {
			t.Errorf("%.20q: %v", data, err)
		}
	}
}

func TestErrorsStay(t *testing.T) {
	broken := errors.New("broken pipe")
	for _, s := range samples {
		data := sample(t, s.name)
		data = data[:min(600, len(data)/2)]
		r := guard.NewReader(io.MultiReader(bytes.NewReader(data), iotest.ErrReader(broken)), guard.Options{})
		if _, err := io.ReadAll(r); err != broken {
			t.Errorf("%s: the source's error became %v", s.name, err)
		}
		if n, err := r.Read(make([]byte, 1)); n != 0 || err != broken {
			t.Errorf("%s: then %d, %v", s.name, n, err)
		}
		r.Close()

		r = guard.NewReader(bytes.NewReader(data), guard.Options{})
		_, first := io.ReadAll(r)
		if n, err := r.Read(make([]byte, 1)); n != 0 || err == nil || err != first {
			t.Errorf("%s: %v, then %d, %v", s.name, first, n, err)
		}
		r.Close()
	}
}
