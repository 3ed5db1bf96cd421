package local

import (
	"crypto/rand"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/takumi-backup/takumi-backup/internal/store"
)

// BenchmarkWrite writes pieces of 1 MiB, 64 to a file, so that the disk does
// not fill; Commit is not part of the time.
func BenchmarkWrite(b *testing.B) {
	const piece, perFile = 1 << 20, 64
	p := make([]byte, piece)
	rand.Read(p)
	for _, sidecar := range []bool{false, true} {
		b.Run(fmt.Sprintf("sidecar=%t", sidecar), func(b *testing.B) {
			path := filepath.Join(b.TempDir(), "x.enc")
			b.SetBytes(piece)
			b.ReportAllocs()
			var f *File
			for i := range b.N {
				if i%perFile == 0 {
					b.StopTimer()
					if f != nil {
						f.Abort()
					}
					var err error
					if f, err = Create(path, store.Options{Sidecar: sidecar}); err != nil {
						b.Fatal(err)
					}
					b.StartTimer()
				}
				if _, err := f.Write(p); err != nil {
					b.Fatal(err)
				}
			}
			b.StopTimer()
			f.Abort()
		})
	}
}

// BenchmarkCommit writes and commits whole backups; the time includes every
// sync.
func BenchmarkCommit(b *testing.B) {
	const piece = 1 << 20
	p := make([]byte, piece)
	rand.Read(p)
	for _, pieces := range []int{1, 1024} {
		b.Run(fmt.Sprintf("%dMiB", pieces), func(b *testing.B) {
			b.SetBytes(int64(pieces) * piece)
			for b.Loop() {
				path := filepath.Join(b.TempDir(), "x.enc")
				f, err := Create(path, store.Options{Sidecar: true})
				if err != nil {
					b.Fatal(err)
				}
				for range pieces {
					if _, err := f.Write(p); err != nil {
						b.Fatal(err)
					}
				}
				if _, err := f.Commit(); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				remove(path)
				b.StartTimer()
			}
		})
	}
}
