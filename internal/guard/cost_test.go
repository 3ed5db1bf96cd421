package guard_test

import (
	"bytes"
	"io"
	"runtime"
	"strings"
	"testing"

	"github.com/takumi-backup/takumi-backup/internal/guard"
)

// endless gives a beginning, and then whatever is in the buffer without
// touching it, so that a measurement sees the guard alone.
type endless struct{ head io.Reader }

func (e *endless) Read(p []byte) (int, error) {
	if n, err := e.head.Read(p); err == nil {
		return n, nil
	}
	return len(p), nil
}

// beginnings lead into a stretch of data that does not end.
func beginnings() map[string][]byte {
	custom := newArchive(14, 8).int(1).entry(7, 1).block(1, 7).int(1 << 62)
	custom.Write(make([]byte, guard.SniffLen))
	return map[string][]byte{
		"plain":   []byte(opening + strings.Repeat("SELECT 1;\n", 60)),
		"custom":  custom.Bytes(),
		"tar":     []byte(header('0', "\x80\x00\x00\x00\x30\x00\x00\x00\x00\x00\x00\x00", nil)),
		"unknown": bytes.Repeat([]byte("x"), guard.SniffLen),
	}
}

func TestReadDoesNotAllocate(t *testing.T) {
	for name, head := range beginnings() {
		r := guard.NewReader(&endless{bytes.NewReader(head)}, guard.Options{})
		buf := bytes.Repeat([]byte(" "), 1<<20) // a NUL byte ends a plain dump
		if n := testing.AllocsPerRun(20, func() {
			if _, err := r.Read(buf); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations per Read", name, n)
		}
	}
}

func TestDeclaredSizesAllocateNothing(t *testing.T) {
	for name, data := range map[string]string{
		"entries":       newArchive(16, 4).int(1 << 27).String(),
		"text":          newArchive(16, 4).int(1).int(7).int(1).int(1<<31 - 1).String(),
		"dump id":       newArchive(16, 4).int(1).entry(1<<31-1, 1).String(),
		"piece of data": newArchive(16, 8).int(1).entry(7, 1).block(1, 7).int(1 << 62).String(),
		"tar file":      header('0', "\x80\x00\x00\x00\x40\x00\x00\x00\x00\x00\x00\x00", nil),
		"PAX header":    header('x', "00004000000 ", nil),
		"PAX record":    header('x', "00000001000 ", nil) + block("9223372036854775807 size=1\n"),
		"gzip field":    "\x1f\x8b\x08\x04\x00\x00\x00\x00\x00\x03\xff\xff",
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := verdict([]byte(data + strings.Repeat("x", guard.SniffLen)))
		runtime.ReadMemStats(&after)
		if err == nil {
			t.Errorf("%s: accepted", name)
		}
		if n := after.TotalAlloc - before.TotalAlloc; n > 512<<10 {
			t.Errorf("%s: %d bytes allocated", name, n)
		}
	}
}

func BenchmarkRead(b *testing.B) {
	for _, name := range []string{"plain", "custom", "tar", "unknown"} {
		head := beginnings()[name]
		for size, label := range map[int]string{64 << 10: "64KiB", 1 << 20: "1MiB"} {
			b.Run(name+"/"+label, func(b *testing.B) {
				r := guard.NewReader(&endless{bytes.NewReader(head)}, guard.Options{})
				buf := make([]byte, size)
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					if _, err := r.Read(buf); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkRows is the dearest case for the walk: pg_dump -Fc -Z0 of a narrow
// table, a piece of data for each row.
func BenchmarkRows(b *testing.B) {
	a := newArchive(14, 4).int(1).entry(7, 1).block(1, 7)
	for a.Len() < 64<<20 {
		a.strings("1\tone hundred bytes or so make the row of a table with a few columns, such as a log has it\t2026\n")
	}
	data := a.int(0).Bytes()
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := discard(bytes.NewReader(data)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCompressed(b *testing.B) {
	dump := opening + strings.Repeat("42\tthe same row, time and again\t2026-11-23\n", 1<<19) + closing
	for name, data := range map[string]string{"gzip": pack(b, gzipped, dump), "zstd": pack(b, zstded, dump)} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(dump)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := discard(strings.NewReader(data)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
