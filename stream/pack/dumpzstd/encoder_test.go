package dumpzstd_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/takumi-backup/takumi-backup/stream/pack/dumpzstd"
)

// maker makes inputs, the same ones for the same seed.
type maker struct{ *rand.Rand }

func newMaker(seed byte) maker { return maker{rand.New(rand.NewChaCha8([32]byte{seed}))} }

func (m maker) bytes(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(m.Uint32())
	}
	return b
}

func (m maker) hex(n int) []byte { return []byte(hex.EncodeToString(m.bytes(n/2 + 1)))[:n] }

// rows are lines of a dump: ids, names that repeat, numbers and hashes.
func (m maker) rows(n int) []byte {
	var b bytes.Buffer
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "%d\t%s\t2026-11-%02d 03:%02d:00+00\t{\"skill\": %q, \"level\": %d}\t\\\\x%s\n", i,
			m.word(), 1+m.IntN(28), m.IntN(60), m.word(), m.IntN(9), m.hex(m.IntN(40)))
	}
	return b.Bytes()[:n]
}

// numbers are lines in which matches save nothing.
func (m maker) numbers(n int) []byte {
	var b []byte
	for len(b) < n {
		b = fmt.Appendf(b, "%d\t%d\t%.3f\t-%d\n", m.IntN(1e6), m.IntN(1e9), 1000*m.Float64(), m.IntN(1e5))
	}
	return b[:n]
}

func (m maker) word() string {
	return strings.Fields("solidity postgres kubernetes rust review audit pottery lacquer joinery weaving")[m.IntN(10)]
}

// mixed is all that the format has lengths and codes for: literals, matches and
// runs of any length around the powers of two, near and far.
func (m maker) mixed(n int) []byte {
	b := m.rows(min(n, 200))
	length := func() int { return max(1, 1<<m.IntN(18)+m.IntN(7)-3) }
	for len(b) < n {
		k := min(length(), n-len(b))
		switch m.IntN(5) {
		case 0:
			b = append(b, m.hex(k)...)
		case 1:
			b = append(b, m.bytes(min(k, 500))...)
		case 2:
			b = append(b, bytes.Repeat([]byte{"\t 0\xff"[m.IntN(4)]}, k)...)
		case 3:
			b = append(b, m.rows(k)...)
		default:
			from := max(0, len(b)-length())
			for range k { // may run over its own start, as a match does
				b = append(b, b[from])
				from++
			}
			b = append(b, '\t')
		}
	}
	return b[:n]
}

// inputs are the kinds and sizes where the format has an edge.
var inputs = sync.OnceValue(func() map[string][]byte {
	m := newMaker(1)
	out := map[string][]byte{}
	for _, n := range []int{0, 1, 2, 7, 8, 9, 31, 32, 63, 64, 65, 255, 256, 257, 1023, 1024, 1025, 4095, 4096, 16383, 16384,
		65791, 65792, 128<<10 - 1, 128 << 10, 128<<10 + 1, 128<<10 + 40, 256 << 10, 1<<20 - 1, 1 << 20} {
		for name, make := range map[string]func(int) []byte{
			"rows": m.rows, "hex": m.hex, "random": m.bytes, "mixed": m.mixed,
			"zeros": func(n int) []byte { return make([]byte, n) },
			"two":   func(n int) []byte { return bytes.Repeat([]byte("ab"), n/2+1)[:n] },
			"tabs":  func(n int) []byte { return bytes.Repeat([]byte("\t"), n) },
		} {
			out[fmt.Sprintf("%s of %d", name, n)] = make(n)
		}
	}
	// Every byte value, so that the weights don't fit their short form; some of
	// them rare, so that codes reach their longest.
	skewed := make([]byte, 0, 1<<18)
	for i := range 256 {
		skewed = append(skewed, bytes.Repeat([]byte{byte(i)}, 1<<(i%12))...)
	}
	m.Shuffle(len(skewed), func(i, j int) { skewed[i], skewed[j] = skewed[j], skewed[i] })
	out["every byte, skewed"] = skewed
	// A byte that the table of the block before lacks, alone and twice in a row.
	for name, odd := range map[string]string{"one": "~", "two": "~~"} {
		out["a missing symbol, "+name] = append(append(m.hex(200<<10), odd...), m.hex(1<<10)...)
	}
	// Blocks in which no matches are looked for, to the end, and before other data.
	out["numbers"] = m.numbers(1<<20 - 5)
	out["numbers, rows"] = append(m.numbers(300<<10), m.rows(300<<10)...)
	out["numbers, random, numbers"] = append(append(m.numbers(200<<10), m.bytes(128<<10)...), m.numbers(200<<10)...)
	// A block that is stored between two that are packed.
	out["packed, stored, packed"] = append(append(m.rows(128<<10), m.bytes(128<<10)...), m.rows(128<<10)...)
	return out
})

// open unpacks a frame with the library.
func open(t testing.TB, frame []byte) []byte {
	t.Helper()
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	defer dec.Close()
	plain, err := dec.DecodeAll(frame, nil)
	if err != nil {
		t.Fatal(err)
	}
	return plain
}

// ways are the two finders.
var ways = map[string]func(*dumpzstd.Encoder, []byte, []byte) []byte{
	"fields": (*dumpzstd.Encoder).Encode, "any": (*dumpzstd.Encoder).EncodeAny,
}

func TestEdges(t *testing.T) {
	for way, encode := range ways {
		t.Run(way, func(t *testing.T) { testEdges(t, encode) })
	}
}

func testEdges(t *testing.T, encode func(*dumpzstd.Encoder, []byte, []byte) []byte) {
	var e, again dumpzstd.Encoder
	for name, in := range inputs() {
		frame := encode(&e, []byte("before"), in)[len("before"):]
		if !bytes.Equal(open(t, frame), in) {
			t.Errorf("%s: something else comes out", name)
		}
		if most := len(in) + 3*(len(in)/(128<<10)+1) + 13; len(frame) > most {
			t.Errorf("%s: a frame of %d bytes is more than storing it costs", name, len(frame))
		}
		var other []byte
		dumpzstd.InGo(func() { other = encode(&again, nil, in) })
		if !bytes.Equal(other, frame) {
			t.Errorf("%s: the frame depends on what was packed before, or is another without assembly", name)
		}
		again = dumpzstd.Encoder{}
	}
}

// check packs in by both finders, with and without assembly, which makes the same
// frame, and unpacks it.
func check(t *testing.T, e *dumpzstd.Encoder, in []byte) {
	t.Helper()
	for way, encode := range ways {
		frame := encode(e, nil, in)
		dumpzstd.InGo(func() {
			if !bytes.Equal(encode(e, nil, in), frame) {
				t.Errorf("%s: Go makes another frame than the assembly", way)
			}
		})
		if !bytes.Equal(open(t, frame), in) {
			t.Errorf("%s: something else comes out", way)
		}
	}
}

// Every build makes the same bytes: with and without unsafe loads, and on every
// processor. The sum changes with the encoder.
func TestSameEverywhere(t *testing.T) {
	const want = "fa7cfc5f6a2dfbd9c0a2b2c6c10822bd73798628987e530c8fd862f381351f79"
	var e dumpzstd.Encoder
	sum := sha256.New()
	for seed := range byte(6) {
		m := newMaker(seed)
		sum.Write(e.Encode(nil, m.rows(1<<20)))
		sum.Write(e.Encode(nil, m.mixed(1<<20)))
		sum.Write(e.EncodeAny(nil, m.mixed(1<<20)))
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != want {
		t.Errorf("the sum of the frames is %s, want %s", got, want)
	}
}

// Where matches save nothing, none are looked for, until other data comes.
func TestWithoutMatches(t *testing.T) {
	m := newMaker(8)
	var e dumpzstd.Encoder
	size := func(parts ...[]byte) int { return len(e.Encode(nil, bytes.Join(parts, nil))) }
	numbers, rows := m.numbers(512<<10), m.rows(512<<10)
	if together, apart := size(numbers, rows), size(numbers)+size(rows); together > apart+apart/50 {
		t.Errorf("numbers and rows take %d bytes together and %d apart", together, apart)
	}
}

// The reference implementation opens what is made.
func TestReference(t *testing.T) {
	if os.Getenv("TAKUMI_TEST_INTEGRATION") == "" {
		t.Skip("set TAKUMI_TEST_INTEGRATION=1 to run zstd; scripts/test installs it and does")
	}
	var e dumpzstd.Encoder
	var in, frames []byte
	for _, b := range inputs() {
		in = append(in, b...)
		in = append(in, b...)
		frames = e.EncodeAny(e.Encode(frames, b), b)
	}
	cmd := exec.Command("zstd", "-dc")
	cmd.Stdin = bytes.NewReader(frames)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(out, in) {
		t.Error("something else comes out")
	}
}

func TestNoGarbage(t *testing.T) {
	var e dumpzstd.Encoder
	in := newMaker(2).rows(1 << 20)
	out := e.Encode(nil, in)
	if n := testing.AllocsPerRun(5, func() { out = e.Encode(out[:0], in) }); n > 0 {
		t.Errorf("%v allocations a frame", n)
	}
}

func TestTooLarge(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("more than MaxInput is taken")
		}
	}()
	new(dumpzstd.Encoder).Encode(nil, make([]byte, dumpzstd.MaxInput+1))
}

// Wipe leaves nothing of the input.
func TestWipe(t *testing.T) {
	var e dumpzstd.Encoder
	in := newMaker(4).hex(1000)
	e.Encode(nil, in)
	if !dumpzstd.Holds(&e, in[500:600]) {
		t.Fatal("the test looks in the wrong place")
	}
	e.Wipe()
	if dumpzstd.Holds(&e, in[500:600]) {
		t.Error("the input is still there")
	}
}

// FuzzBytes packs what the fuzzer says.
func FuzzBytes(f *testing.F) {
	m := newMaker(5)
	for _, n := range []int{0, 100, 3000} {
		f.Add(m.rows(n))
		f.Add(m.mixed(n))
	}
	var e dumpzstd.Encoder
	f.Fuzz(func(t *testing.T, in []byte) {
		in = in[:min(len(in), dumpzstd.MaxInput)]
		check(t, &e, in)
	})
}

// FuzzShape packs what is made by a program that the fuzzer writes: bytes name a
// kind of token and its length.
func FuzzShape(f *testing.F) {
	f.Add(uint64(1), []byte("\x00\x10\x01\x20\x02\x80\x03\x44\x04\xff"))
	f.Add(uint64(2), bytes.Repeat([]byte("\x04\x09\x00\x03\x01\x07"), 100))
	var e dumpzstd.Encoder
	f.Fuzz(func(t *testing.T, seed uint64, program []byte) {
		m := newMaker(byte(seed))
		in := []byte("id\tname\n")
		for ; len(program) >= 2 && len(in) < 1<<19; program = program[2:] {
			n := 1 + int(program[1])<<(program[0]>>4&7)
			switch program[0] & 7 {
			case 0:
				in = append(in, m.hex(n)...)
			case 1:
				in = append(in, m.bytes(n)...)
			case 2:
				in = append(in, bytes.Repeat([]byte{program[1]}, n)...)
			case 3:
				in = append(in, m.rows(n)...)
			default:
				from := max(0, len(in)-1-n*int(program[0]&7-3))
				in = append(append(in, in[from:min(from+n, len(in))]...), ","[:program[1]&1]...)
			}
		}
		check(t, &e, in)
	})
}
