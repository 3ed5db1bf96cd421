package database

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/backup/tables"
	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/guard"
	"github.com/takumi-backup/takumi-backup/internal/postgres"
	"github.com/takumi-backup/takumi-backup/restore/database/pick"
)

// ErrTableExists is returned for a table that is there already.
var ErrTableExists = fail.New(fail.Failed, "give --to-schema NAME to restore it into another schema; nothing was done", "the table exists already")

// TablesJob restores some tables of a dump with an index, and reads nothing else of it.
// Every byte is authenticated before use.
type TablesJob struct {
	Dump  *tables.Dump
	Names []postgres.TableName // of the tables in the dump
	To    string               // the schema that they go into, or "": that of the dump
	Meter *backup.Meter        // counts the rows, in bytes
	// Options have the target: the database of Into, or of Settings, made if missing.
	Options
}

// TablesPlan is what a TablesJob finds, and what it would do.
type TablesPlan struct {
	Database string
	Makes    bool // the name is free
	pick.Choice
	Rows, Size int64
}

// TablesRestore is a restore of tables in progress. It belongs to one goroutine.
type TablesRestore struct {
	job    TablesJob
	plan   TablesPlan
	conn   *pgx.Conn // to the database; nil when it is made
	made   *Restore  // what makes it
	blocks map[postgres.TableName][]tables.Block
}

// TablesResult says what was restored.
type TablesResult struct {
	Database string   `json:"database"`
	Tables   []string `json:"restored"` // by the names that they have now
	Rows     int64    `json:"rows"`
	Rest     []string `json:"not_restored,omitempty"` // what belongs to them in the dump
}

// Begin finds what is to be done, and changes nothing. The errors are ErrForeign,
// ErrTableExists, pick.ErrAlone, those of the dump and of the server. The caller closes the
// TablesRestore.
func (j TablesJob) Begin(ctx context.Context) (_ *TablesRestore, err error) {
	r := &TablesRestore{job: j, blocks: make(map[postgres.TableName][]tables.Block)}
	r.plan.Database = j.Settings.Database()
	if j.Into != "" {
		r.plan.Database = j.Into
	}
	defer func() {
		if err != nil {
			r.Close()
		}
	}()
	var refused *postgres.ConnectError
	r.conn, err = j.Settings.On(r.plan.Database).Connect(ctx)
	switch {
	case errors.As(err, &refused) && refused.NoDatabase():
		o := j.Options
		o.Into, o.Unchecked = r.plan.Database, true
		r.plan.Makes, r.conn = true, nil
		if r.made, err = Begin(ctx, o); err != nil {
			return nil, err
		}
	case err != nil:
		return nil, err
	default:
		if err := postgres.CheckDirect(ctx, r.conn); err != nil {
			return nil, err
		}
		if j.Into == "" && j.Source != "" && j.From != j.Source && j.Source != r.plan.Database {
			return nil, fmt.Errorf("%w: it is of %q, and the tables would go into %q", ErrForeign, j.Source, r.plan.Database)
		}
	}
	return r, r.choose(ctx)
}

func (r *TablesRestore) choose(ctx context.Context) error {
	var script [3][]byte
	for i, name := range []string{guard.PartPre, guard.PartSequences, guard.PartPost} {
		parts, err := r.job.Dump.Part(name)
		if err != nil {
			return err
		}
		for _, part := range parts {
			text, err := io.ReadAll(part)
			if err != nil {
				return fmt.Errorf("reading what makes the tables: %w", err)
			}
			script[i] = append(append(script[i], text...), '\n')
		}
	}
	choice, err := pick.Choose(script[0], script[1], script[2], r.job.Names, r.job.To, r.server(ctx))
	if err != nil {
		return err
	}
	r.plan.Choice = *choice
	for _, name := range choice.Tables {
		to := choice.To[name]
		if there, err := r.has(ctx, "SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = relnamespace WHERE nspname = $1 AND relname = $2", to.Schema, to.Table); err != nil {
			return err
		} else if there {
			return fmt.Errorf("%s in %q: %w", to, r.plan.Database, ErrTableExists)
		}
		blocks, err := r.job.Dump.Find(name)
		if err != nil && !errors.Is(err, tables.ErrNoTable) { // tables with partitions, and dumps of a schema, have no rows
			return err
		}
		r.blocks[name] = blocks
		for _, b := range blocks {
			r.plan.Rows += b.Rows
			r.plan.Size += b.Length
		}
	}
	return nil
}

// has reports whether a query finds something in the database; a new one has the defaults
// only.
func (r *TablesRestore) has(ctx context.Context, sql string, args ...any) (there bool, err error) {
	conn := r.conn
	if conn == nil {
		conn = r.made.conn // to a database of the system
	}
	err = conn.QueryRow(ctx, "SELECT EXISTS ("+sql+")", args...).Scan(&there)
	if err != nil {
		return false, fmt.Errorf("looking for what is there already: %w", err)
	}
	return there && (r.conn != nil || strings.Contains(sql, "pg_roles")), nil
}

type target struct {
	ctx context.Context
	r   *TablesRestore
}

func (r *TablesRestore) server(ctx context.Context) pick.Server { return target{ctx, r} }

var looks = map[pick.Kind]string{
	pick.Type:      "SELECT FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = typnamespace WHERE nspname = $1 AND typname = $2",
	pick.Function:  "SELECT FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = pronamespace WHERE nspname = $1 AND proname = $2",
	pick.Sequence:  "SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = relnamespace WHERE nspname = $1 AND relname = $2",
	pick.Collation: "SELECT FROM pg_catalog.pg_collation c JOIN pg_catalog.pg_namespace n ON n.oid = collnamespace WHERE nspname = $1 AND collname = $2",
	pick.Schema:    "SELECT FROM pg_catalog.pg_namespace WHERE nspname = $1 AND $2 = ''",
	pick.Extension: "SELECT FROM pg_catalog.pg_extension WHERE $1 = '' AND extname = $2",
}

// Has implements pick.Server.
func (t target) Has(kind pick.Kind, n pick.Name) (bool, error) {
	if t.r.conn == nil && kind == pick.Schema && n.Schema == "public" {
		return true, nil
	}
	return t.r.has(t.ctx, looks[kind], n.Schema, n.Table)
}

// MayOwn implements pick.Server.
func (t target) MayOwn(role string) (bool, error) {
	return t.r.has(t.ctx, "SELECT FROM pg_catalog.pg_roles WHERE rolname = $1 AND pg_catalog.pg_has_role(oid, 'MEMBER')", role)
}

// Plan returns what Begin has found.
func (r *TablesRestore) Plan() TablesPlan { return r.plan }

// Close leaves the server.
func (r *TablesRestore) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), closeTime)
	defer cancel()
	if r.conn != nil {
		_ = r.conn.Close(ctx)
	}
	if r.made != nil {
		r.made.Close()
	}
}

// Run restores the tables, in one transaction of the existing database, or into one that
// gets its name at the end. After an error the database is unchanged.
func (r *TablesRestore) Run(ctx context.Context) (TablesResult, error) {
	var err error
	if r.conn != nil {
		err = r.load(ctx, r.conn)
	} else {
		// The head says what the dump is written in.
		head := []byte(strings.Join(r.plan.Settings, "\n"))
		_, err = r.made.build(ctx, head, func(ctx context.Context) ([]string, int, error) {
			conn, err := r.job.Settings.On(r.made.plan.New).Connect(ctx)
			if err != nil {
				return nil, 0, err
			}
			defer conn.Close(context.WithoutCancel(ctx))
			return nil, 0, r.load(ctx, conn)
		})
	}
	if err != nil {
		return TablesResult{}, err
	}
	done := TablesResult{Database: r.plan.Database, Rows: r.plan.Rows, Rest: r.plan.Rest}
	for _, name := range r.plan.Tables {
		done.Tables = append(done.Tables, r.plan.To[name].String())
	}
	return done, nil
}

func (r *TablesRestore) load(ctx context.Context, conn *pgx.Conn) error {
	tx, err := conn.Begin(ctx)
	if err != nil {
		return fmt.Errorf("restoring tables: %w", err)
	}
	defer tx.Rollback(context.WithoutCancel(ctx))
	run := func(all []string) error {
		for _, sql := range all {
			if _, err := conn.PgConn().Exec(ctx, sql).ReadAll(); err != nil {
				return fmt.Errorf("%.200s: %w", sql, err)
			}
		}
		return nil
	}
	settings := append([]string{"SELECT pg_catalog.set_config('search_path', '', true)"}, r.plan.Settings...)
	if err := run(append(settings, r.plan.Pre...)); err != nil {
		return err
	}
	for _, name := range r.plan.Tables {
		for _, b := range r.blocks[name] {
			if err := copyBlock(ctx, conn, r.job.Dump, b, r.plan.To[name], r.job.Meter); err != nil {
				return err
			}
		}
	}
	if err := run(append(r.plan.Set, r.plan.Post...)); err != nil {
		return err
	}
	if err := tx.Commit(ctx); err != nil {
		return fmt.Errorf("restoring tables: %w", err)
	}
	return nil
}

func copyBlock(ctx context.Context, conn *pgx.Conn, d *tables.Dump, b tables.Block, to postgres.TableName, m *backup.Meter) error {
	columns, err := d.Columns(b)
	if err != nil {
		return err
	}
	return copyRows(ctx, conn, b, d.Rows(b), to, columns, m)
}

// copyRows copies rows into a table, and compares their number with the server's.
func copyRows(ctx context.Context, conn *pgx.Conn, b tables.Block, rows io.Reader, to postgres.TableName, columns []string, m *backup.Meter) error {
	sql := "COPY " + to.Quoted()
	if columns != nil {
		sql += " " + pgColumns(columns)
	}
	tag, err := conn.PgConn().CopyFrom(ctx, rows, sql+" FROM STDIN")
	if err != nil {
		return fmt.Errorf("copying rows into %s: %w", to, err)
	}
	if tag.RowsAffected() != b.Rows {
		return fmt.Errorf("%w: %s took %d rows of %d", ErrDiffers, to, tag.RowsAffected(), b.Rows)
	}
	if m != nil {
		m.Add(int(b.Length))
	}
	return nil
}

func pgColumns(columns []string) string {
	quoted := make([]string, len(columns))
	for i, name := range columns {
		quoted[i] = postgres.Quote(name)
	}
	return "(" + strings.Join(quoted, ", ") + ")"
}
