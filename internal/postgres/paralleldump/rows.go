package paralleldump

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/sync/errgroup"

	"github.com/takumi-backup/takumi-backup/internal/guard"
	"github.com/takumi-backup/takumi-backup/internal/postgres"
	"github.com/takumi-backup/takumi-backup/internal/postgres/archive"
)

// Variables for the tests.
var (
	// minCut is how much of a table, in bytes on the server's disk, is worth a connection
	// of its own.
	minCut int64 = 32 << 20
	// blockSize is BlockSize.
	blockSize = BlockSize
)

// unit is what one COPY reads: a table, or some pages of it.
type unit struct {
	name  postgres.TableName
	sql   string // the COPY … TO that reads it
	head  string // comment and COPY … FROM of each block
	size  int64
	first bool // of its table: it has a block also without rows
}

type relation struct {
	size, pages int64 // with what is stored apart, in bytes; without, in pages
	heap        bool
	plain       bool   // no expression of an index or of statistics has to be planned with it
	condition   string // of the rows that an extension wants dumped
}

const askRelations = `SELECT c.oid::text, pg_catalog.pg_table_size(c.oid), pg_catalog.pg_relation_size(c.oid) / pg_catalog.current_setting('block_size')::bigint,
	coalesce(c.relkind = 'r' AND a.amname = 'heap', false),
	NOT EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid AND (i.indexprs IS NOT NULL OR i.indpred IS NOT NULL))
		AND NOT EXISTS (SELECT FROM pg_catalog.pg_statistic_ext s WHERE s.stxrelid = c.oid AND pg_catalog.to_jsonb(s) ->> 'stxexprs' IS NOT NULL),
	coalesce((SELECT e.extcondition[pg_catalog.array_position(e.extconfig, c.oid)] FROM pg_catalog.pg_extension e WHERE c.oid = ANY (e.extconfig)), '')
	FROM pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_am a ON a.oid = c.relam WHERE c.oid::text = ANY ($1::text[])`

func (d *Dump) units(ctx context.Context) ([]unit, error) {
	var oids []string
	for i := range d.contents.Entries {
		if e := &d.contents.Entries[i]; isData(e) {
			oids = append(oids, e.OID)
		}
	}
	rows, err := d.o.Leader.Query(ctx, askRelations, oids)
	if err != nil {
		return nil, fmt.Errorf("asking for the sizes of tables: %w", err)
	}
	found := make(map[string]relation)
	var oid string
	var r relation
	if _, err := pgx.ForEachRow(rows, []any{&oid, &r.size, &r.pages, &r.heap, &r.plain, &r.condition}, func() error {
		found[oid] = r
		return nil
	}); err != nil {
		return nil, fmt.Errorf("asking for the sizes of tables: %w", err)
	}
	var all []unit
	for i := range d.contents.Entries {
		e := &d.contents.Entries[i]
		if !isData(e) {
			continue
		}
		r, there := found[e.OID]
		_, _, columns, ok := guard.ParseCopy([]byte(e.Copy))
		if !there || !ok {
			return nil, fmt.Errorf("%w: the data of table %s is of an unknown kind", ErrNotHere, nameOf(e))
		}
		all = append(all, d.cut(e, r, columns)...)
	}
	slices.SortStableFunc(all, func(a, b unit) int { return cmp.Compare(b.size, a.size) })
	return all, nil
}

func (d *Dump) cut(e *archive.Entry, r relation, columns []string) []unit {
	name := nameOf(e)
	list := make([]string, len(columns))
	for i, column := range columns {
		list[i] = postgres.Quote(column)
	}
	from := "SELECT " + strings.Join(list, ", ") + " FROM ONLY " + name.Quoted()
	u := unit{name: name, size: r.size, first: true, sql: "COPY (" + from + " " + r.condition + ") TO STDOUT",
		head: fmt.Sprintf("--\n-- Data for Name: %s; Type: TABLE DATA; Schema: %s; Owner: %s\n--\n\n%s\n",
			archive.OneLine(e.Tag), archive.OneLine(e.Namespace), archive.OneLine(e.Owner), strings.TrimRight(e.Copy, "\n"))}
	if r.condition == "" {
		u.sql = "COPY " + name.Quoted() + " TO STDOUT"
		if len(list) > 0 {
			u.sql = "COPY " + name.Quoted() + " (" + strings.Join(list, ", ") + ") TO STDOUT"
		}
	}
	cuts := min(r.size/max(minCut, r.size/int64(4*d.o.Jobs)), r.pages)
	// A plan of the cut rows has expressions of functions that may need a search_path; COPY
	// of the whole table has no plan.
	if d.o.Server < 14 || !r.heap || !r.plain || r.condition != "" || cuts < 2 {
		return []unit{u}
	}
	var all []unit
	for i := range cuts {
		part := u
		part.first, part.size = i == 0, r.size/cuts
		where := fmt.Sprintf(" WHERE ctid >= '(%d,0)'", r.pages*i/cuts)
		if i+1 < cuts { // what was added since is not of the snapshot
			where += fmt.Sprintf(" AND ctid < '(%d,0)'", r.pages*(i+1)/cuts)
		}
		part.sql = "COPY (" + from + where + ") TO STDOUT"
		all = append(all, part)
	}
	return all
}

func (d *Dump) rows(ctx context.Context, w io.Writer, units []unit) error {
	jobs := min(d.o.Jobs, len(units))
	if jobs == 0 {
		return nil
	}
	group, ctx := errgroup.WithContext(ctx)
	work := make(chan unit, len(units))
	for _, u := range units {
		work <- u
	}
	close(work)
	out := &blocks{ctx: ctx, full: make(chan *block, jobs), free: make(chan *block, 2*jobs), gone: make(chan struct{})}
	for range 2 * jobs {
		out.free <- new(block)
	}
	var busy sync.WaitGroup
	locked := make(chan unit, len(units)) // what only the leader has the lock for
	for range jobs {
		busy.Add(1)
		group.Go(func() error {
			defer busy.Done()
			return d.work(ctx, out, work, locked)
		})
	}
	group.Go(func() error {
		busy.Wait()
		close(locked)
		defer close(out.full)
		return d.lead(ctx, out, locked)
	})
	group.Go(func() error {
		defer close(out.gone)
		for b := range out.full {
			if err := b.to(w); err != nil {
				return err
			}
			out.recycle(b)
		}
		return nil
	})
	return group.Wait()
}

// session is what pg_dump sets before it reads rows.
const session = `SET extra_float_digits = 3; SET DateStyle = ISO; SET IntervalStyle = postgres; SET synchronize_seqscans = off;
	SET search_path = ''; SET statement_timeout = 0; SET lock_timeout = 0; SET row_security = off; SET bytea_output = hex; `

func (d *Dump) settings() string {
	sql := session
	for i := range d.contents.Entries {
		if e := &d.contents.Entries[i]; e.Desc == "ENCODING" {
			sql += e.Defn
		}
	}
	return sql
}

// lead reads units by the connection that has the locks, and leaves it as it was.
func (d *Dump) lead(ctx context.Context, out *blocks, locked <-chan unit) error {
	w := &worker{conn: d.o.Leader, out: out}
	exec := func(sql string) error {
		_, err := w.conn.PgConn().Exec(ctx, sql).ReadAll()
		return err
	}
	for u := range locked {
		err := exec("SAVEPOINT l; " + d.settings())
		if err == nil {
			err = w.copy(ctx, u)
		}
		if err == nil {
			err = exec("ROLLBACK TO l; RELEASE l")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// work reads units until there are none.
func (d *Dump) work(ctx context.Context, out *blocks, work <-chan unit, locked chan<- unit) error {
	conn, err := d.o.Settings.Connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	for _, sql := range []string{d.settings(), "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", "SET TRANSACTION SNAPSHOT" + postgres.QuoteText(d.o.Snapshot)} {
		if _, err := conn.PgConn().Exec(ctx, sql).ReadAll(); err != nil {
			return fmt.Errorf("joining the snapshot of the dump: %w", err)
		}
	}
	w := &worker{conn: conn, out: out}
	for u := range work {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		ok, err := w.lock(ctx, u)
		switch {
		case err != nil:
			return err
		case !ok:
			locked <- u
		default:
			if err := w.copy(ctx, u); err != nil {
				return err
			}
		}
	}
	return nil
}

// lock takes the lock of a reader. Where somebody waits to alter the table there is none
// to be had: the leader has it, and whoever waits, waits for the leader.
func (w *worker) lock(ctx context.Context, u unit) (bool, error) {
	_, err := w.conn.PgConn().Exec(ctx, "SAVEPOINT l; LOCK TABLE ONLY "+u.name.Quoted()+" IN ACCESS SHARE MODE NOWAIT; RELEASE l").ReadAll()
	var refused *pgconn.PgError
	if errors.As(err, &refused) && refused.Code == "55P03" {
		_, err := w.conn.PgConn().Exec(ctx, "ROLLBACK TO l; RELEASE l").ReadAll()
		return false, err
	}
	if err != nil {
		return false, fmt.Errorf("locking table %s: %w", u.name, err)
	}
	return true, nil
}

// block is some rows as a COPY of their own.
type block struct {
	bytes.Buffer
	// last is a row that is as large as a block, and belongs to the connection that has
	// read it until written is closed.
	last    []byte
	written chan struct{}
}

const endOfRows = "\\.\n\n\n"

func (b *block) to(w io.Writer) error {
	_, err := w.Write(b.Bytes())
	if err == nil && b.last != nil {
		_, err = w.Write(b.last)
	}
	if err == nil {
		_, err = io.WriteString(w, endOfRows)
	}
	return err
}

type blocks struct {
	ctx        context.Context
	full, free chan *block
	gone       chan struct{} // closed when no more is written
}

func (o *blocks) get() (*block, error) {
	select {
	case b := <-o.free:
		return b, nil
	case <-o.ctx.Done():
		return nil, context.Cause(o.ctx)
	}
}

// recycle takes a block back; one that a huge row has made huge is forgotten.
func (o *blocks) recycle(b *block) {
	if b.last != nil {
		close(b.written)
		b.last = nil
	}
	if b.Reset(); b.Cap() > 2*BlockSize {
		b = new(block)
	}
	o.free <- b
}

type worker struct {
	conn *pgx.Conn
	out  *blocks

	unit   unit
	block  *block
	n      int64 // rows
	blocks int
}

func (w *worker) copy(ctx context.Context, u unit) error {
	w.unit, w.n, w.blocks = u, 0, 0
	tag, err := w.conn.PgConn().CopyTo(ctx, w, u.sql)
	if err == nil && tag.RowsAffected() != w.n {
		err = fmt.Errorf("%d rows came, and the server says %d", w.n, tag.RowsAffected())
	}
	if err == nil && w.block == nil && w.blocks == 0 && u.first {
		err = w.begin()
	}
	if err == nil && w.block != nil {
		err = w.end()
	}
	if err != nil {
		return fmt.Errorf("reading table %s: %w", u.name, err)
	}
	return nil
}

var errRow = errors.New("the server sent what is not a row")

// Write takes a row, which is how the server sends them.
func (w *worker) Write(row []byte) (int, error) {
	if len(row) == 0 || row[len(row)-1] != '\n' || bytes.IndexByte(row[:len(row)-1], '\n') >= 0 || string(row) == "\\.\n" {
		return 0, errRow
	}
	if w.block == nil {
		if err := w.begin(); err != nil {
			return 0, err
		}
	}
	w.n++
	if len(row) >= blockSize {
		return len(row), w.endWith(row)
	}
	w.block.Write(row)
	if w.block.Len() < blockSize {
		return len(row), nil
	}
	return len(row), w.end()
}

// endWith is end with a row that is not copied: it may be of half a gigabyte.
func (w *worker) endWith(row []byte) error {
	written := make(chan struct{})
	w.block.last, w.block.written = row, written
	if err := w.end(); err != nil {
		return err
	}
	// Not the end of the context: the row is in use until either.
	select {
	case <-written:
		return nil
	case <-w.out.gone:
		return io.ErrClosedPipe
	}
}

func (w *worker) begin() (err error) {
	if w.block, err = w.out.get(); err != nil {
		return err
	}
	if w.block.Cap() < blockSize {
		w.block.Grow(blockSize + blockSize/16)
	}
	w.block.WriteString(w.unit.head)
	w.blocks++
	return nil
}

func (w *worker) end() error {
	select {
	case w.out.full <- w.block:
		w.block = nil
		return nil
	case <-w.out.ctx.Done():
		return context.Cause(w.out.ctx)
	}
}
