package stream_test

import (
	"bytes"
	"fmt"
	"io"
	"testing"

	"github.com/takumi-backup/takumi-backup/stream"
)

// endless gives n bytes without touching memory, so that a benchmark measures
// the stream alone.
type endless struct{ left int64 }

func (e *endless) Read(p []byte) (int, error) {
	if e.left == 0 {
		return 0, io.EOF
	}
	n := min(int64(len(p)), e.left)
	e.left -= n
	return int(n), nil
}

func BenchmarkSeal(b *testing.B) {
	for _, size := range []int64{0, 100, chunk - 1, chunk, 1 << 20, 64 << 20} {
		for _, way := range []string{"Write", "ReadFrom"} {
			b.Run(fmt.Sprintf("%s/%d", way, size), func(b *testing.B) {
				message := make([]byte, size)
				b.SetBytes(size)
				b.ReportAllocs()
				for b.Loop() {
					w, err := stream.NewWriter(io.Discard, testKey, testContext)
					if err != nil {
						b.Fatal(err)
					}
					if way == "Write" {
						_, err = w.Write(message)
					} else {
						_, err = w.ReadFrom(&endless{size})
					}
					if err != nil {
						b.Fatal(err)
					}
					if err := w.Close(); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	for _, size := range []int64{0, 100, chunk, 1 << 20, 64 << 20} {
		message := seal(b, make([]byte, size))
		for _, way := range []string{"Read", "WriteTo"} {
			b.Run(fmt.Sprintf("%s/%d", way, size), func(b *testing.B) {
				buf := make([]byte, 1<<20)
				b.SetBytes(size)
				b.ReportAllocs()
				for b.Loop() {
					r, err := stream.NewReader(bytes.NewReader(message), testKey, testContext)
					if err != nil {
						b.Fatal(err)
					}
					if way == "Read" {
						_, err = io.CopyBuffer(plainWriter{io.Discard}, plain{r}, buf)
					} else {
						_, err = r.WriteTo(io.Discard)
					}
					if err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// plainWriter hides io.Discard's ReadFrom.
type plainWriter struct{ io.Writer }

func BenchmarkReadAt(b *testing.B) {
	message := seal(b, make([]byte, 64<<20))
	r, err := stream.NewReaderAt(bytes.NewReader(message), int64(len(message)), testKey, testContext)
	if err != nil {
		b.Fatal(err)
	}
	for _, size := range []int{100, chunk, 1 << 20} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			b.SetBytes(int64(size))
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				buf := make([]byte, size)
				off := int64(12345)
				for pb.Next() {
					if _, err := r.ReadAt(buf, off); err != nil {
						b.Fatal(err)
					}
					off = (off + 7919*1021) % (60 << 20)
				}
			})
		})
	}
}

// TestSteadyStateAllocatesNothing compares a long message with a longer one:
// whatever a stream allocates, it must not grow with the chunks.
func TestSteadyStateAllocatesNothing(t *testing.T) {
	const short, long = 4 * run, 64 * run
	shortSealed, longSealed := seal(t, make([]byte, short)), seal(t, make([]byte, long))
	buf := make([]byte, 1<<20)
	zeros := make([]byte, long)
	check := func(name string, work func(long bool)) {
		t.Helper()
		a := testing.AllocsPerRun(5, func() { work(false) })
		b := testing.AllocsPerRun(5, func() { work(true) })
		if perChunk := (b - a) / ((long - short) / chunk); perChunk > 0.01 {
			t.Errorf("%s: %.0f allocations for %d chunks, %.0f for %d", name, a, short/chunk, b, long/chunk)
		}
	}
	pick := func(isLong bool, a, b int64) int64 {
		if isLong {
			return b
		}
		return a
	}
	check("Write", func(isLong bool) {
		w, _ := stream.NewWriter(io.Discard, testKey, testContext)
		w.Write(zeros[:pick(isLong, short, long)])
		w.Close()
	})
	check("ReadFrom", func(isLong bool) {
		w, _ := stream.NewWriter(io.Discard, testKey, testContext)
		w.ReadFrom(&endless{pick(isLong, short, long)})
		w.Close()
	})
	reader := func(isLong bool) *stream.Reader {
		src := shortSealed
		if isLong {
			src = longSealed
		}
		r, err := stream.NewReader(bytes.NewReader(src), testKey, testContext)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	check("Read", func(isLong bool) { io.CopyBuffer(plainWriter{io.Discard}, plain{reader(isLong)}, buf) })
	check("WriteTo", func(isLong bool) { reader(isLong).WriteTo(io.Discard) })
}
