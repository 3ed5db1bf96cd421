package main

import (
	"bufio"
	"errors"
	"fmt"
	"iter"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/backup/members"
	"github.com/takumi-backup/takumi-backup/internal/source/tree"
)

type findCommand struct {
	opening
	json bool
}

func newFind() *cobra.Command {
	c := new(findCommand)
	cmd := &cobra.Command{
		Use:   "find [flags] PATTERN [ROOT]",
		Short: "Find files in the backups of uploads and contracts",
		Long: `Find the backups of uploads and contracts below ROOT, or $BACKUP_ROOT, that hold files
of PATTERN, newest first. Patterns are those of backup uploads --exclude. Versions of
one path that have the same size, time and target have one number: v1 is the newest.

Only the indexes of the backups are read. Backups that have none, or do not open, are
named, and the exit code is 6: ls reads such a backup to its end.`,
		Example: `  takumi-backup find avatars/7.png
  takumi-backup find '*.pdf' s3://bucket/backups --json`,
		Args: usageArgs(cobra.RangeArgs(1, 2)),
		RunE: func(cmd *cobra.Command, args []string) error { return c.run(cmd, args) },
	}
	f := cmd.Flags()
	f.BoolVar(&c.json, "json", false, "print one JSON object a line")
	c.add(cmd)
	return audited(cmd, "find", prints)
}

type foundJSON struct {
	members.Listing
	Version int       `json:"version"`
	Backup  string    `json:"backup"`
	ID      string    `json:"id"`
	Created time.Time `json:"created"`
}

func (c *findCommand) run(cmd *cobra.Command, args []string) error {
	patterns, err := tree.ParsePatterns(args[:1])
	if err != nil {
		return usagef("PATTERN: %w", err)
	}
	ring, err := c.ring()
	if err != nil {
		return err
	}
	how, err := c.opening.options(cmd, ring)
	if err != nil {
		return err
	}
	how.Meter = &c.meter
	recordOf(cmd).Meter = how.Meter
	root := rootArg(args[1:])
	list, err := backup.List(cmd.Context(), newPlace(), root, how)
	if err != nil {
		return fmt.Errorf("listing the backups: %w", err)
	}
	failed := false
	versions := make(members.Versions) // newest first
	out := bufio.NewWriter(cmd.OutOrStdout())
	for i := range list {
		b := &list[i]
		if b.Readable() && backup.Family(b.Kind) != backup.KindUploads && b.Kind != backup.KindContracts {
			continue
		}
		if err := c.in(cmd, how, out, b, patterns, versions); err != nil {
			if cmd.Context().Err() != nil || errors.Is(err, errStdout) {
				return err
			}
			failed = true
			warn(cmd, "%s is passed over: %v", b.Path, err)
		}
	}
	switch err := stdoutError(out.Flush()); {
	case err != nil:
		return err
	case failed:
		return errSome
	case len(versions) == 0:
		return fmt.Errorf("no backup in %s holds what %q names", root, args[0])
	}
	return nil
}

func (c *findCommand) in(cmd *cobra.Command, how backup.Options, out *bufio.Writer, b *backup.Backup, patterns tree.Patterns, versions members.Versions) error {
	if b.Err != nil {
		return b.Err
	}
	h, err := backup.OpenAt(cmd.Context(), newPlace(), b.Path, how)
	if err != nil {
		return aboutPath("opening", b.Path, err)
	}
	defer h.Close()
	a, err := h.Members(cmd.Context())
	if err != nil {
		return aboutPath("opening", b.Path, err)
	}
	for e, err := range a.All() {
		if err != nil {
			return err
		}
		if !patterns.Match(e.Name(), e.Type == "d") {
			continue
		}
		n := versions.Of(e)
		if c.json {
			err = writeJSON(out, foundJSON{e.Listing(), n, b.Path, h.Envelope.ID.String(), b.Created.UTC()})
		} else {
			_, err = fmt.Fprintf(out, "%s v%d %12d %s %s in %s\n", b.Created.UTC().Format(time.RFC3339), n, e.Size, e.Time().Format("2006-01-02 15:04:05"), e.Line(), b.Path)
			err = stdoutError(err)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

type diffCommand struct {
	opening
	json bool
}

func newDiff() *cobra.Command {
	c := new(diffCommand)
	cmd := &cobra.Command{
		Use:   "diff [flags] FILE FILE|DIR",
		Short: "Show in what two archives, or one and a folder, differ",
		Long: `Show how two sealed archives, or an archive and a folder, differ: + is only in the
second, - only in the first, and ~ differs, in the properties that are named.

It compares types, sizes, times, modes and targets of links, by the indexes of the
archives, but not contents. Differences do not change the exit code.`,
		Example: `  takumi-backup diff uploads_20261122_020000.tar.zst.enc uploads_20261123_020000.tar.zst.enc
  takumi-backup diff uploads_20261123_020000.tar.zst.enc /srv/takumi/uploads`,
		Args: usageArgs(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error { return c.run(cmd, args) },
	}
	f := cmd.Flags()
	f.BoolVar(&c.json, "json", false, "print one JSON object a line")
	c.add(cmd)
	return audited(cmd, "diff", prints)
}

func (c *diffCommand) run(cmd *cobra.Command, args []string) error {
	var sides [2]iter.Seq2[*members.Entry, error]
	for i, path := range args {
		side, done, err := c.side(cmd, path)
		if err != nil {
			return err
		}
		defer done()
		sides[i] = side
	}
	out := bufio.NewWriter(cmd.OutOrStdout())
	if err := members.Diff(sides[0], sides[1], func(a, b *members.Entry, in []string) error { return c.print(out, a, b, in) }); err != nil {
		return err
	}
	return stdoutError(out.Flush())
}

func (c *diffCommand) side(cmd *cobra.Command, path string) (side iter.Seq2[*members.Entry, error], done func(), err error) {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		all, err := members.Folder(path)
		return members.Listed(all), func() {}, err
	}
	in, done, err := c.look(cmd, path)
	if err != nil {
		return nil, nil, err
	}
	if side, err = in.Members(cmd.Context()); err != nil {
		done()
	}
	return side, done, err
}

func (c *diffCommand) print(out *bufio.Writer, a, b *members.Entry, in []string) error {
	d := members.Differ(a, b, in)
	if c.json {
		return writeJSON(out, d)
	}
	_, err := fmt.Fprintln(out, d)
	return stdoutError(err)
}
