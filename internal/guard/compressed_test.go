package guard_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/takumi-backup/takumi-backup/internal/guard"
)

func gzipped(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriter(w), nil }

func zstded(w io.Writer) (io.WriteCloser, error) {
	return zstd.NewWriter(w, zstd.WithEncoderConcurrency(1), zstd.WithZeroFrames(true))
}

func pack(t testing.TB, packer func(io.Writer) (io.WriteCloser, error), content string) string {
	t.Helper()
	var packed bytes.Buffer
	w, err := packer(&packed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return packed.String()
}

// discard reads src through a guard in large pieces.
func discard(src io.Reader) (int64, error) {
	r := guard.NewReader(src, guard.Options{})
	defer r.Close()
	return io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{r}, make([]byte, 1<<20))
}

const skippable = "\x50\x2a\x4d\x18\x03\x00\x00\x00abc"

func TestCompressed(t *testing.T) {
	whole, cut := opening+"SELECT 1;\n"+closing, opening+"SELECT 1;\n"
	gz := func(s string) string { return pack(t, gzipped, s) }
	zst := func(s string) string { return pack(t, zstded, s) }
	for _, tt := range []struct {
		name   string
		data   string
		reason error // nil: accepted; io.EOF: any IncompleteError
	}{
		{"gzip of a whole dump", gz(whole), nil},
		{"gzip of anything", gz("anything"), nil},
		{"gzip in members", gz(whole[:20]) + gz("") + gz(whole[20:]), nil},
		{"gzip in gzip, not looked into", gz(gz(cut)), nil},
		{"gzip of a cut dump", gz(cut), io.EOF},
		{"gzip of a cut archive", gz(string(sample(t, "pipe.dump")[:900])), io.EOF},
		{"gzip with something behind", gz(whole) + "x", io.EOF},
		{"gzip with zeros behind", gz(whole) + strings.Repeat("\x00", 512), io.EOF},
		{"gzip cut in a later member's name", gz(whole) + "\x1f\x8b\x08\x08\x00\x00\x00\x00\x00\x03nam", io.EOF},

		{"zstd of a whole dump", zst(whole), nil},
		{"zstd in frames", zst(whole[:20]) + zst("") + skippable + zst(whole[20:]), nil},
		{"zstd behind a skippable frame", skippable + zst(whole), nil},
		{"zstd with a skippable frame last", zst(whole) + skippable, nil},
		{"zstd in zstd, not looked into", zst(zst(cut)), nil},
		{"zstd of a cut dump", zst(cut), io.EOF},
		{"zstd of nothing", zst(""), guard.ErrEmpty},
		{"zstd with something behind", zst(whole) + "something", io.EOF},
		{"zstd with a byte behind", zst(whole) + "x", io.EOF},
		{"zstd with half a skippable frame", zst(whole) + skippable[:10], io.EOF},
		{"zstd that needs a dictionary", "\x28\xb5\x2f\xfd\x01\x58\x07\x01\x00\x00", guard.ErrUnsupported},
		{"zstd with a window of 2 GiB", "\x28\xb5\x2f\xfd\x00\xa8\x01\x00\x00", guard.ErrUnsupported},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := verdict([]byte(tt.data))
			var incomplete *guard.IncompleteError
			switch {
			case tt.reason == nil:
				if err != nil {
					t.Error(err)
				}
			case !errors.As(err, &incomplete):
				t.Errorf("got %v", err)
			case incomplete.Format != guard.Gzip && incomplete.Format != guard.Zstd:
				t.Errorf("the format is %v", incomplete.Format)
			case tt.reason != io.EOF && !errors.Is(err, tt.reason):
				t.Errorf("got %v, want %v", err, tt.reason)
			}
		})
	}
}

func TestCutBetweenFrames(t *testing.T) {
	whole := opening + strings.Repeat("SELECT 1;\n", 20) + closing
	for name, packer := range map[string]func(io.Writer) (io.WriteCloser, error){"gzip": gzipped, "zstd": zstded} {
		data := pack(t, packer, whole[:100]) + pack(t, packer, whole[100:])
		if name == "zstd" {
			data = skippable + data + skippable
		}
		shown := strings.Index(data, "\x28\xb5\x2f\xfd") + 4 // for gzip 3, of which 3 show it
		// Behind the last frame with content, and whole skippable frames, it is complete.
		end := len(strings.TrimSuffix(data, skippable))
		for n := shown; n < len(data); n++ {
			if err := verdict([]byte(data[:n])); (err == nil) != (n == end) {
				t.Errorf("%s, cut at %d of %d: %v", name, n, len(data), err)
			}
		}
	}
}

// A bubble of synctest does not end before its goroutines do.
func TestCloseEndsTheDecoder(t *testing.T) {
	for _, name := range []string{"dump.sql.gz", "dump.sql.zst"} {
		for _, n := range []int64{0, 1, 512, 600, 1 << 20} {
			synctest.Test(t, func(t *testing.T) {
				r := guard.NewReader(bytes.NewReader(sample(t, name)), guard.Options{})
				if _, err := io.CopyN(io.Discard, r, n); err != nil && err != io.EOF {
					t.Error(err)
				}
				r.Close()
				r.Close()
				if _, err := r.Read(make([]byte, 1)); err == nil {
					t.Error("reads on after Close")
				}
			})
		}
	}
}
