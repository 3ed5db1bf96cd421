package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/internal/guard"
	"github.com/takumi-backup/takumi-backup/internal/postgres"
	"github.com/takumi-backup/takumi-backup/internal/source"
	"github.com/takumi-backup/takumi-backup/internal/store"
)

type backupDatabase struct {
	sealing
	database databaseFlags
	format   string
	globals  bool
	manifest bool

	settings *postgres.Settings
	server   int // its major version
	keys     []*kek.Key
}

func newBackupDatabase() *cobra.Command {
	b := new(backupDatabase)
	b.mayBePlain = true
	cmd := &cobra.Command{
		Use:   "database [flags]",
		Short: "Dump a PostgreSQL database and seal the dump",
		Long: `Run pg_dump and seal what it writes, as
$BACKUP_ROOT/database/NAME_db_TIME.sql.zst.enc, and print that path.

` + databaseHelp + `

The server's version is asked first, and a pg_dump that fits it is taken from PATH
or /usr/lib/postgresql. Unless it ends with status 0 and its dump is whole, there
is no backup: exit code 3.

--globals also seals the roles, with their passwords where this role may read
them, as NAME_globals_TIME.sql.zst.enc; its path is the first line. When that fails,
so does the command, but not before the dump is made. --manifest also
counts and sums up the rows of every table, as the dump sees them, and seals that
beside the backup as NAME_db_TIME.manifest.json.zst.enc; restore compares it. It
reads the database twice, and meanwhile no table can be altered, emptied or dropped.`,
		Example: `  DB_NAME=takumi takumi-backup backup database
  takumi-backup backup database --db postgresql://takumi@db.example:5432/takumi --format custom
  takumi-backup backup database --globals --manifest`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return b.run(cmd) },
	}
	b.database.add(cmd)
	f := cmd.Flags()
	f.StringVar(&b.format, "format", "plain", "what pg_dump writes: plain or custom")
	f.BoolVar(&b.globals, "globals", false, "seal the roles and tablespaces too, as a backup of their own")
	f.BoolVar(&b.manifest, "manifest", false, "count and sum up the rows of every table too")
	f.StringVar(&b.name, "name", "", "name in the envelope, and base of a generated file name")
	b.sealing.add(cmd)
	return audited(cmd, "backup database", changes)
}

func (b *backupDatabase) check(cmd *cobra.Command) (err error) {
	if b.settings, err = b.database.settings(cmd); err != nil {
		return err
	}
	b.kind, b.dbName = backup.Database, databaseFileName(b.settings.Database())
	if err := b.sealing.check(cmd); err != nil {
		return err
	}
	switch {
	case b.format != "plain" && b.format != "custom":
		return usagef("--format is %q, neither plain nor custom", b.format)
	case cmd.Flags().Changed("name") && b.name == "":
		return usagef("--name is empty")
	case b.globals && b.out != "":
		return usagef("--globals makes a second backup, for which -o has no name")
	case b.manifest && b.out == "-":
		return usagef("--manifest makes a second file, which does not go to standard output")
	case b.manifest && b.plain:
		return usagef("--manifest is bound to a sealed backup, and BACKUP_ENCRYPTION_ENABLED is false")
	}
	return nil
}

func (b *backupDatabase) run(cmd *cobra.Command) error {
	if err := b.check(cmd); err != nil {
		return err
	}
	ring, keys, err := b.begin(cmd)
	if err != nil {
		return err
	}
	defer ring.Close()
	b.keys = keys
	// For the children: package source gives them the environment of this
	// process.
	for _, kv := range b.settings.Environ() {
		name, value, _ := strings.Cut(kv, "=")
		if err := os.Setenv(name, value); err != nil {
			return fmt.Errorf("setting %s for pg_dump: %w", name, err)
		}
	}
	conn, err := b.settings.Connect(cmd.Context())
	if err != nil {
		return sourceError(err)
	}
	defer conn.Close(context.WithoutCancel(cmd.Context()))
	if b.server, err = postgres.Version(cmd.Context(), conn); err != nil {
		return sourceError(err)
	}
	if !b.globals {
		return b.sealDump(cmd, conn)
	}
	if err = b.sealGlobals(cmd, conn); err == nil {
		return b.sealDump(cmd, conn)
	}
	err = fmt.Errorf("backing up the roles: %w", err)
	if cmd.Context().Err() != nil {
		return err
	}
	// The database matters more than its roles.
	if dumpErr := b.sealDump(cmd, conn); dumpErr != nil {
		return errors.Join(err, dumpErr)
	}
	return errors.Join(err, errors.New("the backup of the database is complete all the same"))
}

// sealDump seals the dump, and the manifest if there is to be one.
func (b *backupDatabase) sealDump(cmd *cobra.Command, conn *pgx.Conn) error {
	b.wants = map[string]guard.Format{"plain": guard.PlainDump, "custom": guard.CustomDump}[b.format]
	if b.manifest {
		return b.sealBoth(cmd, conn)
	}
	// A connection that sits there for the hours of a dump is in the way of
	// whoever administers the server.
	if err := conn.Close(cmd.Context()); err != nil {
		return sourceError(fmt.Errorf("leaving the server: %w", err))
	}
	return b.dump(cmd, "pg_dump", b.dumpArgs("")...)
}

func (b *backupDatabase) dumpArgs(snapshot string) []string {
	args := []string{b.settings.Target(), "--no-password", "--format=" + b.format}
	if b.format == "custom" {
		args = append(args, "--compress=0") // the codec packs better, and on all cores
	}
	if snapshot != "" {
		args = append(args, "--snapshot="+snapshot)
	}
	return args
}

// dump runs one of PostgreSQL's programs and seals its output.
func (b *backupDatabase) dump(cmd *cobra.Command, name string, args ...string) error {
	program, err := postgres.Program(cmd.Context(), name, b.server)
	if err != nil {
		return sourceError(err)
	}
	ctx, stop := context.WithCancelCause(cmd.Context())
	defer stop(nil)
	src, err := source.Command(ctx, append([]string{program}, args...), os.Stderr)
	if err != nil {
		return err
	}
	defer src.Close()
	return b.sealFrom(cmd, stop, src)
}

func (b *backupDatabase) sealFrom(cmd *cobra.Command, stop context.CancelCauseFunc, src io.Reader) error {
	b.meter = backup.Meter{}
	return b.seal(cmd, stop, src, b.keys)
}

func (b *backupDatabase) sealGlobals(cmd *cobra.Command, conn *pgx.Conn) error {
	args := []string{"--globals-only", "--no-password", strings.Replace(b.settings.Target(), "--dbname=", "--database=", 1)}
	var secrets bool
	if err := conn.QueryRow(cmd.Context(), "SELECT has_table_privilege('pg_catalog.pg_authid', 'SELECT')").Scan(&secrets); err != nil {
		return sourceError(fmt.Errorf("asking what this role may read: %w", err))
	}
	if !secrets {
		warn(cmd, "%q may not read the passwords of roles: they are backed up without", b.settings.User())
		args = append(args, "--no-role-passwords")
	}
	name := b.name
	b.name, b.base, b.wants = "", cmp.Or(name, b.dbName)+"_globals", guard.PlainDump
	err := b.dump(cmd, "pg_dumpall", args...)
	b.name, b.base = name, ""
	return err
}

// sealBoth seals the dump and the manifest, both of one snapshot.
func (b *backupDatabase) sealBoth(cmd *cobra.Command, conn *pgx.Conn) error {
	tx, snapshot, err := postgres.Snapshot(cmd.Context(), conn)
	if err != nil {
		return sourceError(err)
	}
	defer tx.Rollback(context.WithoutCancel(cmd.Context()))
	dumped := b.dump(cmd, "pg_dump", b.dumpArgs(snapshot)...)
	if dumped != nil && !errors.Is(dumped, errSome) { // one of several stores can do without
		return dumped
	}
	path := b.result.Path
	if err := b.sealManifest(cmd, tx); err != nil {
		return errors.Join(fmt.Errorf("making the manifest: %w", err), fmt.Errorf("the backup is complete all the same: %s", path))
	}
	return dumped
}

func (b *backupDatabase) sealManifest(cmd *cobra.Command, tx pgx.Tx) error {
	contents, err := postgres.Survey(cmd.Context(), tx)
	if err != nil {
		if cmd.Context().Err() != nil {
			return context.Cause(cmd.Context())
		}
		return sourceError(err)
	}
	text, err := json.MarshalIndent(postgres.Manifest{
		Version: postgres.ManifestVersion, Backup: b.sealed.ID.String(), Database: b.settings.Database(), Server: b.server,
		Created: b.started.UTC(), Contents: contents,
	}, "", "  ")
	if err != nil {
		return err
	}
	// It belongs to the backup, whose path has been printed: its own is not.
	b.kind, b.name, b.json, b.wants, b.mayBePlain, b.beside = backup.Manifest, "", false, guard.Unknown, false, backup.Database
	dump := b.path
	for n := range backup.ManifestTries {
		b.out = backup.ManifestPath(dump, n+1, b.pack.Codec)
		err = b.sealFrom(cmd, func(error) {}, bytes.NewReader(append(text, '\n')))
		if !errors.Is(err, store.ErrExists) {
			break
		}
	}
	return err
}
