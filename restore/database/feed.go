package database

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"

	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/guard"
	"github.com/takumi-backup/takumi-backup/internal/postgres"
	"github.com/takumi-backup/takumi-backup/internal/postgres/archive"
	"github.com/takumi-backup/takumi-backup/internal/secretenv"
)

// headSize is read of a dump before anything is done.
const headSize = 4096

// FeedError means that psql or pg_restore refused a dump, or died.
type FeedError struct {
	Program string
	Err     error  // how it ended
	Said    string // its last line about an error, or ""
	Role    string // a role that the dump wants and the server lacks, or ""
	Table   string // a table that the dump has not made, or ""
	// Tablespace is one that the dump wants and the server lacks, or "".
	Tablespace string
}

func (e *FeedError) Error() string {
	text := fmt.Sprintf("%s: %v", e.Program, e.Err)
	if e.Said != "" {
		text += ": " + e.Said
	}
	if e.Role != "" {
		text += fmt.Sprintf("; the dump gives things to role %q, which this server lacks: make it, or restore the roles from a backup made with --globals", e.Role)
	}
	if e.Tablespace != "" {
		text += fmt.Sprintf("; the server lacks the tablespace %q: make it, or restore the globals", e.Tablespace)
	}
	if e.Table != "" {
		text += "; a dump of rows alone (pg_dump -a) goes into tables that are there: " + loadRows
	}
	return text
}

// Fail is the class and the hint of the error.
func (*FeedError) Fail() (fail.Class, string) {
	return fail.Failed, "read what the program says above; the live database is as it was"
}

func (e *FeedError) Unwrap() error { return e.Err }

type feeding struct {
	name   string
	plain  bool // a script for psql
	wraps  bool // psql knows \restrict
	goesOn bool // when a statement fails
	// without says of a setting that it is left out.
	without func(setting string) bool
	argv    []string
	env     []string
	stderr  *os.File
}

func (r *Restore) feeding(ctx context.Context, head []byte) (f feeding, err error) {
	fresh := r.o.Settings.On(r.plan.New)
	if err := restorable(head, r.packed); err != nil {
		return f, err
	}
	var args []string
	switch guard.Sniff(head[:min(len(head), guard.SniffLen)]) {
	case guard.PlainDump:
		f.name, f.plain, f.without = "psql", true, r.unknown
		// Not in one transaction, which would lock each of thousands of tables: a failed
		// database is dropped anyway.
		args = []string{"--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--file=-"}
	case guard.CustomDump:
		f.name = "pg_restore"
		args = []string{"--exit-on-error"}
	default:
		f.name = "pg_restore"
		args = []string{"--format=tar", "--exit-on-error"}
	}
	if f.goesOn = r.o.KeepGoing; f.goesOn {
		args = slices.DeleteFunc(args, func(arg string) bool { return arg == "--exit-on-error" || arg == "--set=ON_ERROR_STOP=1" })
	}
	version := r.server
	if !f.plain {
		version = archive.Reader(head, r.server)
	}
	path, err := program(ctx, f.name, r.server, version)
	if err != nil {
		return f, err
	}
	if version > r.server && r.tooNew(transactionTimeout) && !f.goesOn {
		return f, fail.As(fail.Failed, "give --keep-going to restore the rest: exit code 6",
			fmt.Errorf("the dump is an archive that only pg_restore of PostgreSQL %d or later reads, which sets %s, and the server, %d, does not know that", version, transactionTimeout, r.server))
	}
	f.argv = append([]string{path, "--no-password", fresh.Target()}, args...)
	f.env = append(secretenv.Environ(), fresh.Environ()...)
	f.stderr = r.o.Stderr
	f.wraps = f.plain && knowsRestrict(ctx, path)
	return f, nil
}

// restorable says why what begins with head, and came packed, is not a dump that psql or
// pg_restore makes a database of.
func restorable(head []byte, packed guard.Format) error {
	switch format := guard.Sniff(head[:min(len(head), guard.SniffLen)]); {
	case format == guard.PlainDump && bytes.Contains(head, []byte("\n-- PostgreSQL database cluster dump\n")):
		// It would connect to other databases by itself.
		return fmt.Errorf("%w: it is one of a whole server, or of its roles; takumi-backup open brings it to psql", ErrNotADump)
	case format == guard.PlainDump && rowsAlone(head):
		return ErrRowsAlone
	case format == guard.PlainDump, format == guard.CustomDump, format == guard.Tar && bytes.HasPrefix(head, []byte("toc.dat\x00")):
		return nil
	default:
		return notADump(format, packed)
	}
}

// program finds a program of a version that may be later than the server's, if an archive
// needs it.
func program(ctx context.Context, name string, server, version int) (string, error) {
	path, err := postgres.Program(ctx, name, version)
	var missing *postgres.ProgramError
	if version > server && errors.As(err, &missing) {
		return "", fail.As(fail.Failed, fmt.Sprintf("apt-get install postgresql-client-%d, or later", version),
			fmt.Errorf("the dump is an archive of PostgreSQL %d or later, and no %s of such a version is here", version, name))
	}
	return path, err
}

func notADump(format, packed guard.Format) error {
	unpack := map[guard.Format]string{guard.Gzip: "| gzip -dc ", guard.Zstd: "| zstd -dc ", guard.Bzip2: "| bzip2 -dc "}[packed]
	how := map[guard.Format]string{
		guard.Tar:          "| tar -x -C DIR; when that is a dump in directory format, pg_restore -d NAME DIR restores it",
		guard.LZ4:          "| lz4 -dc | psql -X -d NAME, or pg_restore -d NAME",
		guard.XZ:           "| xz -dc | psql -X -d NAME, or pg_restore -d NAME",
		guard.MySQLDump:    "| mariadb NAME, or mysql NAME",
		guard.SQLiteDump:   "| sqlite3 NAME.db",
		guard.RedisDump:    "> dump.rdb, into the data folder of a server that is stopped",
		guard.MongoArchive: "| mongorestore --archive",
	}[format]
	if how == "" {
		how = "> NAME brings back what it is"
	}
	return fmt.Errorf("%w: it begins as %v; takumi-backup open FILE %s", ErrNotADump, format, unpack+how)
}

// loadRows is how a dump of rows alone is used.
const loadRows = "takumi-backup open FILE | psql -X -v ON_ERROR_STOP=1 --single-transaction -d NAME, or pg_restore --single-transaction -d NAME, loads it into tables that are there"

// rowsAlone says whether a dump begins with rows: what makes a table comes before them.
func rowsAlone(head []byte) bool {
	first := firstEntry.FindSubmatch(head)
	return first != nil && string(first[1]) == "Data for "
}

// firstEntry is what pg_dump writes before each thing that it dumps.
var firstEntry = regexp.MustCompile(`(?m)^-- (Data for )?Name: .*; Type: [A-Z ]+; Schema: `)

// transactionTimeout came with PostgreSQL 17, whose pg_dump and pg_restore set it.
const transactionTimeout = "transaction_timeout"

// tooNew says whether the server came before a setting of dumps.
func (r *Restore) tooNew(setting string) bool { return setting == transactionTimeout && r.server < 17 }

// unknown is tooNew for what is left out of the dump, and says so.
func (r *Restore) unknown(setting string) bool {
	if !r.tooNew(setting) {
		return false
	}
	r.o.tell("SET %s is left out of the dump: the server, PostgreSQL %d, does not know it", setting, r.server)
	return true
}

// unpacked decompresses the input if needed. Its result ends after the input does.
func unpacked(input *bufio.Reader) (_ *bufio.Reader, packed guard.Format, err error) {
	head, _ := input.Peek(guard.SniffLen) // an error comes again
	packed = guard.Sniff(head)
	plain, err := guard.Unpack(packed, input)
	if err != nil || plain == nil {
		return input, guard.Unknown, err
	}
	return bufio.NewReaderSize(plain, headSize), packed, nil
}

// knowsRestrict reports whether psql knows \restrict, which came to all versions in August
// 2025.
func knowsRestrict(ctx context.Context, psql string) bool {
	out, err := exec.CommandContext(ctx, psql, "--help=commands").Output()
	return err == nil && bytes.Contains(out, []byte(`\restrict`))
}

// script puts a plain dump between a random pair that keeps psql from obeying commands in
// it, even those that the guard missed.
func (f feeding) script(dump io.Reader) io.Reader {
	if !f.plain {
		return dump
	}
	clean := guard.NewScript(dump)
	clean.Without = f.without
	script := io.Reader(clean)
	if f.wraps {
		word := rand.Text()
		script = io.MultiReader(strings.NewReader(`\restrict `+word+"\n"), script, strings.NewReader(`\unrestrict `+word+"\n"))
	}
	return script
}

// feed sends the dump to the program and waits for it. psql commits at the end of its
// input, so when src fails, psql is killed before that. With KeepGoing it returns the
// failed statements.
func (f feeding) feed(ctx context.Context, src io.Reader) (faults []string, failed int, err error) {
	var said lastWords
	err = f.run(ctx, src, &said)
	var refused *FeedError
	if exit := (*exec.ExitError)(nil); f.goesOn && said.failed > 0 && errors.As(err, &refused) && errors.As(refused.Err, &exit) && exit.ExitCode() == 1 {
		// pg_restore has read all and reports this itself; the rest is authenticated.
		_, err = io.Copy(io.Discard, src)
	}
	if err != nil || !f.goesOn {
		return nil, 0, err
	}
	return said.faults, said.failed, nil
}

func (f feeding) run(ctx context.Context, src io.Reader, said *lastWords) error {
	cmd := exec.CommandContext(ctx, f.argv[0], f.argv[1:]...)
	cmd.Env = f.env
	cmd.Stderr = io.MultiWriter(f.stderr, said)
	// A Ctrl-C is for us, and we tell the child.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = closeTime
	input, err := cmd.StdinPipe()
	if err != nil {
		return fmt.Errorf("starting %s: %w", f.name, err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting %s: %w", f.name, err)
	}
	marked := &failing{Reader: src}
	_, copyErr := io.CopyBuffer(struct{ io.Writer }{input}, struct{ io.Reader }{marked}, make([]byte, 256<<10))
	if marked.err != nil {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // and what it has started
		_ = cmd.Wait()                                      // which ends the input, of nobody
		return marked.err
	}
	if copyErr == nil {
		copyErr = input.Close()
	}
	if err := cmd.Wait(); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return &FeedError{Program: f.name, Err: err, Said: said.last(), Role: said.names(missingRole), Table: said.names(missingTable), Tablespace: said.names(missingTablespace)}
	}
	if copyErr == nil {
		return nil
	}
	// pg_restore was done before the last byte; the rest must be authenticated.
	if !errors.Is(copyErr, syscall.EPIPE) && !errors.Is(copyErr, os.ErrClosed) {
		return fmt.Errorf("feeding %s: %w", f.name, copyErr)
	}
	_, err = io.Copy(io.Discard, src)
	return err
}

// failing separates a reader's error from a writer's.
type failing struct {
	io.Reader
	err error
}

func (f *failing) Read(p []byte) (int, error) {
	n, err := f.Reader.Read(p)
	if err != nil && err != io.EOF {
		f.err = err
	}
	return n, err
}

type lastWords struct {
	text   []byte
	line   []byte   // the beginning of one that goes on
	faults []string // the first lines about an error
	failed int      // how many there were
}

// maxFaults bounds what is remembered of what failed.
const maxFaults = 100

func (l *lastWords) count(p []byte) {
	const longest = 1 << 10
	for len(p) > 0 {
		part, rest, ended := bytes.Cut(p, []byte("\n"))
		p = rest
		l.line = append(l.line, part[:min(len(part), longest-min(longest, len(l.line)))]...)
		if !ended {
			return
		}
		if fault := errorLine.Find(l.line); fault != nil && !bytes.Contains(l.line, []byte("warning: errors ignored")) {
			if l.failed++; len(l.faults) < maxFaults {
				l.faults = append(l.faults, string(fault))
			}
		}
		l.line = l.line[:0]
	}
}

func (l *lastWords) Write(p []byte) (int, error) {
	const kept = 8 << 10
	l.count(p)
	l.text = append(l.text, p...)
	if over := len(l.text) - kept; over > 0 {
		l.text = append(l.text[:0], l.text[over:]...)
	}
	return len(p), nil
}

var (
	errorLine   = regexp.MustCompile(`(?m)(?:ERROR|FATAL|error|fatal): .*$`)
	missingRole = regexp.MustCompile(`role "(.*)" does not exist`)
	// missingTable is of a COPY: what a function looks for has no schema.
	missingTable      = regexp.MustCompile(`relation "(.*\..*)" does not exist`)
	missingTablespace = regexp.MustCompile(`invalid value for parameter "default_tablespace": "(.*)"`)
)

func (l *lastWords) last() string {
	lines := errorLine.FindAll(l.text, -1)
	if len(lines) == 0 {
		return ""
	}
	return string(lines[len(lines)-1])
}

func (l *lastWords) names(missing *regexp.Regexp) string {
	if match := missing.FindSubmatch([]byte(l.last())); match != nil {
		return string(match[1])
	}
	return ""
}
