package backup

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"unicode"

	"github.com/jackc/pgx/v5"

	"github.com/takumi-backup/takumi-backup/internal/guard"
	"github.com/takumi-backup/takumi-backup/internal/postgres"
	"github.com/takumi-backup/takumi-backup/internal/postgres/paralleldump"
	"github.com/takumi-backup/takumi-backup/internal/source"
	"github.com/takumi-backup/takumi-backup/internal/store"
)

// Runner runs a job: [Job.Run], and the program's work on its result.
type Runner func(context.Context, Job) (*Made, error)

// DatabaseOptions say how a PostgreSQL database is backed up.
type DatabaseOptions struct {
	Settings *postgres.Settings
	Custom   bool // pg_dump writes its custom format
	Jobs     int  // connections that read rows at once for a plain dump; below 2 pg_dump does it all
	Globals  bool // also back up the roles and tablespaces, separately
	Manifest ManifestMode
	Warn     func(format string, args ...any) // nil is silent
}

// ManifestMode says what is sealed next to a dump.
type ManifestMode string

const (
	// ManifestOn records the database, the needs of the dump, and the rows of every table,
	// counted as the dump passes.
	ManifestOn ManifestMode = "on"
	// ManifestChecksums adds checksums of the tables, which are read a second time in the
	// snapshot of the dump.
	ManifestChecksums ManifestMode = "checksums"
	// ManifestOff keeps nothing.
	ManifestOff ManifestMode = "off"
)

type database struct {
	DatabaseOptions
	job    Job
	run    Runner
	conn   *pgx.Conn
	server int // its major version
	// notUsers are the tables that extensions brought along.
	notUsers map[[2]string]bool
}

// Database seals a dump made by the database's own pg_dump, by jobs like the given one with
// Source, Kind and names filled in. The dump is made even when the roles, which come first,
// fail; their error is returned.
func Database(ctx context.Context, job Job, run Runner, o DatabaseOptions) error {
	d, err := open(ctx, job, run, o)
	if err != nil {
		return err
	}
	defer d.conn.Close(context.WithoutCancel(ctx))
	if !o.Globals {
		return d.dump(ctx)
	}
	if err = d.globals(ctx, cmp.Or(job.Name, d.job.To.DBName)); err == nil {
		return d.dump(ctx)
	}
	err = fmt.Errorf("backing up the roles: %w", err)
	if ctx.Err() != nil {
		return err
	}
	if dumpErr := d.dump(ctx); dumpErr != nil {
		return errors.Join(err, dumpErr)
	}
	return errors.Join(err, errors.New("the backup of the database is complete all the same"))
}

// Globals seals the roles and tablespaces of a server, as a backup named after the server.
func Globals(ctx context.Context, job Job, run Runner, o DatabaseOptions) error {
	d, err := open(ctx, job, run, o)
	if err != nil {
		return err
	}
	defer d.conn.Close(context.WithoutCancel(ctx))
	return d.globals(ctx, serverName(o.Settings.Address()))
}

// serverName turns an address into part of a file name.
func serverName(address string) string {
	address = strings.TrimSuffix(address, ":5432")
	if strings.HasPrefix(address, "/") { // the folder of a socket
		_, port, _ := strings.Cut(path.Base(address), ":")
		address = strings.TrimSuffix("local:"+port, ":")
	}
	return FileNameOf(strings.ReplaceAll(address, ":", "-"))
}

// open connects to the server. The caller closes the connection.
func open(ctx context.Context, job Job, run Runner, o DatabaseOptions) (d *database, err error) {
	if o.Warn == nil {
		o.Warn = silent
	}
	conn, err := o.Settings.Connect(ctx)
	if err != nil {
		return nil, SourceError(err)
	}
	job.Kind, job.To.DBName = KindDatabase, FileNameOf(o.Settings.Database())
	d = &database{DatabaseOptions: o, job: job, run: run, conn: conn}
	if err = postgres.CheckDirect(ctx, conn); err == nil {
		if d.server, err = postgres.Version(ctx, conn); err != nil {
			err = SourceError(err)
		}
	}
	if err != nil {
		conn.Close(context.WithoutCancel(ctx))
		return nil, err
	}
	return d, nil
}

// dump seals the dump and, if wanted, the manifest.
func (d *database) dump(ctx context.Context) error {
	unlogged, err := postgres.UnreadableUnlogged(ctx, d.conn)
	if err != nil {
		return SourceError(err)
	}
	if unlogged > 0 {
		d.Warn("the rows of %d unlogged tables are not in the backup: the server is a standby, which does not have them", unlogged)
	}
	var m *postgres.Manifest
	if d.Manifest != ManifestOff {
		if m, err = d.describe(ctx); err != nil {
			return SourceError(err)
		}
	}
	if d.Manifest == ManifestChecksums || d.Jobs > 1 {
		return d.inSnapshot(ctx, m)
	}
	// A connection that idles through a dump hinders the administrators of the server.
	if err := d.conn.Close(ctx); err != nil {
		return SourceError(fmt.Errorf("leaving the server: %w", err))
	}
	made, dumped := d.pgDump(ctx, "")
	if m == nil || made == nil {
		return dumped
	}
	return d.sealManifest(ctx, m, made, dumped)
}

// describe describes the database before the dump. It lists the tables of extensions too.
func (d *database) describe(ctx context.Context) (m *postgres.Manifest, err error) {
	m = &postgres.Manifest{
		Version: postgres.ManifestVersion, Database: d.Settings.Database(), Server: d.server,
		Created: d.job.Created.UTC(), System: postgres.SystemIdentifier(ctx, d.conn),
	}
	if m.Properties, err = postgres.ReadProperties(ctx, d.conn, m.Database); err != nil {
		return nil, fmt.Errorf("asking what the database is: %w", err)
	}
	if err := d.conn.QueryRow(ctx, "SELECT pg_catalog.pg_database_size(pg_catalog.current_database())").Scan(&m.Size); err != nil {
		return nil, fmt.Errorf("asking for the size of the database: %w", err)
	}
	if m.Extensions, err = postgres.Extensions(ctx, d.conn); err != nil {
		return nil, err
	}
	d.notUsers, err = postgres.ExtensionTables(ctx, d.conn)
	return m, err
}

// sealManifest seals the manifest, completed with what the guard learned of the dump.
func (d *database) sealManifest(ctx context.Context, m *postgres.Manifest, made *Made, dumped error) error {
	m.Backup = made.ID.String()
	if c := made.Contents; c != nil {
		m.Needs = NeedsOf(c, m.Extensions)
		if m.Tables == nil && c.Counted {
			m.LargeObjects.Rows = c.LargeObjects
			for _, t := range c.Tables {
				if !d.notUsers[[2]string{t.Schema, t.Name}] {
					m.Tables = append(m.Tables, postgres.Table{Schema: t.Schema, Name: t.Name, Sum: postgres.Sum{Rows: t.Rows}})
				}
			}
		}
	}
	if err := d.manifest(ctx, m, made); err != nil {
		return errors.Join(fmt.Errorf("making the manifest: %w", err), fmt.Errorf("the backup is complete all the same: %s", made.Path))
	}
	return dumped
}

func (d *database) pgDump(ctx context.Context, snapshot string) (*Made, error) {
	job := d.job
	job.Want = guard.PlainDump
	args := []string{d.Settings.Target(), "--no-password", "--format=plain"}
	if d.Custom {
		job.Want = guard.CustomDump
		args = append(args[:2], "--format=custom", "--compress=0") // the codec packs better, and on all cores
	}
	if snapshot != "" {
		args = append(args, "--snapshot="+snapshot)
	}
	job, err := d.output(ctx, job, "pg_dump", args)
	if err != nil {
		return nil, err
	}
	if d.Jobs > 1 {
		job = d.parallel(job, snapshot)
	}
	return d.run(ctx, job)
}

func (d *database) program(ctx context.Context, job Job, name string, args []string) (*Made, error) {
	job, err := d.output(ctx, job, name, args)
	if err != nil {
		return nil, err
	}
	return d.run(ctx, job)
}

func (d *database) output(ctx context.Context, job Job, name string, args []string) (Job, error) {
	path, err := postgres.Program(ctx, name, d.server)
	if err != nil {
		return job, SourceError(err)
	}
	job.Source = func(ctx context.Context) (io.ReadCloser, error) {
		return source.Command(ctx, append([]string{path}, args...), d.Settings.Environ(), os.Stderr)
	}
	return job, nil
}

func (d *database) globals(ctx context.Context, name string) error {
	args := []string{"--globals-only", "--no-password", strings.Replace(d.Settings.Target(), "--dbname=", "--database=", 1)}
	var secrets bool
	if err := d.conn.QueryRow(ctx, "SELECT has_table_privilege('pg_catalog.pg_authid', 'SELECT')").Scan(&secrets); err != nil {
		return SourceError(fmt.Errorf("asking what this role may read: %w", err))
	}
	if !secrets {
		d.Warn("%q may not read the passwords of roles: they are backed up without", d.Settings.User())
		args = append(args, "--no-role-passwords")
	}
	job := d.job
	job.To.Base = name + "_globals"
	job.Name, job.Want = "", guard.PlainDump
	_, err := d.program(ctx, job, "pg_dumpall", args)
	return err
}

func (d *database) inSnapshot(ctx context.Context, m *postgres.Manifest) error {
	tx, snapshot, err := postgres.Snapshot(ctx, d.conn)
	if err != nil {
		return SourceError(err)
	}
	defer tx.Rollback(context.WithoutCancel(ctx))
	made, dumped := d.pgDump(ctx, snapshot)
	if made == nil || m == nil { // with an error, when one of several stores failed
		return dumped
	}
	if d.Manifest != ManifestChecksums {
		return d.sealManifest(ctx, m, made, dumped)
	}
	if m.Contents, err = postgres.Survey(ctx, tx, postgres.ManifestVersion); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return errors.Join(fmt.Errorf("making the manifest: %w", SourceError(err)), fmt.Errorf("the backup is complete all the same: %s", made.Path))
	}
	return d.sealManifest(ctx, m, made, dumped)
}

// parallel has several connections read the rows where possible.
func (d *database) parallel(job Job, snapshot string) Job {
	alone := job.Source
	var contents []byte
	job.Source = func(ctx context.Context) (io.ReadCloser, error) {
		dump, err := paralleldump.Open(ctx, paralleldump.Options{
			Settings: d.Settings, Leader: d.conn, Snapshot: snapshot, Server: d.server, Jobs: d.Jobs, Stderr: os.Stderr,
		})
		if errors.Is(err, paralleldump.ErrNotHere) {
			d.Warn("pg_dump dumps the database by itself, with one connection: %v", err)
			return alone(ctx)
		}
		if err != nil {
			return nil, SourceError(err)
		}
		contents = dump.Contents()
		return dump, nil
	}
	job.contents = func() []byte { return contents }
	return job
}

func (d *database) manifest(ctx context.Context, m *postgres.Manifest, of *Made) error {
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	job := d.job
	text = append(text, '\n')
	job.Kind, job.Name = KindManifest, ""
	job.To.Folder = KindDatabase
	for n := range ManifestTries {
		job.To.Path = ManifestPath(of.first(), n+1, job.Pack.Codec)
		job.Source = From(bytes.NewReader(text)) // an io.Reader is read once, but the name may be taken
		_, err = d.run(ctx, job)
		if !errors.Is(err, store.ErrExists) {
			break
		}
	}
	return err
}

// first is the path of the file in its first store, complete or not.
func (m *Made) first() string {
	if len(m.Copies) > 0 {
		return m.Copies[0].Path
	}
	return m.Path
}

// FileNameOf returns a database's name as part of a file name. An unfit one is simplified
// and gets a hash, so that two databases never share a series.
func FileNameOf(database string) string {
	name := strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || strings.ContainsRune(`/\`, r) {
			return '_'
		}
		return r
	}, database)
	if strings.HasPrefix(name, ".") || strings.HasPrefix(name, "-") {
		name = "_" + name[1:]
	}
	if name == database {
		return name
	}
	sum := sha256.Sum256([]byte(database))
	return fmt.Sprintf("%s-%x", name, sum[:4])
}
