package pack_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/takumi-backup/takumi-backup/stream/pack"
)

// counting counts what is read of its source.
type counting struct {
	io.ReaderAt
	mu           sync.Mutex
	calls, bytes int
}

func (c *counting) ReadAt(p []byte, off int64) (int, error) {
	c.mu.Lock()
	c.calls, c.bytes = c.calls+1, c.bytes+len(p)
	c.mu.Unlock()
	return c.ReaderAt.ReadAt(p, off)
}

// onlyFooter is a stream of zeros with a seek table's footer at the end.
type onlyFooter struct {
	size   int64
	footer []byte
}

func (o onlyFooter) ReadAt(p []byte, off int64) (int, error) {
	clear(p)
	if at := o.size - int64(len(o.footer)); off >= at {
		copy(p, o.footer[off-at:])
	}
	return len(p), nil
}

// TestTooManyFrames: a table is not read that is larger than any that is written.
func TestTooManyFrames(t *testing.T) {
	for count, want := range map[uint32]string{1 << 22: "does not begin", 1<<22 + 1: "frames"} {
		footer := append(binary.LittleEndian.AppendUint32(nil, count), 0, 0xb1, 0xea, 0x92, 0x8f)
		size := 17 + 8*int64(count) + 100
		if _, err := pack.NewReaderAt(onlyFooter{size, footer}, size); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%d frames: %v", count, err)
		}
	}
}

func readerAt(t testing.TB, stream []byte) (*pack.ReaderAt, *counting) {
	t.Helper()
	c := &counting{ReaderAt: bytes.NewReader(stream)}
	r, err := pack.NewReaderAt(c, int64(len(stream)))
	if err != nil {
		t.Fatal(err)
	}
	return r, c
}

func TestReaderAt(t *testing.T) {
	for _, n := range []int{0, 1, block - 1, block, block + 1, 7*block + 100} {
		plain := dump(n)
		r, _ := readerAt(t, packed(t, pack.Options{Codec: pack.Zstd, BlockSize: block}, plain, true))
		if r.Size() != int64(n) {
			t.Fatalf("size %d of %d", r.Size(), n)
		}
		if err := iotest.TestReader(io.NewSectionReader(r, 0, r.Size()), plain); err != nil {
			t.Errorf("%d bytes: %v", n, err)
		}
		for range 200 {
			off := rand.IntN(n + 2)
			p := make([]byte, rand.IntN(3*block))
			got, err := r.ReadAt(p, int64(off))
			want := plain[min(off, n):min(off+len(p), n)]
			if !bytes.Equal(p[:got], want) || (err == nil) != (got == len(p)) || err != nil && err != io.EOF {
				t.Fatalf("%d bytes at %d of %d: %d, %v", len(p), off, n, got, err)
			}
		}
	}
	r, _ := readerAt(t, packed(t, pack.Options{Codec: pack.Zstd, BlockSize: pack.MaxBlockSize}, make([]byte, pack.MaxBlockSize), true))
	if n, err := r.ReadAt(make([]byte, 1), pack.MaxBlockSize-1); n != 1 || err != nil {
		t.Errorf("of the largest block: %d, %v", n, err)
	}
	if _, err := r.ReadAt(make([]byte, 1), -1); err == nil {
		t.Error("a negative offset is read")
	}
}

// TestReaderAtReadsOnlyWhatItTouches counts reads: the table takes two, and a range
// one for all of its frames; what was unpacked last is not read again.
func TestReaderAtReadsOnlyWhatItTouches(t *testing.T) {
	plain := random(64 * block) // does not shrink, so that frames have the length of blocks
	r, c := readerAt(t, packed(t, pack.Options{Codec: pack.Zstd, BlockSize: block}, plain, true))
	if c.calls != 2 || c.bytes > 64*8+100 {
		t.Errorf("opening takes %d reads and %d bytes", c.calls, c.bytes)
	}
	for _, tc := range []struct{ off, n, frames, calls int }{
		{10*block + 5, 10, 1, 1}, {10*block + 100, 1000, 0, 0}, {20*block - 1, 2, 2, 1}, {30 * block, 4 * block, 4, 1}, {33*block + 1, 5, 0, 0}, {0, 64 * block, 64, 1},
	} {
		c.calls, c.bytes = 0, 0
		p := make([]byte, tc.n)
		if _, err := r.ReadAt(p, int64(tc.off)); err != nil || !bytes.Equal(p, plain[tc.off:tc.off+tc.n]) {
			t.Fatalf("%+v: %v", tc, err)
		}
		if c.calls != tc.calls || c.bytes < tc.frames*block || c.bytes > tc.frames*(block+100) {
			t.Errorf("%+v: %d reads, %d bytes", tc, c.calls, c.bytes)
		}
	}
}

func TestReaderAtConcurrently(t *testing.T) {
	plain := dump(20 * block)
	r, _ := readerAt(t, packed(t, pack.Options{Codec: pack.Zstd, BlockSize: block}, plain, true))
	var all sync.WaitGroup
	for g := range 4 {
		all.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(g), 1))
			for range 50 {
				off, p := rnd.IntN(19*block), make([]byte, rnd.IntN(block))
				if _, err := r.ReadAt(p, int64(off)); err != nil || !bytes.Equal(p, plain[off:off+len(p)]) {
					t.Errorf("at %d: %v", off, err)
				}
			}
		})
	}
	all.Wait()
}

// table returns where entry i of the seek table is, of a stream with n.
func entry(stream []byte, i, n int) []byte {
	return stream[len(stream)-9-8*(n-i):]
}

func TestReaderAtRefuses(t *testing.T) {
	const frames = 3
	good := packed(t, pack.Options{Codec: pack.Zstd, BlockSize: block}, dump(frames*block), true)
	add := func(b []byte, n int32) {
		binary.LittleEndian.PutUint32(b, uint32(int32(binary.LittleEndian.Uint32(b))+n))
	}
	for name, tc := range map[string]struct {
		spoil func(b []byte) []byte
		table bool // it is refused at once, and not when a frame is used
	}{
		"no table": {func(b []byte) []byte { return b[:len(b)-8-8*frames-9] }, true},
		"nothing but a table": {func([]byte) []byte {
			return binary.LittleEndian.AppendUint32([]byte("\x5e\x2a\x4d\x18\x09\x00\x00\x00\x00\x00\x00\x00\x00"), 0x8F92EAB1)
		}, true},
		"nothing":               {func(b []byte) []byte { return nil }, true},
		"a byte after it":       {func(b []byte) []byte { return append(b, 0) }, true},
		"a byte before":         {func(b []byte) []byte { return append([]byte{0}, b...) }, true},
		"a longer frame":        {func(b []byte) []byte { add(entry(b, 1, frames), 1); return b }, true},
		"one frame more":        {func(b []byte) []byte { add(b[len(b)-9:], 1); return b }, true},
		"one frame less":        {func(b []byte) []byte { add(b[len(b)-9:], -1); return b }, true},
		"checksums":             {func(b []byte) []byte { b[len(b)-5] = 0x80; return b }, true},
		"lengths moved":         {func(b []byte) []byte { add(entry(b, 0, frames), 1); add(entry(b, 1, frames), -1); return b }, false},
		"two frames in one":     {func(b []byte) []byte { return merge(b, frames) }, false},
		"content longer":        {func(b []byte) []byte { add(entry(b, 0, frames)[4:], 1); return b }, false},
		"content shorter":       {func(b []byte) []byte { add(entry(b, 0, frames)[4:], -1); return b }, false},
		"content of 1 GiB":      {func(b []byte) []byte { add(entry(b, 0, frames)[4:], 1<<30); return b }, false},
		"a damaged frame":       {func(b []byte) []byte { b[100] ^= 1; return b }, false},
		"a frame of other sort": {func(b []byte) []byte { b[0] ^= 1; return b }, false},
	} {
		bad := tc.spoil(bytes.Clone(good))
		r, err := pack.NewReaderAt(bytes.NewReader(bad), int64(len(bad)))
		if tc.table != (err != nil) {
			t.Errorf("%s: %v from the table", name, err)
			continue
		}
		if err == nil {
			var n int
			n, err = r.ReadAt(make([]byte, 2*block), 0)
			if n > 0 && name != "lengths moved" {
				t.Errorf("%s: %d bytes come out", name, n)
			}
		}
		if !errors.As(err, new(*pack.Error)) && !errors.Is(err, pack.ErrNoSeekTable) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestReaderAtPassesOnErrors: what fails is the source, at whichever of its reads.
func TestReaderAtPassesOnErrors(t *testing.T) {
	var stream bytes.Buffer
	w, _ := pack.NewWriter(&stream, pack.Options{Codec: pack.Zstd})
	w.Write(dump(100))
	if err := errors.Join(w.WriteIndex(strings.NewReader("index"), 5), w.Close()); err != nil {
		t.Fatal(err)
	}
	for n, name := range []string{"footer", "table", "frame", "index"} {
		src := &failingAt{ReaderAt: bytes.NewReader(stream.Bytes()), left: n}
		r, err := pack.NewReaderAt(src, int64(stream.Len()))
		if err == nil {
			_, err = r.ReadAt(make([]byte, 1), 0)
		}
		if err == nil {
			_, _, err = r.Index()
		}
		if err != iotest.ErrTimeout {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// merge makes one entry of the first two, whose sums are right.
func merge(b []byte, frames int) []byte {
	first, second := entry(b, 0, frames), entry(b, 1, frames)
	for i := 0; i < 8; i += 4 {
		sum := binary.LittleEndian.Uint32(first[i:]) + binary.LittleEndian.Uint32(second[i:])
		binary.LittleEndian.PutUint32(second[i:], sum)
	}
	start := len(b) - 9 - 8*frames - 8
	out := append(bytes.Clone(b[:start+8]), second...)
	binary.LittleEndian.PutUint32(out[start+4:], uint32(8*(frames-1)+9))
	binary.LittleEndian.PutUint32(out[len(out)-9:], uint32(frames-1))
	return out
}

// failingAt fails after so many reads.
type failingAt struct {
	io.ReaderAt
	left int
}

func (f *failingAt) ReadAt(p []byte, off int64) (int, error) {
	if f.left--; f.left < 0 {
		return 0, iotest.ErrTimeout
	}
	return f.ReaderAt.ReadAt(p, off)
}

func TestWriteIndex(t *testing.T) {
	plain, content := dump(2*block+7), []byte("what an index holds")
	var out bytes.Buffer
	w, _ := pack.NewWriter(&out, pack.Options{Codec: pack.Zstd, BlockSize: block})
	w.Write(plain)
	if err := errors.Join(w.WriteIndex(bytes.NewReader(content), int64(len(content))), w.Close()); err != nil {
		t.Fatal(err)
	}
	for how := range unpackers {
		if got, err := unpack(t, how, pack.Zstd, bytes.NewReader(out.Bytes())); err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%s: an index disturbs a reader in order: %v", how, err)
		}
	}
	r, _ := readerAt(t, out.Bytes())
	index, ok, err := r.Index()
	if !ok || err != nil {
		t.Fatalf("no index: %v", err)
	}
	if got, err := io.ReadAll(index); err != nil || !bytes.Equal(got, content) {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := io.ReadAll(io.NewSectionReader(r, 0, r.Size())); err != nil || !bytes.Equal(got, plain) {
		t.Errorf("random access: %v", err)
	}
	out.Reset()
	w, _ = pack.NewWriter(&out, pack.Options{Codec: pack.Zstd})
	if err := errors.Join(w.WriteIndex(strings.NewReader(""), 0), w.Close()); err != nil {
		t.Fatal(err)
	}
	r, _ = readerAt(t, out.Bytes())
	if index, ok, err := r.Index(); err != nil || !ok || index.Size() != 0 {
		t.Errorf("an empty index: %v, %v", ok, err)
	}
	r, _ = readerAt(t, packed(t, pack.Options{Codec: pack.Zstd}, nil, false))
	if _, ok, err := r.Index(); ok || err != nil {
		t.Errorf("an index where there is none: %v", err)
	}
	const refused, short = "do not go into", "unexpected EOF"
	for name, tc := range map[string]struct {
		codec   pack.Codec
		size    int64
		content io.Reader
		want    string
	}{
		"gzip": {pack.Gzip, 5, nil, refused}, "none": {pack.None, 5, nil, refused}, "too long": {pack.Zstd, pack.MaxIndex + 1, nil, refused},
		"at most": {pack.Zstd, pack.MaxIndex, nil, short}, "too short": {pack.Zstd, 6, nil, short}, "broken": {pack.Zstd, 5, iotest.ErrReader(iotest.ErrTimeout), "timeout"},
	} {
		w, _ := pack.NewWriter(io.Discard, pack.Options{Codec: tc.codec})
		if tc.content == nil {
			tc.content = bytes.NewReader(content[:5])
		}
		if err := w.WriteIndex(tc.content, tc.size); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzReaderAt: whatever the stream, a range is refused or is what a reader in
// order finds there.
func FuzzReaderAt(f *testing.F) {
	for _, n := range []int{0, 100, 2*block + 5} {
		f.Add(packed(f, pack.Options{Codec: pack.Zstd, BlockSize: block}, dump(n), false), uint32(n/2), uint16(300))
	}
	f.Add(merge(packed(f, pack.Options{Codec: pack.Zstd, BlockSize: block}, dump(3*block), false), 3), uint32(0), uint16(9))
	f.Fuzz(func(t *testing.T, stream []byte, off uint32, n uint16) {
		r, err := pack.NewReaderAt(bytes.NewReader(stream), int64(len(stream)))
		if err != nil {
			return
		}
		p := make([]byte, n)
		got, err := r.ReadAt(p, int64(off))
		if got < len(p) && err == nil {
			t.Fatal("a short read without an error")
		}
		if got == 0 {
			return
		}
		in, err := pack.NewReader(bytes.NewReader(stream), pack.Zstd)
		if err != nil {
			t.Fatal(err)
		}
		// What comes before the range need not unpack; if it does, it is the same.
		all, err := io.ReadAll(io.LimitReader(in, 16<<20))
		if err == nil && len(all) < 16<<20 && (int64(len(all)) < int64(off)+int64(got) || !bytes.Equal(all[off:int(off)+got], p[:got])) {
			t.Fatal("random access finds other content than a reader in order")
		}
	})
}

func ExampleReaderAt() {
	var stream bytes.Buffer
	w, _ := pack.NewWriter(&stream, pack.Options{Codec: pack.Zstd})
	io.WriteString(w, "once upon a time")
	w.Close()

	r, err := pack.NewReaderAt(bytes.NewReader(stream.Bytes()), int64(stream.Len()))
	if err != nil {
		fmt.Println(err)
		return
	}
	word := make([]byte, 4)
	_, err = r.ReadAt(word, 5)
	fmt.Printf("%s, %v\n", word, err)
	// Output: upon, <nil>
}
