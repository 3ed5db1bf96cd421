package main

import (
	"bufio"
	"fmt"
	"io"
	"path"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/backup/members"
	"github.com/takumi-backup/takumi-backup/backup/tables"
	"github.com/takumi-backup/takumi-backup/internal/source/tree"
	"github.com/takumi-backup/takumi-backup/internal/values"
)

type lsCommand struct {
	opening
	long, json bool
}

func newLs() *cobra.Command {
	l := new(lsCommand)
	cmd := &cobra.Command{
		Use:   "ls [flags] FILE|- [PATTERN]",
		Short: "List the files or the tables in a backup",
		Long: `List the files in a sealed archive, one path a line: all, or those of PATTERN and
below. Patterns are those of backup uploads --exclude.

For a dump of PostgreSQL it lists the tables with rows, their number of rows and size:
all, or those of PATTERN, with * and ?: schema.table as
psql shows it, or a table in any schema.

Of archives and plain dumps that this program sealed only the index is read, also from
S3. Others are read to their end.`,
		Example: `  takumi-backup ls uploads_20261123_020000.tar.zst.enc
  takumi-backup ls -l backup.enc '/avatars/*.png'
  takumi-backup ls --json s3://bucket/uploads/backup.enc | jq -r 'select(.size > 1e9).path'
  takumi-backup ls takumi_db_20261123_020000.sql.zst.enc 'public.*'`,
		Args: usageArgs(cobra.RangeArgs(1, 2)),
		RunE: func(cmd *cobra.Command, args []string) error { return l.run(cmd, args) },
	}
	f := cmd.Flags()
	f.BoolVarP(&l.long, "long", "l", false, "with type and mode, owner, size and time")
	f.BoolVar(&l.json, "json", false, "print one JSON object a line")
	l.add(cmd)
	return audited(cmd, "ls", prints)
}

func (l *lsCommand) run(cmd *cobra.Command, args []string) error {
	show := &lsOutput{out: bufio.NewWriter(cmd.OutOrStdout()), long: l.long, json: l.json}
	if len(args) > 1 {
		show.pattern = args[1]
		var err error
		if show.files, err = tree.ParsePatterns(args[1:]); err == nil {
			_, err = path.Match(show.pattern, "")
		}
		if err != nil {
			return usagef("PATTERN: %w", err)
		}
	}
	in, done, err := l.look(cmd, args[0])
	if err != nil {
		return err
	}
	defer done()
	err = in.Each(cmd.Context(), show.member, show.table)
	if flushErr := stdoutError(show.out.Flush()); err == nil {
		err = flushErr
	}
	if err == nil && !show.found && show.pattern != "" {
		err = fmt.Errorf("%s holds nothing that %q names", args[0], show.pattern)
	}
	return err
}

type lsOutput struct {
	out        *bufio.Writer
	long, json bool
	pattern    string // of tables; "" is all
	files      tree.Patterns
	found      bool
}

func (l *lsOutput) member(e *members.Entry) error {
	if len(l.files) > 0 && !l.files.MatchAbove(e.Name(), e.Type == "d") {
		return nil
	}
	l.found = true
	return stdoutError(l.print(l.out, e))
}

func (l *lsOutput) print(out io.Writer, e *members.Entry) error {
	switch {
	case l.json:
		return writeJSON(out, e.Listing())
	case l.long:
		_, err := fmt.Fprintf(out, "%v %6d %6d %12d %s %s\n", e.FileMode(), e.UID, e.GID, e.Size, e.Time().Format("2006-01-02 15:04:05"), e.Line())
		return err
	}
	_, err := fmt.Fprintln(out, members.PathText(e.Name()))
	return err
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
		size = values.BytesText(t.Size)
	}
	_, err := fmt.Fprintf(l.out, "%12d rows %10s  %s\n", t.Rows, size, t.Line())
	return stdoutError(err)
}
