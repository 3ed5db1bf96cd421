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

// userTables lists the tables that a dump carries with their rows. What an
// extension brings along is made anew by the extension.
const userTables = `
SELECT n.nspname, c.relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
ORDER BY 1, 2`

// CountTables returns the number of a database's tables, without those of the
// system and of extensions.
func CountTables(ctx context.Context, conn *pgx.Conn) (n int, err error) {
	err = conn.QueryRow(ctx, "SELECT count(*) FROM ("+userTables+") t").Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("counting the tables: %w", err)
	}
	return n, nil
}

// querier is a connection or a transaction.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

func listTables(ctx context.Context, conn querier) ([]Table, error) {
	rows, err := conn.Query(ctx, userTables)
	if err != nil {
		return nil, fmt.Errorf("listing the tables: %w", err)
	}
	tables, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (t Table, err error) {
		return t, row.Scan(&t.Schema, &t.Name)
	})
	if err != nil {
		return nil, fmt.Errorf("listing the tables: %w", err)
	}
	return tables, nil
}

// Survey reads all tables and large objects of a database, one after the other
// and none into memory, and sums up what they hold, as a manifest of this version
// has it.
func Survey(ctx context.Context, tx pgx.Tx, version int) (c Contents, err error) {
	if _, err := tx.Exec(ctx, sameText); err != nil {
		return c, fmt.Errorf("surveying the database: %w", err)
	}
	if c.Tables, err = listTables(ctx, tx); err != nil {
		return c, err
	}
	for i := range c.Tables {
		t := &c.Tables[i]
		name := pgx.Identifier{t.Schema, t.Name}.Sanitize()
		var sum rowSum
		// Without a query: planning one would run the functions of indexes, and those
		// may need another search_path.
		from := name
		if version == 1 {
			from = "(SELECT * FROM ONLY " + name + ")"
		}
		if _, err := tx.Conn().PgConn().CopyTo(ctx, &sum, "COPY "+from+" TO STDOUT"); err != nil {
			return c, fmt.Errorf("surveying table %s: %w", name, err)
		}
		t.Sum = sum.sum()
	}
	if c.LargeObjects, err = surveyLargeObjects(ctx, tx); err != nil {
		return c, fmt.Errorf("surveying the large objects: %w", err)
	}
	return c, nil
}

// Count counts the rows of all tables, and the large objects. Each count is a
// transaction of its own: one of all would hold a lock for each table and index.
func Count(ctx context.Context, conn *pgx.Conn) (c Contents, err error) {
	// Counting may run functions of users.
	if _, err := conn.Exec(ctx, "SET default_transaction_read_only = on"); err != nil {
		return c, fmt.Errorf("counting the rows: %w", err)
	}
	if c.Tables, err = listTables(ctx, conn); err != nil {
		return c, err
	}
	for i := range c.Tables {
		t := &c.Tables[i]
		if t.Rows, err = countRows(ctx, conn, pgx.Identifier{t.Schema, t.Name}.Sanitize()); err != nil {
			return c, err
		}
	}
	if err := conn.QueryRow(ctx, "SELECT count(*) FROM pg_catalog.pg_largeobject_metadata").Scan(&c.LargeObjects.Rows); err != nil {
		return c, fmt.Errorf("counting the large objects: %w", err)
	}
	_, err = conn.Exec(ctx, "SET default_transaction_read_only = off")
	return c, err
}

// countRows counts by a query, and where that cannot be planned, see Survey, by
// reading.
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

// rowSum adds up, modulo 2^256, the SHA-256 of each line written to it. In the
// text format of COPY a line is a row: line breaks in values are escaped.
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

// add counts a row.
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
