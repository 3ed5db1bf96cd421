package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/backup/members"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/keystore"
	"github.com/takumi-backup/takumi-backup/restore/tree"
)

// openMembers opens the archive of the backup at path by its index, or returns
// members.ErrNoIndex. The caller calls done, unless there is an error.
func (o *opening) openMembers(cmd *cobra.Command, path string) (a *members.Archive, done func(), err error) {
	if path == "-" {
		return nil, nil, members.ErrNoIndex
	}
	ring, err := o.keys.ring()
	if err != nil {
		return nil, nil, err
	}
	warnPlacement(cmd, ring.Sources(), store.Dir(path))
	a, h, err := o.membersBy(cmd.Context(), ring, path)
	if err != nil {
		ring.Close()
		return nil, nil, err
	}
	rec := recordOf(cmd)
	rec.Path, rec.Meter = path, &o.meter
	describe(rec, h.Envelope, kek.ID(h.Holder.Name))
	return a, func() {
		h.Close()
		ring.Close()
	}, nil
}

// membersBy is openMembers with keys that are there already.
func (o *opening) membersBy(ctx context.Context, ring *keystore.Ring, path string) (*members.Archive, *backup.HandleAt, error) {
	h, err := backup.OpenAt(ctx, newPlace(), path, backup.Options{Keys: ring, Rescue: o.rescue})
	if err != nil {
		return nil, nil, aboutPath("opening", path, err)
	}
	a, err := h.Members()
	if err != nil {
		h.Close()
		return nil, nil, aboutPath("opening", path, err)
	}
	return a, h, nil
}

// eachMember calls f with each entry of the archive at path: those of its index, or
// if there is none, those that reading finds, which may have one path several times.
func (o *opening) eachMember(cmd *cobra.Command, path string, f func(*members.Entry) error) error {
	a, done, err := o.openMembers(cmd, path)
	if errors.Is(err, members.ErrNoIndex) {
		return o.scanMembers(cmd, path, func(e *members.Entry, _ io.Reader) error { return f(e) })
	}
	if err != nil {
		return err
	}
	defer done()
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

// scanMembers reads the whole archive.
func (o *opening) scanMembers(cmd *cobra.Command, path string, f func(*members.Entry, io.Reader) error) error {
	b, err := o.open(cmd.Context(), cmd, path)
	if err != nil {
		return err
	}
	defer b.Close()
	hide := o.progress.start(cmd.ErrOrStderr(), "reading", b.size, &o.meter)
	defer hide()
	content := backup.NewPlaintext(b.Reader, &o.meter)
	defer content.Close()
	archive, err := tree.Open(content)
	if err != nil {
		return fmt.Errorf("reading %s: %w", path, err)
	}
	defer archive.Close()
	if err := members.Scan(archive, f); err != nil {
		return fmt.Errorf("reading %s: %w", path, err)
	}
	return nil
}

// writeMember writes the content of one file to dst: by the index, or by reading the
// archive until it is known which of its entries is the last of that name.
func (o *opening) writeMember(cmd *cobra.Command, path, name string, dst io.Writer) error {
	a, done, err := o.openMembers(cmd, path)
	if errors.Is(err, members.ErrNoIndex) {
		if path == "-" {
			return usagef("--member needs a backup that can be read twice, not standard input")
		}
		return o.scanMember(cmd, path, name, dst)
	}
	if err != nil {
		return err
	}
	defer done()
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
			return fmt.Errorf("%q is no file", name)
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
