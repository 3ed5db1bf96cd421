package pack_test

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/takumi-backup/takumi-backup/stream/pack"
)

const block = pack.MinBlockSize

// dump is text that compresses as dumps do.
func dump(n int) []byte {
	var b bytes.Buffer
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "%d\tuser%d@example.com\t0x%040x\t{\"skill\": %d}\n", i, i*7919%10007, i*i*31, i%13)
	}
	return b.Bytes()[:n]
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

type onlyReader struct{ io.Reader }

// onlyWriter fails when nothing is written to it, as a pipe may whose reader has all that
// it needs.
type onlyWriter struct{ io.Writer }

func (w onlyWriter) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, errors.New("nothing was written")
	}
	return w.Writer.Write(p)
}

func packed(t testing.TB, o pack.Options, plain []byte, parallel bool) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := pack.NewWriter(&out, o)
	if err != nil {
		t.Fatal(err)
	}
	if parallel {
		_, err = io.Copy(w, onlyReader{bytes.NewReader(plain)})
	} else {
		_, err = w.Write(plain)
	}
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	if w.Proof().Differed > 0 {
		t.Errorf("%+v of %d bytes: %+v", o, len(plain), w.Proof())
	}
	return out.Bytes()
}

// unpackers are the two ways out of a Reader.
var unpackers = map[string]func(*pack.Reader) ([]byte, error){
	"Read": func(r *pack.Reader) ([]byte, error) {
		var out bytes.Buffer
		_, err := out.ReadFrom(onlyReader{r})
		return out.Bytes(), err
	},
	"WriteTo": func(r *pack.Reader) ([]byte, error) {
		var out bytes.Buffer
		n, err := r.WriteTo(onlyWriter{&out})
		if n != int64(out.Len()) {
			return nil, fmt.Errorf("WriteTo counts %d of %d bytes", n, out.Len())
		}
		return out.Bytes(), err
	},
	"Read, then WriteTo": func(r *pack.Reader) ([]byte, error) {
		var out bytes.Buffer
		if _, err := io.CopyN(&out, onlyReader{r}, 1000); err != nil && err != io.EOF {
			return out.Bytes(), err
		}
		_, err := r.WriteTo(&out)
		if n, again := r.WriteTo(&out); n != 0 || again != err {
			return nil, fmt.Errorf("after %v it goes on: %d bytes, %v", err, n, again)
		}
		return out.Bytes(), err
	},
}

func unpack(t testing.TB, how string, c pack.Codec, src io.Reader) ([]byte, error) {
	t.Helper()
	r, err := pack.NewReader(src, c)
	if err != nil {
		t.Fatal(err)
	}
	return unpackers[how](r)
}

func TestRoundTrip(t *testing.T) {
	inputs := map[string][]byte{"zeros": make([]byte, 3*block), "random": random(2*block + 1), "dump": dump(20 * block)}
	for _, n := range []int{0, 1, 200, block - 1, block, block + 1, 2 * block, 5*block + 17} {
		inputs[fmt.Sprint(n)] = dump(n)
	}
	for _, codec := range []pack.Codec{pack.None, pack.Gzip, pack.Zstd} {
		for name, plain := range inputs {
			o := pack.Options{Codec: codec, BlockSize: block}
			serial, parallel := packed(t, o, plain, false), packed(t, o, plain, true)
			if !bytes.Equal(serial, parallel) {
				t.Errorf("%s, %s: Write and ReadFrom give different bytes", codec, name)
			}
			for how := range unpackers {
				for style, src := range map[string]io.Reader{
					"whole":    bytes.NewReader(serial),
					"halves":   iotest.HalfReader(bytes.NewReader(serial)),
					"with EOF": iotest.DataErrReader(bytes.NewReader(serial)),
				} {
					if got, err := unpack(t, how, codec, src); err != nil || !bytes.Equal(got, plain) {
						t.Errorf("%s, %s, %s, %s: %d of %d bytes, error %v", codec, name, how, style, len(got), len(plain), err)
					}
				}
			}
		}
	}
}

func TestLevelsAndBlockSizes(t *testing.T) {
	plain := dump(1<<20 + 17)
	for _, codec := range []pack.Codec{pack.Gzip, pack.Zstd} {
		fastest := 0
		for _, level := range []pack.Level{pack.Fastest, pack.Default, pack.Better, pack.Best} {
			out := packed(t, pack.Options{Codec: codec, Level: level}, plain, true)
			if len(out) > len(plain)/2 || level == pack.Best && len(out) >= fastest {
				t.Errorf("%s: %s gives %d bytes, fastest %d", codec, level, len(out), fastest)
			}
			if level == pack.Fastest {
				fastest = len(out)
			}
			if got, err := unpack(t, "WriteTo", codec, bytes.NewReader(out)); err != nil || !bytes.Equal(got, plain) {
				t.Errorf("%s %s: %v", codec, level, err)
			}
		}
	}
	for _, codec := range []pack.Codec{pack.Gzip, pack.Zstd} {
		if !bytes.Equal(packed(t, pack.Options{Codec: codec}, plain, true), packed(t, pack.Options{Codec: codec, Level: pack.Fastest}, plain, true)) {
			t.Errorf("%s: fastest is not what is done by default", codec)
		}
	}
	for _, size := range []int{pack.MinBlockSize, 100_000, pack.MaxBlockSize} {
		plain := dump(size + 1<<20)
		out := packed(t, pack.Options{Codec: pack.Zstd, BlockSize: size}, plain, true)
		if got, err := unpack(t, "WriteTo", pack.Zstd, bytes.NewReader(out)); err != nil || !bytes.Equal(got, plain) {
			t.Errorf("blocks of %d: %v", size, err)
		}
	}
	for _, o := range []pack.Options{
		{}, {Codec: "lzma"}, {Codec: pack.Zstd, Level: "extreme"},
		{Codec: pack.Zstd, BlockSize: pack.MinBlockSize - 1}, {Codec: pack.Zstd, BlockSize: pack.MaxBlockSize + 1},
	} {
		if _, err := pack.NewWriter(io.Discard, o); err == nil {
			t.Errorf("%+v is accepted", o)
		}
	}
}

// TestFrames looks at the packed bytes: what docs/FORMAT.md promises of each
// frame, and the seek table that must add up.
func TestFrames(t *testing.T) {
	for _, n := range []int{0, 1, 100, 300, block, 3*block + 5} {
		out := packed(t, pack.Options{Codec: pack.Zstd, BlockSize: block}, dump(n), true)
		footer := out[len(out)-9:]
		count := int(binary.LittleEndian.Uint32(footer))
		if want := max(1, (n+block-1)/block); count != want || footer[4] != 0 || binary.LittleEndian.Uint32(footer[5:]) != 0x8F92EAB1 {
			t.Fatalf("%d bytes: footer % x, want %d frames", n, footer, want)
		}
		table := out[len(out)-9-8*count:]
		if binary.LittleEndian.Uint32(out[len(out)-17-8*count:]) != 0x184D2A5E {
			t.Errorf("%d bytes: the table is not a skippable frame 0x184D2A5E", n)
		}
		at, total := 0, 0
		for i := range count {
			packedLen, plainLen := int(binary.LittleEndian.Uint32(table[8*i:])), int(binary.LittleEndian.Uint32(table[8*i+4:]))
			frame := out[at : at+packedLen]
			// RFC 8878, 3.1.1.1.1: single segment and checksum set, so the size is there too.
			if descriptor := frame[4]; descriptor&0x24 != 0x24 {
				t.Errorf("%d bytes, frame %d: descriptor %#x", n, i, descriptor)
			}
			if got, err := unpack(t, "Read", pack.Zstd, bytes.NewReader(frame)); err != nil || !bytes.Equal(got, dump(n)[total:total+plainLen]) {
				t.Errorf("%d bytes: frame %d alone: %v", n, i, err)
			}
			at, total = at+packedLen, total+plainLen
		}
		if at != len(out)-17-8*count || total != n {
			t.Errorf("%d bytes: the entries sum to %d and %d", n, at, total)
		}
	}
}

func TestRandomBlocksAreStored(t *testing.T) {
	plain := random(4 << 20)
	for _, codec := range []pack.Codec{pack.Gzip, pack.Zstd} {
		if out := packed(t, pack.Options{Codec: codec}, plain, true); len(out) > len(plain)+len(plain)/1000 {
			t.Errorf("%s makes %d bytes of %d random ones", codec, len(out), len(plain))
		}
	}
}

// TestHexShrinks: random bytes in hex, as pg_dump writes bytea, have no repeats
// but only 4 bits in a digit.
func TestHexShrinks(t *testing.T) {
	plain := hex.AppendEncode(nil, random(1<<20))
	for _, level := range []pack.Level{pack.Fastest, pack.Default} {
		if out := packed(t, pack.Options{Codec: pack.Zstd, Level: level}, plain, true); len(out) > len(plain)*6/10 {
			t.Errorf("%s: %d of %d bytes", level, len(out), len(plain))
		}
	}
}

func TestRefused(t *testing.T) {
	good := packed(t, pack.Options{Codec: pack.Zstd, BlockSize: block}, dump(3*block), true)
	goodGzip := packed(t, pack.Options{Codec: pack.Gzip, BlockSize: block}, dump(3*block), true)
	flip := func(b []byte, i int) []byte { b = bytes.Clone(b); b[i] ^= 0xff; return b }
	table := len(good) - 17 - 8*3
	for _, tc := range []struct {
		name  string
		codec pack.Codec
		data  []byte
		want  string
	}{
		{"nothing", pack.Zstd, nil, "too early"},
		{"nothing", pack.Gzip, nil, "too early"},
		{"only a table", pack.Zstd, good[table:], "too early"},
		{"cut magic", pack.Zstd, good[:3], "too early"},
		{"cut frame", pack.Zstd, good[:table-5], "too early"},
		{"cut table", pack.Zstd, good[:len(good)-1], "too early"},
		{"garbage after", pack.Zstd, append(bytes.Clone(good), "garbage"...), "start of a frame"},
		{"checksum", pack.Zstd, flip(good, table-1), "unpacking zstd"},
		{"block", pack.Zstd, flip(good, 100), "unpacking zstd"},
		{"dictionary", pack.Zstd, []byte{0x28, 0xb5, 0x2f, 0xfd, 0x21, 7, 0, 1, 0, 0}, "dictionary 7"},
		{"window of 16 MiB", pack.Zstd, []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 14 << 3, 1, 0, 0}, "window"},
		{"reserved block", pack.Zstd, []byte{0x28, 0xb5, 0x2f, 0xfd, 0x20, 1, 7, 0, 0, 0}, "reserved"},
		{"gzip", pack.Zstd, goodGzip, "start of a frame"},
		{"zstd", pack.Gzip, good, "invalid header"},
		{"cut member", pack.Gzip, goodGzip[:len(goodGzip)-1], "too early"},
		{"garbage after", pack.Gzip, append(bytes.Clone(goodGzip), "garbage after it"...), "invalid header"},
		{"checksum", pack.Gzip, flip(goodGzip, len(goodGzip)-6), "checksum"},
	} {
		for how := range unpackers {
			_, err := unpack(t, how, tc.codec, bytes.NewReader(tc.data))
			if !errors.As(err, new(*pack.Error)) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%s %s, %s: %v, want %q", tc.codec, tc.name, how, err, tc.want)
			}
		}
	}
}

// TestCutsAreRefused: a packed stream that lost its tail never looks whole,
// except where the table alone, a hint, is missing entirely.
func TestCutsAreRefused(t *testing.T) {
	for _, codec := range []pack.Codec{pack.Gzip, pack.Zstd} {
		good := packed(t, pack.Options{Codec: codec, BlockSize: block}, dump(block+100), true)
		whole := 0
		for n := range good {
			if n > 100 && n < len(good)-200 && n%41 != 0 {
				continue
			}
			got, err := unpack(t, "WriteTo", codec, bytes.NewReader(good[:n]))
			if err == nil {
				whole++
				// A member or frame boundary: what remains is a valid file. The
				// sealed stream around it is what says that it was cut.
				if len(got) != block && len(got) != block+100 {
					t.Errorf("%s cut at %d gives %d bytes", codec, n, len(got))
				}
			}
		}
		if whole > 2 {
			t.Errorf("%s: %d cuts pass", codec, whole)
		}
	}
}

func TestErrorsOfNeighboursPassUnchanged(t *testing.T) {
	broken := errors.New("broken")
	for _, codec := range []pack.Codec{pack.None, pack.Gzip, pack.Zstd} {
		good := packed(t, pack.Options{Codec: codec, BlockSize: block}, dump(9*block), true)
		for how := range unpackers {
			src := io.MultiReader(bytes.NewReader(good[:len(good)/2]), iotest.ErrReader(broken))
			if _, err := unpack(t, how, codec, src); err != broken {
				t.Errorf("%s, %s: %v from a broken source", codec, how, err)
			}
		}
		r, _ := pack.NewReader(bytes.NewReader(good), codec)
		if _, err := r.WriteTo(failing{broken}); err != broken {
			t.Errorf("%s: %v from a broken sink", codec, err)
		}
		w, _ := pack.NewWriter(failing{broken}, pack.Options{Codec: codec, BlockSize: block})
		if _, err := w.ReadFrom(onlyReader{bytes.NewReader(dump(9 * block))}); err != broken {
			t.Errorf("%s: %v from ReadFrom to a broken sink", codec, err)
		}
		if err := w.Close(); err != broken {
			t.Errorf("%s: Close after that: %v", codec, err)
		}
		// A source that breaks off in the manner of a decompressor is not at its end.
		w, _ = pack.NewWriter(io.Discard, pack.Options{Codec: codec, BlockSize: block})
		if _, err := w.ReadFrom(iotest.ErrReader(io.ErrUnexpectedEOF)); err != io.ErrUnexpectedEOF || w.Close() == nil {
			t.Errorf("%s: %v from a truncated source", codec, err)
		}
	}
}

// once fails one time, as a connection does.
type once struct{ err error }

func (o *once) Read([]byte) (n int, err error) {
	if err = o.err; err == nil {
		err = io.EOF
	}
	o.err = nil
	return 0, err
}

// TestWhyNot: a refusal names its reason, and a source that fails between two frames and
// then ends has not come to its end.
func TestWhyNot(t *testing.T) {
	if _, err := pack.NewWriter(io.Discard, pack.Options{Codec: "lzma"}); err == nil || !strings.Contains(err.Error(), "unknown codec") {
		t.Error(err)
	}
	wide := "\x28\xb5\x2f\xfd\x00\x88\x01\x00\x00" // a window of 128 MiB, and an empty block
	if _, err := unpack(t, "Read", pack.Zstd, strings.NewReader(wide)); err == nil || !strings.Contains(err.Error(), "a window of 134217728 bytes") {
		t.Error(err)
	}
	broken := errors.New("broken")
	good := packed(t, pack.Options{Codec: pack.Zstd}, dump(100), false)
	for how := range unpackers {
		if _, err := unpack(t, how, pack.Zstd, io.MultiReader(bytes.NewReader(good), &once{broken})); err != broken {
			t.Errorf("%s: %v", how, err)
		}
	}
}

// lossy takes one byte less than it is given, and says nothing.
type lossy struct{}

func (lossy) Write(p []byte) (int, error) { return max(len(p)-1, 0), nil }

// recovering fails once, as a full disk that somebody clears.
type recovering struct {
	bytes.Buffer
	failed bool
}

func (r *recovering) Write(p []byte) (int, error) {
	if !r.failed {
		r.failed = true
		return 0, io.ErrShortBuffer
	}
	return r.Buffer.Write(p)
}

// TestFailedWriterWritesNoMore: a hole is worse than an end.
func TestFailedWriterWritesNoMore(t *testing.T) {
	for _, codec := range []pack.Codec{pack.None, pack.Gzip, pack.Zstd} {
		var out recovering
		w, _ := pack.NewWriter(&out, pack.Options{Codec: codec, BlockSize: block})
		for range 2 {
			if _, err := w.Write(dump(3 * block)); err != io.ErrShortBuffer {
				t.Errorf("%s: %v", codec, err)
			}
		}
		if err := w.Close(); err != io.ErrShortBuffer || out.Len() > 0 {
			t.Errorf("%s: Close: %v, and %d bytes are written", codec, err, out.Len())
		}
	}
	var out recovering
	w, _ := pack.NewWriter(&out, pack.Options{Codec: pack.Zstd})
	w.Write(dump(100))
	if err := w.WriteIndex(strings.NewReader("index"), 5); err != io.ErrShortBuffer || out.Len() > 0 {
		t.Errorf("an index: %v, and %d bytes are written", err, out.Len())
	}
}

func TestShortWrite(t *testing.T) {
	for _, codec := range []pack.Codec{pack.None, pack.Gzip, pack.Zstd} {
		for name, feed := range map[string]func(*pack.Writer) error{
			"Write": func(w *pack.Writer) error { _, err := w.Write(dump(3 * block)); return err },
			"ReadFrom": func(w *pack.Writer) error {
				_, err := w.ReadFrom(onlyReader{bytes.NewReader(dump(3 * block))})
				return err
			},
			"Close": func(w *pack.Writer) error {
				if codec == pack.None { // it has written nothing
					return io.ErrShortWrite
				}
				return w.Close()
			},
		} {
			w, _ := pack.NewWriter(lossy{}, pack.Options{Codec: codec, BlockSize: block})
			if err := feed(w); !errors.Is(err, io.ErrShortWrite) {
				t.Errorf("%s, %s: %v", codec, name, err)
			}
		}
		r, _ := pack.NewReader(bytes.NewReader(packed(t, pack.Options{Codec: codec}, dump(100), false)), codec)
		if _, err := r.WriteTo(lossy{}); !errors.Is(err, io.ErrShortWrite) {
			t.Errorf("%s, WriteTo: %v", codec, err)
		}
	}
}

// TestBadFrameBeforeABrokenSource: whichever is noticed first, the frame stands
// first.
func TestBadFrameBeforeABrokenSource(t *testing.T) {
	bad := packed(t, pack.Options{Codec: pack.Zstd}, dump(100), true)
	bad = bad[:len(bad)-25] // without the table
	bad[len(bad)-1] ^= 1    // the checksum
	for how := range unpackers {
		src := io.MultiReader(bytes.NewReader(bad), iotest.ErrReader(errors.New("broken")))
		if _, err := unpack(t, how, pack.Zstd, src); !errors.As(err, new(*pack.Error)) {
			t.Errorf("%s: %v", how, err)
		}
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

// TestTools exchanges files with the zstd and gzip programs. Large ones from each way of
// calling them are a long proof.
func TestTools(t *testing.T) {
	plain := dump(9<<20 + 12345) // more than a window, so that a tool's one frame is a large one
	tool := func(stdin []byte, argv ...string) []byte {
		t.Helper()
		if _, err := exec.LookPath(argv[0]); err != nil {
			t.Fatalf("%s is missing: apt-get install %s", argv[0], argv[0])
		}
		cmd := exec.Command(argv[0], argv[1:]...)
		cmd.Stdin = bytes.NewReader(stdin)
		var errs bytes.Buffer
		cmd.Stderr = &errs
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%v: %v: %s", argv, err, &errs)
		}
		return out
	}
	integration(t)
	for _, codec := range []pack.Codec{pack.Gzip, pack.Zstd} {
		for _, n := range []int{0, 1, len(plain)} {
			out := packed(t, pack.Options{Codec: codec}, plain[:n], true)
			if got := tool(out, string(codec), "-dc"); !bytes.Equal(got, plain[:n]) {
				t.Errorf("%s -dc gives %d of %d bytes", codec, len(got), n)
			}
		}
	}
	for _, argv := range [][]string{
		{"zstd", "-c"}, {"zstd", "-1", "-c"}, {"zstd", "-T2", "-c"}, {"zstd", "-12", "-c"}, {"zstd", "--no-check", "-c"},
		{"zstd", "--rsyncable", "-T2", "-c"}, {"gzip", "-c"}, {"gzip", "-9", "-c"},
	} {
		for _, n := range []int{0, 1, 1 << 20, len(plain)} {
			counts := []int{1, 2}
			if n == len(plain) && os.Getenv("TAKUMI_TEST_LONG") == "" {
				counts = counts[1:]
				if len(argv) > 2 {
					continue
				}
			}
			out := tool(plain[:n], argv...)
			for _, times := range counts {
				src, want := bytes.Repeat(out, times), bytes.Repeat(plain[:n], times)
				for how := range unpackers {
					if got, err := unpack(t, how, pack.Codec(argv[0]), bytes.NewReader(src)); err != nil || !bytes.Equal(got, want) {
						t.Errorf("%v, %s: %d of %d bytes, error %v", argv, how, len(got), len(want), err)
					}
				}
			}
		}
	}
	if _, err := unpack(t, "WriteTo", pack.Zstd, bytes.NewReader(tool(plain, "zstd", "--long=27", "-c"))); err == nil {
		t.Error("a window of 128 MiB is accepted")
	}
}

// TestFramesOfUnknownSize: frames that do not say how long they are, as of a stream that
// another tool has packed, come in parts and whole, also next to those that do.
func TestFramesOfUnknownSize(t *testing.T) {
	plain := dump(2<<20 + 17)
	var frame bytes.Buffer
	w, err := zstd.NewWriter(&frame)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(w, onlyReader{bytes.NewReader(plain)}); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	sized := packed(t, pack.Options{Codec: pack.Zstd}, plain[:1000], false)
	for how := range unpackers {
		src := io.MultiReader(bytes.NewReader(frame.Bytes()), bytes.NewReader(sized), bytes.NewReader(frame.Bytes()))
		want := slices.Concat(plain, plain[:1000], plain)
		if got, err := unpack(t, how, pack.Zstd, src); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d of %d bytes, %v", how, len(got), len(want), err)
		}
		if got, err := unpack(t, how, pack.Zstd, bytes.NewReader(frame.Bytes()[:frame.Len()-5])); err == nil {
			t.Errorf("%s: cut, and there are %d bytes", how, len(got))
		}
	}
}

// TestLargeFrames: a frame that is larger than any of ours is unpacked as well, whether it
// says how large it is or not.
func TestLargeFrames(t *testing.T) {
	plain := make([]byte, pack.MaxBlockSize+1)
	enc, err := zstd.NewWriter(nil, zstd.WithWindowSize(8<<20)) // the largest that is taken
	if err != nil {
		t.Fatal(err)
	}
	var unsized bytes.Buffer
	enc.Reset(&unsized)
	if _, err := enc.Write(plain); err != nil {
		t.Fatal(err)
	}
	if err := enc.Close(); err != nil {
		t.Fatal(err)
	}
	for name, frame := range map[string][]byte{"sized": enc.EncodeAll(plain, nil), "unsized": unsized.Bytes()} {
		if got, err := unpack(t, "WriteTo", pack.Zstd, bytes.NewReader(frame)); err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
}

func TestNoGoroutineStays(t *testing.T) {
	before := runtime.NumGoroutine()
	for _, codec := range []pack.Codec{pack.Gzip, pack.Zstd} {
		good := packed(t, pack.Options{Codec: codec, BlockSize: block}, dump(9*block), true)
		r, _ := pack.NewReader(bytes.NewReader(good), codec)
		r.Read(make([]byte, 10)) // and give up
		r, _ = pack.NewReader(bytes.NewReader(good[:len(good)/2]), codec)
		r.WriteTo(io.Discard)
	}
	// One that was waited for may need a moment more to be gone.
	for try := 0; runtime.NumGoroutine() > before && try < 6000; try++ {
		time.Sleep(10 * time.Millisecond)
	}
	if after := runtime.NumGoroutine(); after > before {
		t.Errorf("%d goroutines before, %d after", before, after)
	}
}

func FuzzUnpack(f *testing.F) {
	for _, n := range []int{0, 1, 300} {
		f.Add(packed(f, pack.Options{Codec: pack.Zstd}, dump(n), true), true)
		f.Add(packed(f, pack.Options{Codec: pack.Gzip}, dump(n), true), false)
	}
	f.Fuzz(func(t *testing.T, data []byte, isZstd bool) {
		codec := pack.Gzip
		if isZstd {
			codec = pack.Zstd
		}
		serial, serialErr := unpack(t, "Read", codec, bytes.NewReader(data))
		parallel, parallelErr := unpack(t, "WriteTo", codec, bytes.NewReader(data))
		if (serialErr == nil) != (parallelErr == nil) || serialErr == nil && !bytes.Equal(serial, parallel) {
			t.Fatalf("Read gives %d bytes and %v, WriteTo %d and %v", len(serial), serialErr, len(parallel), parallelErr)
		}
		if serialErr != nil && !errors.As(serialErr, new(*pack.Error)) {
			t.Fatalf("%v is not an *Error", serialErr)
		}
	})
}
