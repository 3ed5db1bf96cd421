package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/internal/audit"
	"github.com/takumi-backup/takumi-backup/internal/guard"
	"github.com/takumi-backup/takumi-backup/internal/postgres"
	"github.com/takumi-backup/takumi-backup/internal/terminal"
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
	jobs         int
	first        []string
	tables       []string
	toSchema     string

	settings *postgres.Settings
}

func newRestoreDatabase() *cobra.Command {
	r := &restoreDatabase{opening: opening{mustFit: true, vouched: true}}
	cmd := &cobra.Command{
		Use:   "database [flags] FILE|-|--latest",
		Short: "Restore a PostgreSQL database from a sealed dump",
		Long: `Restore a sealed dump, plain, custom or tar, also compressed by gzip, zstd or bzip2,
into PostgreSQL. Of a plain one psql gets what fills the database, and not what pg_dump -C
and -c write about the database itself; commands of psql in it are refused.

` + databaseHelp + `

The dump goes into a new database, NAME_restore_TIME, in which it is checked: by
the manifest, when one is next to the backup, and otherwise that it has tables.
Then the connections to NAME are ended, and in one transaction NAME becomes
NAME_before_TIME and the new one becomes NAME, with the owner, rights and settings
of the former. A failure, a signal or a damaged backup before that leaves NAME as
it was, and the new database is removed.

A database that the server has lost gets back what it was, by the manifest: owner,
rights, settings, encoding and collation. First it checks for what would make the
restore fail: missing rights, room and connections, roles, tablespaces, extensions and
settings that the server lacks, what blocks the exchange, and a backup of another
database, which --from-database NAME allows.
--dry-run shows all that is found, with what helps. --create-roles makes the roles,
which may do nothing; the backup of the globals has the real ones.

When a statement of the dump fails, nothing is restored; with --keep-going the rest
is, into NAME_partial_TIME, which is left next to NAME, or with --swap takes its place.

--jobs N restores by N connections, which read different places of the backup at one
time, here or on S3: what makes the tables first, then rows, those of --first before
others, then indexes and constraints, N at a time where backup database --jobs made the
dump. It needs the index that plain dumps have which this program sealed; without it, from
standard input, with --signers and with --keep-going one connection restores, as said then.

--table SCHEMA.NAME restores one table alone, into the database as it is, or into that
of --into, which may exist or is made: with its types, sequences, indexes, constraints
and comments, as far as they need nothing else; what is left out, as triggers, policies,
rights and foreign keys to other tables, is shown beforehand. Partitions come along. Only
what holds the table is read, also from S3. All of it is one transaction. A table that is
there already is never touched: --to-schema puts the restored one into another schema.

With --signers the backup is read to its end before the server gets a byte. Without them,
a backup that opens for a public age recipient needs --unsigned: anybody may have made it,
and a server runs what a dump says.

The former stays until --drop-previous: with FILE it, and no other, is dropped
after a good restore, and without FILE all that earlier restores of NAME have kept.`,
		Example: `  DB_NAME=takumi takumi-backup restore database takumi_db_20261123_020000.sql.zst.enc
  takumi-backup restore database --latest --into takumi_test --yes
  takumi-backup restore database --latest --jobs 4 --first public.users --first public.orders
  takumi-backup restore database FILE.sql.zst.enc --table public.orders --to-schema rescued
  takumi-backup restore database --latest --table public.orders --into takumi_test --yes
  takumi-backup restore database --drop-previous`,
		Annotations: records("restore database"),
		Args:        usageArgs(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return session(cmd, "restore database", r.effect(), args, func(ctx context.Context, _ *audit.Session) error { return r.run(ctx, cmd, args) })
		},
	}
	r.database.add(cmd)
	f := cmd.Flags()
	f.StringVar(&r.into, "into", "", "restore into a new database of this name")
	f.BoolVar(&r.latest, "latest", false, "restore the newest backup of this database that is whole and authentic and has rows")
	f.BoolVarP(&r.yes, "yes", "y", false, "do not ask")
	f.BoolVarP(&r.dryRun, "dry-run", "n", false, "show what would be done, and do nothing")
	f.BoolVar(&r.dropPrevious, "drop-previous", false, "drop the database just replaced, or without FILE those that earlier restores have kept")
	f.BoolVar(&r.unchecked, "ignore-manifest", false, "do not compare with the manifest that is next to the backup")
	f.StringVar(&r.from, "from-database", "", "restore a backup of this other database here")
	f.StringVar(&r.guard, "guard", "on", "with off, restore what does not look like a whole dump as far as psql takes it")
	f.BoolVar(&r.keepGoing, "keep-going", false, "restore the rest when a statement fails, as psql does, into NAME_partial_TIME or --into; exit code 6")
	f.BoolVar(&r.swap, "swap", false, "with --keep-going, exchange the databases although something failed")
	f.BoolVar(&r.createRoles, "create-roles", false, "make the roles that the dump needs and the server lacks, without login, password or right")
	f.IntVarP(&r.jobs, "jobs", "j", 1, "restore by this many connections at once, from different places of the dump")
	f.StringArrayVar(&r.first, "first", nil, "with --jobs, restore the rows of this table, SCHEMA.NAME, before others; may be repeated")
	f.StringArrayVar(&r.tables, "table", nil, "restore this table alone, SCHEMA.NAME, next to what is there; may be repeated")
	f.StringVar(&r.toSchema, "to-schema", "", "with --table, restore into this schema")
	f.BoolVar(&r.json, "json", false, "print what was done as JSON")
	r.opening.add(cmd)
	f.BoolVar(&r.unsigned, "unsigned", false, "restore what opens for a public recipient although no signers are named, so that anybody may have made it")
	return cmd
}

func (r *restoreDatabase) effect() effect {
	if r.into != "" && len(r.tables) == 0 {
		return reads
	}
	return changes
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
	case r.jobs < 1:
		return usagef("--jobs is %d, and has to be 1 or more", r.jobs)
	case len(r.first) > 0 && r.jobs < 2:
		return usagef("--first goes with --jobs: one connection restores in the order of the dump")
	case r.swap && !r.keepGoing:
		return usagef("--swap goes with --keep-going: without it nothing may fail")
	case r.guard != "on" && r.guard != "off":
		return usagef("--guard is %q, neither on nor off", r.guard)
	case r.into != "" && r.dropPrevious:
		return usagef("--into leaves the live database alone, so that there is nothing for --drop-previous")
	case len(args) > 0 && args[0] == "-" && terminal.Is(os.Stdin):
		return usagef("standard input is a terminal: pipe a backup in, or name a file")
	case !r.yes && !r.dryRun && (!terminal.Is(os.Stdin) || !terminal.Is(os.Stderr)):
		return usagef("there is no terminal to ask on: give --yes, or --dry-run to see what would be done")
	}
	if err := r.checkTables(cmd, args); err != nil {
		return err
	}
	r.settings, err = r.database.settings(cmd)
	return err
}

func (r *restoreDatabase) run(ctx context.Context, cmd *cobra.Command, args []string) error {
	if err := r.check(cmd, args); err != nil {
		return err
	}
	if len(args) == 0 && !r.latest {
		return r.runDrop(ctx, cmd)
	}
	path, contents, err := r.find(ctx, cmd, args)
	if err != nil {
		return err
	}
	if len(r.tables) > 0 {
		return r.runTables(ctx, cmd, path)
	}
	r.whole = true // psql acts on what it reads
	b, err := r.open(cmd, path)
	if err != nil {
		return err
	}
	defer b.Close()
	job := pgrestore.Job{
		Backup: b.Handle, Stop: b.stop, Path: path, Store: newPlace(), Keys: b.ring, Rescue: r.rescue, Meter: &r.meter,
		Look: r.dryRun, Options: r.options(cmd),
	}
	for _, text := range r.first {
		name, err := tableName("--first", text)
		if err != nil {
			return err
		}
		job.First = append(job.First, name)
	}
	job.Contents = contents
	if job.Signers, err = trusted(r.signers); err != nil {
		return err
	}
	at, err := job.Begin(ctx)
	if err != nil {
		return err
	}
	defer at.Close()
	if err := r.showPlan(cmd, path, b, at.Plan()); err != nil || r.dryRun {
		return err
	}
	if err := r.confirm(cmd, at.Plan().Target); err != nil {
		return err
	}
	hide := r.progress.start(cmd.ErrOrStderr(), "restoring", b.Size(), &r.meter)
	result, err := job.Run(ctx, at)
	hide()
	if result.Database == "" {
		return err
	}
	return r.finish(cmd, path, result, err)
}

func (r *restoreDatabase) options(cmd *cobra.Command) pgrestore.Options {
	return pgrestore.Options{
		Settings: r.settings, Jobs: r.jobs, Into: r.into, From: r.from, Unchecked: r.unchecked, Unguarded: r.guard == "off",
		DropPrevious: r.dropPrevious, KeepGoing: r.keepGoing, Swap: r.swap, CreateRoles: r.createRoles,
		Time: time.Now(), Stderr: os.Stderr, Warn: warner(cmd), Tell: func(format string, args ...any) {
			if !r.progress.quiet {
				fmt.Fprintf(cmd.ErrOrStderr(), format+"\n", args...)
			}
		},
	}
}

// find returns the path of the backup to restore, and what is known of its content.
func (r *restoreDatabase) find(ctx context.Context, cmd *cobra.Command, args []string) (path string, contents *guard.Contents, err error) {
	if !r.latest {
		return args[0], nil, nil
	}
	path, err = r.newest(cmd, func(how backup.Options) (found *backup.Backup, err error) {
		found, contents, err = pgrestore.Latest(ctx, newPlace(), conf.Folder(backup.KindDatabase), r.settings.Database(), how, r.guard == "off")
		return found, err
	})
	return path, contents, err
}

// finish prints what was restored; fault is what failed after it.
func (r *restoreDatabase) finish(cmd *cobra.Command, path string, done pgrestore.Result, fault error) (err error) {
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
	if r.json {
		err = writeJSON(cmd.OutOrStdout(), restoredDatabase{done, path})
	} else {
		err = printf(cmd, "%v\n", done.Database)
	}
	if done.Failed > 0 {
		warn(cmd, "%d statements failed, and %s lacks what they make; the first: %s", done.Failed, done.Database, done.Faults[0])
		return errors.Join(fault, err, errSome)
	}
	if err = errors.Join(fault, err); err != nil {
		return errors.Join(err, fmt.Errorf("database %s is restored all the same", done.Database))
	}
	return nil
}

func (r *restoreDatabase) runDrop(ctx context.Context, cmd *cobra.Command) error {
	at, err := pgrestore.Begin(ctx, r.options(cmd))
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
		if p.Previous, err = at.DropPrevious(ctx, p.Previous); err != nil {
			return err
		}
	}
	if r.json {
		return writeJSON(cmd.OutOrStdout(), droppedDatabases{append([]string{}, p.Previous...)})
	}
	for _, name := range p.Previous {
		if err := printf(cmd, "%v\n", name); err != nil {
			return err
		}
	}
	return nil
}

// What restore database --json prints: after a restore, one of tables, with --dry-run, and
// with --drop-previous.
type (
	restoredDatabase struct {
		pgrestore.Result
		Backup string `json:"backup"`
	}
	restoredTables struct {
		pgrestore.TablesResult
		Backup string `json:"backup"`
	}
	plannedRestore struct {
		pgrestore.Plan
		Backup string `json:"backup"`
	}
	droppedDatabases struct {
		Dropped []string `json:"dropped"`
	}
)

func newRestore() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "restore",
		Short: "Restore a database, contracts or uploads",
		Long: `Restore the content of a sealed backup.

The data is restored next to the live data and checked; only then do the two change
places, and the former data is kept. A failure, a signal or a damaged backup leaves
the live data as it was.`,
		Example: "  takumi-backup restore database takumi_db_20261123_020000.sql.zst.enc",
		Args:    usageArgs(cobra.NoArgs),
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(takesBackups(newRestoreDatabase(), 1), takesBackups(newRestoreUploads(), 1), takesBackups(newRestoreContracts(), 1))
	return cmd
}

func (r *restoreDatabase) showPlan(cmd *cobra.Command, path string, b *openedBackup, p pgrestore.Plan) error {
	var w io.Writer = cmd.OutOrStdout()
	if r.dryRun && r.json {
		return writeJSON(w, plannedRestore{p, path})
	}
	if !r.dryRun {
		if w = cmd.ErrOrStderr(); r.progress.quiet && r.yes {
			return nil
		}
	}
	_, err := io.WriteString(w, p.Text(path, b.Envelope, r.settings))
	return stdoutError(err)
}

func (r *restoreDatabase) confirm(cmd *cobra.Command, name string) error {
	if r.yes {
		return nil
	}
	answer, err := terminal.Question(cmd.Context(), cmd.ErrOrStderr(), fmt.Sprintf("Type the name of the database, %s, to go on: ", name))
	if err != nil {
		return err
	}
	if answer != name {
		return errors.New("that was not the name: nothing was done")
	}
	return nil
}

// checkTables finds what does not go with --table.
func (r *restoreDatabase) checkTables(cmd *cobra.Command, args []string) error {
	switch {
	case cmd.Flags().Changed("to-schema") && (r.toSchema == "" || len(r.tables) == 0):
		return usagef("--to-schema names the schema that the tables of --table go into")
	case len(r.tables) == 0:
		return nil
	case len(args) > 0 && args[0] == "-":
		return usagef("--table needs a backup whose parts can be read, not standard input")
	case r.jobs > 1:
		return usagef("--jobs does not go with --table, which is one transaction")
	case r.dropPrevious || r.keepGoing || r.createRoles || r.unchecked || r.guard != "on":
		return usagef("--table never replaces what is there: --drop-previous, --keep-going, --create-roles, --ignore-manifest and --guard do not go with it")
	}
	return nil
}

func (r *restoreDatabase) runTables(ctx context.Context, cmd *cobra.Command, path string) error {
	var names []postgres.TableName
	for _, text := range r.tables {
		name, err := tableName("--table", text)
		if err != nil {
			return err
		}
		names = append(names, name)
	}
	h, done, err := r.openAt(cmd, path)
	if err != nil {
		return err
	}
	defer done()
	dump, err := h.Tables()
	if err != nil {
		return aboutPath("opening", path, err)
	}
	var rows backup.Meter // apart from what is read of the file
	job := pgrestore.TablesJob{Dump: dump, Names: names, To: r.toSchema, Meter: &rows, Options: r.options(cmd)}
	job.Of(h.Envelope)
	at, err := job.Begin(ctx)
	if err != nil {
		return fmt.Errorf("restoring from %s: %w", path, err)
	}
	defer at.Close()
	if err := r.showTables(cmd, path, h, at.Plan()); err != nil || r.dryRun {
		return err
	}
	if err := r.confirm(cmd, at.Plan().Database); err != nil {
		return err
	}
	hide := r.progress.start(cmd.ErrOrStderr(), "restoring", at.Plan().Size, &rows)
	result, err := at.Run(ctx)
	hide()
	if err != nil {
		return fmt.Errorf("restoring from %s: %w", path, err)
	}
	if !r.progress.quiet && !r.json {
		fmt.Fprintf(cmd.ErrOrStderr(), "restored %d tables with %d rows from %s into %s\n", len(result.Tables), result.Rows, filepath.Base(path), result.Database)
	}
	if r.json {
		return writeJSON(cmd.OutOrStdout(), restoredTables{result, path})
	}
	for _, name := range result.Tables {
		if err := printf(cmd, "%v\n", name); err != nil {
			return err
		}
	}
	return nil
}

func (r *restoreDatabase) showTables(cmd *cobra.Command, path string, h *backup.HandleAt, p pgrestore.TablesPlan) error {
	var w io.Writer = cmd.OutOrStdout()
	if !r.dryRun {
		if w = cmd.ErrOrStderr(); r.progress.quiet && r.yes {
			return nil
		}
	}
	_, err := io.WriteString(w, p.Text(path, h.Envelope, r.settings))
	return stdoutError(err)
}

func tableName(flag, text string) (postgres.TableName, error) {
	name, err := postgres.ParseTableName(text)
	if err != nil {
		return name, usagef("%s: %w", flag, err)
	}
	return name, nil
}
