package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/backup/prune"
	"github.com/takumi-backup/takumi-backup/internal/postgres"
	pgrestore "github.com/takumi-backup/takumi-backup/restore/database"
)

type restoreDatabase struct {
	opening
	database     databaseFlags
	into         string
	latest       bool
	yes          bool
	dryRun       bool
	dropPrevious bool
	json         bool
	unchecked    bool
	from         string
	createRoles  bool
	guard        string
	keepGoing    bool
	swap         bool

	settings *postgres.Settings
}

func newRestoreDatabase() *cobra.Command {
	r := &restoreDatabase{opening: opening{mustFit: true}}
	cmd := &cobra.Command{
		Use:   "database [flags] FILE|-|--latest",
		Short: "Restore a PostgreSQL database from a sealed dump",
		Long: `Restore a sealed dump, plain, custom or tar, also compressed by gzip, zstd or bzip2,
into PostgreSQL. Of a plain one psql gets what fills the database, and not what pg_dump -C
and -c write about the database itself; commands of psql in it are refused.

` + databaseHelp + `

The dump goes into a new database, NAME_restore_TIME, in which it is checked: by
the manifest, when one stands beside the backup, and otherwise that it has tables.
Then the connections to NAME are ended, and in one transaction NAME becomes
NAME_before_TIME and the new one becomes NAME, with the owner, rights and settings
of the former. A failure, a signal or a damaged backup before that leaves NAME as
it was, and the new database is removed.

A database that the server has lost gets back what it was, by the manifest: owner,
rights, settings, encoding and collation. Before anything is done it is looked for
roles, tablespaces and extensions that the dump needs and the server lacks, for
prepared transactions and subscriptions that are in the way of the exchange, and for
the backup of another database, which --from-database NAME lets pass. --create-roles
makes the roles, which may do nothing; the backup of the globals has the real ones.

When a statement of the dump fails, nothing is restored; with --keep-going the rest
is, into NAME_partial_TIME, which is left beside NAME, or with --swap takes its place.

The former stays until --drop-previous: with FILE it, and no other, is dropped
after a good restore, and without FILE all that earlier restores of NAME have kept.`,
		Example: `  DB_NAME=takumi takumi-backup restore database takumi_db_20261123_020000.sql.zst.enc
  takumi-backup restore database --latest --into takumi_test --yes
  takumi-backup restore database --drop-previous`,
		Args: usageArgs(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error { return r.run(cmd, args) },
	}
	r.database.add(cmd)
	f := cmd.Flags()
	f.StringVar(&r.into, "into", "", "restore beside, into a new database of this name")
	f.BoolVar(&r.latest, "latest", false, "restore the newest backup of this database that is whole and authentic")
	f.BoolVarP(&r.yes, "yes", "y", false, "do not ask")
	f.BoolVarP(&r.dryRun, "dry-run", "n", false, "show what would be done, and do nothing")
	f.BoolVar(&r.dropPrevious, "drop-previous", false, "drop the database just replaced, or without FILE those that earlier restores have kept")
	f.BoolVar(&r.unchecked, "ignore-manifest", false, "do not compare with the manifest that stands beside the backup")
	f.StringVar(&r.from, "from-database", "", "the backup is of the database of this name, and is meant all the same")
	f.StringVar(&r.guard, "guard", "on", "with off, restore what does not look like a whole dump as far as psql takes it")
	f.BoolVar(&r.keepGoing, "keep-going", false, "restore the rest when a statement fails, as psql does, into NAME_partial_TIME or --into; exit code 6")
	f.BoolVar(&r.swap, "swap", false, "with --keep-going, exchange the databases although something failed")
	f.BoolVar(&r.createRoles, "create-roles", false, "make the roles that the dump needs and the server lacks, without login, password or right")
	f.BoolVar(&r.json, "json", false, "print what was done as JSON")
	r.opening.add(cmd)
	return auditedBy(cmd, "restore database", func([]string) effect {
		if r.into != "" {
			return reads
		}
		return changes
	})
}

func (r *restoreDatabase) check(cmd *cobra.Command, args []string) (err error) {
	only := r.dropPrevious && len(args) == 0 && !r.latest
	switch {
	case len(args) > 0 && r.latest:
		return usagef("--latest finds the backup by itself: leave %q out", args[0])
	case len(args) == 0 && !r.latest && !only:
		return usagef("name a backup, or give --latest")
	case cmd.Flags().Changed("into") && r.into == "":
		return usagef("--into is empty")
	case r.swap && !r.keepGoing:
		return usagef("--swap goes with --keep-going: without it nothing may fail")
	case r.guard != "on" && r.guard != "off":
		return usagef("--guard is %q, neither on nor off", r.guard)
	case r.into != "" && r.dropPrevious:
		return usagef("--into leaves the live database alone, so that there is nothing for --drop-previous")
	case len(args) > 0 && args[0] == "-" && isTerminal(os.Stdin):
		return usagef("standard input is a terminal: pipe a backup in, or name a file")
	case !r.yes && !r.dryRun && (!isTerminal(os.Stdin) || !isTerminal(os.Stderr)):
		return usagef("there is no terminal to ask on: give --yes, or --dry-run to see what would be done")
	}
	r.settings, err = r.database.settings(cmd)
	return err
}

func (r *restoreDatabase) run(cmd *cobra.Command, args []string) error {
	if err := r.check(cmd, args); err != nil {
		return err
	}
	// What reads standard input has to end with this command.
	whole := cmd.Context()
	ctx, cancel := context.WithCancel(whole)
	defer cancel()
	cmd.SetContext(ctx)
	if len(args) == 0 && !r.latest {
		return r.runDrop(cmd)
	}
	path, err := r.find(cmd, args)
	if err != nil {
		return err
	}
	b, err := r.open(cmd, path)
	if err != nil {
		return err
	}
	defer b.Close()
	o := r.options(cmd)
	o.Manifest, o.Unchecked = r.readManifest(cmd, path, b), r.unchecked
	o.KeepGoing, o.Swap = r.keepGoing, r.swap
	o.Unguarded = r.guard == "off"
	o.Source, o.From, o.CreateRoles = backup.SourceOf(b.Envelope), r.from, r.createRoles
	for _, name := range []string{r.settings.Database(), r.from} {
		if o.Source != "" && o.Source == backup.FileNameOf(name) { // of which a file's name may be a simpler form
			o.Source = name
		}
	}
	at, err := pgrestore.Begin(ctx, o)
	if err != nil {
		return err
	}
	defer at.Close()
	if err := r.showPlan(cmd, path, b, o, at.Plan()); err != nil || r.dryRun {
		return err
	}
	if err := r.confirm(cmd, at.Plan().Target); err != nil {
		return err
	}
	hide := r.progress.start(cmd.ErrOrStderr(), "restoring", b.size, &r.meter)
	content := backup.NewPlaintext(b.Reader, &r.meter)
	result, err := at.Run(ctx, content)
	cancel()
	content.Close()
	hide()
	if o.Manifest != nil && !r.unchecked && errors.Is(err, pgrestore.ErrDiffers) {
		err = fmt.Errorf("%w\n--ignore-manifest restores without this comparison", err)
	}
	if err != nil {
		return fmt.Errorf("restoring %s: %w", path, err)
	}
	cmd.SetContext(whole)
	return r.finish(cmd, path, at, result)
}

func (r *restoreDatabase) options(cmd *cobra.Command) pgrestore.Options {
	return pgrestore.Options{Settings: r.settings, Into: r.into, Time: time.Now(), Stderr: os.Stderr, Tell: func(format string, args ...any) {
		if !r.progress.quiet {
			fmt.Fprintf(cmd.ErrOrStderr(), format+"\n", args...)
		}
	}}
}

// find returns the path of the backup to restore.
func (r *restoreDatabase) find(cmd *cobra.Command, args []string) (string, error) {
	if !r.latest {
		return args[0], nil
	}
	ring, err := r.keys.ring()
	if err != nil {
		return "", err
	}
	defer ring.Close()
	folder, name := backupFolder(backup.KindDatabase), backup.FileNameOf(r.settings.Database())+"_db"
	place, opts := newPlace(), backup.Options{Keys: ring, Doubt: doubter(cmd, "")}
	entries, err := backup.List(cmd.Context(), place, folder, opts)
	if err != nil {
		return "", fmt.Errorf("looking for backups: %w", err)
	}
	future := time.Now().Add(prune.Skew)
	found, passed, err := backup.Latest(cmd.Context(), place, entries, func(e *backup.Backup) bool {
		series, dump := strings.CutSuffix(e.Series(), ".sql")
		if !dump {
			series, dump = strings.CutSuffix(series, ".dump")
		}
		return dump && series == name && e.Kind == backup.KindDatabase && e.Created.Before(future)
	}, opts)
	if err != nil {
		return "", fmt.Errorf("looking for the newest backup: %w", err)
	}
	for _, e := range passed {
		warn(cmd, "%s was passed over: %v", e.Path, e.Err)
	}
	if found == nil {
		err := fmt.Errorf("there is no backup %s_* in %s that is whole and authentic", name, folder)
		if len(passed) > 0 && passed[0].Err != nil {
			err = fmt.Errorf("%w; the newest: %w", err, passed[0].Err)
		}
		return "", err
	}
	r.pinned = found.ID
	return found.Path, nil
}

// readManifest reads the manifest that may stand beside a backup. One that is
// of no use is no reason to stay without the database.
func (r *restoreDatabase) readManifest(cmd *cobra.Command, path string, b *openedBackup) *postgres.Manifest {
	if path == "-" {
		return nil
	}
	m, useless := backup.FindManifest(cmd.Context(), newPlace(), path, b.Envelope, backup.Options{Keys: b.ring, Rescue: r.rescue})
	for _, why := range useless {
		warn(cmd, "a manifest is not used: %v", why)
	}
	return m
}

// restored is what restore tells a script.
type restored struct {
	Database string   `json:"database"`
	Backup   string   `json:"backup"`
	Tables   int      `json:"tables"`
	Compared bool     `json:"compared_with_manifest"`
	Previous string   `json:"previous,omitempty"`
	Dropped  []string `json:"dropped,omitempty"`
	Failed   int      `json:"failed,omitempty"` // statements, with --keep-going
	Faults   []string `json:"faults,omitempty"` // the first of them
}

func (r *restoreDatabase) finish(cmd *cobra.Command, path string, at *pgrestore.Restore, result pgrestore.Result) error {
	done := restored{Database: result.Database, Backup: path, Tables: result.Tables, Compared: result.Compared, Previous: result.Previous, Failed: result.Failed, Faults: result.Faults}
	var dropErr error
	if r.dropPrevious && result.Previous != "" && result.Failed == 0 {
		former := []string{result.Previous}
		done.Dropped, dropErr = at.DropPrevious(cmd.Context(), former)
		if dropErr == nil {
			done.Previous = ""
		}
	}
	if !r.progress.quiet && !r.json {
		words := fmt.Sprintf("restored %s from %s, %d tables", done.Database, filepath.Base(path), done.Tables)
		if done.Compared {
			words += ", all as the manifest has them"
		}
		if done.Previous != "" {
			words += "; the former is kept as " + done.Previous
		}
		fmt.Fprintln(cmd.ErrOrStderr(), words)
	}
	var err error
	if r.json {
		err = writeJSON(cmd.OutOrStdout(), done)
	} else {
		_, err = fmt.Fprintln(cmd.OutOrStdout(), done.Database)
		err = stdoutError(err)
	}
	if result.Failed > 0 {
		warn(cmd, "%d statements failed, and %s lacks what they make; the first: %s", result.Failed, result.Database, result.Faults[0])
		err = errors.Join(err, errSome)
		return errors.Join(dropErr, err)
	}
	if err = errors.Join(dropErr, err); err != nil {
		return errors.Join(err, fmt.Errorf("database %s is restored all the same", done.Database))
	}
	return nil
}

// runDrop drops what earlier restores have kept.
func (r *restoreDatabase) runDrop(cmd *cobra.Command) error {
	at, err := pgrestore.Begin(cmd.Context(), r.options(cmd))
	if err != nil {
		return err
	}
	defer at.Close()
	p := at.Plan()
	if !r.dryRun && len(p.Previous) > 0 {
		for _, name := range p.Previous {
			fmt.Fprintf(cmd.ErrOrStderr(), "drop      %s\n", name)
		}
		if err := r.confirm(cmd, p.Target); err != nil {
			return err
		}
		if p.Previous, err = at.DropPrevious(cmd.Context(), p.Previous); err != nil {
			return err
		}
	}
	if r.json {
		return writeJSON(cmd.OutOrStdout(), struct {
			Dropped []string `json:"dropped"`
		}{append([]string{}, p.Previous...)})
	}
	for _, name := range p.Previous {
		if _, err := fmt.Fprintln(cmd.OutOrStdout(), name); err != nil {
			return stdoutError(err)
		}
	}
	return nil
}
