package guard_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/takumi-backup/takumi-backup/internal/guard"
)

// archive writes a custom-format dump piece by piece, in any version.
type archive struct {
	bytes.Buffer
	minor   byte
	intSize int
}

func newArchive(minor byte, intSize int) *archive {
	a := &archive{minor: minor, intSize: intSize}
	a.WriteString("PGDMP")
	a.Write([]byte{1, minor, 0, byte(intSize), 8, 1})
	if minor >= 15 {
		a.WriteByte(1)
	} else {
		a.int(-1)
	}
	for range 7 {
		a.int(42)
	}
	return a.strings("db", "17.0", "17.0")
}

func (a *archive) int(v int64) *archive {
	sign := byte(0)
	if v < 0 { // the smallest one stays what it is, 1<<63 when unsigned
		sign, v = 1, -v
	}
	a.WriteByte(sign)
	a.Write(binary.LittleEndian.AppendUint64(nil, uint64(v))[:a.intSize])
	return a
}

func (a *archive) strings(texts ...string) *archive {
	for _, s := range texts {
		a.int(int64(len(s))).WriteString(s)
	}
	return a
}

func (a *archive) entry(id int64, state byte) *archive {
	a.int(id).int(1).strings("1259", "16384", "t", "TABLE DATA").int(3)
	a.strings("", "", "COPY t").int(-1).strings("") // a missing namespace
	if a.minor >= 14 {
		a.strings("heap")
	}
	if a.minor >= 16 {
		a.int('r')
	}
	a.strings("owner", "false", "217", "218").int(-1)
	a.WriteByte(state)
	a.Write(make([]byte, 8))
	return a
}

func (a *archive) block(kind byte, id int64) *archive {
	a.WriteByte(kind)
	return a.int(id)
}

func TestCustomVersions(t *testing.T) {
	for minor := byte(12); minor <= 16; minor++ {
		for _, intSize := range []int{4, 8} {
			a := newArchive(minor, intSize).int(4)
			a.entry(7, 1).entry(70, 2).entry(8, 3).entry(9, 1)
			a.block(1, 70).strings("some", "rows").int(0)
			a.block(3, 7).int(-2147483648).strings("large").int(0).int(5).int(0).int(0) // an empty object
			a.block(1, 9).int(0)
			data := a.Bytes()
			if err := verdict(data); err != nil {
				t.Errorf("1.%d, %d-byte integers: %v", minor, intSize, err)
			}
			for n := 5; n < len(data); n++ {
				if err := verdict(data[:n]); err == nil {
					t.Errorf("1.%d, %d-byte integers, cut at %d: accepted", minor, intSize, n)
				}
			}
		}
	}
}

func TestCustomMalformed(t *testing.T) {
	header := func(at int, v byte) *archive {
		a := newArchive(14, 4).int(0)
		a.Bytes()[at] = v
		return a
	}
	one := func() *archive { return newArchive(14, 4).int(1) }
	for _, tt := range []struct {
		name        string
		archive     *archive
		unsupported bool
	}{
		{"newer minor version", header(6, 17), true},
		{"older minor version", header(6, 11), true},
		{"newer major version", header(5, 2), true},
		{"a directory dump's contents", header(10, 5), true},
		{"integers of 3 bytes", header(8, 3), false},
		{"offsets of 0 bytes", header(9, 0), false},
		{"integer with a third sign", header(11, 2), false},
		{"negative number of entries", newArchive(14, 4).int(-1), false},
		{"entry number 0", one().int(0), false},
		{"text of negative length", one().int(7).int(1).int(-2), false},
		{"dependency of negative length", one().int(7).int(1).strings("1", "2", "t", "d").int(3).strings("", "", "", "", "", "", "o", "f").int(-3), false},
		{"unknown state", one().entry(7, 4), false},
		{"two entries of one number", newArchive(14, 4).int(2).entry(7, 1).entry(7, 2), false},
		{"unknown block", one().entry(7, 1).block(2, 7), false},
		{"block of nobody", one().entry(7, 1).block(1, 8), false},
		{"block of an entry without data", one().entry(7, 3).block(1, 7), false},
		{"block twice", one().entry(7, 1).block(1, 7).int(0).block(1, 7), false},
		{"negative piece of data", one().entry(7, 1).block(1, 7).int(-1), false},
		{"something behind the end", one().entry(7, 3).block(0, 0), false},
		{"integer above 63 bits", newArchive(14, 8).int(-1 << 63), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			// What follows does not matter: it is refused before.
			size := int64(tt.archive.Len())
			tt.archive.Write(bytes.Repeat([]byte{0xff}, guard.SniffLen))
			r := guard.NewReader(&tt.archive.Buffer, guard.Options{})
			_, err := r.Read(make([]byte, tt.archive.Len()))
			var incomplete *guard.IncompleteError
			if !errors.As(err, &incomplete) || incomplete.Format != guard.CustomDump || incomplete.Offset > size {
				t.Fatalf("got %v", err)
			}
			if errors.Is(err, guard.ErrUnsupported) != tt.unsupported {
				t.Errorf("unsupported = %v: %v", !tt.unsupported, err)
			}
		})
	}
}
