package tree

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/backup/members"
	"github.com/takumi-backup/takumi-backup/internal/store"
)

// Job restores the folder of one sealed backup. The caller opens the backup, which
// authenticates its head, and closes it.
type Job struct {
	Backup *backup.Handle
	Stop   func() // ends a Read of Backup that waits, as of a pipe; may be nil
	Path   string // of the backup in Store; "-" for standard input
	Store  store.Store
	Open   backup.Options // how it was opened
	Meter  *backup.Meter  // counts what is restored
	To     string         // the folder

	// Foreign are the kinds that have a command of their own.
	Foreign []string
	// Through, if it is set, is between the backup and the archive.
	Through func(io.Reader) (io.Reader, error)
	// Inherit gives the folder the old one's mode and owner if the archive lacks them.
	Inherit bool
	// Stray gets the leftovers of earlier restores; nil is silent.
	Stray func(path string)
	Options
}

// Plan is what a restore would do.
type Plan struct {
	Replaces bool // the folder is there, and is exchanged
	Former   string
}

// Restore is a Job that has begun. It is for one goroutine; the caller closes it.
type Restore struct {
	Job
	plan Plan
	tree *members.Archive // of an increment, or nil
	file io.Closer
}

// Replaces reports whether all of a backup is restored: only then may the folder hold
// something, and is exchanged.
func (j *Job) Replaces() bool { return len(j.Include) == 0 }

// Begin finds what the restore would do, and changes nothing. For an increment it opens the
// whole chain: the error wraps [members.ErrChain] when a part is missing.
func (j Job) Begin(ctx context.Context) (*Restore, error) {
	r := &Restore{Job: j}
	kind := j.Backup.Envelope.Kind
	if slices.Contains(j.Foreign, kind) {
		return nil, fmt.Errorf("%s is a backup of kind %s: takumi-backup restore %[2]s restores it", j.Path, backup.Family(kind))
	}
	_, exists, err := Check(j.To, j.Replaces())
	if err != nil {
		return nil, err
	}
	if r.plan = (Plan{Replaces: exists && j.Replaces()}); r.plan.Replaces {
		r.plan.Former = Former(j.To)
	}
	if kind == backup.KindIncrement {
		if j.Path == "-" {
			return nil, fmt.Errorf("%w: the backup is an increment, and on standard input the others are missing; name the file", members.ErrChain)
		}
		if r.tree, r.file, err = j.parts(ctx); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// Plan is what Run would do.
func (r *Restore) Plan() Plan { return r.plan }

// Close closes what Begin has opened.
func (r *Restore) Close() error {
	if r.file == nil {
		return nil
	}
	return r.file.Close()
}

// Look checks the backup, calls Options.Each, and makes nothing.
func (r *Restore) Look(ctx context.Context) (Stats, error) { return r.fill(ctx, nil) }

// Result is the outcome, with the path of the former folder, if any.
type Result struct {
	Stats
	Former string `json:"former,omitempty"`
}

// Run puts the folder of the backup in place of the old one, once all of it is on disk and
// authentic. After an error the old one is unchanged.
func (r *Restore) Run(ctx context.Context) (res Result, err error) {
	// What is compressed takes at least as much when it is unpacked.
	if r.tree == nil && r.Replaces() {
		if err := CheckRoom(r.To, r.Backup.Size()); err != nil {
			return res, err
		}
	}
	to, err := Begin(r.To, Target{Replace: r.Replaces(), NoModes: r.NoModes}, time.Now())
	if err != nil {
		return res, err
	}
	defer to.Abort()
	for _, stray := range to.Strays {
		if r.Stray != nil {
			r.Stray(stray)
		}
	}
	res.Stats, err = r.fill(ctx, to.Root())
	if err == nil && r.Inherit && !res.Root {
		err = to.Inherit()
	}
	if err != nil {
		return res, errors.Join(err, to.Abort())
	}
	if ctx.Err() != nil {
		return res, context.Cause(ctx)
	}
	res.Former, err = to.Commit()
	return res, err
}

// fill extracts the archive, or checks it without a root.
func (r *Restore) fill(ctx context.Context, root *os.Root) (Stats, error) {
	o := r.Options
	if r.Path != "-" {
		o.Again = func() (io.ReadCloser, error) { return r.reopen(ctx) }
	}
	if r.tree != nil {
		return r.fromTree(ctx, root, r.tree, o)
	}
	if r.Path != "-" && !r.Replaces() && r.Through == nil {
		a, file, err := r.parts(ctx)
		if err == nil {
			var stats Stats
			stats, err = r.fromTree(ctx, root, a, o)
			if err = errors.Join(err, file.Close()); !errors.Is(err, members.ErrNoIndex) {
				return stats, err
			}
		}
		if !errors.Is(err, members.ErrNoIndex) {
			return Stats{}, err
		}
	}
	content := backup.NewPlaintext(r.Backup.Reader, r.Meter)
	defer content.Close()
	if r.Stop != nil {
		defer r.Stop()
	}
	whole, err := Open(content)
	if err != nil {
		return Stats{}, err
	}
	defer whole.Close()
	var archive io.Reader = whole
	if r.Through != nil {
		if archive, err = r.Through(whole); err != nil {
			return Stats{}, err
		}
	}
	return Extract(ctx, root, archive, o)
}

// fromTree reads an archive by its index: all of it, or the included part.
func (r *Restore) fromTree(ctx context.Context, root *os.Root, a *members.Archive, o Options) (Stats, error) {
	archive, err := r.stream(a)
	if err != nil {
		return Stats{}, err
	}
	return Extract(ctx, root, r.Meter.Metered(archive), o)
}

func (r *Restore) stream(a *members.Archive) (io.Reader, error) {
	if r.Replaces() {
		return a.Whole()
	}
	return a.Select(r.Include.MatchAbove)
}

// again says how to open the same backup once more.
func (j *Job) again() backup.Options {
	o := j.Open
	o.ID, o.Opened, o.Warn, o.Meter = j.Backup.Envelope.ID, nil, nil, nil
	return o
}

func (j *Job) parts(ctx context.Context) (*members.Archive, io.Closer, error) {
	h, err := backup.OpenAt(ctx, j.Store, j.Path, j.again())
	if err != nil {
		return nil, nil, err
	}
	a, err := h.Members(ctx)
	if err != nil {
		return nil, nil, errors.Join(err, h.Close())
	}
	return a, h, nil
}

func (r *Restore) reopen(ctx context.Context) (io.ReadCloser, error) {
	if r.tree != nil {
		archive, err := r.tree.Whole()
		return io.NopCloser(archive), err
	}
	b, err := backup.Open(ctx, r.Store, r.Path, r.again())
	if err != nil {
		return nil, err
	}
	content := backup.NewPlaintext(b.Reader, new(backup.Meter))
	closers := closeAll{content, b}
	whole, err := Open(content)
	if err != nil {
		return nil, errors.Join(err, closers.Close())
	}
	return struct {
		io.Reader
		io.Closer
	}{whole, append(closeAll{whole}, closers...)}, nil
}

// closeAll closes one after the other.
type closeAll []io.Closer

func (c closeAll) Close() (err error) {
	for _, closer := range c {
		err = errors.Join(err, closer.Close())
	}
	return err
}
