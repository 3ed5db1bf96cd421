package envelope_test

import (
	"bytes"
	"fmt"
	"io"
	"testing"

	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/envelope/slot"
)

func someKeys(n int) []*kek.Key {
	keys := make([]*kek.Key, n)
	for i := range keys {
		keys[i] = kek.Generate()
	}
	return keys
}

// Small messages show what an envelope costs by itself, the large one that it
// adds nothing to the stream.
func BenchmarkSeal(b *testing.B) {
	for _, slots := range []int{1, 2, 16} {
		for _, size := range []int{0, 64 << 20} {
			b.Run(fmt.Sprintf("slots=%d/%d", slots, size), func(b *testing.B) {
				keys, message := someKeys(slots), make([]byte, size)
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					w, err := envelope.NewWriter(b.Context(), io.Discard, label, slot.Recipients(keys...)...)
					if err != nil {
						b.Fatal(err)
					}
					if _, err := w.Write(message); err != nil {
						b.Fatal(err)
					}
					if err := w.Close(); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	for _, slots := range []int{1, 2, 16} {
		for _, size := range []int{0, 64 << 20} {
			keys := someKeys(slots)
			sealed := seal(b, label, string(make([]byte, size)), keys...)
			b.Run(fmt.Sprintf("slots=%d/%d", slots, size), func(b *testing.B) {
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					r, err := envelope.Open(b.Context(), bytes.NewReader(sealed), envelope.Options{}, keys[slots-1])
					if err != nil {
						b.Fatal(err)
					}
					if _, err := r.WriteTo(io.Discard); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func BenchmarkOpenAt(b *testing.B) {
	sealed := seal(b, label, string(make([]byte, 64<<20)), keyA)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := envelope.OpenAt(b.Context(), bytes.NewReader(sealed), int64(len(sealed)), envelope.Options{}, keyA); err != nil {
			b.Fatal(err)
		}
	}
}
