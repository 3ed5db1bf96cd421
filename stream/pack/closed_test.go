package pack_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/takumi-backup/takumi-backup/stream/pack"
)

// TestClosed: after Close nothing more is written.
func TestClosed(t *testing.T) {
	for _, codec := range []pack.Codec{pack.None, pack.Gzip, pack.Zstd} {
		var out bytes.Buffer
		w, _ := pack.NewWriter(&out, pack.Options{Codec: codec})
		w.Write(dump(100))
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		size := out.Len()
		_, written := w.Write(dump(1))
		_, read := w.ReadFrom(bytes.NewReader(dump(1)))
		again, index := w.Close(), w.WriteIndex(strings.NewReader("index"), 5)
		if written != pack.ErrClosed || read != pack.ErrClosed || index != pack.ErrClosed || again != nil || out.Len() != size {
			t.Errorf("%s: Write: %v, ReadFrom: %v, WriteIndex: %v, Close: %v; %d bytes more", codec, written, read, index, again, out.Len()-size)
		}
	}
}
