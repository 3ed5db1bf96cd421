package members

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"
)

// TestPlainHeadersAreReadAsTheLibraryDoes: of whole headers of all kinds, and of
// damaged ones whose sum is right.
func TestPlainHeadersAreReadAsTheLibraryDoes(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewChaCha8([32]byte{1}))
	plains := 0
	for i := range 30000 {
		var made bytes.Buffer
		h := &tar.Header{
			Name: fmt.Sprintf("d/%d", r.IntN(1000)), Typeflag: "0051267"[r.IntN(7)], Linkname: []string{"", "to"}[r.IntN(2)],
			Mode: r.Int64N(0o10000), Uid: r.IntN(70000), Gid: r.IntN(70000), Size: r.Int64N(1 << r.IntN(40)),
			Format: []tar.Format{tar.FormatGNU, tar.FormatUSTAR}[r.IntN(2)],
		}
		if h.Typeflag != '0' {
			h.Size = 0
		}
		if tar.NewWriter(&made).WriteHeader(h) != nil || made.Len() < 512 {
			continue // ustar has no files above 8 GiB
		}
		head := made.Bytes()[:512]
		if i%2 == 1 {
			for range 1 + r.IntN(3) {
				head[r.IntN(512)] = []byte{0, ' ', '0', '7', '9', 'a', '/', 0x80, 0xff}[r.IntN(9)]
			}
			copy(head[148:], "        ")
			sum := 0
			for _, c := range head {
				sum += int(c)
			}
			copy(head[148:], fmt.Sprintf("%06o\x00 ", sum))
		}
		got := plainHeader(head)
		if got == nil {
			continue
		}
		plains++
		want, err := tar.NewReader(bytes.NewReader(head)).Next()
		if err != nil {
			t.Fatalf("%q: %v", head, err)
		}
		if g, w := fmt.Sprintf("%+v", entryOf(got, 1, 2)), fmt.Sprintf("%+v", entryOf(want, 1, 2)); g != w {
			t.Fatalf("%q:\n%s\nwant\n%s", head, g, w)
		}
	}
	if plains < 5000 {
		t.Errorf("only %d were plain", plains)
	}
}

// TestLinesAreWrittenAsTheLibraryDoes: for entries with and without each field.
func TestLinesAreWrittenAsTheLibraryDoes(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewChaCha8([32]byte{2}))
	number := func() int64 { return []int64{0, 0, 7, -5, 1 << 62}[r.IntN(5)] }
	name := func() string {
		return []string{"", "a/b c", "a\"b", "a\\", "<&>", "ü", "\x7f\n", "\xff", "~!'"}[r.IntN(9)]
	}
	for range 20000 {
		e := &Entry{Type: "f", Offset: number(), Data: number(), Size: number(), MTime: number(), Mode: number(), UID: int(number()), GID: int(number())}
		e.SetNames(name(), name())
		e.CTime, e.Inode, e.Gone = number(), uint64(number()), r.IntN(10) == 0
		e.Hash = [][]byte{nil, {}, {1}, make([]byte, 32)}[r.IntN(4)]
		if from := int(number()); r.IntN(2) == 0 {
			e.From = &from
		}
		want, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := AppendLine([]byte("x"), e); err != nil || string(got) != "x"+string(want) {
			t.Fatalf("%s, %v; want %s", got, err, want)
		}
	}
}
