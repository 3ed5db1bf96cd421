// Package paralleldump dumps a database by several connections at once. What comes
// out is one plain dump, as pg_dump writes it, but that the rows of a table may come as
// several COPY … FROM stdin, between those of other tables.
//
// pg_dump itself says what is in the database: its archive format has the whole table
// of contents before any data. It is stopped there, and pg_restore makes SQL of that.
// The rows are read by COPY, in the snapshot that pg_dump had. Memory is two blocks of
// BlockSize and a row for each job, and the table of contents.
package paralleldump

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"

	"github.com/jackc/pgx/v5"

	"github.com/takumi-backup/takumi-backup/internal/postgres"
	"github.com/takumi-backup/takumi-backup/internal/postgres/archive"
	"github.com/takumi-backup/takumi-backup/internal/source"
)

// BlockSize is how many bytes of rows come as one COPY, and a row more.
const BlockSize = 4 << 20

// ErrNotHere is wrapped when pg_dump has to dump the database by itself.
var ErrNotHere = errors.New("it cannot be dumped by several connections")

// Options say what is dumped.
type Options struct {
	Settings *postgres.Settings
	// Leader is in a transaction whose snapshot is exported by this name, and has the
	// lock of a reader on all tables of users: see [postgres.Snapshot]. It is used
	// until the Dump is closed.
	Leader   *pgx.Conn
	Snapshot string
	Server   int // its major version
	Jobs     int
	Stderr   *os.File // of pg_dump and pg_restore
}

// Dump is a dump under way. It belongs to one goroutine.
type Dump struct {
	*io.PipeReader
	contents *archive.Contents
	restorer archive.Restorer
	o        Options
	pgDump   string
	stop     context.CancelFunc
	done     chan struct{}
}

// Open begins to dump. An error that wraps ErrNotHere says why pg_dump has to do it. The
// caller reads to io.EOF and closes the Dump.
func Open(ctx context.Context, o Options) (*Dump, error) {
	d := &Dump{o: o, done: make(chan struct{})}
	var standby bool
	if err := o.Leader.QueryRow(ctx, "SELECT pg_catalog.pg_is_in_recovery()").Scan(&standby); err != nil {
		return nil, fmt.Errorf("asking what the server is: %w", err)
	}
	if standby {
		return nil, fmt.Errorf("%w: the server is a standby", ErrNotHere)
	}
	if err := d.learn(ctx); err != nil {
		return nil, err
	}
	pre, err := d.restorer.SQL(ctx, d.contents.Raw, "pre-data")
	if errors.Is(err, archive.ErrNoMemory) {
		return nil, fmt.Errorf("%w: %w", ErrNotHere, err)
	}
	if err != nil {
		return nil, err
	}
	units, err := d.units(ctx)
	if err != nil {
		return nil, err
	}
	ctx, d.stop = context.WithCancel(ctx)
	from, to := io.Pipe()
	d.PipeReader = from
	go func() {
		defer close(d.done)
		to.CloseWithError(d.write(ctx, to, pre, units))
	}()
	return d, nil
}

// Contents is the table of contents of the database, as an archive of pg_dump.
func (d *Dump) Contents() []byte { return d.contents.Raw }

// Close ends the dump, and waits for what works on it.
func (d *Dump) Close() error {
	err := d.PipeReader.Close()
	d.stop()
	<-d.done
	return err
}

// learn has pg_dump tell what there is. It waits in its first data, with its locks,
// until the leader has locked what it had not.
func (d *Dump) learn(ctx context.Context) (err error) {
	s := d.o.Settings
	if d.pgDump, err = postgres.Program(ctx, "pg_dump", d.o.Server); err != nil {
		return err
	}
	program, err := postgres.Program(ctx, "pg_restore", d.o.Server)
	if err != nil {
		return err
	}
	d.restorer = archive.Restorer{Program: program, Environ: s.Environ(), Stderr: d.o.Stderr}
	words, err := relay(d.o.Stderr)
	if err != nil {
		return err
	}
	defer words.close()
	cmd, err := source.Command(ctx, []string{d.pgDump, s.Target(), "--no-password", "--format=custom", "--compress=0", "--snapshot=" + d.o.Snapshot}, s.Environ(), words.File)
	if err != nil {
		return err
	}
	defer cmd.Close() // which stops it
	d.contents, err = archive.Read(bufio.NewReaderSize(cmd, 64<<10))
	if errors.Is(err, archive.ErrUnknown) {
		return fmt.Errorf("%w: %w", ErrNotHere, err)
	}
	if err != nil {
		return err
	}
	for i := range d.contents.Entries {
		if e := &d.contents.Entries[i]; isData(e) {
			if _, err := d.o.Leader.Exec(ctx, "LOCK TABLE ONLY "+nameOf(e).Quoted()+" IN ACCESS SHARE MODE NOWAIT"); err != nil {
				return fmt.Errorf("locking table %s for the time of the dump: %w", nameOf(e), err)
			}
		}
	}
	words.over.Store(true) // that it was stopped is not news
	return nil
}

type relayed struct {
	*os.File
	over atomic.Bool // what comes now is passed over
	done chan struct{}
}

func relay(to io.Writer) (*relayed, error) {
	from, in, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("making a pipe: %w", err)
	}
	r := &relayed{File: in, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		defer from.Close()
		for buf := make([]byte, 4<<10); ; {
			n, err := from.Read(buf)
			if n > 0 && !r.over.Load() {
				_, _ = to.Write(buf[:n])
			}
			if err != nil {
				return
			}
		}
	}()
	return r, nil
}

func (r *relayed) close() {
	r.File.Close()
	<-r.done
}

func isData(e *archive.Entry) bool { return e.Desc == "TABLE DATA" }

func nameOf(e *archive.Entry) postgres.TableName {
	return postgres.TableName{Schema: e.Namespace, Table: e.Tag}
}

func (d *Dump) write(ctx context.Context, w io.Writer, pre []byte, units []unit) error {
	word := ""
	if strings.Contains(string(pre[:min(len(pre), 4<<10)]), "\n\\restrict ") {
		word = rand.Text()
	}
	head := "--\n-- PostgreSQL database dump\n--\n\n"
	if word != "" {
		head += `\restrict ` + word + "\n\n"
	}
	head += fmt.Sprintf("-- Dumped from database version %s\n-- Dumped by pg_dump version %s\n\n", d.contents.Server, d.contents.Program)
	if _, err := io.WriteString(w, head); err != nil {
		return err
	}
	if _, err := w.Write(bare(pre)); err != nil {
		return err
	}
	objects, err := d.largeObjects(ctx)
	if err != nil {
		return err
	}
	if objects != nil {
		defer objects.Close()
	}
	if err := d.rows(ctx, w, units); err != nil {
		return err
	}
	if err := d.sequences(ctx, w); err != nil {
		return err
	}
	if objects != nil {
		if err := copyBare(w, objects); err != nil {
			return fmt.Errorf("dumping the large objects: %w", err)
		}
	}
	post, err := d.restorer.SQL(ctx, d.contents.Raw, "post-data")
	if err == nil {
		_, err = w.Write(bare(post))
	}
	if err == nil {
		_, err = io.WriteString(w, complete)
	}
	if err == nil && word != "" {
		_, err = io.WriteString(w, `\unrestrict `+word+"\n\n")
	}
	return err
}

func (d *Dump) sequences(ctx context.Context, w io.Writer) error {
	var ids []int
	for i := range d.contents.Entries {
		if e := &d.contents.Entries[i]; e.Desc == "SEQUENCE SET" {
			ids = append(ids, e.ID)
		}
	}
	if ids == nil {
		return nil
	}
	sql, err := d.restorer.SQL(ctx, d.contents.Raw, "", ids...)
	if err == nil {
		_, err = w.Write(withoutSettings(bare(sql)))
	}
	return err
}

// largeObjects begins to dump what large objects hold, if there are any. It has its own
// locks at once: who waits for the end of the dump to alter a table would keep it from
// them later.
func (d *Dump) largeObjects(ctx context.Context) (*source.Cmd, error) {
	there := false
	for i := range d.contents.Entries {
		there = there || strings.HasPrefix(d.contents.Entries[i].Desc, "BLOB")
	}
	if !there {
		return nil, nil
	}
	s := d.o.Settings
	return source.Command(ctx, []string{d.pgDump, s.Target(), "--no-password", "--section=data", "--exclude-table-data=*.*",
		"--lock-wait-timeout=60s", "--snapshot=" + d.o.Snapshot}, s.Environ(), d.o.Stderr)
}
