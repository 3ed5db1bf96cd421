package verify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/envelope/sign"
	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/postgres"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/keystore"
)

// Options say how backups are checked.
type Options struct {
	Place store.Store
	Keys  *keystore.Ring // not needed for Checksum
	Level Level
	Meter *backup.Meter // if it is set, it counts what is read
	// Restore, for that level, restores a backup that was proved up to Content, and returns
	// its findings. CanRestore, if set, reports whether it can; others are proved up to Content.
	Restore    func(ctx context.Context, b *Backup) []Finding
	CanRestore func(b *Backup) bool
	// Doubt, if set, returns why a backup that this key opened is not trusted.
	Doubt func(b *backup.Backup, opened kek.ID) error
	// Signers, if set, must have signed the backups. Checksum ignores signatures.
	Signers *sign.Signers

	pause time.Duration // before a second look at what seems bad; a field for the tests
}

func (o *Options) reach(b *Backup) Level {
	if o.Level == Restore && (o.Restore == nil || o.CanRestore != nil && !o.CanRestore(b)) {
		return Content
	}
	return o.Level
}

// Checker checks backups. It is safe for concurrent use.
type Checker struct {
	Options
	wide      chan struct{} // holds a token while a backup is read on all cores
	pgRestore func() string
}

// NewChecker returns a Checker.
func NewChecker(o Options) *Checker {
	o.pause = cmp.Or(o.pause, 250*time.Millisecond)
	return &Checker{Options: o, wide: make(chan struct{}, 1), pgRestore: sync.OnceValue(func() string {
		path, err := postgres.Program(context.Background(), "pg_restore", 0) // the newest
		if err != nil {
			return ""
		}
		return path
	})}
}

// looks bounds how often a changing backup is read.
const looks = 10

// One checks the backup at path. Faults are findings. A backup that is not Checked was not
// finished because ctx ended, or because it vanished, as Why says.
//
// A bad backup that is being rewrapped, re-encrypted or replaced is read again: a reported
// one was unchanged from before the reading until after it, and nobody was working on it,
// or has been for a minute.
func (c *Checker) One(ctx context.Context, path string) Backup {
	began, waited := time.Now(), false
	for n := 1; ; n++ {
		b, before := c.look(ctx, path)
		b.Seconds = time.Since(began).Seconds()
		if ctx.Err() != nil {
			return Backup{Path: path, Size: b.Size, Why: "the run was stopped"}
		}
		bad := b.Worst() == Error
		if !bad && !b.has(SidecarMissing) || n == looks {
			return b
		}
		// Whoever changes a backup writes more than one file.
		if bad && !wait(ctx, c.pause) {
			continue
		}
		now := c.snapshot(ctx, path)
		if now.gone {
			return Backup{Path: path, Why: gone}
		}
		if now == before {
			if waited || c.settled(ctx, &b, now.modified) {
				return b
			}
			waited = true
		}
	}
}

const gone = "it is no longer there"

// snapshot holds what shows whether a backup was changed since.
type snapshot struct {
	gone              bool
	size              int64
	modified          time.Time
	head              [envelope.Unit]byte
	sidecar, detached string
}

func snapshotOf(obj store.Object, err error) (s snapshot) {
	if err != nil {
		s.gone = errors.Is(err, fs.ErrNotExist)
		return s
	}
	s.size, s.modified = obj.Size(), obj.ModTime().UTC()
	_, _ = obj.ReadAt(s.head[:], 0) // what fails now, failed before
	return s
}

func (c *Checker) snapshot(ctx context.Context, path string) snapshot {
	obj, err := c.Place.Open(ctx, path)
	s := snapshotOf(obj, err)
	if err != nil {
		return s
	}
	defer obj.Close()
	s.sidecar, _ = c.text(ctx, path+store.SidecarSuffix, envelope.MaxSize+1)
	s.detached, _ = c.text(ctx, path+envelope.DetachedSuffix, envelope.MaxSize+1)
	return s
}

func (c *Checker) text(ctx context.Context, path string, most int64) (string, error) {
	obj, err := c.Place.Open(ctx, path)
	if err != nil {
		return "", err
	}
	defer obj.Close()
	text, err := io.ReadAll(io.LimitReader(obj, most))
	return string(text), err
}

// look checks a backup once, and returns what it saw of its files.
func (c *Checker) look(ctx context.Context, path string) (Backup, snapshot) {
	file := &hashed{Store: c.Place, path: path, meter: c.Meter}
	defer file.end()
	b := c.check(ctx, path, file)
	return b, file.snapshot()
}

func (c *Checker) check(ctx context.Context, path string, file *hashed) Backup {
	b := Backup{Path: path, Checked: true}
	if c.Level > Checksum {
		c.open(ctx, &b, file)
	} else {
		c.readClaims(ctx, &b, file)
	}
	if b.has(Unreadable) || b.has(Archived) {
		return b
	}
	sum, size, err := file.sum(ctx)
	if err != nil {
		b.add(fault(err, size))
		return b
	}
	b.Size, b.SHA256 = size, fmt.Sprintf("%x", sum)
	beside := file.fetch(ctx, b.Path+envelope.DetachedSuffix)
	fits := c.sidecar(ctx, &b, len(beside.text) > 0, file)
	c.checkDetached(ctx, &b, beside)
	if b.Created.IsZero() {
		return b
	}
	if doubt := fitsName(store.Base(path), b.Name, b.Created); doubt != "" {
		b.add(misplaced(&b, doubt))
	}
	if b.Worst() == Error {
		b.Proven = None
		return b
	}
	b.Proven = max(b.Proven, fits)
	if c.reach(&b) == Restore {
		found := c.Restore(ctx, &b)
		b.Findings = append(b.Findings, found...)
		if b.Worst() != Error && !b.has(NotRehearsed) {
			b.Proven = Restore
		}
	}
	if b.Proven > None {
		b.ProvenAt = time.Now().UTC().Truncate(time.Second)
	}
	return b
}

// checkDetached judges the detached envelope, as far as opening it has not.
func (c *Checker) checkDetached(ctx context.Context, b *Backup, next fetched) {
	own, err := "", next.err
	if err == nil {
		own, err = c.text(ctx, b.Path, int64(len(next.text)))
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		f := fault(err, 0)
		f.Message = "reading the envelope next to it: " + f.Message
		b.add(f)
	case len(next.text) > 0 && own == string(next.text):
		b.add(Finding{Severity: Warning, Code: SideFile, Message: "the envelope next to it is its own, which a rewrap that was stopped has left",
			Advice: "run the rewrap again, which takes it away"})
	}
}

func (c *Checker) readClaims(ctx context.Context, b *Backup, file *hashed) {
	seen, err := backup.Look(ctx, file, b.Path, backup.Options{})
	if err != nil {
		b.add(fault(err, 0))
		return
	}
	own := seen.Own
	if own == nil {
		own = seen.Beside
	}
	b.label(own)
	for _, e := range []*envelope.Envelope{seen.Own, seen.Beside} {
		if e != nil && e.ID == own.ID {
			b.slots(e)
		}
	}
	if seen.Own == nil {
		b.add(fault(seen.Err, seen.Size))
	}
}

// open opens a backup and reads it as far as the level asks.
func (c *Checker) open(ctx context.Context, b *Backup, file *hashed) {
	f, err := backup.Open(ctx, file, b.Path, backup.Options{Keys: c.Keys, Signers: c.Signers})
	if err != nil {
		c.readClaims(ctx, b, file)
		// Claims may fail for the same reason.
		b.Findings = nil
		b.add(fault(err, b.Size))
		return
	}
	defer f.Close()
	b.label(f.Envelope)
	b.slots(f.Envelope)
	b.KeyID = strings.Clone(f.Opened.Holder.Name) // an envelope keeps all of its text in memory
	if c.Signers == nil && backup.Anonymous(f.Opened.Holder) {
		_, hint := fail.Of(backup.ErrAnonymous)
		b.add(Finding{Severity: Warning, Code: Anonymous, Message: backup.ErrAnonymous.Error(), Advice: hint})
	}
	if c.Doubt != nil {
		if err := c.Doubt(&backup.Backup{Backup: store.Backup{Path: b.Path}, Label: f.Envelope.Label, ID: f.Envelope.ID}, kek.ID(b.KeyID)); err != nil {
			_, hint := fail.Of(err)
			b.add(Finding{Severity: Error, Code: Doubtful, Message: err.Error(), Advice: hint})
		}
	}
	for _, passed := range f.PassedOver() {
		if file.fetch(ctx, b.Path+envelope.DetachedSuffix).err == nil {
			b.add(Finding{Severity: Warning, Code: SideFile, Message: fmt.Sprintf("the envelope next to it was passed over: %v", passed),
				Advice: "the backup opens without it: if no rewrap is under way, delete " + printable(store.Beside(b.Path, envelope.DetachedSuffix)), cause: passed})
		}
	}
	narrow := true
	if b.Size = f.Object.Size(); b.Size >= largeBackup {
		select {
		case c.wide <- struct{}{}:
			narrow = false
			defer func() { <-c.wide }()
		default:
		}
	}
	switch {
	case c.Level > Auth:
		err = c.content(ctx, b, f, narrow)
	case narrow:
		err = drain(f)
	default:
		_, err = f.WriteTo(io.Discard)
	}
	if err != nil {
		b.add(fault(err, b.Size))
		return
	}
	if c.Level == Auth {
		b.Proven = Auth
	}
	if b.Kind == backup.KindIncrement {
		c.chain(ctx, b)
	}
}

// largeBackup is the size from which all cores read one backup.
const largeBackup = 16 << 20

func (b *Backup) label(e *envelope.Envelope) {
	b.ID, b.Kind, b.Name, b.Created = e.ID.String(), strings.Clone(e.Kind), strings.Clone(e.Name), e.Created
	b.Series = strings.Clone(backup.SeriesOf(e.Name))
	b.KeyIDs = nil
}

func (b *Backup) slots(e *envelope.Envelope) {
	for _, id := range e.KeyIDs() {
		b.KeyIDs = append(b.KeyIDs, strings.Clone(string(id)))
	}
}

func (b *Backup) add(f Finding) { b.Findings = append(b.Findings, f) }

func (b *Backup) has(code Code) bool {
	return slices.ContainsFunc(b.Findings, func(f Finding) bool { return f.Code == code })
}

// Err returns the first finding that is an error, as a *Fault, or nil.
func (b *Backup) Err() error {
	for i := range b.Findings {
		if f := &b.Findings[i]; f.Severity == Error {
			return &Fault{Path: b.Path, Finding: *f}
		}
	}
	return nil
}

// Fault is a finding as an error. It wraps the finding's own error, if any.
type Fault struct {
	Path    string
	Finding Finding
}

// Error names the backup and what was found.
func (f *Fault) Error() string { return fmt.Sprintf("%s: %s", f.Path, f.Finding.Message) }

// Unwrap returns the cause of the finding.
func (f *Fault) Unwrap() error { return f.Finding.cause }

// Fail is that of the cause, and else of the kind of finding.
func (f *Fault) Fail() (fail.Class, string) {
	class := fail.Damaged
	switch f.Finding.Code {
	case NoKey:
		class = fail.Key
	case Unreadable, Archived, Newer, NotRehearsed: // these say nothing against the backup
		class = fail.Failed
	}
	return fail.Inner(f.Finding.cause, class, f.Finding.Advice)
}

func workers() int { return runtime.GOMAXPROCS(0) }
