package main

import (
	"bufio"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/backup/members"
	"github.com/takumi-backup/takumi-backup/internal/source/tree"
)

type lsCommand struct {
	opening
	long, json bool
}

func newLs() *cobra.Command {
	l := new(lsCommand)
	cmd := &cobra.Command{
		Use:   "ls [flags] FILE|- [PATTERN]",
		Short: "List what is in a sealed archive: uploads, contracts, any tar",
		Long: `List what is in a sealed archive, one path a line, all of it or what PATTERN names
and what is below that. Patterns are those of backup uploads --exclude.

Archives that this program sealed have an index, which is all that is read, also
from S3. Others are read to their end.`,
		Example: `  takumi-backup ls uploads_20261123_020000.tar.zst.enc
  takumi-backup ls -l backup.enc '/avatars/*.png'
  takumi-backup ls --json s3://bucket/uploads/backup.enc | jq -r 'select(.size > 1e9).path'`,
		Args: usageArgs(cobra.RangeArgs(1, 2)),
		RunE: func(cmd *cobra.Command, args []string) error { return l.run(cmd, args) },
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.BoolVarP(&l.long, "long", "l", false, "with type and mode, owner, size and time")
	f.BoolVar(&l.json, "json", false, "print one JSON object a line")
	l.add(cmd)
	return audited(cmd, "ls", reads)
}

func (l *lsCommand) run(cmd *cobra.Command, args []string) error {
	var patterns tree.Patterns
	if len(args) > 1 {
		var err error
		if patterns, err = tree.ParsePatterns(args[1:]); err != nil {
			return usagef("PATTERN: %w", err)
		}
	}
	out := bufio.NewWriter(cmd.OutOrStdout())
	found := false
	err := l.eachMember(cmd, args[0], func(e *members.Entry) error {
		if len(patterns) > 0 && !patterns.MatchAbove(e.Name(), e.Type == "d") {
			return nil
		}
		found = true
		return stdoutError(l.print(out, e))
	})
	if flushErr := stdoutError(out.Flush()); err == nil {
		err = flushErr
	}
	if err == nil && !found && len(patterns) > 0 {
		err = fmt.Errorf("%s holds nothing that %q names", args[0], args[1])
	}
	return err
}

// memberJSON is what ls, find and diff say of an entry to a script.
type memberJSON struct {
	Path     string    `json:"path"`
	Type     string    `json:"type"` // file, folder, link, hard link or other
	Size     int64     `json:"size"`
	Modified time.Time `json:"modified"`
	Mode     string    `json:"mode"`
	UID      int       `json:"uid"`
	GID      int       `json:"gid"`
	Target   string    `json:"target,omitempty"`
}

var memberTypes = map[string]string{"f": "file", "d": "folder", "l": "link", "h": "hard link", "o": "other"}

func memberOf(e *members.Entry) memberJSON {
	return memberJSON{e.Name(), memberTypes[e.Type], e.Size, e.Time(), fmt.Sprintf("%04o", e.Mode), e.UID, e.GID, e.Target()}
}

func (l *lsCommand) print(out io.Writer, e *members.Entry) error {
	switch {
	case l.json:
		return writeJSON(out, memberOf(e))
	case l.long:
		_, err := fmt.Fprintf(out, "%v %6d %6d %12d %s %s\n", e.FileMode(), e.UID, e.GID, e.Size, e.Time().Format("2006-01-02 15:04:05"), memberText(e))
		return err
	}
	_, err := fmt.Fprintln(out, pathText(e.Name()))
	return err
}

// memberText is the path, and where a link leads.
func memberText(e *members.Entry) string {
	switch e.Type {
	case "l":
		return pathText(e.Name()) + " -> " + pathText(e.Target())
	case "h":
		return pathText(e.Name()) + " = " + pathText(e.Target())
	}
	return pathText(e.Name())
}
