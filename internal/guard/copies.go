package guard

import (
	"bytes"
	"io"
)

// Copies reads a plain dump and writes the rows of tables for which want returns a writer,
// in COPY's text format. It ends with the first error of the source, a writer or want.
func Copies(src io.Reader, want func(schema, table string, columns []string) (io.Writer, error)) error {
	c := &copies{want: want}
	l := lexer{to: c}
	buf := make([]byte, 256<<10)
	for {
		n, err := src.Read(buf)
		if err := l.write(buf[:n]); err != nil {
			return err
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

type copies struct {
	want  func(schema, table string, columns []string) (io.Writer, error)
	sql   []byte // the statement at hand
	dst   io.Writer
	begun bool   // the rest of the line of the COPY has passed
	held  []byte // may be the end marker
}

func (c *copies) span(kind spanKind, text []byte) error {
	switch {
	case kind == inQuery:
		c.sql = append(c.sql, text[:min(len(text), maxKept-len(c.sql))]...)
	case kind == inCopy && c.dst != nil:
		if !c.begun {
			i := bytes.IndexByte(text, '\n') + 1
			if c.begun, text = i > 0, text[i:]; !c.begun {
				return nil
			}
		}
		c.held = append(c.held, text...)
		if n := len(c.held) - maxMarker; n > 0 {
			_, err := c.dst.Write(c.held[:n])
			c.held = append(c.held[:0], c.held[n:]...)
			return err
		}
	}
	return nil
}

func (c *copies) comment([]byte) error { return nil }
func (c *copies) order([]byte) error   { c.sql = c.sql[:0]; return nil }

func (c *copies) query(s statement, _ bool) (err error) {
	if isCopy(s) {
		c.dst, c.begun, c.held = nil, false, c.held[:0]
		if schema, table, columns, ok := ParseCopy(c.sql); ok {
			c.dst, err = c.want(schema, table, columns)
		}
	}
	c.sql = c.sql[:0]
	return err
}

func (c *copies) copied(statement, int64) error {
	if c.dst == nil {
		return nil
	}
	_, err := c.dst.Write(bytes.TrimSuffix(bytes.TrimSuffix(trimLine(c.held), []byte(`.`)), []byte(`\`)))
	c.dst = nil
	return err
}
