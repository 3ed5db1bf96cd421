// Package contents gives what is in a backup, file by file of an archive and table by
// table of a dump: by its index, or where it has none by reading all of it.
package contents

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"math"
	"slices"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/backup/members"
	"github.com/takumi-backup/takumi-backup/backup/tables"
	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/guard"
	"github.com/takumi-backup/takumi-backup/internal/postgres"
	"github.com/takumi-backup/takumi-backup/restore/tree"
)

// Content is that of one backup. It is for one goroutine.
type Content struct {
	// Read has f read the content from its beginning. What has no index is read once or
	// several times.
	Read func(f func(*bufio.Reader) error) error

	archive *members.Archive
	dump    *tables.Dump
}

// Look takes the index of a backup, if it has one; h stays open as long as c is used.
func (c *Content) Look(ctx context.Context, h *backup.HandleAt) (err error) {
	if c.archive, err = h.Members(ctx); errors.Is(err, members.ErrNoIndex) {
		if c.dump, err = h.Tables(); errors.Is(err, tables.ErrNoIndex) {
			err = nil
		}
	}
	return err
}

// Each calls member with what is in an archive, or table with the tables of a dump. It
// ends with their error.
func (c *Content) Each(ctx context.Context, member func(*members.Entry) error, table func(tables.Table) error) error {
	switch {
	case c.archive != nil:
		return each(c.listed(ctx), member)
	case c.dump != nil:
		return each(c.dump.Tables(), table)
	}
	return c.Read(func(src *bufio.Reader) error {
		head, err := src.Peek(guard.SniffLen)
		if err != nil && err != io.EOF {
			return err
		}
		if format := guard.Sniff(head); format != guard.PlainDump && format != guard.CustomDump {
			return scan(src, func(e *members.Entry, _ io.Reader) error { return member(e) })
		}
		all, err := tables.Scan(src)
		for _, t := range all {
			if err == nil {
				err = table(t)
			}
		}
		return err
	})
}

func each[T any](all iter.Seq2[T, error], f func(T) error) error {
	for t, err := range all {
		if err == nil {
			err = f(t)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Members are the entries of an archive, in the order of [members.Archive.All].
func (c *Content) Members(ctx context.Context) (iter.Seq2[*members.Entry, error], error) {
	if c.archive != nil {
		return c.listed(ctx), nil
	}
	var all []*members.Entry
	err := c.scan(func(e *members.Entry, _ io.Reader) error {
		all = append(all, e)
		return nil
	})
	return members.Listed(members.Sorted(all)), err
}

func (c *Content) listed(ctx context.Context) iter.Seq2[*members.Entry, error] {
	return func(yield func(*members.Entry, error) bool) {
		for e, err := range c.archive.All() {
			if err == nil && ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
}

func (c *Content) scan(f func(*members.Entry, io.Reader) error) error {
	return c.Read(func(src *bufio.Reader) error { return scan(src, f) })
}

func scan(src *bufio.Reader, f func(*members.Entry, io.Reader) error) error {
	// What cannot be peeked at is for the archive to say.
	if head, _ := src.Peek(guard.SniffLen); slices.Contains([]guard.Format{guard.PlainDump, guard.CustomDump}, guard.Sniff(head)) {
		return fail.New(fail.Failed, "takumi-backup ls shows what a dump holds; diff compares archives alone", "it is a dump, and not an archive of files")
	}
	archive, err := tree.Open(src)
	if err != nil {
		return err
	}
	defer archive.Close()
	return members.Scan(archive, f)
}

// IsDump says whether the content is a plain dump.
func (c *Content) IsDump() (is bool, err error) {
	if c.dump != nil || c.archive != nil {
		return c.dump != nil, nil
	}
	err = c.Read(func(src *bufio.Reader) error {
		head, err := src.Peek(guard.SniffLen)
		is = guard.Sniff(head) == guard.PlainDump
		if err == io.ErrUnexpectedEOF || err == io.EOF {
			err = nil // its end says no more than the rest does later
		}
		return err
	})
	return is, err
}

// WriteFile writes a file of an archive: the last of that name, and through a hard link
// the last before the link. Without an index the archive is read to its end for each name,
// and once more.
func (c *Content) WriteFile(name string, dst io.Writer) error {
	if c.archive != nil {
		e, err := c.archive.File(name)
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%q: %w", name, tree.ErrNoMatch)
		}
		if err != nil {
			return err
		}
		r, _, err := c.archive.Open(e)
		if err == nil {
			_, err = io.Copy(dst, r)
		}
		return err
	}
	name = members.Clean(name)
	for end := math.MaxInt; ; { // the entry before which it must be
		var found *members.Entry
		n, last := 0, 0
		if err := c.scan(func(e *members.Entry, _ io.Reader) error {
			if n++; n < end && e.Name() == name {
				found, last = e, n
			}
			return nil
		}); err != nil {
			return err
		}
		switch {
		case found == nil:
			return fmt.Errorf("%q: %w", name, tree.ErrNoMatch)
		case found.Type == "h":
			name, end = found.Target(), last
			continue
		case found.Type != "f":
			return fmt.Errorf("%q is not a file", name)
		}
		n = 0
		return c.scan(func(_ *members.Entry, r io.Reader) error {
			if n++; n != last {
				return nil
			}
			_, err := io.Copy(dst, r)
			return err
		})
	}
}

// WriteRows writes the rows of a table of a dump, as COPY writes them or with csv as CSV
// with a line of the columns' names.
func (c *Content) WriteRows(name string, csv bool, dst io.Writer) error {
	want, err := postgres.ParseTableName(name)
	if err != nil {
		return fail.Usagef("--member: %w", err)
	}
	if c.dump == nil {
		return c.Read(func(src *bufio.Reader) error { return scanRows(src, want, csv, dst) })
	}
	blocks, err := c.dump.Find(want)
	if err != nil {
		return err
	}
	columns, err := c.dump.Columns(blocks[0])
	if err != nil {
		return err
	}
	w, end := rowsTo(dst, csv, columns)
	for _, b := range blocks {
		if _, err := io.CopyBuffer(struct{ io.Writer }{w}, c.dump.Rows(b), make([]byte, 1<<20)); err != nil {
			return fmt.Errorf("reading the rows of %s: %w", b.TableName, err)
		}
	}
	return end()
}

func scanRows(src io.Reader, want postgres.TableName, csv bool, dst io.Writer) error {
	var w io.Writer
	var end func() error
	err := guard.Copies(src, func(schema, table string, columns []string) (io.Writer, error) {
		if table != want.Table || want.Schema != "" && schema != want.Schema {
			return nil, nil
		}
		if want.Schema = schema; w == nil {
			w, end = rowsTo(dst, csv, columns)
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
}

// rowsTo returns what takes the rows of a table, and what ends it.
func rowsTo(dst io.Writer, csv bool, columns []string) (io.Writer, func() error) {
	if csv {
		c := tables.NewCSV(dst, columns)
		return c, c.Close
	}
	return dst, func() error { return nil }
}
