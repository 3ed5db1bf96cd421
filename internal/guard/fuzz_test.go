package guard_test

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"github.com/takumi-backup/takumi-backup/internal/guard"
)

// FuzzGuard holds that the guard never panics, that what it hands out is the
// input or a beginning of it, and that the verdict does not depend on the
// pieces in which the input comes.
//
// Nearly every change to a sample makes it a file of no known format, or a
// tar with a wrong checksum. So a second argument says what to put around the
// bytes that the fuzzer chose.
func FuzzGuard(f *testing.F) {
	for _, s := range samples {
		if data := sample(f, s.name); len(data) < 16<<10 {
			f.Add(byte(0), data)
		}
	}
	around := []func(*testing.T, []byte) []byte{
		func(_ *testing.T, data []byte) []byte { return data },
		func(_ *testing.T, data []byte) []byte { return []byte(opening + string(data) + closing) },
		func(_ *testing.T, data []byte) []byte { return []byte(clusterOpening + string(data) + clusterClosing) },
		func(_ *testing.T, data []byte) []byte { return append(newArchive(12, 4).Bytes(), data...) },
		func(_ *testing.T, data []byte) []byte {
			return append(newArchive(16, 8).int(1).entry(7, 1).Bytes(), data...)
		},
		func(_ *testing.T, data []byte) []byte { return withChecksums(data) },
		func(t *testing.T, data []byte) []byte { return []byte(pack(t, gzipped, string(data))) },
		func(t *testing.T, data []byte) []byte { return []byte(pack(t, zstded, string(data))) },
	}
	f.Fuzz(func(t *testing.T, kind byte, data []byte) {
		data = around[int(kind)%len(around)](t, data)
		out, whole := run(bytes.NewReader(data), guard.Options{})
		if !bytes.HasPrefix(data, out) || whole == nil && len(out) != len(data) {
			t.Fatalf("%d bytes became %d others (%v)", len(data), len(out), whole)
		}
		for _, pieces := range []func(io.Reader) io.Reader{iotest.OneByteReader, iotest.HalfReader} {
			out, err := run(pieces(bytes.NewReader(data)), guard.Options{})
			if !bytes.HasPrefix(data, out) || err == nil && len(out) != len(data) {
				t.Fatalf("%d bytes became %d others (%v)", len(data), len(out), err)
			}
			if !sameVerdict(whole, err) {
				t.Fatalf("at once: %v\nin pieces: %v", whole, err)
			}
		}
	})
}

// withChecksums makes a tar header of every block that looks like one.
func withChecksums(data []byte) []byte {
	data = bytes.Clone(data)
	for at := 0; at+512 <= len(data); at += 512 {
		if h := data[at : at+512]; string(h[257:262]) == "ustar" {
			copy(h, header(h[156], string(h[124:136]), func(made []byte) {
				copy(made, h[:148])
				copy(made[157:], h[157:])
			}))
		}
	}
	return data
}

// sameVerdict compares all that callers look at. How far a decompressor has
// read when it fails depends on the pieces, so there the offset may differ.
func sameVerdict(a, b error) bool {
	var ia, ib *guard.IncompleteError
	if errors.As(a, &ia) != errors.As(b, &ib) ||
		errors.Is(a, guard.ErrUnsupported) != errors.Is(b, guard.ErrUnsupported) ||
		errors.Is(a, guard.ErrEmpty) != errors.Is(b, guard.ErrEmpty) {
		return false
	}
	if ia == nil {
		return a == b
	}
	compressed := ia.Format == guard.Gzip || ia.Format == guard.Zstd || ia.Format == guard.Bzip2
	return ia.Format == ib.Format && ia.Reason == ib.Reason && (compressed || ia.Offset == ib.Offset)
}
