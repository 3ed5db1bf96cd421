package database

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/backup/tables"
	"github.com/takumi-backup/takumi-backup/internal/guard"
	"github.com/takumi-backup/takumi-backup/internal/postgres"
	"github.com/takumi-backup/takumi-backup/internal/postgres/archive"
)

// parallel fills a new database from a dump that is read in parts.
type parallel struct {
	*Restore
	dump     *tables.Dump
	meter    *backup.Meter
	how      feeding
	pieces   []tables.Piece
	pre      []byte
	settings []string // of the session of the dump, when its rows begin
	columns  sync.Map // of rows that follow others, by where their COPY is
}

// RunParts is Run with Options.Jobs connections: what makes the tables, then rows from
// several places of the dump at once, then the rest. Every byte of the dump is read and
// authenticated before the database gets its name.
func (r *Restore) RunParts(ctx context.Context, d *tables.Dump, m *backup.Meter) (Result, error) {
	p := &parallel{Restore: r, dump: d, meter: m}
	head, err := p.prepare(ctx)
	if err != nil {
		return Result{}, err
	}
	return r.build(ctx, head, func(ctx context.Context) ([]string, int, error) { return nil, 0, p.load(ctx) })
}

func (p *parallel) prepare(ctx context.Context) (head []byte, err error) {
	if p.pieces, err = p.dump.Pieces(); err != nil {
		return nil, err
	}
	first := &p.pieces[0]
	if p.pre, err = io.ReadAll(p.dump.Section(0, first.Length)); err != nil {
		return nil, fmt.Errorf("reading what makes the tables: %w", err)
	}
	head = p.pre[:min(len(p.pre), headSize)]
	if p.how, err = p.feeding(ctx, head); err != nil {
		return nil, err
	}
	p.settings = settingsOf(p.pre, p.tooNew)
	return head, p.important()
}

func settingsOf(script []byte, without func(string) bool) []string {
	last := make(map[string]int)
	all := guard.Statements(script)
	for i := range all {
		switch s := &all[i]; {
		case s.Begins("set") && without(s.Name(1)):
		case s.Begins("set"):
			last[s.Name(1)] = i
		case s.Begins("select", "pg_catalog") && s.Name(3) == "set_config":
			last["set_config "+s.Value(5)] = i
		}
	}
	var settings []string
	for _, i := range slices.Sorted(maps.Values(last)) {
		settings = append(settings, string(all[i].Text))
	}
	return settings
}

func (p *parallel) important() error {
	for i, name := range p.o.First {
		var found []tables.Block
		found, err := p.dump.Find(name)
		if err != nil {
			return fmt.Errorf("--first: %w", err)
		}
		p.o.First[i] = found[0].TableName
	}
	return nil
}

func (p *parallel) load(ctx context.Context) error {
	if err := p.run(ctx, strings.NewReader(string(p.pre))); err != nil {
		return err
	}
	if err := p.rows(ctx); err != nil {
		return err
	}
	last := len(p.pieces) - 1
	var scripts []io.Reader
	for i := 1; i <= last; i++ {
		piece := &p.pieces[i]
		if piece.Table != "" {
			continue
		}
		if _, err := piece.CheckGap(p.dump.Section(piece.Gap, piece.Offset)); err != nil {
			return err
		}
		if i < last {
			scripts = append(scripts, p.dump.Section(piece.Offset, piece.Offset+piece.Length), strings.NewReader("\n"))
		}
	}
	if scripts != nil {
		if err := p.run(ctx, p.inSession(scripts...)); err != nil {
			return err
		}
	}
	return p.post(ctx, &p.pieces[last])
}

// inSession puts the settings of the dump before a script.
func (p *parallel) inSession(scripts ...io.Reader) io.Reader {
	return io.MultiReader(append([]io.Reader{strings.NewReader(strings.Join(p.settings, "\n") + "\n")}, scripts...)...)
}

func (p *parallel) run(ctx context.Context, script io.Reader) error {
	_, _, err := p.how.feed(ctx, p.how.script(script))
	return err
}

func (p *parallel) rows(ctx context.Context) error {
	var work []*tables.Piece
	for i := range p.pieces {
		if piece := &p.pieces[i]; piece.Table != "" {
			work = append(work, piece)
		}
	}
	rank := func(piece *tables.Piece) int {
		if i := slices.Index(p.o.First, piece.TableName); i >= 0 {
			return i
		}
		return len(p.o.First)
	}
	slices.SortStableFunc(work, func(a, b *tables.Piece) int { return cmp.Compare(rank(a), rank(b)) })
	queue := make(chan *tables.Piece, len(work))
	for _, piece := range work {
		queue <- piece
	}
	close(queue)
	group, ctx := errgroup.WithContext(ctx)
	for range min(p.o.Jobs, len(work)) {
		group.Go(func() error { return p.worker(ctx, queue) })
	}
	return group.Wait()
}

func (p *parallel) worker(ctx context.Context, queue <-chan *tables.Piece) error {
	conn, err := p.o.Settings.On(p.plan.New).Connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	settings := strings.Join(p.settings, "\n") + "SET synchronous_commit = off;" // what has no name yet is lost with the server anyway
	if _, err := conn.PgConn().Exec(ctx, settings).ReadAll(); err != nil {
		return fmt.Errorf("preparing a connection: %w", err)
	}
	for piece := range queue {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := p.copy(ctx, conn, piece); err != nil {
			return err
		}
	}
	return nil
}

// copy copies one block, after what is before it in the dump.
func (p *parallel) copy(ctx context.Context, conn *pgx.Conn, piece *tables.Piece) error {
	src := p.dump.Section(piece.Gap, piece.Offset+piece.Length)
	columns, err := piece.CheckGap(src)
	if err == nil && piece.Follows {
		columns, err = p.columnsOf(piece)
	}
	if err != nil {
		return err
	}
	return copyRows(ctx, conn, piece.Block, piece.Counted(src), piece.TableName, columns, p.meter)
}

// columnsOf returns the columns of rows that continue a COPY.
func (p *parallel) columnsOf(piece *tables.Piece) ([]string, error) {
	if known, ok := p.columns.Load(piece.Copy); ok {
		return known.([]string), nil
	}
	columns, err := p.dump.Columns(piece.Block)
	if err == nil {
		p.columns.Store(piece.Copy, columns)
	}
	return columns, err
}

// post restores what follows the rows: by pg_restore, several things at once, if the dump
// has contents for it, otherwise by psql.
func (p *parallel) post(ctx context.Context, piece *tables.Piece) error {
	script := p.dump.Section(piece.Offset, piece.Offset+piece.Length)
	contents, err := p.dump.Contents()
	if err != nil {
		return err
	}
	if contents == nil {
		return p.run(ctx, p.inSession(script))
	}
	version := archive.Reader(contents, p.server)
	if version > p.server && p.tooNew(transactionTimeout) {
		p.o.warn("indexes and constraints are made one after the other: pg_restore of PostgreSQL %d sets %s, which the server does not know", version, transactionTimeout)
		return p.run(ctx, p.inSession(script))
	}
	program, err := postgres.Program(ctx, "pg_restore", version)
	if errors.As(err, new(*postgres.ProgramError)) {
		p.o.warn("indexes and constraints are made one after the other: no pg_restore here reads the contents of the dump")
		return p.run(ctx, p.inSession(script))
	}
	if err != nil {
		return err
	}
	fresh := p.o.Settings.On(p.plan.New)
	restorer := archive.Restorer{Program: program, Environ: fresh.Environ(), Stderr: p.o.Stderr}
	if _, err := restorer.SQL(ctx, contents, "post-data"); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if !errors.Is(err, archive.ErrNoMemory) {
			p.o.warn("indexes and constraints are made one after the other: %v", err)
		}
		return p.run(ctx, p.inSession(script))
	}
	if _, err := io.Copy(io.Discard, script); err != nil { // which proves it authentic
		return fmt.Errorf("reading what comes after the rows: %w", err)
	}
	return restorer.PostData(ctx, contents, fresh.Target(), p.o.Jobs)
}
