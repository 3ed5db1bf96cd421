// Package audit records who used which key on which backup: JSON lines, each with the
// SHA-256 of the one before, in one file a month. A caller keeps a [Session], or appends a
// [Record] to a [Log]; [Verify] checks the chain and [Read] goes through it.
//
// The chain protects against accidents: a writer of the log can recompute it. With MACs,
// which [Log.Init] begins, an intruder cannot forge earlier records: the first key, kept
// elsewhere, proves them. A signed [Checkpoint], kept elsewhere, also shows a cut end.
package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/takumi-backup/takumi-backup/internal/fsutil"
)

// ErrBusy is returned when another process has held the log for so long that it must hang.
var ErrBusy = errors.New("another process holds the audit log")

const (
	// lockName is the file that writers lock. It stays.
	lockName = "audit.lock"

	// patience is how long to wait while no other writer, each of which only writes and
	// syncs, gets anything done. A sync has taken more than half a minute on a busy disk.
	patience = 5 * time.Minute
)

var monthly = regexp.MustCompile(`^audit-[0-9]{4}-(?:0[1-9]|1[0-2])\.jsonl$`)

func fileOf(t time.Time) string { return t.UTC().Format("audit-2006-01.jsonl") }

// Log is a log in a folder, which may have other writers. It is safe for concurrent use and
// needs no closing.
type Log struct {
	dir string
	now func() time.Time
	mu  sync.Mutex

	// What tests shorten or let fail.
	patience time.Duration
	write    func(f *os.File, text []byte, at int64) error // at -1: at the end
	sync     func(*os.File) error
}

// ErrOwner is returned to others than the log's one user and root.
var ErrOwner = errors.New("an audit log has one user: run as that one, or set TAKUMI_AUDIT_DIR to another folder for each user")

// New returns the log in dir, which the first record makes, for its owner alone. Root gives
// it to the owner of the parent folder.
func New(dir string) *Log {
	return &Log{dir: dir, now: time.Now, patience: patience, write: writeAt, sync: (*os.File).Sync}
}

func writeAt(f *os.File, text []byte, at int64) (err error) {
	if at < 0 {
		_, err = f.Write(text)
	} else {
		_, err = f.WriteAt(text, at)
	}
	return err
}

// Dir returns the folder of the log.
func (l *Log) Dir() string { return l.dir }

// Append durably writes records at the end of the chain. A zero time becomes now; Prev is
// filled in, and with MACs Step and MAC. After an error they may or may not be written; the
// next Append repairs and notes a torn end. The error wraps ErrBusy, ErrOwner, ErrKey, or
// is of the file system.
func (l *Log) Append(ctx context.Context, records ...Record) error {
	if err := l.locked(ctx, func() error { return l.append(records) }); err != nil {
		return fmt.Errorf("appending to the audit log: %w", err)
	}
	return nil
}

// locked calls work with the lock of the log, which it makes.
func (l *Log) locked(ctx context.Context, work func() error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := makeFolder(l.dir); err != nil {
		return fmt.Errorf("making its folder: %w", err)
	}
	lock, err := l.lock(ctx)
	if err == nil {
		defer lock.Release()
		err = work()
	}
	if errors.Is(err, fs.ErrPermission) {
		err = fmt.Errorf("%w (%w)", err, ErrOwner)
	}
	return err
}

func (l *Log) lock(ctx context.Context) (*fsutil.Lock, error) {
	path := filepath.Join(l.dir, lockName)
	if asRoot() {
		if err := makeFile(path); err != nil {
			return nil, err
		}
	}
	grown := l.size()
	for deadline := time.Now().Add(l.patience); ; {
		lock, err := fsutil.LockFile(path)
		if !errors.Is(err, fsutil.ErrHeld) {
			return lock, err
		}
		if time.Now().After(deadline) {
			size := l.size()
			if size == grown {
				return nil, fmt.Errorf("%s: %w", l.dir, ErrBusy)
			}
			grown, deadline = size, time.Now().Add(l.patience)
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(time.Duration(500+rand.IntN(1500)) * time.Microsecond):
		}
	}
}

// size is that of the file which writers append to, 0 while there is none. A log that grows
// has writers that do not hang, however many there are.
func (l *Log) size() int64 {
	info, err := os.Stat(filepath.Join(l.dir, fileOf(l.now())))
	if err != nil {
		return 0
	}
	return info.Size()
}

// append is Append with the lock held: the records, then the next key.
func (l *Log) append(records []Record) error {
	end, err := findEnd(l.dir)
	if err != nil {
		return err
	}
	key, err := l.open(end)
	if err != nil {
		return err
	}
	if key != nil {
		defer key.close()
	}
	b := batch{now: l.now(), prev: end.hash}
	if key != nil {
		b.key = key.forward
	}
	// The clock may go back: files are in the order of the chain. A torn end is repaired in
	// its file.
	name := max(fileOf(b.now), end.file)
	if end.open || len(end.torn) > 0 {
		name = end.file
	}
	if err := b.repair(end); err != nil {
		return err
	}
	if key != nil && key.step == 0 {
		records = append([]Record{l.own(Keyed, key.id)}, records...)
	}
	for _, r := range records {
		if err := b.add(r); err != nil {
			return err
		}
	}
	if err := l.put(name, b.text, name != end.file); err != nil || key == nil {
		return err
	}
	return key.advance()
}

type batch struct {
	now  time.Time
	key  *forward // nil: no MACs
	prev string
	text []byte
}

func (b *batch) add(r Record) error {
	if r.Time.IsZero() {
		r.Time = b.now
	}
	if r.Outcome != Mended {
		r.Prev = b.prev
	}
	r.Step, r.MAC = nil, ""
	if b.key != nil {
		step := b.key.step
		r.Step = &step
	}
	line, err := r.line()
	if err != nil {
		return err
	}
	if b.key != nil {
		line = b.key.sign(line)
		b.key.next()
	}
	b.text, b.prev = append(b.text, line...), hashOf(line)
	return nil
}

// repair closes what a crash tore.
func (b *batch) repair(end end) error {
	torn := end.torn
	if end.open || len(torn) > 0 && !bytes.HasSuffix(torn, []byte("\n")) {
		b.text = []byte("\n")
	}
	if len(torn) == 0 {
		return nil
	}
	key := b.key
	if key != nil && key.step == 0 {
		b.key = nil // MACs begin behind it
	}
	err := b.add(Record{
		PID: os.Getpid(), Operation: OperationAudit, Outcome: Mended, Host: Host(), Over: end.hash, Prev: hashOf(append(torn, b.text...)),
		Detail: fmt.Sprintf("the line before was torn by a crash: %d bytes are not a record", len(torn)),
	})
	b.key = key
	return err
}

// put durably appends text to a file in one call.
func (l *Log) put(name string, text []byte, isNew bool) error {
	path := filepath.Join(l.dir, name)
	if asRoot() {
		if err := makeFile(path); err != nil {
			return err
		}
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", path)
	}
	if err != nil {
		return err
	}
	if err := l.write(f, text, -1); err != nil {
		_ = f.Truncate(info.Size()) // full disk; a rest is repaired later
		return err
	}
	if err := l.sync(f); err != nil {
		return err
	}
	if isNew {
		return fsutil.SyncDir(l.dir)
	}
	return nil
}

// months returns the files of a log, the oldest first.
func months(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if monthly.MatchString(e.Name()) {
			names = append(names, e.Name())
		}
	}
	return names, nil // ReadDir sorts
}

type end struct {
	file string // the last one, or ""
	hash string // of the last record, or origin
	line []byte // the last record, with its line feed
	step *uint64
	torn []byte // what is behind it, and is none
	open bool   // the last record lacks only its line feed
}

// findEnd finds the last record from the end, however long the log is.
func findEnd(dir string) (end, error) {
	names, err := months(dir)
	if err != nil {
		return end{}, err
	}
	found := end{hash: origin}
	for i, name := range slices.Backward(names) {
		line, torn, err := tail(filepath.Join(dir, name))
		if err != nil {
			return end{}, err
		}
		if i == len(names)-1 {
			found.file, found.torn = name, torn
			found.open = line != nil && !bytes.HasSuffix(line, []byte("\n"))
		}
		if line != nil {
			found.line = append(bytes.TrimSuffix(line, []byte("\n")), '\n')
			found.hash = hashOf(found.line)
			last, _ := parse(line) // it was a record for tail
			found.step = last.Step
			break
		}
	}
	return found, nil
}

// tail returns the last record of a file, nil if there is none, and the bytes after it.
func tail(path string) (line, torn []byte, err error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	for size := int64(4 << 10); ; size *= 4 {
		size = min(size, info.Size())
		text := make([]byte, size)
		if _, err := f.ReadAt(text, info.Size()-size); err != nil && err != io.EOF {
			return nil, nil, err
		}
		for end := len(text); end > 0; {
			start := bytes.LastIndexByte(text[:end-1], '\n') + 1
			if start == 0 && size < info.Size() {
				break // the line begins further ahead
			}
			if _, err := parse(text[start:end]); err == nil {
				return text[start:end:end], text[end:], nil
			}
			end = start
		}
		if size == info.Size() {
			return nil, text, nil
		}
		if size >= maxTorn {
			return nil, nil, fmt.Errorf("the last %d bytes of %s hold no record", size, path)
		}
	}
}
