// Package dumpkit makes indexed dumps for tests. Only tests import it.
package dumpkit

import (
	"bytes"
	"io"
	"testing"

	"github.com/takumi-backup/takumi-backup/backup/tables"
	"github.com/takumi-backup/takumi-backup/internal/guard"
	"github.com/takumi-backup/takumi-backup/stream/pack"
)

// Indexed packs a dump and returns it by its index: see Packed.
func Indexed(t testing.TB, dump, contents []byte, change func(*guard.Piece)) *tables.Dump {
	t.Helper()
	src := Packed(t, dump, contents, change)
	return Open(t, src, src.Size())
}

// Open returns the packed dump that src has.
func Open(t testing.TB, src io.ReaderAt, size int64) *tables.Dump {
	t.Helper()
	r, err := pack.NewReaderAt(src, size)
	if err != nil {
		t.Fatal(err)
	}
	d, err := tables.Indexed(r)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// Packed packs a plain dump, with the contents of an archive if there are any. The index
// is that of the pieces of the dump after change, if there is one, has changed them; a
// piece that it gives the length -1 is left out.
func Packed(t testing.TB, dump, contents []byte, change func(*guard.Piece)) *bytes.Reader {
	t.Helper()
	b, err := tables.NewBuilder()
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	g := guard.NewReader(bytes.NewReader(dump), guard.Options{Piece: func(p guard.Piece) {
		if change != nil {
			change(&p)
		}
		if p.Length >= 0 {
			b.Add(p)
		}
	}})
	defer g.Close()
	var out bytes.Buffer
	w, err := pack.NewWriter(&out, pack.Options{Codec: pack.Zstd, BlockSize: pack.MinBlockSize})
	if err != nil {
		t.Fatal(err)
	}
	size, err := w.ReadFrom(g)
	if err != nil {
		t.Fatal(err)
	}
	b.Contents(contents)
	content, err := b.Finish(size)
	if err == nil {
		err = w.WriteIndex(content, content.Size)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return bytes.NewReader(out.Bytes())
}
