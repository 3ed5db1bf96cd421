package archive

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"testing"
)

// built is an archive of one entry, of a version, and data behind it.
func built(minor byte) (contents, all []byte) {
	b := []byte{'P', 'G', 'D', 'M', 'P', 1, minor, 0, 4, 8, 1}
	integer := func(n int) {
		sign := byte(0)
		if n < 0 {
			sign, n = 1, -n
		}
		b = append(b, sign, byte(n), byte(n>>8), byte(n>>16), byte(n>>24))
	}
	text := func(s string) {
		integer(len(s))
		b = append(b, s...)
	}
	if minor >= 15 {
		b = append(b, 0)
	} else {
		integer(0)
	}
	for range 7 {
		integer(1)
	}
	text("db")
	text("15.8")
	text("17.2")
	integer(1)
	integer(300)
	integer(1)
	text("1259")
	text("16385")
	text("odd\nname")
	text("TABLE DATA")
	integer(3)
	text("")
	integer(-1)
	text("COPY s.t (a) FROM stdin;\n")
	text("s")
	text("")
	if minor >= 14 {
		text("heap")
	}
	if minor >= 16 {
		integer('r')
	}
	text("owner")
	text("false")
	text("12")
	integer(-1)
	b = append(b, 1, 0, 0, 0, 0, 0, 0, 0, 0)
	return b, append(bytes.Clone(b), "data"...)
}

func TestContents(t *testing.T) {
	for minor := byte(12); minor <= 16; minor++ {
		contents, all := built(minor)
		c, err := Read(bytes.NewReader(all))
		if err != nil || !bytes.Equal(c.Raw, contents) || c.Server != "15.8" || c.Program != "17.2" || len(c.Entries) != 1 {
			t.Fatalf("1.%d: %+v, %v", minor, c, err)
		}
		want := Entry{ID: 300, Section: 3, OID: "16385", Tag: "odd\nname", Namespace: "s", Desc: "TABLE DATA", Copy: "COPY s.t (a) FROM stdin;\n", Owner: "owner", Needs: []string{"12"}}
		if !reflect.DeepEqual(c.Entries[0], want) {
			t.Errorf("1.%d: %+v", minor, c.Entries[0])
		}
		for n := range contents {
			if _, err := Read(bytes.NewReader(contents[:n])); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Fatalf("1.%d, cut at %d: %v", minor, n, err)
			}
		}
	}
}

func TestUnknownContents(t *testing.T) {
	_, good := built(14)
	for what, change := range map[string]func([]byte){
		"a later version": func(b []byte) { b[6] = 17 }, "an early one": func(b []byte) { b[6] = 11 }, "version 2": func(b []byte) { b[5] = 2 },
		"no archive": func(b []byte) { b[0] = 'X' }, "a folder": func(b []byte) { b[10] = 3 }, "wide integers": func(b []byte) { b[8] = 16 },
		"a text of 2 GB": func(b []byte) { b[11+5+35+4] = 0x7f },
	} {
		b := bytes.Clone(good)
		change(b)
		if _, err := Read(bytes.NewReader(b)); !errors.Is(err, ErrUnknown) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func FuzzRead(f *testing.F) {
	_, good := built(16)
	f.Add(good)
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := Read(bytes.NewReader(b)); err == nil && !bytes.HasPrefix(b, c.Raw) {
			t.Error("the contents are not what was read")
		}
	})
}

// TestPhases: what needs something that comes later is not made before, and the comment
// on an index is made at all.
func TestPhases(t *testing.T) {
	c := &Contents{Entries: []Entry{
		{ID: 1, Section: 2, Desc: "TABLE"}, {ID: 2, Section: 1, Desc: "COMMENT"},
		{ID: 3, Section: 4, Desc: "INDEX", Needs: []string{"1"}}, {ID: 10, Section: 1, Desc: "COMMENT", Needs: []string{"3"}}, {ID: 4, Section: 4, Desc: "FK CONSTRAINT", Defn: "ALTER TABLE ONLY a ADD", Needs: []string{"3"}},
		{ID: 5, Section: 4, Desc: "FK CONSTRAINT", Defn: "ALTER TABLE a ADD"}, {ID: 6, Section: 4, Desc: "FUNCTION"},
		{ID: 7, Section: 4, Desc: "INDEX", Needs: []string{"8"}}, {ID: 8, Section: 4, Desc: "CONSTRAINT", Needs: []string{"6"}}, {ID: 9, Section: 4, Desc: "TRIGGER"},
	}}
	if got, want := c.phases(), [phases][]int{{3}, {4}, {10, 5, 6, 7, 8, 9}}; !reflect.DeepEqual(got, want) {
		t.Errorf("%v", got)
	}
}
