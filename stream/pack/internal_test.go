package pack

import (
	"bytes"
	"io"
	"testing"
)

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
