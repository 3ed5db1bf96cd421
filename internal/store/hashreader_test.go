package store

import (
	"bytes"
	"crypto/sha256"
	"io"
	"runtime/pprof"
	"testing"
	"testing/iotest"
	"time"
)

func TestHashReader(t *testing.T) {
	data := make([]byte, 3*hashPiece+12345)
	for i := range data {
		data[i] = byte(i * i >> 7)
	}
	for _, size := range []int{0, 1, inlineHash, hashPiece - 1, hashPiece, hashPiece + 1, len(data)} {
		for name, src := range map[string]io.Reader{"whole": bytes.NewReader(data[:size]), "halves": iotest.HalfReader(bytes.NewReader(data[:size]))} {
			r := NewHashReader(src)
			// One buffer for everything, which is spoilt after each read.
			buf := make([]byte, hashPiece+7)
			total := 0
			for {
				n, err := r.Read(buf)
				total += n
				clear(buf)
				if err == io.EOF {
					break
				}
			}
			if size == len(data) && !hashing(t) {
				t.Error("the large input was hashed on the caller's goroutine")
			}
			want := sha256.Sum256(data[:size])
			if got := r.Sum(); got != want || r.Sum() != want || total != size {
				t.Errorf("%d bytes, %s: %x of %d, want %x", size, name, got, total, want)
			}
			for try := 0; hashing(t) && try < 6000; try++ { // it may need a moment
				time.Sleep(10 * time.Millisecond)
			}
			if hashing(t) {
				t.Errorf("%d bytes, %s: the goroutine is left", size, name)
			}
		}
	}
}

// TestHasherWaits: a small piece after a large one, which is hashed elsewhere, is waited for
// as that is.
func TestHasherWaits(t *testing.T) {
	h := NewHasher()
	data := make([]byte, 2*inlineHash)
	for _, size := range []int{inlineHash + 1, 1, inlineHash + 1, 0} {
		h.Begin(data[:size])
		h.Wait()
		h.Wait()
	}
	if sum := h.Finish(); sum != sha256.Sum256(make([]byte, 2*inlineHash+3)) {
		t.Errorf("%x", sum)
	}
}

// hashing reports whether a Hasher has a goroutine.
func hashing(t *testing.T) bool {
	t.Helper()
	var stacks bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&stacks, 1); err != nil {
		t.Fatal(err)
	}
	return bytes.Contains(stacks.Bytes(), []byte("(*Hasher).run"))
}
