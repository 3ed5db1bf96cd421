package members

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// TestPlainHeadersAreReadAsTheLibraryDoes: of whole headers of all kinds, and of
// damaged ones whose sum is right.
func TestPlainHeadersAreReadAsTheLibraryDoes(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewChaCha8([32]byte{1}))
	plains, timed := 0, 0
	for i := range 30000 {
		var made bytes.Buffer
		h := &tar.Header{
			Name: fmt.Sprintf("d/%d", r.IntN(1000)), Typeflag: "0051267"[r.IntN(7)], Linkname: []string{"", "to"}[r.IntN(2)],
			Mode: r.Int64N(0o10000), Uid: r.IntN(70000), Gid: r.IntN(70000), Size: r.Int64N(1 << r.IntN(40)),
			ModTime: time.Unix(r.Int64N(1<<33), r.Int64N(2)*r.Int64N(1e9)),
			Format:  []tar.Format{tar.FormatGNU, tar.FormatUSTAR, tar.FormatPAX}[r.IntN(3)],
		}
		if h.Format == tar.FormatPAX && r.IntN(3) == 0 {
			h.AccessTime, h.ChangeTime = h.ModTime.Add(1), h.ModTime.Add(-1)
			if r.IntN(4) == 0 {
				h.PAXRecords = map[string]string{"comment": "x"}
			}
		}
		if h.Typeflag != '0' {
			h.Size = 0
		}
		if tar.NewWriter(&made).WriteHeader(h) != nil || made.Len() < 512 {
			continue // ustar has no files above 8 GiB
		}
		head := made.Bytes()
		if i%2 == 1 {
			for range 1 + r.IntN(3) {
				head[r.IntN(len(head))] = []byte{0, ' ', '0', '7', '9', 'a', '/', '.', '=', '\n', 0x80, 0xff}[r.IntN(12)]
			}
			for at := 0; at < len(head); at += 1024 {
				resum(head[at : at+512])
			}
		}
		got := plainHeader(head, files)
		if got != nil {
			plains++
		} else if got = timedHeader(head); got != nil {
			timed++
		} else {
			continue
		}
		want, err := tar.NewReader(bytes.NewReader(head)).Next()
		if err != nil {
			t.Fatalf("%q: %v", head, err)
		}
		if g, w := fmt.Sprintf("%+v", entryOf(got, 1, 2)), fmt.Sprintf("%+v", entryOf(want, 1, 2)); g != w {
			t.Fatalf("%q:\n%s\nwant\n%s", head, g, w)
		}
	}
	if plains < 3500 || timed < 800 {
		t.Errorf("only %d were plain, and %d had times", plains, timed)
	}
}

// resum sets the checksum of a block.
func resum(block []byte) {
	copy(block[148:], "        ")
	sum := 0
	for _, c := range block {
		sum += int(c)
	}
	copy(block[148:], fmt.Sprintf("%06o\x00 ", sum))
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
