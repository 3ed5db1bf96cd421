package main

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/backup/all"
	"github.com/takumi-backup/takumi-backup/internal/audit"
	"github.com/takumi-backup/takumi-backup/internal/config"
	"github.com/takumi-backup/takumi-backup/internal/postgres"
)

type backupDatabase struct {
	sealing
	database databaseFlags
	format   string
	jobs     int
	globals  bool
	manifest string // empty: on, where there is a place for it
	all      bool
	exclude  []string

	target     *postgres.Settings // of one of several databases
	rolesAlone bool
}

func newBackupDatabase() *cobra.Command {
	b := new(backupDatabase)
	b.mayBePlain = true
	cmd := &cobra.Command{
		Use:   "database [NAME|PATTERN]... [flags]",
		Short: "Dump a PostgreSQL database and seal the dump",
		Long: `Run pg_dump and seal what it writes, as
$BACKUP_ROOT/database/NAME_db_TIME.sql.zst.enc, and print that path.

` + databaseHelp + `

NAME is another database of that server, or one that a backup.toml lists. With several
names, with patterns as 'shop_*', and with --all-databases, each database is backed up as
a series of its own, and with --globals the roles once, as SERVER_globals_TIME. Which
databases there are is asked each time: a new one is backed up as well, and one that is
gone since the last time is reported. When one fails, the others are still backed up: exit
code 6. Templates, and former databases that a restore kept, are left out.

The server's version is asked first, and a pg_dump that fits it is taken from PATH
or /usr/lib/postgresql. Unless it ends with status 0 and its dump is whole, no
backup is made: exit code 3.

--globals also seals the roles, with their passwords where this role may read
them, as NAME_globals_TIME.sql.zst.enc; its path is the first line. When that fails,
so does the command, but not before the dump is made.

A manifest is sealed next to the backup, as NAME_db_TIME.manifest.json.zst.enc: the
rows of every table, counted as the dump passes, the owner, rights, settings,
encoding and collation of the database, which are in no dump, and the roles,
tablespaces and extensions that the dump needs. restore compares the rows, and
brings the rest back. --manifest=checksums also sums up the content of the tables,
which reads the database twice; meanwhile no table can be altered, emptied or
dropped. --manifest=off makes none, and so do -o - and BACKUP_ENCRYPTION_ENABLED=false.

--jobs N reads the rows by N connections, in one snapshot, large tables in several
parts. It comes out as one plain dump all the same, which psql and everything else that
restores one takes, with several COPY for a table. It takes N + 3 connections and 8 MiB
of memory for each of N, or its largest row. A later archive format of pg_dump, or a
standby, is dumped by pg_dump alone, with a warning.

A connection pooler in front of the server is refused: its sessions lose settings,
and a dump would be wrong without a word.`,
		Example: `  DB_NAME=takumi takumi-backup backup database
  takumi-backup backup database --db postgresql://takumi@db.example:5432/takumi --format custom
  takumi-backup backup database --globals --manifest=checksums
  takumi-backup backup database --jobs 4
  takumi-backup backup database --all-databases --exclude 'scratch_*' --globals`,
		Annotations: records("backup database"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if b.all || len(args) > 1 || len(args) == 1 && strings.ContainsAny(args[0], config.Wild) {
				return b.several(cmd, args)
			}
			return session(cmd, "backup database", changes, nil, func(ctx context.Context, _ *audit.Session) error {
				if len(args) == 1 {
					var err error
					if b.target, err = b.database.named(cmd, args[0]); err != nil {
						return err
					}
				}
				return b.run(ctx, cmd)
			})
		},
	}
	b.database.add(cmd)
	f := cmd.Flags()
	f.BoolVar(&b.all, "all-databases", false, "back up every database of the server, each by itself")
	f.StringArrayVar(&b.exclude, "exclude", nil, "leave out databases of this name or pattern; may be repeated")
	f.StringVar(&b.format, "format", "plain", "what pg_dump writes: plain or custom")
	f.IntVarP(&b.jobs, "jobs", "j", 1, "read the rows by this many connections at once; with 1 pg_dump does it all")
	f.BoolVar(&b.globals, "globals", false, "seal the roles and tablespaces too, as a backup of their own")
	addManifest(f, &b.manifest)
	f.StringVar(&b.name, "name", "", "name in the envelope, and base of a generated file name")
	b.sealing.add(cmd)
	return cmd
}

func (b *backupDatabase) run(ctx context.Context, cmd *cobra.Command) error {
	settings := b.target
	if settings == nil {
		var err error
		if settings, err = b.database.settings(cmd); err != nil {
			return err
		}
	}
	job, err := b.job(cmd)
	if err != nil {
		return err
	}
	switch {
	case b.format != "plain" && b.format != "custom":
		return usagef("--format is %q, neither plain nor custom", b.format)
	case b.jobs < 1:
		return usagef("--jobs is %d, and has to be 1 or more", b.jobs)
	case b.jobs > 1 && b.format != "plain":
		return usagef("--jobs makes a plain dump: leave --format out")
	case b.globals && b.out != "":
		return usagef("--globals makes a second backup, for which -o has no name")
	}
	mode, err := b.manifestMode(job.Plain)
	if err != nil {
		return err
	}
	ring, err := b.start(ctx, &job)
	if err != nil {
		return err
	}
	defer ring.Close()
	make := backup.Database
	if b.rolesAlone {
		make = backup.Globals
	}
	return make(ctx, job, b.runner(cmd), backup.DatabaseOptions{
		Settings: settings, Custom: b.format == "custom", Jobs: b.jobs, Globals: b.globals, Manifest: mode, Warn: warner(cmd),
	})
}

// several backs up the databases that names and patterns mean, each by itself.
func (b *backupDatabase) several(cmd *cobra.Command, names []string) error {
	want := &config.Database{Names: names, Exclude: b.exclude, All: b.all}
	switch err := want.CheckPatterns(); {
	case err != nil:
		return usage(err)
	case b.all && len(names) > 0:
		return usagef("--all-databases and names of databases exclude each other")
	case b.out != "":
		return usagef("-o names one file, and each database has its own")
	case b.name != "":
		return usagef("--name would make one series of several databases")
	}
	settings, err := b.database.settings(cmd)
	if err != nil {
		return err
	}
	started := time.Now()
	report := reporting{json: b.json, quiet: b.progress.quiet}
	dir, err := stateDirOr("")
	if err != nil {
		return err
	}
	plan := &all.Plan{StateDir: dir, Warn: warner(cmd)}
	plan.Database = func(p *all.Part, _ config.Target, s *postgres.Settings, _, rolesAlone bool) func(context.Context) error {
		one := *b
		one.target, one.rolesAlone, one.globals, one.json = s, rolesAlone, false, false
		one.made = func(cmd *cobra.Command, m *backup.Made) error { return report.took(cmd, p, m) }
		return func(ctx context.Context) error { return one.run(ctx, cmd) }
	}
	parts, err := plan.Several(cmd.Context(), settings, config.Target{}, want, b.globals)
	if err != nil {
		return err
	}
	ran, _, err := runner(cmd).All(cmd.Context(), parts)
	if err == nil {
		err = report.summarize(cmd, parts, started)
	}
	if err != nil {
		return err
	}
	plan.Remember()
	return all.Outcome(parts, ran)
}

// addManifest adds the flag that says what is sealed next to a dump.
func addManifest(f *pflag.FlagSet, mode *string) {
	f.StringVar(mode, "manifest", "", "seal next to the dump what the database held and was: on, checksums or off (default on)")
	f.Lookup("manifest").NoOptDefVal = string(backup.ManifestOn)
}

func (b *backupDatabase) manifestMode(plain bool) (backup.ManifestMode, error) {
	mode := backup.ManifestMode(b.manifest)
	switch mode {
	case "":
		if b.out == "-" || plain {
			return backup.ManifestOff, nil
		}
		return backup.ManifestOn, nil
	case backup.ManifestOff:
		return mode, nil
	case backup.ManifestOn, backup.ManifestChecksums:
	default:
		return "", usagef("--manifest is %q: it can be on, checksums or off", b.manifest)
	}
	switch {
	case b.out == "-":
		return "", usagef("--manifest makes a second file, which does not go to standard output")
	case plain:
		return "", usagef("--manifest is bound to a sealed backup, and BACKUP_ENCRYPTION_ENABLED is false")
	}
	return mode, nil
}
