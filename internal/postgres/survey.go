package postgres

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"math/bits"

	"github.com/jackc/pgx/v5"
)

// sameText makes the text of every value depend on the value alone.
const sameText = `
SET LOCAL client_encoding = 'UTF8'; SET LOCAL datestyle = 'ISO, YMD'; SET LOCAL intervalstyle = 'iso_8601';
SET LOCAL timezone = 'UTC'; SET LOCAL extra_float_digits = 3; SET LOCAL bytea_output = 'hex'; SET LOCAL xmloption = 'content';
SET LOCAL lc_monetary = 'C'; SET LOCAL search_path = pg_catalog`

// userTables lists the tables that a dump has with rows, without those of extensions, and
// on a standby without the unlogged ones, which nobody can read there. Rows
// that are spread by the hash of an enum, whose values have other numbers in another
// database, are loaded through the root of the partitions (pg_dump.c,
// forcePartitionRootLoad), so the root is listed with each. The columns are ordered by
// name, and once more, of a root, as in the root.
const userTables = `
SELECT n.nspname, c.relname, coalesce(rn.nspname, n.nspname), coalesce(rc.relname, c.relname), c.relpersistence = 'u',
	coalesce((SELECT ' (' || pg_catalog.string_agg(pg_catalog.quote_ident(attname), ', ' ORDER BY attname) || ')' FROM pg_catalog.pg_attribute
		WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped AND attgenerated = ''), ''),
	coalesce((SELECT ' (' || pg_catalog.string_agg(pg_catalog.quote_ident(attname), ', ' ORDER BY attnum) || ')' FROM pg_catalog.pg_attribute
		WHERE attrelid = root.oid AND attnum > 0 AND NOT attisdropped AND attgenerated = ''), '')
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN LATERAL (SELECT pg_catalog.pg_partition_root(c.oid) AS oid WHERE c.relispartition AND EXISTS (
	SELECT FROM pg_catalog.pg_partition_ancestors(c.oid) a JOIN pg_catalog.pg_partitioned_table p ON p.partrelid = a.relid
	JOIN pg_catalog.pg_opclass o ON o.oid = ANY (p.partclass) JOIN pg_catalog.pg_am m ON m.oid = o.opcmethod
	WHERE o.opcname = 'enum_ops' AND m.amname = 'hash')) root ON true
LEFT JOIN pg_catalog.pg_class rc ON rc.oid = root.oid LEFT JOIN pg_catalog.pg_namespace rn ON rn.oid = rc.relnamespace
WHERE c.relkind = 'r' AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
AND NOT (c.relpersistence = 'u' AND pg_catalog.pg_is_in_recovery())
AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
ORDER BY 3, 4, 1, 2`

type listed struct {
	schema, table string
	as            Table
	columns       string // in parentheses, by name; "" where there are none
	ofRoot        string // in parentheses, or "" for all in their order
}

func (l *listed) name() string { return pgx.Identifier{l.schema, l.table}.Sanitize() }

// CountTables returns the number of tables, without those of the system and of extensions.
func CountTables(ctx context.Context, conn *pgx.Conn) (n int, err error) {
	err = conn.QueryRow(ctx, "SELECT count(*) FROM ("+userTables+") t").Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("counting the tables: %w", err)
	}
	return n, nil
}

// UnreadableUnlogged returns how many tables have rows on the primary alone: the unlogged
// ones, when conn leads to a standby.
func UnreadableUnlogged(ctx context.Context, conn *pgx.Conn) (n int, err error) {
	err = conn.QueryRow(ctx, "SELECT count(*) FROM pg_catalog.pg_class WHERE relkind = 'r' AND relpersistence = 'u' AND pg_catalog.pg_is_in_recovery()").Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("counting the unlogged tables: %w", err)
	}
	return n, nil
}

type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

func listTables(ctx context.Context, conn querier) ([]listed, error) {
	rows, err := conn.Query(ctx, userTables)
	if err != nil {
		return nil, fmt.Errorf("listing the tables: %w", err)
	}
	tables, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (t listed, err error) {
		return t, row.Scan(&t.schema, &t.table, &t.as.Schema, &t.as.Name, &t.as.unlogged, &t.columns, &t.ofRoot)
	})
	if err != nil {
		return nil, fmt.Errorf("listing the tables: %w", err)
	}
	return tables, nil
}

// Survey reads all tables and large objects of a database, without holding them in memory,
// and sums them up for a manifest of this version.
func Survey(ctx context.Context, tx pgx.Tx, version int) (c Contents, err error) {
	if _, err := tx.Exec(ctx, sameText); err != nil {
		return c, fmt.Errorf("surveying the database: %w", err)
	}
	tables, err := listTables(ctx, tx)
	if err != nil {
		return c, err
	}
	var sum rowSum
	for _, t := range tables {
		last := c.last(t.as)
		if last.SHA256 == "" {
			sum = rowSum{}
		}
		// A query's planner would run the functions of indexes, which may need another
		// search_path.
		from := t.name() + t.columns
		switch version {
		case 1:
			from = "(SELECT * FROM ONLY " + t.name() + ")"
		case 2:
			from = t.name() + t.ofRoot
		}
		if _, err := tx.Conn().PgConn().CopyTo(ctx, &sum, "COPY "+from+" TO STDOUT"); err != nil {
			return c, fmt.Errorf("surveying table %s: %w", t.name(), err)
		}
		last.Sum = sum.sum()
	}
	if c.LargeObjects, err = surveyLargeObjects(ctx, tx); err != nil {
		return c, fmt.Errorf("surveying the large objects: %w", err)
	}
	return c, nil
}

// Count counts the rows of all tables, and the large objects, each in its own transaction:
// one for all would lock every table and index.
func Count(ctx context.Context, conn *pgx.Conn) (c Contents, err error) {
	// Counting may run functions of users.
	if _, err := conn.Exec(ctx, "SET default_transaction_read_only = on"); err != nil {
		return c, fmt.Errorf("counting the rows: %w", err)
	}
	tables, err := listTables(ctx, conn)
	if err != nil {
		return c, err
	}
	for _, t := range tables {
		n, err := countRows(ctx, conn, t.name())
		if err != nil {
			return c, err
		}
		c.last(t.as).Rows += n
	}
	if err := conn.QueryRow(ctx, "SELECT count(*) FROM pg_catalog.pg_largeobject_metadata").Scan(&c.LargeObjects.Rows); err != nil {
		return c, fmt.Errorf("counting the large objects: %w", err)
	}
	_, err = conn.Exec(ctx, "SET default_transaction_read_only = off")
	return c, err
}

// last returns the last table if it has t's name, and otherwise adds t.
func (c *Contents) last(t Table) *Table {
	if n := len(c.Tables); n == 0 || c.Tables[n-1].Schema != t.Schema || c.Tables[n-1].Name != t.Name {
		c.Tables = append(c.Tables, t)
	}
	return &c.Tables[len(c.Tables)-1]
}

// countRows counts by a query or, where that cannot be planned (see Survey), by reading.
func countRows(ctx context.Context, conn *pgx.Conn, name string) (n int64, err error) {
	// Not prepared: the plans of thousands of counts would be kept.
	if err := conn.QueryRow(ctx, "SELECT count(*) FROM ONLY "+name, pgx.QueryExecModeSimpleProtocol).Scan(&n); err == nil {
		return n, nil
	}
	var sum rowSum
	if _, err := conn.PgConn().CopyTo(ctx, &sum, "COPY "+name+" TO STDOUT"); err != nil {
		return 0, fmt.Errorf("counting the rows of %s: %w", name, err)
	}
	return sum.rows, nil
}

func surveyLargeObjects(ctx context.Context, tx pgx.Tx) (Sum, error) {
	rows, err := tx.Query(ctx, "SELECT oid FROM pg_catalog.pg_largeobject_metadata ORDER BY oid")
	if err != nil {
		return Sum{}, err
	}
	oids, err := pgx.CollectRows(rows, pgx.RowTo[uint32])
	if err != nil {
		return Sum{}, err
	}
	los := tx.LargeObjects()
	var sum rowSum
	buf := make([]byte, 1<<20)
	for _, oid := range oids {
		h := sha256.New()
		h.Write(binary.BigEndian.AppendUint32(nil, oid))
		object, err := los.Open(ctx, oid, pgx.LargeObjectModeRead)
		if err != nil {
			return Sum{}, err
		}
		// Without WriterTo and ReaderFrom: the buffer bounds what is asked for.
		if _, err := io.CopyBuffer(struct{ io.Writer }{h}, struct{ io.Reader }{object}, buf); err != nil {
			return Sum{}, err
		}
		if err := object.Close(); err != nil {
			return Sum{}, err
		}
		sum.add(h)
	}
	return sum.sum(), nil
}

// rowSum adds up, modulo 2^256, the SHA-256 of each line. In COPY's text format a line is a
// row: line breaks in values are escaped.
type rowSum struct {
	rows  int64
	total [4]uint64 // least significant first
	line  hash.Hash // the beginning of a line whose end has not come, or nil
}

func (s *rowSum) Write(p []byte) (int, error) {
	if s.line == nil {
		s.line = sha256.New()
	}
	for rest := p; len(rest) > 0; {
		line, after, ended := bytes.Cut(rest, []byte{'\n'})
		s.line.Write(line)
		if ended {
			s.add(s.line)
			s.line.Reset()
		}
		rest = after
	}
	return len(p), nil
}

func (s *rowSum) add(h hash.Hash) {
	var digest [sha256.Size]byte
	h.Sum(digest[:0])
	var carry uint64
	for i := range s.total {
		s.total[i], carry = bits.Add64(s.total[i], binary.LittleEndian.Uint64(digest[8*i:]), carry)
	}
	s.rows++
}

func (s *rowSum) sum() Sum {
	var text []byte
	for _, word := range s.total {
		text = binary.LittleEndian.AppendUint64(text, word)
	}
	return Sum{s.rows, hex.EncodeToString(text)}
}
