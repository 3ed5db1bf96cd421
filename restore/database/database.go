// Package database restores a dump into PostgreSQL so that no failure loses the old
// database.
//
// [Begin] connects and looks; [Restore.Plan] says what a restore would do, and
// [Restore.Run] does it: the dump goes into a new database, which is checked and then takes
// the name of the live one, in the transaction that renames the former. A failure before
// that leaves the live database alone and removes the new one.
//
// The new database carries a mark until it is finished: a connection limit from the start,
// and a comment. The next restore removes what has that mark, after a kill; nothing without
// it is ever dropped.
package database

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/guard"
	"github.com/takumi-backup/takumi-backup/internal/postgres"
)

var (
	// ErrExists means that the database to restore into is there already.
	ErrExists = fail.New(fail.Failed, "choose another name, or move the old one away", "the database exists already")
	// ErrBusy means that another restore of the same database is at work.
	ErrBusy = fail.New(fail.Failed, "wait for the other run, or look why it takes so long", "another restore of this database is at work")
	// ErrNotADump is returned for content that no dump of one database is.
	ErrNotADump = fail.New(fail.Failed, "name the backup of one database: takumi-backup list; the live database is as it was", "the backup does not hold a dump of one database")
	// ErrRowsAlone is returned for a dump that makes no tables for its rows.
	ErrRowsAlone = fail.New(fail.Failed, loadRows, "the dump has rows and makes no table for them: it is of rows alone (pg_dump -a)")
	// ErrIncomplete is returned for an authentic dump that is not whole.
	ErrIncomplete = fail.New(fail.Failed, "use another backup; the live database is as it was", "the backup holds a dump that is not whole")
	// ErrDiffers means that what was restored is not what was backed up.
	ErrDiffers = fail.New(fail.Failed, "use another backup; the live database is as it was", "the restored database is not what it should be")
	// ErrUnsettled means that the exchange may have been done and may not.
	ErrUnsettled = fail.New(fail.Failed, "the exchange may be done: look with psql -l before anything else", "the server was lost during the exchange: look which databases there are")
	// ErrProtected is returned for a database that must not be exchanged.
	ErrProtected = errors.New("a database that the server itself needs is not exchanged")
)

// Options say what is restored where.
type Options struct {
	Settings *postgres.Settings // lead to the live database
	// Into is the name of a new database, instead of an exchange.
	Into string
	// Manifest, if any, must agree with the restored database, and has its properties when
	// the server has lost it.
	Manifest *postgres.Manifest
	// Unchecked keeps the rows from being compared with the manifest.
	Unchecked bool
	// KeepGoing continues after failed statements. The result is exchanged only with Swap,
	// or goes into the new database Into.
	KeepGoing, Swap bool
	// Jobs is the number of connections that restore a dump in parts; the rows of the
	// tables First come first then.
	Jobs  int
	First []postgres.TableName
	// Unguarded restores what the guard does not take for a whole dump.
	Unguarded bool
	// Contents describes a dump without a manifest, if it was read for that.
	Contents *guard.Contents
	// Sealed means that there is a backup, and AtLeast is a lower bound of its size in
	// bytes, or 0.
	Sealed  bool
	AtLeast int64
	// Source is the backed up database's name, as far as known without a manifest, or "".
	Source string
	// From is the backed up database's name by the caller.
	From string
	// CreateRoles makes the roles that are missing, without any right.
	CreateRoles bool
	// DropPrevious drops the replaced database after a good restore.
	DropPrevious bool
	Time         time.Time // goes into the names of databases
	Stderr       *os.File  // of psql and pg_restore
	// Tell gets messages about progress, and Warn those that people must see; nil is silent.
	Tell, Warn func(format string, args ...any)
}

func (o *Options) tell(format string, args ...any) {
	if o.Tell != nil {
		o.Tell(format, args...)
	}
}

func (o *Options) warn(format string, args ...any) {
	if o.Warn != nil {
		o.Warn(format, args...)
	}
}

// Plan is what a restore finds, and what it would do.
type Plan struct {
	Target   string    `json:"database"`           // the name that the restored database gets
	Replaces bool      `json:"replaces"`           // a database of that name is there
	New      string    `json:"new"`                // its name while it is made
	Before   string    `json:"previous,omitempty"` // the name that the former database gets, or ""
	Sessions int       `json:"sessions"`           // connections to the former, which will be ended
	Removes  []string  `json:"removes,omitempty"`  // what killed restores left, and this one removes first
	Strays   []string  `json:"strays,omitempty"`   // what looks like that without being marked, and stays
	Previous []string  `json:"kept,omitempty"`     // former databases that earlier restores have kept
	Roles    []string  `json:"roles,omitempty"`    // roles that are made first, without any right
	Check    string    `json:"check"`              // by what the restored database is judged
	Drops    string    `json:"drops,omitempty"`    // the former database, when it goes after a good restore, or ""
	Findings []Finding `json:"findings"`           // of the checks, the worst first
}

// Restore is a restore under way. It belongs to one goroutine.
type Restore struct {
	o      Options
	admin  *postgres.Settings   // another database of the server
	conn   *pgx.Conn            // to it; holds the lock
	server int                  // its major version
	live   *postgres.Properties // of the database to exchange; nil when there is none
	model  *postgres.Properties // of the one that the new one is made like, or nil
	plan   Plan
	packed guard.Format // of the dump, or Unknown
}

// Begin connects to the server, locks out other restores of the same database, and looks.
// It changes nothing. Besides ErrExists, ErrBusy and ErrProtected the errors are those of
// [postgres.Settings.Connect] and of the server. The caller closes the Restore.
func Begin(ctx context.Context, o Options) (_ *Restore, err error) {
	r, err := reach(ctx, o)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			r.Close()
		}
	}()
	if err := r.lock(ctx); err != nil {
		return nil, err
	}
	if err := r.look(ctx); err != nil {
		return nil, err
	}
	if o.Into != "" && r.plan.Replaces {
		return nil, fmt.Errorf("restoring into %q: %w", o.Into, ErrExists)
	}
	return r, r.preflight(ctx)
}

func reach(ctx context.Context, o Options) (_ *Restore, err error) {
	r := &Restore{o: o}
	r.plan.Target = o.Settings.Database()
	if o.Into != "" {
		r.plan.Target = o.Into
	}
	switch r.plan.Target {
	case "template0", "template1", "postgres":
		return nil, fmt.Errorf("restoring into %q: %w", r.plan.Target, ErrProtected)
	}
	if len(r.plan.Target) > maxName {
		return nil, fmt.Errorf("restoring into %q: the name has more than %d bytes", r.plan.Target, maxName)
	}
	if err := r.connect(ctx); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			r.Close()
		}
	}()
	if r.server, err = postgres.Version(ctx, r.conn); err != nil {
		return nil, err
	}
	return r, postgres.CheckDirect(ctx, r.conn)
}

// connect connects to a database that is not the one to restore.
func (r *Restore) connect(ctx context.Context) (err error) {
	for _, name := range []string{"postgres", "template1"} {
		r.admin = r.o.Settings.On(name)
		r.conn, err = r.admin.Connect(ctx)
		var refused *postgres.ConnectError
		if !errors.As(err, &refused) || !refused.NoDatabase() {
			return err
		}
	}
	return err
}

// Close leaves the server.
func (r *Restore) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), closeTime)
	defer cancel()
	_ = r.conn.Close(ctx)
}

// closeTime bounds disconnecting and cleaning up.
const closeTime = 10 * time.Second

// Plan returns what Begin has found.
func (r *Restore) Plan() Plan { return r.plan }

// Result says what a restore has made.
type Result struct {
	Database string   `json:"database"` // the restored one
	Tables   int      `json:"tables"`   // of the restored one
	Compared bool     `json:"compared_with_manifest"`
	Previous string   `json:"previous,omitempty"` // the former, under the name that it has now, or ""
	Dropped  []string `json:"dropped,omitempty"`  // former databases
	Failed   int      `json:"failed,omitempty"`   // statements, with KeepGoing
	Faults   []string `json:"faults,omitempty"`   // the first maxFaults of them
}

// Run restores a dump of pg_dump in plain or custom format. src must end with io.EOF only
// when all of it is authentic: until then nothing counts, and its error is returned. After
// an error the live database is unchanged, except that ErrUnsettled leaves this open.
func (r *Restore) Run(ctx context.Context, src io.Reader) (Result, error) {
	input, packed, err := unpacked(bufio.NewReaderSize(src, headSize))
	r.packed = packed
	if err != nil {
		return Result{}, fmt.Errorf("%w: %w", ErrIncomplete, err)
	}
	head, err := input.Peek(headSize)
	if err != nil && err != io.EOF {
		return Result{}, err
	}
	how, err := r.feeding(ctx, head)
	if err != nil {
		return Result{}, err
	}
	return r.build(ctx, head, func(ctx context.Context) (faults []string, failed int, err error) {
		// The backup may have been sealed without the guard.
		if !r.o.Unguarded {
			whole := guard.NewReader(input, guard.Options{})
			defer whole.Close()
			return how.feed(ctx, how.script(whole))
		}
		return how.feed(ctx, how.script(input))
	})
}

// loader fills the new database. It returns failed statements when it goes on.
type loader func(context.Context) (faults []string, failed int, err error)

// build makes the new database for a dump that begins with head, fills it, and puts it in
// place.
func (r *Restore) build(ctx context.Context, head []byte, load loader) (Result, error) {
	for _, name := range r.plan.Removes {
		if err := r.dropUnfinished(ctx, r.conn, name); err != nil {
			return Result{}, fmt.Errorf("removing %q, which a restore that was killed has left: %w", name, err)
		}
		r.o.tell("removed %q, which a restore that was killed had left", name)
	}
	if err := r.makeRoles(ctx); err != nil {
		return Result{}, err
	}
	if err := r.create(ctx, head); err != nil {
		err = fmt.Errorf("making database %q: %w", r.plan.New, err)
		if postgres.IsDuplicate(err) {
			return Result{}, err
		}
		// The statement may take effect even after a cancellation.
		return Result{}, r.dropNew(err)
	}
	result, err := r.fill(ctx, load)
	if err == nil || errors.Is(err, ErrUnsettled) {
		return result, err
	}
	return Result{}, r.dropNew(err)
}

// fill loads the dump into the new database, checks it, and puts it in place.
func (r *Restore) fill(ctx context.Context, load loader) (Result, error) {
	if err := r.rehearse(ctx); err != nil {
		return Result{}, err
	}
	faults, failed, err := load(ctx)
	if err != nil {
		if incomplete := (*guard.IncompleteError)(nil); errors.As(err, &incomplete) {
			err = fmt.Errorf("%w: %s", ErrIncomplete, incomplete)
		}
		return Result{}, err
	}
	tables, err := r.check(ctx, failed == 0)
	if err != nil {
		return Result{}, err
	}
	if ctx.Err() != nil {
		return Result{}, context.Cause(ctx)
	}
	if failed > 0 && !r.o.Swap && r.o.Into == "" {
		name, err := r.keepPart(ctx)
		return Result{Database: name, Tables: tables, Faults: faults, Failed: failed}, err
	}
	if err := r.exchange(ctx); errors.Is(err, ErrUnsettled) {
		return Result{}, err
	} else if err != nil {
		return Result{}, fmt.Errorf("exchanging the databases: %w", err)
	}
	return Result{
		Database: r.plan.Target, Previous: r.plan.Before, Tables: tables, Faults: faults, Failed: failed,
		Compared: r.compares() && failed == 0,
	}, nil
}

// dropNew removes the new database even after ctx has ended, and reports a failure.
func (r *Restore) dropNew(cause error) error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTime)
	defer cancel()
	// A new connection: the old one may have failed, and its server process may still be
	// making the database, with the lock.
	_ = r.conn.Close(ctx)
	conn, err := r.admin.Connect(ctx)
	if err == nil {
		defer conn.Close(ctx)
		_, err = conn.Exec(ctx, "SELECT pg_catalog.pg_advisory_lock($1)", lockKey(r.plan.Target))
	}
	if err == nil {
		err = r.dropUnfinished(ctx, conn, r.plan.New)
	}
	if err != nil {
		return errors.Join(cause, fmt.Errorf("the unfinished database %q is left, and the next restore removes it: %w", r.plan.New, err))
	}
	return cause
}

// check compares the restored database with the manifest, or without one finds whether it
// is empty while the former is not.
func (r *Restore) check(ctx context.Context, whole bool) (int, error) {
	conn, err := r.o.Settings.On(r.plan.New).Connect(ctx)
	if err != nil {
		return 0, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	tables, err := postgres.CountTables(ctx, conn)
	if err != nil {
		return 0, err
	}
	// Without statistics the first queries would run on guesses.
	return tables, r.analyze(ctx, conn, func(ctx context.Context) error {
		switch {
		case !whole: // and said so
		case r.compares():
			return r.compare(ctx, conn)
		case tables == 0 && r.live != nil:
			if n := r.liveTables(ctx); n > 0 {
				return fmt.Errorf("%w: it has no tables, and the live database has %d", ErrDiffers, n)
			}
		}
		return nil
	})
}

func (r *Restore) compares() bool { return r.o.Manifest != nil && !r.o.Unchecked }

func (r *Restore) judgement() string {
	switch {
	case r.o.Unchecked:
		return "that there are tables; a manifest is not looked for"
	case !r.compares():
		return "that there are tables; the backup has no manifest"
	case r.o.Manifest.Summed():
		return fmt.Sprintf("rows and content of %d tables by the manifest", len(r.o.Manifest.Tables))
	}
	return fmt.Sprintf("the rows of %d tables by the manifest", len(r.o.Manifest.Tables))
}

// liveTables counts the tables of the live database. A failure does not prevent replacing
// it.
func (r *Restore) liveTables(ctx context.Context) int {
	conn, err := r.o.Settings.On(r.plan.Target).Connect(ctx)
	if err != nil {
		return 0
	}
	defer conn.Close(context.WithoutCancel(ctx))
	n, err := postgres.CountTables(ctx, conn)
	if err != nil {
		return 0
	}
	return n
}

func (r *Restore) compare(ctx context.Context, conn *pgx.Conn) (err error) {
	want := r.o.Manifest
	var got postgres.Contents
	if want.Summed() {
		err = pgx.BeginTxFunc(ctx, conn, pgx.TxOptions{AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
			got, err = postgres.Survey(ctx, tx, want.Version)
			return err
		})
	} else {
		got, err = postgres.Count(ctx, conn)
	}
	if err != nil {
		return fmt.Errorf("comparing with the manifest: %w", err)
	}
	const shown = 10
	if lines := want.Differences(got, shown); len(lines) > 0 {
		text := ""
		for _, line := range lines {
			text += "\n  " + line
		}
		return fmt.Errorf("%w; by the manifest:%s", ErrDiffers, text)
	}
	if n := len(got.Tables) - len(want.Tables); n > 0 {
		r.o.warn("%d unlogged tables are empty: the dump has no rows of them, as one of a standby never has", n)
	}
	return nil
}
