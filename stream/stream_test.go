package stream_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"testing"
	"testing/cryptotest"
	"testing/iotest"

	"github.com/takumi-backup/takumi-backup/stream"
)

const (
	chunk  = stream.ChunkSize
	sealed = chunk + stream.TagSize
	run    = 32 * chunk
)

var (
	testKey     = bytes.Repeat([]byte("0123456789abcdef"), 2)
	testContext = []byte("test context")
)

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

func seal(t testing.TB, plain []byte) []byte {
	t.Helper()
	s, err := stream.Seal(testKey, testContext, plain)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// plain hides every method of a reader but Read.
type plain struct{ io.Reader }

// pieces is a buffer that fails when nothing is written to it, as a pipe may whose reader
// has all that it needs.
type pieces struct{ bytes.Buffer }

func (p *pieces) Write(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, errors.New("nothing was written")
	}
	return p.Buffer.Write(b)
}

// crumbs gives a chunk and a bit of the next byte by byte, and then small pieces.
type crumbs struct {
	io.Reader
	given int
}

func (c *crumbs) Read(p []byte) (int, error) {
	n := 997
	if c.given < sealed+500 {
		n = 1
	}
	n, err := c.Reader.Read(p[:min(n, len(p))])
	c.given += n
	return n, err
}

// ending is a source that has an end once, as a terminal: who reads on waits for more.
type ending struct {
	io.Reader
	ended bool
}

func (e *ending) Read(p []byte) (int, error) {
	if e.ended {
		return 0, errors.New("read on after the end")
	}
	n, err := e.Reader.Read(p)
	e.ended = err == io.EOF
	return n, err
}

// readAll is io.ReadAll with room for a message from the start: the race detector
// looks at every byte that is copied on.
func readAll(r io.Reader, room int) ([]byte, error) {
	out := bytes.NewBuffer(make([]byte, 0, room+bytes.MinRead))
	_, err := out.ReadFrom(plain{r})
	return out.Bytes(), err
}

// ways opens a sealed message by every road there is. Each returns what was
// released before the error.
var ways = map[string]func(key, context, sealed []byte) ([]byte, error){
	"Open": stream.Open,
	"Read": func(key, context, sealed []byte) ([]byte, error) {
		r, err := stream.NewReader(bytes.NewReader(sealed), key, context)
		if err != nil {
			return nil, err
		}
		got, err := readAll(r, len(sealed))
		if n, again := r.Read(make([]byte, 1)); err != nil && (n != 0 || again != err) {
			return nil, fmt.Errorf("the error %v did not stay: %d, %v", err, n, again)
		}
		return got, err
	},
	"Read, source in crumbs": func(key, context, sealed []byte) ([]byte, error) {
		r, err := stream.NewReader(&ending{Reader: &crumbs{Reader: bytes.NewReader(sealed)}}, key, context)
		if err != nil {
			return nil, err
		}
		return readAll(r, len(sealed))
	},
	"WriteTo": func(key, context, sealed []byte) ([]byte, error) {
		r, err := stream.NewReader(iotest.DataErrReader(bytes.NewReader(sealed)), key, context)
		if err != nil {
			return nil, err
		}
		var out pieces
		n, err := r.WriteTo(&out)
		if n != int64(out.Len()) {
			return nil, fmt.Errorf("WriteTo counts %d of %d bytes", n, out.Len())
		}
		if _, again := r.WriteTo(io.Discard); again != err {
			return nil, fmt.Errorf("the error %v did not stay: %v", err, again)
		}
		return out.Bytes(), err
	},
	"Read, then WriteTo": func(key, context, sealed []byte) ([]byte, error) {
		r, err := stream.NewReader(&ending{Reader: bytes.NewReader(sealed)}, key, context)
		if err != nil {
			return nil, err
		}
		var out bytes.Buffer
		if _, err := io.CopyN(&out, plain{r}, chunk+5); err != nil && err != io.EOF {
			return out.Bytes(), err
		}
		_, err = r.WriteTo(&out)
		return out.Bytes(), err
	},
	"ReaderAt": func(key, context, sealed []byte) ([]byte, error) {
		r, err := stream.NewReaderAt(bytes.NewReader(sealed), int64(len(sealed)), key, context)
		if err != nil {
			return nil, err
		}
		return readAll(io.NewSectionReader(r, 0, r.Size()), len(sealed))
	},
}

func TestRoundTripAtEveryBoundary(t *testing.T) {
	sizes := []int{0, 1, 100}
	edges, long := []int{chunk, 2 * chunk, run, run + chunk, 3 * run}, os.Getenv("TAKUMI_TEST_LONG") != ""
	if long {
		edges = append(edges, 7*run)
	}
	for _, edge := range edges {
		sizes = append(sizes, edge-1, edge, edge+1)
	}
	for _, size := range sizes {
		message := random(size)
		for _, step := range []int{0, 1, 7, chunk - 1, chunk, chunk + 1, run + 3} {
			if size > 2*chunk+1 && step > 0 && step < chunk {
				continue // many small calls in a long message tell nothing new
			}
			if size > 2*run && step > 0 && step <= chunk+1 && !long {
				continue
			}
			t.Run(fmt.Sprintf("%d by %d", size, step), func(t *testing.T) {
				var out bytes.Buffer
				w, err := stream.NewWriter(&out, testKey, testContext)
				if err != nil {
					t.Fatal(err)
				}
				rest := message
				if step == 0 { // the parallel way, and in the middle of a chunk
					if _, err := io.Copy(w, plain{bytes.NewReader(message[:size/3])}); err != nil {
						t.Fatal(err)
					}
					if _, err := io.Copy(w, plain{iotest.HalfReader(bytes.NewReader(message[size/3:]))}); err != nil {
						t.Fatal(err)
					}
					rest = nil
				}
				for len(rest) > 0 {
					n, err := w.Write(rest[:min(step, len(rest))])
					if err != nil {
						t.Fatal(err)
					}
					rest = rest[n:]
				}
				if err := w.Close(); err != nil {
					t.Fatal(err)
				}
				if want := stream.HeaderSize + size + (size/chunk+1)*stream.TagSize; want != out.Len() {
					t.Errorf("the message has %d bytes, want %d", out.Len(), want)
				}
				if got, err := stream.PlainSize(int64(out.Len())); got != int64(size) || err != nil {
					t.Errorf("PlainSize = %d, %v", got, err)
				}
				for name, open := range ways {
					if got, err := open(testKey, testContext, out.Bytes()); err != nil || !bytes.Equal(got, message) {
						t.Errorf("%s: %d of %d bytes, error %v", name, len(got), size, err)
					}
				}
			})
		}
	}
}

func TestWorkersDoNotChangeTheBytes(t *testing.T) {
	message := random(5*run + 12345)
	sealWith := func(procs int, parallel bool) []byte {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(procs))
		cryptotest.SetGlobalRandom(t, 42) // the same salt each time
		var out bytes.Buffer
		w, err := stream.NewWriter(&out, testKey, testContext)
		if err != nil {
			t.Fatal(err)
		}
		if parallel {
			_, err = io.Copy(w, plain{bytes.NewReader(message)})
		} else {
			_, err = w.Write(message)
		}
		if err := errors.Join(err, w.Close()); err != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	}
	want := sealWith(1, false)
	for _, procs := range []int{1, 2, 3, 16} {
		if !bytes.Equal(sealWith(procs, true), want) {
			t.Errorf("%d workers give other bytes than one", procs)
		}
	}
}

func TestSaltsDiffer(t *testing.T) {
	if bytes.Equal(seal(t, nil), seal(t, nil)) {
		t.Error("two messages have the same salt")
	}
}

func TestReaderIsAReader(t *testing.T) {
	message := random(3*chunk + 17)
	r, err := stream.NewReader(bytes.NewReader(seal(t, message)), testKey, testContext)
	if err != nil {
		t.Fatal(err)
	}
	if err := iotest.TestReader(plain{r}, message); err != nil {
		t.Error(err)
	}
	message = message[:chunk+17] // here every few bytes open a whole chunk again
	whole := seal(t, message)
	at, err := stream.NewReaderAt(bytes.NewReader(whole), int64(len(whole)), testKey, testContext)
	if err != nil {
		t.Fatal(err)
	}
	if err := iotest.TestReader(io.NewSectionReader(at, 0, at.Size()), message); err != nil {
		t.Error(err)
	}
}

func TestPlainSizeRefusesImpossibleLengths(t *testing.T) {
	for _, tc := range []struct {
		n    int64
		want error
	}{
		{-1, stream.ErrTruncated}, {0, stream.ErrTruncated}, {55, stream.ErrTruncated}, {56, stream.ErrTruncated},
		{56 + 15, stream.ErrTruncated}, {56 + 16, nil}, {56 + sealed - 1, nil}, {56 + sealed, stream.ErrTruncated},
		{56 + sealed + 15, stream.ErrTruncated}, {56 + sealed + 16, nil},
		{56 + (stream.MaxChunks-1)*sealed + 16, nil}, {56 + stream.MaxChunks*sealed + 16, stream.ErrTooLong},
	} {
		if _, err := stream.PlainSize(tc.n); err != tc.want {
			t.Errorf("PlainSize(%d): %v, want %v", tc.n, err, tc.want)
		}
	}
}

func TestFailedWriterNeverEndsTheStream(t *testing.T) {
	full := errors.New("disk full")
	message := random(4 * run)
	for name, feed := range map[string]func(*stream.Writer) error{
		"Write":    func(w *stream.Writer) error { _, err := w.Write(message); return err },
		"ReadFrom": func(w *stream.Writer) error { _, err := w.ReadFrom(bytes.NewReader(message)); return err },
	} {
		dst := &limited{left: run, err: full}
		w, err := stream.NewWriter(dst, testKey, testContext)
		if err != nil {
			t.Fatal(err)
		}
		if err := feed(w); !errors.Is(err, full) {
			t.Errorf("%s: %v", name, err)
		}
		had := dst.had
		dst.left = 1 << 30 // room again: too late
		if _, err := w.Write(message); !errors.Is(err, full) {
			t.Errorf("%s: a later Write: %v", name, err)
		}
		if err := w.Close(); !errors.Is(err, full) || dst.had != had {
			t.Errorf("%s: Close returned %v and wrote %d bytes", name, err, dst.had-had)
		}
	}
}

// limited takes left bytes and then fails.
type limited struct {
	left, had int
	err       error
}

func (l *limited) Write(p []byte) (int, error) {
	if len(p) > l.left {
		return 0, l.err
	}
	l.left -= len(p)
	l.had += len(p)
	return len(p), nil
}

// lossy takes one byte less than it is given, and says nothing.
type lossy struct{ had int }

func (l *lossy) Write(p []byte) (int, error) {
	l.had += len(p) - 1
	return len(p) - 1, nil
}

func TestShortWrite(t *testing.T) {
	message := random(4*run + 5)
	for name, feed := range map[string]func(*stream.Writer) error{
		"Write":    func(w *stream.Writer) error { _, err := w.Write(message); return err },
		"ReadFrom": func(w *stream.Writer) error { _, err := w.ReadFrom(plain{bytes.NewReader(message)}); return err },
		"Close":    (*stream.Writer).Close,
	} {
		dst := new(lossy)
		w, err := stream.NewWriter(dst, testKey, testContext)
		if err != nil {
			t.Fatal(err)
		}
		if err := feed(w); !errors.Is(err, io.ErrShortWrite) {
			t.Errorf("%s: %v", name, err)
		}
		had := dst.had
		if err := w.Close(); !errors.Is(err, io.ErrShortWrite) || dst.had != had {
			t.Errorf("%s: Close returned %v and wrote %d bytes", name, err, dst.had-had)
		}
	}
	r, err := stream.NewReader(bytes.NewReader(seal(t, message)), testKey, testContext)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := r.WriteTo(new(lossy)); !errors.Is(err, io.ErrShortWrite) || n >= int64(len(message)) {
		t.Errorf("WriteTo: %d, %v", n, err)
	}
}

func TestSourceErrorIsNotAnEnd(t *testing.T) {
	// A decompressor in front reports its truncated input in just this way.
	src := io.MultiReader(bytes.NewReader(random(run+5)), iotest.ErrReader(io.ErrUnexpectedEOF))
	var out bytes.Buffer
	w, err := stream.NewWriter(&out, testKey, testContext)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.ReadFrom(src); err != io.ErrUnexpectedEOF {
		t.Errorf("ReadFrom: %v", err)
	}
	if err := w.Close(); err != io.ErrUnexpectedEOF {
		t.Errorf("Close: %v", err)
	}
	if _, err := stream.Open(testKey, testContext, out.Bytes()); err == nil {
		t.Error("what a failed Writer left behind opens")
	}
	message := random(2*chunk + 5)
	whole := seal(t, message)
	for name, read := range map[string]func(r *stream.Reader, dst io.Writer) (int64, error){
		"Read":    func(r *stream.Reader, dst io.Writer) (int64, error) { return io.Copy(dst, plain{r}) },
		"WriteTo": (*stream.Reader).WriteTo,
	} {
		r, err := stream.NewReader(io.MultiReader(bytes.NewReader(whole[:len(whole)-1]), iotest.ErrReader(io.ErrUnexpectedEOF)), testKey, testContext)
		if err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		if _, err := read(r, &got); err != io.ErrUnexpectedEOF || !bytes.Equal(got.Bytes(), message[:2*chunk]) {
			t.Errorf("%s: %d bytes, %v", name, got.Len(), err)
		}
	}
}

// network is a source that counts its reads, and gives nothing from some byte on.
type network struct {
	io.ReaderAt
	reads int
	end   int64
}

func (n *network) ReadAt(p []byte, off int64) (int, error) {
	if n.reads++; off+int64(len(p)) > n.end {
		return 0, iotest.ErrTimeout
	}
	return n.ReaderAt.ReadAt(p, off)
}

// TestReaderAtSource: many chunks are one read, and what a source gives before it fails is
// of use; of damage it is known whether it is at the end.
func TestReaderAtSource(t *testing.T) {
	message := random(5*chunk + 9)
	whole := seal(t, message)
	src := &network{ReaderAt: bytes.NewReader(whole), end: int64(len(whole))}
	r, err := stream.NewReaderAt(src, int64(len(whole)), testKey, testContext)
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(message))
	for _, tc := range []struct{ end, n, reads int }{{len(whole), len(message), 1}, {stream.HeaderSize + 3*sealed, 3 * chunk, 5}} {
		src.end, src.reads = int64(tc.end), 0
		n, err := r.ReadAt(got, 0)
		if n != tc.n || !bytes.Equal(got[:n], message[:n]) || src.reads != tc.reads || errors.Is(err, iotest.ErrTimeout) != (n < len(message)) {
			t.Errorf("%d of %d bytes in %d reads, %v", n, len(message), src.reads, err)
		}
	}
	src.end = int64(len(whole))
	for at, last := range map[int]bool{stream.HeaderSize + 4*sealed: false, stream.HeaderSize + 5*sealed: true} {
		whole[at] ^= 1
		_, err := r.ReadAt(got, 0)
		if e := new(stream.ChunkError); !errors.As(err, &e) || e.Last != last || e.Offset != int64(at) {
			t.Errorf("damage at %d: %v", at, err)
		}
		whole[at] ^= 1
	}
}

func TestUseAfterClose(t *testing.T) {
	var out bytes.Buffer
	w, err := stream.NewWriter(&out, testKey, testContext)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := w.Write([]byte("x")); err != stream.ErrClosed {
		t.Errorf("Write after Close: %v", err)
	}
	if _, err := w.ReadFrom(bytes.NewReader([]byte("x"))); err != stream.ErrClosed {
		t.Errorf("ReadFrom after Close: %v", err)
	}
	if n := out.Len(); n != stream.HeaderSize+stream.TagSize {
		t.Errorf("%d bytes for an empty message", n)
	}
}

// TestCounts: what ReadFrom and WriteTo say they moved is what they moved, nothing is
// written twice, and at the end of a message there is nothing to read.
func TestCounts(t *testing.T) {
	t.Parallel()
	message := random(2*chunk + 77)
	var sealed bytes.Buffer
	w, err := stream.NewWriter(&sealed, testKey, testContext)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := w.ReadFrom(bytes.NewReader(message)); n != int64(len(message)) || err != nil {
		t.Errorf("ReadFrom: %d, %v", n, err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := stream.NewReader(bytes.NewReader(sealed.Bytes()), testKey, testContext)
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	if _, err := io.CopyN(&got, struct{ io.Reader }{r}, 10); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := r.WriteTo(&got); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(got.Bytes(), message) {
		t.Errorf("%d bytes, want %d", got.Len(), len(message))
	}
	at, err := stream.NewReaderAt(bytes.NewReader(sealed.Bytes()), int64(sealed.Len()), testKey, testContext)
	if err != nil {
		t.Fatal(err)
	}
	for _, off := range []int64{int64(len(message)), int64(len(message)) + 1} {
		if n, err := at.ReadAt(make([]byte, 1), off); n != 0 || err != io.EOF {
			t.Errorf("at %d: %d, %v", off, n, err)
		}
	}
}

// TestKeySize: a key of another size seals and opens nothing.
func TestKeySize(t *testing.T) {
	t.Parallel()
	message := seal(t, []byte("message"))
	for _, size := range []int{0, 16, stream.KeySize - 1, stream.KeySize + 1} {
		key := make([]byte, size)
		_, writer := stream.NewWriter(io.Discard, key, nil)
		_, sealing := stream.Seal(key, nil, nil)
		_, opening := stream.Open(key, nil, message)
		_, reader := stream.NewReader(bytes.NewReader(message), key, nil)
		_, readerAt := stream.NewReaderAt(bytes.NewReader(message), int64(len(message)), key, nil)
		for name, err := range map[string]error{"NewWriter": writer, "Seal": sealing, "Open": opening, "NewReader": reader, "NewReaderAt": readerAt} {
			if err != stream.ErrKeySize {
				t.Errorf("%s, %d bytes: %v", name, size, err)
			}
		}
	}
}
