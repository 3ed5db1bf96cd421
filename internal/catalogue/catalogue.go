// Package catalogue tells what a store holds, and how much of that is true.
//
// [Read] looks at every backup of a store. With keys it authenticates what each
// one says of itself, and its length, which costs one chunk and not the whole
// file; [Verify] reads a backup to its end. [Latest] is the newest backup that
// verifies.
//
// Nothing here changes a store.
package catalogue

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/internal/backup"
	"github.com/takumi-backup/takumi-backup/internal/regular"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/kek"
	"github.com/takumi-backup/takumi-backup/keystore"
)

// Options say how to look.
type Options struct {
	// Keys open the backups; nil, or a ring of no sources, leaves every entry
	// Unchecked.
	Keys *keystore.Ring
	// Meter, if it is set, counts what Verify reads.
	Meter *backup.Meter
}

func (o Options) keyless() bool { return o.Keys == nil || len(o.Keys.Sources()) == 0 }

// workers bounds the files that are open at once. Looking at one is a few
// small reads, which wait for the disk more than for a core.
var workers = max(4, runtime.GOMAXPROCS(0))

// Read returns what stands in and under root, newest first by the time in the
// envelopes, and behind that, by path, what has no readable envelope. A backup
// or folder that cannot be read is an entry with its error. The error of Read
// is that of root itself, or the context's.
func Read(ctx context.Context, root string, o Options) ([]Entry, error) {
	var entries []Entry
	for b, err := range store.Walk(ctx, root) {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		e := Entry{Backup: b}
		if err != nil {
			fault, ok := errors.AsType[*store.Error](err)
			if !ok {
				return nil, err
			}
			if fault.Path == filepath.Clean(root) {
				return nil, err
			}
			e.Path, e.State, e.Err = fault.Path, Bad, err
		}
		entries = append(entries, e)
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(workers, len(entries)) {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(entries) && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				if e := &entries[i]; e.Err == nil {
					e.look(ctx, o)
				}
			}
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	// What was pruned or moved meanwhile is no longer part of the store.
	entries = slices.DeleteFunc(entries, func(e Entry) bool { return e.State == Bad && errors.Is(e.Err, fs.ErrNotExist) })
	slices.SortFunc(entries, newestFirst)
	return entries, nil
}

func newestFirst(a, b Entry) int {
	switch {
	case a.Envelope != nil && b.Envelope != nil:
		return cmp.Or(b.Envelope.Created.Compare(a.Envelope.Created), cmp.Compare(a.Path, b.Path))
	case a.Envelope == nil && b.Envelope == nil:
		return cmp.Compare(a.Path, b.Path)
	case a.Envelope == nil:
		return 1
	}
	return -1
}

// look fills in what can be told without reading the content.
func (e *Entry) look(ctx context.Context, o Options) {
	f, err := regular.Open(e.Path)
	if err != nil {
		e.State, e.Err = Bad, err
		return
	}
	defer f.Close()
	own, err := envelope.Parse(f)
	if err != nil {
		e.State, e.Err = Bad, err
		return
	}
	beside, besideErr := Detached(e.Path)
	e.Envelope = summary(own, own, beside)
	if o.keyless() {
		return
	}
	find := finder{ctx: ctx, ring: o.Keys}
	// The size is the opened file's: that at the path may be another by now.
	info, err := f.Stat()
	if err == nil {
		var r *envelope.ReaderAt
		if r, err = envelope.OpenAt(f, info.Size(), envelope.Options{Detached: beside, Find: find.find}); err == nil {
			// Read a second time: it might not be what was parsed above.
			e.Envelope, e.State = summary(r.Envelope, own, beside), Authentic
			return
		}
	}
	e.State, e.Err = find.judge(err), err
	if besideErr != nil && e.State == Unchecked {
		e.Err = fmt.Errorf("%w; and %s%s was passed over: %w", err, e.Path, envelope.DetachedSuffix, besideErr)
	}
}

// finder asks the ring for keys and remembers whether that failed.
type finder struct {
	ctx  context.Context
	ring *keystore.Ring
	err  error
}

func (f *finder) find(wanted []kek.ID) ([]*kek.Key, error) {
	keys, err := f.ring.Find(f.ctx, wanted)
	f.err = err
	return keys, err
}

// judge tells a backup that is bad from one whose key is not at hand.
func (f *finder) judge(err error) State {
	if errors.As(err, new(*envelope.WrongKeyError)) || f.err != nil && errors.Is(err, f.err) {
		return Unchecked
	}
	return Bad
}

// Verify reads the backup at path to its end and returns nil only when every
// byte of it is authentic. The errors are those of [envelope.Open] and of its
// Reader, and those of reading the file.
func Verify(ctx context.Context, path string, o Options) error {
	if o.keyless() {
		return keystore.ErrNone
	}
	f, err := regular.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	beside, _ := Detached(path) // the backup's own slots may do
	find := finder{ctx: ctx, ring: o.Keys}
	var src io.Reader = readerFunc(func(p []byte) (int, error) {
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		return f.Read(p)
	})
	if o.Meter != nil {
		src = o.Meter.Metered(src)
	}
	r, err := envelope.Open(src, envelope.Options{Detached: beside, Find: find.find})
	if err != nil {
		return err
	}
	_, err = r.WriteTo(io.Discard)
	return err
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// Detached reads the envelope that may stand beside the backup at path. Without
// one it returns nil and no error.
func Detached(path string) (*envelope.Envelope, error) {
	f, err := regular.Open(path + envelope.DetachedSuffix)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return envelope.Parse(f)
}

// Latest returns the newest authentic entry among those that match, and that
// verifies to its end, or nil when there is none. passed has the newer ones
// that match and were passed over, each with its Err. entries are in the order
// of Read; one from the future is for match to refuse. The error is the
// context's.
func Latest(ctx context.Context, entries []Entry, match func(*Entry) bool, o Options) (found *Entry, passed []Entry, err error) {
	for i := range entries {
		e := entries[i]
		if !match(&e) {
			continue
		}
		if e.State == Authentic {
			if e.Err = Verify(ctx, e.Path, o); e.Err == nil {
				return &e, passed, nil
			}
			if ctx.Err() != nil {
				return nil, passed, context.Cause(ctx)
			}
			e.State = Bad
		}
		passed = append(passed, e)
	}
	return nil, passed, nil
}
