package pack_test

import (
	"bytes"
	"fmt"
	"io"
	"testing"

	"github.com/takumi-backup/takumi-backup/stream/pack"
)

var benchOptions = []pack.Options{
	{Codec: pack.None},
	{Codec: pack.Gzip, Level: pack.Fastest},
	{Codec: pack.Zstd, Level: pack.Fastest},
	{Codec: pack.Zstd, Level: pack.Default},
}

func BenchmarkPack(b *testing.B) {
	plain := dump(16 << 20)
	for _, o := range benchOptions {
		for _, way := range []string{"Write", "ReadFrom"} {
			b.Run(fmt.Sprintf("%s-%s/%s", o.Codec, o.Level, way), func(b *testing.B) {
				b.SetBytes(int64(len(plain)))
				b.ReportAllocs()
				for b.Loop() {
					w, err := pack.NewWriter(onlyWriter{io.Discard}, o)
					if err != nil {
						b.Fatal(err)
					}
					if way == "Write" {
						_, err = w.Write(plain)
					} else {
						_, err = w.ReadFrom(onlyReader{bytes.NewReader(plain)})
					}
					if err != nil {
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

func BenchmarkUnpack(b *testing.B) {
	plain := dump(16 << 20)
	for _, o := range benchOptions {
		sealed := packed(b, o, plain, false)
		for _, way := range []string{"Read", "WriteTo"} {
			b.Run(fmt.Sprintf("%s-%s/%s", o.Codec, o.Level, way), func(b *testing.B) {
				b.SetBytes(int64(len(plain)))
				b.ReportAllocs()
				for b.Loop() {
					r, err := pack.NewReader(bytes.NewReader(sealed), o.Codec)
					if err != nil {
						b.Fatal(err)
					}
					if way == "Read" {
						_, err = io.Copy(onlyWriter{io.Discard}, onlyReader{r})
					} else {
						_, err = r.WriteTo(onlyWriter{io.Discard})
					}
					if err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
