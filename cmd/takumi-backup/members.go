package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/backup/members"
	"github.com/takumi-backup/takumi-backup/backup/tables"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/keystore"
	"github.com/takumi-backup/takumi-backup/restore/tree"
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
	how, err := o.options(ring)
	if err == nil {
		h, err = backup.OpenAt(cmd.Context(), newPlace(), path, how)
	}
	if err != nil {
		ring.Close()
		return nil, nil, aboutPath("opening", path, err)
	}
	if err := o.fits(cmd, path, h.Envelope); err != nil {
		h.Close()
		ring.Close()
		return nil, nil, err
	}
	rec := recordOf(cmd)
	rec.Path, rec.Meter = path, &o.meter
	describe(rec, h.Envelope, h.Holder)
	return h, func() {
		h.Close()
		ring.Close()
	}, nil
}

// inside is what is in a backup: by its index an archive or a dump, and neither where
// it has none.
type inside struct {
	archive *members.Archive
	dump    *tables.Dump
	done    func() // is to be called
}

func (o *opening) look(cmd *cobra.Command, path string) (in inside, err error) {
	h, done, err := o.openAt(cmd, path)
	if errors.Is(err, errStdin) {
		return inside{done: func() {}}, nil
	}
	if err != nil {
		return in, err
	}
	in.done = done
	if in.archive, err = h.Members(cmd.Context()); errors.Is(err, members.ErrNoIndex) {
		if in.dump, err = h.Tables(); errors.Is(err, tables.ErrNoIndex) {
			err = nil
		}
	}
	if err != nil {
		done()
		return in, aboutPath("opening", path, err)
	}
	return in, nil
}

// openMembers opens the archive of the backup at path by its index, or returns
// members.ErrNoIndex. The caller calls done, unless there is an error.
func (o *opening) openMembers(cmd *cobra.Command, path string) (a *members.Archive, done func(), err error) {
	in, err := o.look(cmd, path)
	if err == nil && in.archive == nil {
		in.done()
		err = members.ErrNoIndex
	}
	return in.archive, in.done, err
}

// membersBy opens an archive by its index with keys that are there already.
func (o *opening) membersBy(ctx context.Context, ring *keystore.Ring, path string) (*members.Archive, *backup.HandleAt, error) {
	how, err := o.options(ring)
	if err != nil {
		return nil, nil, err
	}
	h, err := backup.OpenAt(ctx, newPlace(), path, how)
	if err != nil {
		return nil, nil, aboutPath("opening", path, err)
	}
	a, err := h.Members(ctx)
	if err != nil {
		h.Close()
		return nil, nil, aboutPath("opening", path, err)
	}
	return a, h, nil
}

func eachEntry(cmd *cobra.Command, a *members.Archive, f func(*members.Entry) error) error {
	for e, err := range a.All() {
		if err == nil && cmd.Context().Err() != nil {
			err = context.Cause(cmd.Context())
		}
		if err == nil {
			err = f(e)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (o *opening) scanMembers(cmd *cobra.Command, path string, f func(*members.Entry, io.Reader) error) error {
	return o.scan(cmd, path, func(src *bufio.Reader) error { return scanArchive(src, f) })
}

func scanArchive(src io.Reader, f func(*members.Entry, io.Reader) error) error {
	archive, err := tree.Open(src)
	if err != nil {
		return err
	}
	defer archive.Close()
	return members.Scan(archive, f)
}

func (o *opening) scan(cmd *cobra.Command, path string, f func(*bufio.Reader) error) error {
	b, err := o.open(cmd.Context(), cmd, path)
	if err != nil {
		return err
	}
	defer b.Close()
	hide := o.progress.start(cmd.ErrOrStderr(), "reading", b.size, &o.meter)
	defer hide()
	content := backup.NewPlaintext(b.Reader, &o.meter)
	defer content.Close()
	if err := f(bufio.NewReaderSize(content, 64<<10)); err != nil {
		return fmt.Errorf("reading %s: %w", path, err)
	}
	return nil
}

func writeMember(a *members.Archive, name string, dst io.Writer) error {
	e, err := a.File(name)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%q: %w", name, tree.ErrNoMatch)
	}
	if err != nil {
		return err
	}
	r, _, err := a.Open(e)
	if err != nil {
		return err
	}
	_, err = io.Copy(dst, r)
	return err
}

// scanMember is writeMember without an index: it reads the archive until it is known
// which of its entries is the last of that name.
func (o *opening) scanMember(cmd *cobra.Command, path, name string, dst io.Writer) error {
	name = members.Clean(name)
	for {
		var found *members.Entry
		n, last := 0, 0
		if err := o.scanMembers(cmd, path, func(e *members.Entry, _ io.Reader) error {
			if n++; e.Name() == name {
				found, last = e, n
			}
			return nil
		}); err != nil {
			return err
		}
		switch {
		case found == nil:
			return fmt.Errorf("%q: %w", name, tree.ErrNoMatch)
		case found.Type == "h" && found.Target() != name:
			name = found.Target()
			continue
		case found.Type != "f":
			return fmt.Errorf("%q is not a file", name)
		}
		n = 0
		return o.scanMembers(cmd, path, func(_ *members.Entry, r io.Reader) error {
			if n++; n != last {
				return nil
			}
			_, err := io.Copy(dst, r)
			return err
		})
	}
}
