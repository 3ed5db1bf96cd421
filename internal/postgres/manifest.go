package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// ManifestVersion is the written version of [Manifest]. Version 1 always had checksums, of
// generated columns too, and only the contents; up to version 2 they used the table's order
// of columns, which a dump does not keep for a table that inherits columns.
const ManifestVersion = 3

// Manifest says what a database held at the moment of a backup.
type Manifest struct {
	Version  int       `json:"version"`
	Backup   string    `json:"backup"` // the id of the backup that it describes
	Database string    `json:"database"`
	Server   int       `json:"server"` // the major version
	Created  time.Time `json:"created"`

	// System is the identifier of the cluster, as pg_controldata prints it.
	System     string      `json:"system_identifier,omitempty"`
	Size       int64       `json:"size,omitempty"` // on the server's disk, in bytes
	Properties *Properties `json:"properties,omitempty"`
	Needs
	Contents
}

// Needs are a dump's needs of the server it is restored to.
type Needs struct {
	Roles       []string    `json:"roles,omitempty"`
	Owners      []string    `json:"owners,omitempty"` // those of the roles that get things
	Tablespaces []string    `json:"tablespaces,omitempty"`
	Extensions  []Extension `json:"extensions,omitempty"`
	Superuser   []string    `json:"superuser,omitempty"` // what only a superuser makes, in words
}

// Extension is an extension of a database.
type Extension struct {
	Name    string `json:"name"`
	Version string `json:"version,omitempty"`
}

// Contents are the countable things of a database.
type Contents struct {
	Tables       []Table `json:"tables"`
	LargeObjects Sum     `json:"large_objects"`
}

// Table is a table's own content, without partitions and children.
type Table struct {
	Schema string `json:"schema"`
	Name   string `json:"name"`
	Sum
	unlogged bool // of a table that was found, not of a manifest's
}

// Sum is a number of rows and a checksum of them in any order.
type Sum struct {
	Rows   int64  `json:"rows"`
	SHA256 string `json:"sum,omitempty"` // "" when only the rows were counted
}

// ReadManifest reads a manifest. It does not check whose it is.
func ReadManifest(r io.Reader) (*Manifest, error) {
	m := new(Manifest)
	if err := json.NewDecoder(r).Decode(m); err != nil {
		return nil, fmt.Errorf("reading the manifest: %w", err)
	}
	if m.Version < 1 || m.Version > ManifestVersion {
		return nil, fmt.Errorf("reading the manifest: it has version %d, and this program knows 1 to %d", m.Version, ManifestVersion)
	}
	return m, nil
}

// Summed reports whether there are checksums, of tables or large objects.
func (m *Manifest) Summed() bool {
	return m.LargeObjects.SHA256 != "" || slices.ContainsFunc(m.Tables, func(t Table) bool { return t.SHA256 != "" })
}

// Differences describes, in at most limit lines, how got differs from c; nil when it does
// not. Further unlogged tables without rows are as they should be: the dump of a standby,
// and of pg_dump --no-unlogged-table-data, makes them and has nothing for them.
func (c Contents) Differences(got Contents, limit int) []string {
	type name struct{ schema, table string }
	there := make(map[name]Sum)
	for _, t := range got.Tables {
		there[name{t.Schema, t.Name}] = t.Sum
	}
	var lines []string
	say := func(format string, args ...any) {
		if len(lines) < limit {
			lines = append(lines, fmt.Sprintf(format, args...))
		}
	}
	compare := func(what string, want, got Sum) {
		switch {
		case want.Rows != got.Rows:
			say("%s: %d rows, want %d", what, got.Rows, want.Rows)
		case want.SHA256 != "" && got.SHA256 != "" && want.SHA256 != got.SHA256:
			say("%s: the content differs", what)
		}
	}
	for _, t := range c.Tables {
		what := fmt.Sprintf("table %s.%s", t.Schema, t.Name)
		sum, ok := there[name{t.Schema, t.Name}]
		if !ok {
			say("%s is missing", what)
			continue
		}
		delete(there, name{t.Schema, t.Name})
		compare(what, t.Sum, sum)
	}
	for _, t := range got.Tables {
		if _, left := there[name{t.Schema, t.Name}]; left && !(t.unlogged && t.Rows == 0) {
			say("table %s.%s is there and should not be", t.Schema, t.Name)
		}
	}
	compare("large objects", c.LargeObjects, got.LargeObjects)
	return lines
}

// Snapshot begins a transaction on conn that sees the database as it is now, and returns it
// and its name for pg_dump. Until the caller rolls it back, nobody can empty, alter or drop
// a table, which a snapshot alone would show.
func Snapshot(ctx context.Context, conn *pgx.Conn) (pgx.Tx, string, error) {
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return nil, "", fmt.Errorf("beginning a snapshot: %w", err)
	}
	var id string
	if err := tx.QueryRow(ctx, "SELECT pg_export_snapshot()").Scan(&id); err != nil {
		_ = tx.Rollback(context.WithoutCancel(ctx))
		return nil, "", fmt.Errorf("exporting the snapshot: %w", err)
	}
	if err := lockTables(ctx, tx); err != nil {
		_ = tx.Rollback(context.WithoutCancel(ctx))
		return nil, "", err
	}
	return tx, id, nil
}

// lockBatch is how many tables one statement locks.
const lockBatch = 100

func lockTables(ctx context.Context, tx pgx.Tx) error {
	tables, err := listTables(ctx, tx)
	if err != nil {
		return err
	}
	for batch := range slices.Chunk(tables, lockBatch) {
		names := make([]string, len(batch))
		for i, t := range batch {
			names[i] = "ONLY " + t.name()
		}
		if _, err := tx.Exec(ctx, "LOCK TABLE "+strings.Join(names, ", ")+" IN ACCESS SHARE MODE"); err != nil {
			return fmt.Errorf("locking the tables for the time of the backup: %w", err)
		}
	}
	return nil
}
