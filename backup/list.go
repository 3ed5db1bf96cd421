package backup

import (
	"cmp"
	"context"
	"errors"
	"io"
	"io/fs"
	"iter"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/parallel"
	"github.com/takumi-backup/takumi-backup/internal/store"
)

// workers bounds the files open at once; small reads wait for the disk more than for a
// core.
var workers = max(4, runtime.GOMAXPROCS(0))

// List returns the backups under root, newest first by the time in their envelopes, then by
// path those without a readable one. With keys it authenticates each label and length,
// which reads one chunk of the file. Unreadable ones are Bad, with their Err. The error is
// that of root, or the context's.
func List(ctx context.Context, st store.Store, root string, o Options) ([]Backup, error) {
	var list []Backup
	err := Each(ctx, st, root, o, func(b *Backup) error {
		list = append(list, *b)
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(list, NewestFirst)
	return list, nil
}

// Each calls do for each backup that [List] would return, in the order of the store and on
// the caller's goroutine. An error of do ends it. do must not keep the pointer.
func Each(ctx context.Context, st store.Store, root string, o Options, do func(*Backup) error) error {
	return each(ctx, st, root, o, func(*Backup) bool { return false }, do)
}

// each is Each without the backups that skip selects, which are not read.
func each(ctx context.Context, st store.Store, root string, o Options, skip func(*Backup) bool, do func(*Backup) error) error {
	next, stop := iter.Pull2(walk(ctx, st, root))
	defer stop()
	return parallel.Run(workers, make([]Backup, 4*workers), parallel.Stages[Backup]{
		Fill: func(b *Backup) (bool, error) {
			found, err, ok := next()
			switch {
			case !ok:
				return false, io.EOF
			case err != nil:
				return false, err
			case found.Err != nil && (found.Path == root || found.Path == filepath.Clean(root)):
				return false, found.Err
			}
			*b = found
			return true, nil
		},
		Work: func(b *Backup) {
			if b.Err == nil && ctx.Err() == nil && !skip(b) {
				b.Look(ctx, st, o)
			}
		},
		Drain: func(b *Backup) error {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			// pruned or moved meanwhile
			if b.State == Bad && errors.Is(b.Err, fs.ErrNotExist) {
				return nil
			}
			return do(b)
		},
	})
}

// NewestFirst orders backups by the time in their envelopes, and those without a readable
// one last, by path.
func NewestFirst(a, b Backup) int {
	switch {
	case a.Readable() != b.Readable():
		if a.Readable() {
			return -1
		}
		return 1
	case a.Readable():
		linkA, _ := LinkOf(a.Name)
		linkB, _ := LinkOf(b.Name)
		return cmp.Or(b.Created.Compare(a.Created), linkB.After(linkA), cmp.Compare(a.Path, b.Path))
	}
	return cmp.Compare(a.Path, b.Path)
}

// Look fills in everything but the content; with keys that open it, label and length are
// authentic then.
func (b *Backup) Look(ctx context.Context, st store.Store, o Options) {
	seen, err := Look(ctx, st, b.Path, o)
	if err != nil {
		b.State, b.Err = Bad, err
		return
	}
	b.describe(seen)
	if b.Signer = seen.Signer; seen.Opened != nil {
		b.State, b.Doubt = Authentic, Misnamed(b.Path, b.Name)
		if b.Doubt == nil && o.Doubt != nil {
			b.Doubt = o.Doubt(b, kek.ID(seen.Opened.Holder.Name))
		}
		b.Doubt = cmp.Or(seen.Unsigned, b.Doubt)
		return
	}
	if b.Err = seen.Err; b.Err != nil && !NoKey(b.Err) {
		b.State = Bad
		return
	}
	if seen.Signer != "" {
		b.State = Signed
	} else if o.Ledger.Has(b) {
		b.State = SealedHere
	}
	if b.Doubt = seen.Unsigned; b.Doubt == nil && b.State > Claimed {
		b.Doubt = Misnamed(b.Path, b.Name)
	}
}

// Latest returns the newest matching backup of list, which is ordered as by List, that
// use takes, or nil. Without use that is what verifies to its end; otherwise only what use
// finds damaged is read once more, and when that verifies, the error is that of use, as
// any other of it is. Those that fail are passed over with a warning of o; passed is why
// the newest of them was. match refuses backups from the future. Other errors are the
// context's.
func Latest(ctx context.Context, st store.Store, list []Backup, match func(*Backup) bool, o Options, use func(*Backup) error) (found *Backup, passed, err error) {
	warn := o.warn
	o.Warn = nil
	for _, e := range list {
		if !match(&e) {
			continue
		}
		if e.State == Authentic && e.Doubt != nil {
			e.Err = e.Doubt
		} else if e.State == Authentic {
			var fault error
			if use != nil {
				fault = use(&e)
				if class, _ := fail.Of(fault); fault == nil || class != fail.Damaged && !errors.Is(fault, syscall.EIO) {
					return &e, passed, fault
				}
			}
			if e.Err = Prove(ctx, st, e.Path, o); e.Err == nil {
				return &e, passed, fault
			}
			if ctx.Err() != nil {
				return nil, passed, context.Cause(ctx)
			}
		}
		warn("%s was passed over: %v", e.Path, e.Err)
		passed = cmp.Or(passed, e.Err)
	}
	return nil, passed, nil
}
