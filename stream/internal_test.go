package stream

import (
	"bytes"
	"io"
	"testing"
)

// TestSaltIsDrawn: each message has one salt, from the random source, as it came.
func TestSaltIsDrawn(t *testing.T) {
	var drawn [][]byte
	system := random
	t.Cleanup(func() { random = system })
	random = func(p []byte) {
		system(p)
		drawn = append(drawn, bytes.Clone(p))
	}
	key := make([]byte, KeySize)
	for i := range 3 {
		sealed, err := Seal(key, nil, []byte("message"))
		if err != nil {
			t.Fatal(err)
		}
		if len(drawn) != i+1 || len(drawn[i]) != saltSize || !bytes.Equal(sealed[:saltSize], drawn[i]) {
			t.Fatalf("message %d begins with %x, and %x was drawn", i, sealed[:saltSize], drawn)
		}
		if i > 0 && bytes.Equal(drawn[i], drawn[i-1]) || bytes.Equal(drawn[i], make([]byte, saltSize)) {
			t.Errorf("salts %x", drawn)
		}
	}
}

// TestTheFinalChunkHasANumber: a message that leaves none for it is refused, by either way.
func TestTheFinalChunkHasANumber(t *testing.T) {
	chunk := make([]byte, ChunkSize)
	for name, feed := range map[string]func(*Writer, int) error{
		"Write": func(w *Writer, n int) error { _, err := w.Write(bytes.Repeat(chunk, n)); return err },
		"ReadFrom": func(w *Writer, n int) error {
			_, err := w.ReadFrom(bytes.NewReader(bytes.Repeat(chunk, n)))
			return err
		},
	} {
		for n, want := range map[int]error{1: nil, 2: ErrTooLong} {
			w, err := NewWriter(io.Discard, make([]byte, KeySize), nil)
			if err != nil {
				t.Fatal(err)
			}
			w.index = MaxChunks - 2
			if err := feed(w, n); err != want {
				t.Errorf("%s, %d chunks: %v", name, n, err)
			}
			if err := w.Close(); err != want {
				t.Errorf("%s, %d chunks, Close: %v", name, n, err)
			}
			last := MaxChunks - 2 + int64(n)
			if _, err := w.openRun(nil, w.sealRun(nil, chunk, last), last); err != want {
				t.Errorf("opening chunk %d: %v", last, err)
			}
		}
	}
}

func TestAbortClearsPlaintext(t *testing.T) {
	var out bytes.Buffer
	w, err := NewWriter(&out, make([]byte, KeySize), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, "a secret"); err != nil {
		t.Fatal(err)
	}
	held := w.plain[:cap(w.plain)]
	w.Abort()
	if !bytes.Equal(held, make([]byte, len(held))) {
		t.Errorf("%q is still there", held)
	}
	if _, err := w.Write([]byte("x")); err != ErrAborted {
		t.Errorf("Write: %v", err)
	}
	if err := w.Close(); err != ErrAborted || out.Len() > 0 {
		t.Errorf("Close: %v, %d bytes", err, out.Len())
	}
}
