package tables

import (
	"bytes"
	"fmt"
	"io"
	"strings"
)

// CSV writes rows in the text format of COPY to dst in its CSV format: NULL is
// nothing, and an empty text is "". Each write takes whole or partial rows; Close
// fails when the last is partial.
type CSV struct {
	dst  io.Writer
	row  []byte // that goes on
	out  []byte
	cell []byte
}

// NewCSV returns a CSV that begins with a line of the columns, if there are any.
func NewCSV(dst io.Writer, columns []string) *CSV {
	c := &CSV{dst: dst}
	for i, name := range columns {
		c.field([]byte(name), i == 0)
	}
	if len(columns) > 0 {
		c.out = append(c.out, '\n')
	}
	return c
}

// Write takes rows.
func (c *CSV) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		row, after, whole := bytes.Cut(rest, []byte{'\n'})
		rest = after
		if !whole || len(c.row) > 0 {
			if c.row = append(c.row, row...); !whole {
				break
			}
			row = c.row
		}
		c.convert(row)
		c.row = c.row[:0]
		if len(c.out) >= 64<<10 {
			if err := c.flush(); err != nil {
				return 0, err
			}
		}
	}
	return len(p), nil
}

func (c *CSV) flush() error {
	_, err := c.dst.Write(c.out)
	c.out = c.out[:0]
	return err
}

// Close writes what is left.
func (c *CSV) Close() error {
	if len(c.row) > 0 {
		return fmt.Errorf("the last row is not whole: %w", io.ErrUnexpectedEOF)
	}
	return c.flush()
}

func (c *CSV) convert(row []byte) {
	for first := true; ; first = false {
		cell, rest, more := bytes.Cut(row, []byte{'\t'})
		if string(cell) == `\N` {
			if !first {
				c.out = append(c.out, ',')
			}
		} else {
			c.cell = unescape(c.cell[:0], cell)
			c.field(c.cell, first)
		}
		if row = rest; !more {
			break
		}
	}
	c.out = append(c.out, '\n')
}

func (c *CSV) field(text []byte, first bool) {
	if !first {
		c.out = append(c.out, ',')
	}
	if len(text) > 0 && !bytes.ContainsAny(text, ",\"\r\n") && string(text) != `\.` {
		c.out = append(c.out, text...)
		return
	}
	c.out = append(append(append(c.out, '"'), bytes.ReplaceAll(text, []byte{'"'}, []byte(`""`))...), '"')
}

func unescape(dst, src []byte) []byte {
	for {
		before, rest, found := bytes.Cut(src, []byte{'\\'})
		dst = append(dst, before...)
		if !found || len(rest) == 0 {
			return dst
		}
		c := rest[0]
		src = rest[1:]
		if i := strings.IndexByte("bfnrtv", c); i >= 0 {
			c = "\b\f\n\r\t\v"[i]
		} else if digits, base := octal(rest); digits > 0 {
			c, src = base, rest[digits:]
		} else if digits, value := hex(rest); digits > 0 {
			c, src = value, rest[digits:]
		}
		dst = append(dst, c)
	}
}

func octal(p []byte) (n int, value byte) {
	for n < len(p) && n < 3 && p[n] >= '0' && p[n] <= '7' {
		value = value<<3 | (p[n] - '0')
		n++
	}
	return n, value
}

func hex(p []byte) (n int, value byte) {
	if p[0] != 'x' {
		return 0, 0
	}
	for n = 1; n < len(p) && n < 3; n++ {
		i := strings.IndexByte("0123456789abcdef", p[n]|0x20)
		if i < 0 {
			break
		}
		value = value<<4 | byte(i)
	}
	if n == 1 {
		return 0, 0
	}
	return n, value
}
