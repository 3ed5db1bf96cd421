package main

import (
	"bufio"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/backup/tables"
	"github.com/takumi-backup/takumi-backup/internal/guard"
	"github.com/takumi-backup/takumi-backup/internal/page"
	"github.com/takumi-backup/takumi-backup/internal/postgres"
)

func eachTable(d *tables.Dump, f func(tables.Table) error) error {
	for t, err := range d.Tables() {
		if err == nil {
			err = f(t)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

type tableJSON struct {
	Table  string `json:"table"` // as psql shows it
	Schema string `json:"schema"`
	Name   string `json:"name"`
	Rows   int64  `json:"rows"`
	Size   *int64 `json:"size,omitempty"` // of the rows in the dump, in bytes; absent where it is not known
}

func (l *lsOutput) table(t tables.Table) error {
	if l.pattern != "" {
		whole, _ := path.Match(l.pattern, t.String()) // it was tried before
		if name, _ := path.Match(l.pattern, t.Table); !whole && !name {
			return nil
		}
	}
	l.found = true
	if l.json {
		line := tableJSON{t.String(), t.Schema, t.Table, t.Rows, nil}
		if t.Size >= 0 {
			line.Size = &t.Size
		}
		return writeJSON(l.out, line)
	}
	size := "?"
	if t.Size >= 0 {
		size = page.BytesText(t.Size)
	}
	_, err := fmt.Fprintf(l.out, "%12d rows %10s  %s\n", t.Rows, size, tableText(t.TableName))
	return stdoutError(err)
}

// tableText is the name of a table on one line of a terminal.
func tableText(name postgres.TableName) string {
	text := name.String()
	if strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return strconv.Quote(text)
	}
	return text
}

func tableName(flag, text string) (postgres.TableName, error) {
	name, err := postgres.ParseTableName(text)
	if err != nil {
		return name, usagef("%s: %w", flag, err)
	}
	return name, nil
}

// rowsTo returns what takes the rows of a table, and what ends it.
func rowsTo(dst io.Writer, format string, columns []string) (io.Writer, func() error) {
	if format == "csv" {
		c := tables.NewCSV(dst, columns)
		return c, c.Close
	}
	return dst, func() error { return nil }
}

func writeTable(d *tables.Dump, name, format string, dst io.Writer) error {
	table, err := tableName("--member", name)
	if err != nil {
		return err
	}
	blocks, err := d.Find(table)
	if err != nil {
		return err
	}
	columns, err := d.Columns(blocks[0])
	if err != nil {
		return err
	}
	w, end := rowsTo(dst, format, columns)
	for _, b := range blocks {
		if _, err := io.CopyBuffer(struct{ io.Writer }{w}, d.Rows(b), make([]byte, 1<<20)); err != nil {
			return fmt.Errorf("reading the rows of %s: %w", b.TableName, err)
		}
	}
	return end()
}

// scanTable is writeTable without an index: it reads the whole dump.
func (o *opening) scanTable(cmd *cobra.Command, path, format, name string, dst io.Writer) error {
	want, err := tableName("--member", name)
	if err != nil {
		return err
	}
	return o.scan(cmd, path, func(src *bufio.Reader) error {
		var w io.Writer
		var end func() error
		err := guard.Copies(src, func(schema, table string, columns []string) (io.Writer, error) {
			if table != want.Table || want.Schema != "" && schema != want.Schema {
				return nil, nil
			}
			if want.Schema = schema; w == nil {
				w, end = rowsTo(dst, format, columns)
			}
			return w, nil
		})
		switch {
		case err != nil:
			return err
		case w == nil:
			return fmt.Errorf("table %s: %w", want, tables.ErrNoTable)
		}
		return end()
	})
}
