package main

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"io"
)

// archive writes a custom-format dump of version 1.14, as PostgreSQL 15 does:
// a table of contents, then a block of zlib-packed pieces for each table
// (internal/guard/custom.go has the layout).
type archive struct{ bytes.Buffer }

const (
	archiveData    = 1 // a block holds a table's rows
	archiveHasData = 1 // an entry's state: its block stands somewhere
	zlibLevel      = 6 // pg_dump's default
	archivePiece   = 4096
)

func (a *archive) int(v int32) {
	sign := byte(0)
	if v < 0 {
		sign, v = 1, -v
	}
	a.WriteByte(sign)
	a.Write(binary.LittleEndian.AppendUint32(nil, uint32(v)))
}

func (a *archive) text(words ...string) {
	for _, s := range words {
		a.int(int32(len(s)))
		a.WriteString(s)
	}
}

// begin writes the header and the table of contents.
func (a *archive) begin() {
	a.WriteString("PGDMP")
	a.Write([]byte{1, 14, 0, 4, 8, 1}) // version, sizes of integers and offsets, custom format
	a.int(-1)                          // compression: the default level
	for _, v := range []int32{0, 0, 0, 1, 0, 125, 0} {
		a.int(v)
	}
	a.text("takumi_db", "15.18", "15.18")
	a.int(int32(len(tables)))
	for i, t := range tables {
		a.int(int32(i + 1))
		a.int(1) // has a dumper
		a.text("1259", "16384", t.name, "TABLE DATA")
		a.int(3) // section: data
		a.text("", "", "COPY public."+t.name+" ("+t.columns+") FROM stdin;\n", "public")
		a.int(-1) // tablespace
		a.text("heap", "takumi", "false")
		a.int(-1) // no dependencies
		a.WriteByte(archiveHasData)
		a.Write(make([]byte, 8))
	}
}

// writeCustomDump writes a custom-format dump of about size bytes.
func writeCustomDump(w io.Writer, size int64) error {
	var a archive
	a.begin()
	if _, err := a.WriteTo(w); err != nil {
		return err
	}
	for i, t := range tables {
		var head archive
		head.WriteByte(archiveData)
		head.int(int32(i + 1))
		if _, err := head.WriteTo(w); err != nil {
			return err
		}
		if err := writeBlock(w, t, int64(float64(size)*t.share)); err != nil {
			return err
		}
	}
	return nil
}

// writeBlock writes packed rows until they fill size bytes.
func writeBlock(w io.Writer, t table, size int64) error {
	out := &pieces{w: w}
	z, err := zlib.NewWriterLevel(out, zlibLevel)
	if err != nil {
		return err
	}
	// The rows go in by turns, until what has come out is enough.
	err = t.write(untilFull{z, out, size}, 1<<62)
	if err != errFull {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	return out.end()
}

var errFull = errors.New("enough")

// untilFull passes rows on until out has had size bytes.
type untilFull struct {
	io.Writer
	out  *pieces
	size int64
}

func (u untilFull) Write(p []byte) (int, error) {
	if u.out.n >= u.size {
		return 0, errFull
	}
	return u.Writer.Write(p)
}

// pieces cuts what is written into a block's pieces.
type pieces struct {
	w    io.Writer
	left []byte
	n    int64
}

func (c *pieces) Write(p []byte) (int, error) {
	c.left = append(c.left, p...)
	c.n += int64(len(p))
	for len(c.left) >= archivePiece {
		if err := c.emit(archivePiece); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

func (c *pieces) emit(n int) error {
	var a archive
	a.int(int32(n))
	a.Write(c.left[:n])
	c.left = append(c.left[:0], c.left[n:]...)
	_, err := a.WriteTo(c.w)
	return err
}

// end writes the last piece and the empty one that ends the block.
func (c *pieces) end() error {
	if len(c.left) > 0 {
		if err := c.emit(len(c.left)); err != nil {
			return err
		}
	}
	return c.emit(0)
}
