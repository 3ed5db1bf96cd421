package pack

import (
	"bytes"
	"io"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// TestDecodersAreClosed: whichever way a stream is read to its end, what unpacks it is let go.
func TestDecodersAreClosed(t *testing.T) {
	var sealed bytes.Buffer
	w, err := NewWriter(&sealed, Options{Codec: Zstd})
	if err != nil {
		t.Fatal(err)
	}
	w.Write(make([]byte, 1000))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for _, src := range []io.Reader{struct{ io.Reader }{bytes.NewReader(sealed.Bytes())}, bytes.NewReader(sealed.Bytes())} {
		r, err := NewReader(src, Zstd)
		if err != nil {
			t.Fatal(err)
		}
		var from io.Reader = r
		if _, plain := src.(struct{ io.Reader }); plain {
			from = struct{ io.Reader }{r} // by Read, and not by WriteTo
		}
		if n, err := io.Copy(io.Discard, from); n != 1000 || err != nil {
			t.Fatalf("%d, %v", n, err)
		}
		if _, err := r.pieces.(*zstdPieces).whole.DecodeAll(nil, nil); err != zstd.ErrDecoderClosed {
			t.Errorf("the decoder says %v", err)
		}
	}
}

func TestAbortClearsPlaintext(t *testing.T) {
	for _, codec := range []Codec{Gzip, Zstd} {
		var out bytes.Buffer
		w, err := NewWriter(&out, Options{Codec: codec})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, "a secret"); err != nil {
			t.Fatal(err)
		}
		held := w.block[:cap(w.block)]
		w.Abort()
		if !bytes.Equal(held, make([]byte, len(held))) {
			t.Errorf("%s: %q is still there", codec, held)
		}
		if _, err := w.Write([]byte("x")); err != ErrAborted {
			t.Errorf("%s: Write: %v", codec, err)
		}
		if _, err := w.ReadFrom(bytes.NewReader([]byte("x"))); err != ErrAborted {
			t.Errorf("%s: ReadFrom: %v", codec, err)
		}
		if err := w.Close(); err != ErrAborted || out.Len() > 0 {
			t.Errorf("%s: Close: %v, %d bytes", codec, err, out.Len())
		}
	}
}
