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
	"io"
	"io/fs"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/takumi-backup/takumi-backup/internal/backup"
	"github.com/takumi-backup/takumi-backup/internal/sealed"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/keystore"
)

// Options say how to look.
type Options struct {
	// Place is where the paths lead.
	Place store.Store
	// Keys open the backups; nil, or a ring of no sources, leaves every entry
	// Unchecked.
	Keys *keystore.Ring
	// Meter, if it is set, counts what Verify reads.
	Meter *backup.Meter
}

// workers bounds the files that are open at once. Looking at one is a few
// small reads, which wait for the disk more than for a core.
var workers = max(4, runtime.GOMAXPROCS(0))

// Read returns what stands in and under root, newest first by the time in the
// envelopes, and behind that, by path, what has no readable envelope. A backup
// or folder that cannot be read is an entry with its error. The error of Read
// is that of root itself, or the context's.
func Read(ctx context.Context, root string, o Options) ([]Entry, error) {
	var entries []Entry
	for b, err := range o.Place.Walk(ctx, root) {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		e := Entry{Backup: b}
		if err != nil {
			fault, ok := errors.AsType[*store.Error](err)
			if !ok {
				return nil, err
			}
			if fault.Path == root || fault.Path == filepath.Clean(root) {
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
	seen, err := sealed.Look(ctx, o.Place, e.Path, sealed.Options{Keys: o.Keys})
	if err != nil {
		e.State, e.Err = Bad, err
		return
	}
	if e.Envelope = summary(seen); seen.Opened != nil {
		e.State = Authentic
		return
	}
	if e.Err = seen.Err; e.Err != nil && !sealed.NoKey(e.Err) {
		e.State = Bad
	}
}

// Verify reads the backup at path to its end and returns nil only when every
// byte of it is authentic. The errors are those of [sealed.Open] and of reading
// what it opens.
func Verify(ctx context.Context, path string, o Options) error {
	f, err := sealed.Open(ctx, o.Place, path, sealed.Options{Keys: o.Keys, Meter: o.Meter})
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteTo(io.Discard)
	return err
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
