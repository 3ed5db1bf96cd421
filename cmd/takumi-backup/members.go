package main

import (
	"bufio"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/restore/contents"
)

// errStdin is returned for standard input, which is read in order alone.
var errStdin = errors.New("standard input has no parts that can be read alone")

// openAt opens the backup at path to read any part of it. The caller calls done,
// unless there is an error.
func (o *opening) openAt(cmd *cobra.Command, path string) (h *backup.HandleAt, done func(), err error) {
	if path == "-" {
		return nil, nil, errStdin
	}
	ring, err := o.keys.ring()
	if err != nil {
		return nil, nil, err
	}
	warnPlacement(cmd, ring.Places(), store.Dir(path))
	rec := recordOf(cmd)
	rec.Path, rec.Meter = path, &o.meter
	how, err := o.options(cmd, ring)
	if err == nil {
		h, err = backup.OpenAt(cmd.Context(), newPlace(), path, how)
	}
	if err != nil {
		ring.Close()
		return nil, nil, aboutPath("opening", path, err)
	}
	return h, func() {
		h.Close()
		ring.Close()
	}, nil
}

// look opens what is in the backup at path, by its index if it has one. The caller calls
// done, unless there is an error.
func (o *opening) look(cmd *cobra.Command, path string) (c *contents.Content, done func(), err error) {
	c = &contents.Content{Read: func(f func(*bufio.Reader) error) error { return o.scan(cmd, path, f) }}
	h, done, err := o.openAt(cmd, path)
	if errors.Is(err, errStdin) {
		return c, func() {}, nil
	}
	if err != nil {
		return nil, nil, err
	}
	if err := c.Look(cmd.Context(), h); err != nil {
		done()
		return nil, nil, aboutPath("opening", path, err)
	}
	return c, done, nil
}

func (o *opening) scan(cmd *cobra.Command, path string, f func(*bufio.Reader) error) error {
	b, err := o.open(cmd, path)
	if err != nil {
		return err
	}
	defer b.Close()
	hide := o.progress.start(cmd.ErrOrStderr(), "reading", b.Size(), &o.meter)
	defer hide()
	content := backup.NewPlaintext(b.Handle.Reader, &o.meter)
	defer content.Close()
	if err := f(bufio.NewReaderSize(content, 64<<10)); err != nil {
		return fmt.Errorf("reading %s: %w", path, err)
	}
	return nil
}
