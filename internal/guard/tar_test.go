package guard_test

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
)

// header is one tar block with a right checksum.
func header(kind byte, size string, change func(h []byte)) string {
	h := make([]byte, 512)
	copy(h, "name")
	copy(h[124:], size)
	h[156] = kind
	copy(h[257:], "ustar\x0000")
	if change != nil {
		change(h)
	}
	sum := 8 * int(' ')
	for _, b := range h {
		sum += int(b)
	}
	copy(h[148:], fmt.Sprintf("%06o\x00 ", sum))
	return string(h)
}

func block(s string) string { return s + strings.Repeat("\x00", 512-len(s)) }

func TestTar(t *testing.T) {
	end := strings.Repeat("\x00", 1024)
	body := block("body")
	for _, tt := range []struct {
		name  string
		data  string
		whole bool
	}{
		{"octal size", header('0', "00000000004 ", nil) + body + end, true},
		{"binary size", header('0', "\x80\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x04", nil) + body + end, true},
		{"folder that claims a size", header('5', "00000000004 ", nil) + end, true},
		{"PAX size in place of the header's", header('x', "00000000024 ", nil) + block("10 size=4\n10 path=a\n") + header('0', "0", nil) + body + end, true},
		{"PAX size is for one file", header('x', "00000000012 ", nil) + block("10 size=4\n") + header('0', "0", nil) + body + header('0', "0", nil) + end, true},
		{"empty PAX header", header('x', "0", nil) + header('0', "4", nil) + body + end, true},
		{"sparse file with two more maps", header('S', "4", func(h []byte) { h[482] = 1 }) +
			strings.Repeat("m", 512) + strings.Repeat("\x00", 512) + body + end, true},
		{"padding that is not a whole block", header('0', "0", nil) + end + "\x00\x00", true},

		{"a header of 1979", header('0', "4", func(h []byte) { clear(h[257:265]) }) + body + end, true},
		{"a header of 1979, cut", header('0', "4", func(h []byte) { clear(h[257:265]) }) + body, false},
		{"something behind a number's end", header('0', "4\x00 9", nil) + body + end, true},
		{"folder of an incremental archive", header('D', "4", nil) + body + end, true},

		{"wrong checksum", strings.Replace(header('0', "0", nil), "name", "nome", 1) + end, false},
		{"size that is not a number", header('0', "00000000009 ", nil) + body + end, false},
		{"negative binary size", header('0', "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", nil) + end, false},
		{"binary size above 63 bits", header('0', "\x80\x00\x00\x00\x80\x00\x00\x00\x00\x00\x00\x00", nil) + end, false},
		{"PAX record that is none", header('x', "00000000012 ", nil) + block("11 size=4\n") + header('0', "4", nil) + body + end, false},
		{"PAX size that is not a number", header('x', "00000000013 ", nil) + block("11 size=-4\n") + header('0', "4", nil) + body + end, false},
		{"no end", header('0', "0", nil), false},
		{"one zero block", header('0', "0", nil) + end[:512], false},
		{"one zero block between", header('0', "0", nil) + end[:512] + header('0', "0", nil) + end, false},
		{"a block behind the end", header('0', "0", nil) + end + body, false},
		{"a byte behind the end", header('0', "0", nil) + end + "x", false},
		{"cut in its first header", header('0', "0", nil)[:400], false},
		{"cut in a sparse map", header('S', "4", func(h []byte) { h[482] = 1 }) + strings.Repeat("m", 512), false},
		{"cut in a PAX header", header('x', "00000001012 ", nil) + block("10 size=4\n"), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := verdict([]byte(tt.data)); (err == nil) != tt.whole {
				t.Errorf("got %v", err)
			}
		})
	}
}

// Files above 8 GiB do not fit the octal field: GNU writes a binary number,
// PAX a record and any number in the header.
func TestTarOfLargeFiles(t *testing.T) {
	const size = 8<<30 + 5
	for _, format := range []tar.Format{tar.FormatGNU, tar.FormatPAX} {
		var head bytes.Buffer
		w := tar.NewWriter(&head)
		if err := w.WriteHeader(&tar.Header{Name: "large", Size: size, Format: format}); err != nil {
			t.Fatal(err)
		}
		rest := int64(size+511)&^511 + 1024
		whole := func(n int64) io.Reader {
			return io.MultiReader(bytes.NewReader(head.Bytes()), io.LimitReader(&zeros{}, n))
		}
		if _, err := discard(whole(rest)); err != nil {
			t.Errorf("%v: %v", format, err)
		}
		if _, err := discard(whole(rest - 1024)); err == nil {
			t.Errorf("%v: accepted without its end", format)
		}
	}
}

// zeros clears a buffer once, and trusts that it stays so when it comes again.
type zeros struct{ clean *byte }

func (z *zeros) Read(p []byte) (int, error) {
	if z.clean != &p[0] {
		clear(p)
		z.clean = &p[0]
	}
	return len(p), nil
}
