package store

import (
	"bytes"
	"crypto/sha256"
	"io"
	"testing"
	"testing/iotest"
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
			want := sha256.Sum256(data[:size])
			if got := r.Sum(); got != want || r.Sum() != want || total != size {
				t.Errorf("%d bytes, %s: %x of %d, want %x", size, name, got, total, want)
			}
		}
	}
}
