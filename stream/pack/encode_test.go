package pack

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/takumi-backup/takumi-backup/stream/pack/dumpzstd"
)

// lying packs well, but for the blocks that it is told to spoil, by bytes that
// unpack to something else, or to nothing.
type lying struct {
	coder
	spoil, twice bool
	how          func(packed []byte) []byte
}

func (l *lying) encode(dst, block []byte) []byte {
	dst = l.coder.encode(dst, block)
	if l.spoil {
		dst = l.how(dst)
	}
	return dst
}

func (l *lying) ordinary(dst, block []byte) []byte {
	dst = l.coder.ordinary(dst, block)
	if l.twice {
		dst[len(dst)-1] ^= 1 // of the sum
	}
	return dst
}

// A block that does not unpack to what went in is packed again, and none that
// does not is ever written.
func TestProof(t *testing.T) {
	plain := bytes.Repeat([]byte("12\tname\tvalue\n"), 3*MinBlockSize/14)
	for _, codec := range []Codec{Zstd, Gzip} {
		for name, how := range map[string]func([]byte) []byte{
			"a flipped bit": func(b []byte) []byte { b[len(b)/2] ^= 4; return b },
			"another block": func(b []byte) []byte {
				w, _ := NewWriter(io.Discard, Options{Codec: codec, Unproved: true})
				other, _ := w.enc.encode(nil, []byte("something else"))
				return other
			},
			"cut":     func(b []byte) []byte { return b[:len(b)-1] },
			"longer":  func(b []byte) []byte { return append(b, b...) },
			"nothing": func([]byte) []byte { return nil },
			"a panic": func([]byte) []byte { panic("a fault of the encoder") },
		} {
			for _, twice := range []bool{false, true} {
				var out bytes.Buffer
				w, err := NewWriter(&out, Options{Codec: codec, BlockSize: MinBlockSize})
				if err != nil {
					t.Fatal(err)
				}
				for range cap(w.enc.free) {
					p := <-w.enc.free
					p.coder = &lying{coder: p.coder, spoil: true, twice: twice, how: how}
					w.enc.free <- p
				}
				_, err = w.ReadFrom(bytes.NewReader(plain))
				if err = errors.Join(err, w.Close()); twice {
					if !errors.Is(err, errDiffers) || out.Len() > 0 {
						t.Errorf("%s, %s twice: %v, and %d bytes are written", codec, name, err, out.Len())
					}
					continue
				}
				blocks := int64((len(plain) + MinBlockSize - 1) / MinBlockSize)
				if p := w.Proof(); err != nil || p != (Proof{blocks, blocks}) {
					t.Errorf("%s, %s: %+v of %d, %v", codec, name, p, blocks, err)
				}
				r, err := NewReader(&out, codec)
				if err != nil {
					t.Fatal(err)
				}
				if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, plain) {
					t.Errorf("%s, %s: what is read differs, %v", codec, name, err)
				}
			}
		}
	}
}

// Unproved, an encoder that panics is no reason to have no backup.
func TestUnprovedPanic(t *testing.T) {
	w, err := NewWriter(io.Discard, Options{Codec: Zstd, Unproved: true})
	if err != nil {
		t.Fatal(err)
	}
	for range cap(w.enc.free) {
		p := <-w.enc.free
		p.coder = &lying{coder: p.coder, spoil: true, how: func([]byte) []byte { panic("a fault of the encoder") }}
		w.enc.free <- p
	}
	packed, err := w.enc.encode(nil, []byte("message"))
	if err != nil || len(packed) == 0 {
		t.Errorf("%x, %v", packed, err)
	}
}

// A table has as many entries as its readers take, or there is none.
func TestTableIsBounded(t *testing.T) {
	var table seekTable
	for range maxSeekEntries {
		table.add(1, 1)
	}
	if len(table.frame()) != 8+maxSeekEntries*seekEntrySize+seekFooterSize {
		t.Errorf("%d bytes", len(table.frame()))
	}
	table.add(1, 1)
	table.add(1, 1)
	if table.frame() != nil {
		t.Error("a table with more")
	}
}

// Each block is proved, unless it is asked otherwise; none has nothing to prove.
func TestProofCounts(t *testing.T) {
	for _, o := range []Options{{Codec: Zstd}, {Codec: Zstd, Level: Best}, {Codec: Gzip}, {Codec: None}, {Codec: Zstd, Unproved: true}} {
		w, err := NewWriter(io.Discard, o)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(w, bytes.NewReader(make([]byte, 2*DefaultBlockSize+1)))
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		want := Proof{Frames: 3}
		if o.Codec == None || o.Unproved {
			want = Proof{}
		}
		if w.Proof() != want {
			t.Errorf("%+v: %+v", o, w.Proof())
		}
	}
}

// Blocks made of fields go to the finder of fields, what else shrinks to the general
// one, and the rest to the library.
func TestChoice(t *testing.T) {
	lib, err := newZstdLibrary(Options{BlockSize: DefaultBlockSize})
	if err != nil {
		t.Fatal(err)
	}
	c := &zstdCoder{zstdLibrary: lib, fastest: true}
	var own dumpzstd.Encoder
	var rows []byte
	for i := range 9000 {
		rows = append(rows, []byte{'0' + byte(i%10), '0' + byte(i/10%10), '0' + byte(i/100%10), '\t'}...)
		rows = append(rows, "2026-11-28 03:00:00+00\tendorsed\tsolidity\t"...)
		rows = append(rows, '0'+byte(i*7%10), '\n')
	}
	if !slices.Equal(c.encode(nil, rows), own.Encode(nil, rows)) {
		t.Error("rows did not go to the finder of fields")
	}
	csv := bytes.ReplaceAll(rows, []byte("\t"), []byte(","))
	if !slices.Equal(c.encode(nil, csv), own.Encode(nil, csv)) {
		t.Error("rows with commas did not go to the finder of fields")
	}
	csv[0] = 0
	if !slices.Equal(c.encode(nil, csv), own.EncodeAny(nil, csv)) {
		t.Error("what is not text did not go to the general finder")
	}
	noise := make([]byte, len(rows))
	rand.Read(noise)
	if !slices.Equal(c.encode(nil, noise), c.ordinary(nil, noise)) {
		t.Error("noise did not go to the library")
	}
	c.fastest = false
	if !slices.Equal(c.encode(nil, rows), c.ordinary(nil, rows)) {
		t.Error("another level went to the own encoder")
	}
}

// What is packed leaves no plaintext in the coders.
func TestCodersWiped(t *testing.T) {
	for _, codec := range []Codec{Zstd, Gzip} {
		w, err := NewWriter(io.Discard, Options{Codec: codec})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(bytes.Repeat([]byte("secret,"), DefaultBlockSize/7+1)); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		for range cap(w.enc.free) {
			p := <-w.enc.free
			if bytes.Contains(p.plain[:cap(p.plain)], []byte("secret")) {
				t.Errorf("%s: the block is still there", codec)
			}
			if bytes.Contains(w.block[:cap(w.block)], []byte("secret")) {
				t.Errorf("%s: what was written is still there", codec)
			}
			if c, ok := p.coder.(*zstdCoder); ok && slices.ContainsFunc(c.sample, func(b byte) bool { return b != 0 }) {
				t.Error("a sample is still there")
			}
			w.enc.free <- p
		}
	}
}

func TestHasFields(t *testing.T) {
	for in, want := range map[string]bool{
		strings.Repeat("12\tname\tvalue\n", 100):                true,
		strings.Repeat("12\t\t\t\n", 100):                       true,
		strings.Repeat("\t\tif err != nil {\n", 100):            false,
		strings.Repeat("12\t", 99) + strings.Repeat("a", 10000): false,
		strings.Repeat("a", 10000) + strings.Repeat("12\t", 99): false,
		strings.Repeat("\t", 1000):                              false,
		"1\t2":                                                  false,
		"":                                                      false,
	} {
		if hasFields([]byte(in)) != want {
			t.Errorf("%.20q of %d: want %v", in, len(in), want)
		}
	}
}
