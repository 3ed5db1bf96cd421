package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/backup/prune"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/internal/values"
	"github.com/takumi-backup/takumi-backup/verify"
	reports "github.com/takumi-backup/takumi-backup/verify/report"
)

func newList() *cobra.Command {
	var keys keyFlags
	var deleted bool
	var stateDir, signers string
	l := &listCommand{}
	cmd := &cobra.Command{
		Use:   "list [flags] [ROOT]",
		Short: "List the backups of a store, newest first",
		Long: `List the backups in and under ROOT ($BACKUP_ROOT by default), newest first by the
time that each one carries inside.

ID is the beginning of a backup's id, which every command that takes the path of a
backup in $BACKUP_ROOT takes as well: four digits or more that no other id begins with.
Paths are those below ROOT, shortened to fit into 100 columns; --wide shows all.

AUTHENTIC says how well time, kind, name and length are known; the content is not read.
With a key they are authenticated ("yes"), and without one what the file claims
("unchecked"), unless it is "signed" or "sealed here". "archived" is for restore-object.
"NO" is a file that cannot be read, is not a backup or was altered: exit code 6.

VERIFIED is the level up to which verify has last proved the backup, and how long ago;
unjudged where seal did not know the format, so that nobody knows whether the content is
complete. (incomplete) marks a backup without a sidecar, which is written last.`,
		Example: `  takumi-backup list
  takumi-backup list --kind database --name takumi_db --since 7d
  takumi-backup list --latest
  takumi-backup list --json /mnt/usb | jq -r 'select(.kind == "database") | .path'`,
		Args: usageArgs(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if deleted {
				return listDeleted(cmd, rootArg(args), l.json)
			}
			if _, err := path.Match(l.filter.Name, ""); err != nil {
				return usagef("--name %q: %w", l.filter.Name, err)
			}
			ring, err := keys.ring()
			if err != nil {
				return err
			}
			defer ring.Close()
			known := verify.LoadKnown(stateDir, warner(cmd))
			l.root, l.now, l.proved = rootArg(args), time.Now(), known.Memory
			l.how = backup.Options{Keys: ring, Doubt: known.Doubt, Ledger: known.Ledger}
			if l.how.Signers, err = trusted(signers); err != nil {
				return err
			}
			return l.run(cmd)
		},
	}
	f := cmd.Flags()
	f.StringSliceVar(&l.filter.Kinds, "kind", nil, "list only backups of this kind; may be repeated")
	f.StringVar(&l.filter.Name, "name", "", "list only the series of this name, as takumi_db or 'tenant*'")
	f.Var((*sinceFlag)(&l.filter.Since), "since", "list only what was made since then: 7d, 2026-11-01 or 2026-11-01T02:00:00Z")
	f.BoolVar(&l.latest, "latest", false, "list only the newest good backup of each series")
	f.BoolVarP(&l.wide, "wide", "l", false, "show age, kind, name, keys and the whole id too, and whole paths")
	f.BoolVar(&deleted, "deleted", false, "list what was deleted in a bucket that keeps versions, and undelete brings back")
	f.BoolVar(&l.json, "json", false, "print one JSON object per backup and line")
	keys.add(cmd, "authenticate with this key")
	keys.addIdentities(cmd)
	addSigners(f, &signers, "put in doubt what none of these has signed")
	f.StringVar(&stateDir, "state-dir", "", "folder of what verify remembers (default: that of key history)")
	return cmd
}

// sinceFlag is a moment, given as such or as a time span before now.
type sinceFlag time.Time

func (s *sinceFlag) Set(text string) error {
	for _, layout := range []string{time.DateOnly, time.RFC3339} {
		if t, err := time.Parse(layout, text); err == nil {
			*s = sinceFlag(t)
			return nil
		}
	}
	var age values.Age
	if err := age.Set(text); err != nil {
		return errors.New("want a time span such as 7d or 36h, or a time such as 2026-11-01 or 2026-11-01T02:00:00Z")
	}
	*s = sinceFlag(time.Now().Add(-time.Duration(age)))
	return nil
}

func (s *sinceFlag) String() string {
	if time.Time(*s).IsZero() {
		return ""
	}
	return time.Time(*s).UTC().Format(time.RFC3339)
}

func (*sinceFlag) Type() string { return "time" }

func rootArg(args []string) string {
	if len(args) > 0 {
		return args[0]
	}
	return conf.StoreFolder()
}

type listCommand struct {
	filter       backup.Filter
	latest, wide bool
	json         bool

	how    backup.Options
	root   string
	proved *verify.Memory
	now    time.Time
}

func (l *listCommand) run(cmd *cobra.Command) error {
	defer debug.SetGCPercent(debug.SetGCPercent(20)) // what lives is what the list holds
	if ring := l.how.Keys; len(ring.Places()) > 0 {
		warnPlacement(cmd, ring.Places(), l.root)
		if _, err := ring.Current(cmd.Context()); err != nil {
			if cmd.Context().Err() != nil {
				return context.Cause(cmd.Context())
			}
			warn(cmd, "%v; what needs this key is not checked", err)
		}
	}
	found, err := backup.Gather(cmd.Context(), newPlace(), l.root, l.how, l.filter.Match)
	if err != nil {
		return fmt.Errorf("listing the backups: %w", err)
	}
	if l.latest {
		found = found.Newest(l.now.Add(prune.Skew))
	}
	shown := reports.List{Root: l.root, Wide: l.wide, Now: l.now, Proved: l.proved}
	out := bufio.NewWriterSize(cmd.OutOrStdout(), 64<<10)
	if l.json {
		err = shown.Each(found, func(line reports.Listing) error { return writeJSON(out, line) })
	} else if found.Len() == 0 {
		fmt.Fprintf(cmd.ErrOrStderr(), "there are no backups in %s\n", printable(l.root))
	} else {
		err = shown.Print(out, found)
	}
	if err = cmp.Or(err, out.Flush()); err != nil {
		return stdoutError(err)
	}
	if !l.json {
		shown.Complain(cmd.ErrOrStderr(), found)
	}
	return found.Fault()
}

func printable(name string) string { return store.Printable(name) }
