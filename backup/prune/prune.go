package prune

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/internal/store"
)

// Options say how to prune a store. All functions but Done may be nil.
type Options struct {
	Policy  Policy
	Open    backup.Options // how backups are opened
	MaxRead int64          // bytes that may be read to prove backups; 0: no limit
	Apply   bool           // delete, and not only decide

	// Remembered returns the memory of earlier runs: that all of a backup was verified, or
	// that it is bad.
	Remembered func(*backup.Backup) (whole, bad bool)
	// Prove is [backup.ProveKnown] with what the caller shows and remembers.
	Prove func(ctx context.Context, b *backup.Backup) error
	// Before runs before each deletion; an error ends the run.
	Before func(*backup.Backup) error
	// Done gets each decision, and with Apply its outcome; an error ends the run.
	Done func(b *backup.Backup, d Decision, err error) error
}

// Result says what came of a run.
type Result struct {
	Backups                int
	Kept, Deleted, Ignored int
	Freed                  int64 // bytes
	Read                   int64 // bytes, to prove what stays
	Unread                 bool  // not all was read that would have had to be: MaxRead
	Damaged                bool  // something in the store is not good
	Failures               int
	Failed                 error // the first deletion that failed

	// the best state of any backup, and a backup that is only Claimed
	Known   backup.State
	Claimed *backup.Backup
}

// Run prunes the store at root, series by series with what belongs to them, oldest first.
// It leaves alone what cannot be authenticated, and deletes nothing of a series before what
// counts in it was read to its end. A failed deletion does not stop the others. The caller
// keeps other runs out. The error is that of root, of Before or Done, or the context's.
func Run(ctx context.Context, st store.Store, root string, o Options) (*Result, error) {
	found, err := backup.Gather(ctx, st, root, o.Open, nil)
	if err != nil {
		return nil, fmt.Errorf("looking through the backups: %w", err)
	}
	r := &Result{Backups: found.Len(), Known: backup.Bad}
	for _, group := range groups(found) {
		if err := o.prune(ctx, st, found, group, r); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func (o *Options) prune(ctx context.Context, st store.Store, found *backup.Roll, group []uint32, r *Result) error {
	list, items := make([]backup.Backup, len(group)), make([]Item, len(group))
	for n, i := range group {
		list[n] = found.At(int(i))
		items[n] = o.item(&list[n])
		if b := list[n]; b.State == backup.Claimed {
			r.Claimed = &b
		}
		r.Known = max(r.Known, list[n].State)
	}
	decisions, err := DecideProved(items, o.Policy, time.Now(), func(i int) error { return o.prove(ctx, st, &list[i], r) },
		func() error { return context.Cause(ctx) })
	if err != nil {
		return err
	}
	owners := withManifests(items, decisions)
	for i, it := range items {
		if it.State == Bad {
			r.Damaged = true
			if list[i].State != backup.Bad {
				list[i].State, list[i].Err = backup.Bad, errors.New(it.Why)
			}
		}
	}
	return o.carryOut(ctx, st, list, items, decisions, owners, r)
}

// groups divides the sorted backups, oldest first, into groups that belong together:
// series, chains, and manifests with their databases.
func groups(found *backup.Roll) [][]uint32 {
	var sets sets
	of := make([]uint32, found.Len())
	for i, b := range found.All() {
		folder := store.Dir(b.Path) + "\x00"
		of[i] = sets.node("file\x00" + backup.SeriesOf(stem(b.Path)))
		if b.Readable() {
			own := sets.node(folder + "series\x00" + backup.Family(b.Kind) + "\x00" + b.Series())
			if b.Kind == backup.KindDatabase || b.Kind == backup.KindManifest {
				sets.join(of[i], own)
			}
			of[i] = own
		}
		if link, ok := linkOf(&b); ok {
			sets.join(of[i], sets.node(folder+"chain\x00"+link.Chain))
		}
	}
	var all [][]uint32
	place := make(map[uint32]int)
	for i := len(of) - 1; i >= 0; i-- {
		set := sets.find(of[i])
		at, known := place[set]
		if !known {
			at = len(all)
			place[set], all = at, append(all, nil)
		}
		all[at] = append(all[at], uint32(i))
	}
	return all
}

type sets struct {
	nodes  map[string]uint32
	parent []uint32
}

func (s *sets) node(name string) uint32 {
	n, known := s.nodes[name]
	if !known {
		if s.nodes == nil {
			s.nodes = make(map[string]uint32)
		}
		n = uint32(len(s.parent))
		s.nodes[name], s.parent = n, append(s.parent, n)
	}
	return n
}

func (s *sets) find(n uint32) uint32 {
	for s.parent[n] != n {
		s.parent[n] = s.parent[s.parent[n]]
		n = s.parent[n]
	}
	return n
}

func (s *sets) join(a, b uint32) { s.parent[s.find(a)] = s.find(b) }

// linkOf is a backup's place in a chain; an unreadable one's by its file name, since it may
// still need those before it.
func linkOf(b *backup.Backup) (backup.Link, bool) {
	if b.Readable() {
		return backup.LinkOf(b.Name)
	}
	return backup.LinkOf(store.Base(b.Path))
}

func (o *Options) item(b *backup.Backup) Item {
	it := Item{Path: b.Path, Incomplete: !b.Sidecar, State: Unchecked}
	it.Link, _ = linkOf(b)
	switch {
	case b.Err != nil:
		it.Why = b.Err.Error()
	case b.Doubt != nil:
		it.Why = b.Doubt.Error()
	default:
		it.Why = "no key is at hand, and this host has no record of having sealed it as it is"
	}
	if b.Readable() {
		it.Series = Series{Folder: store.Dir(b.Path), Kind: backup.Family(b.Kind), Name: b.Series()}
		it.ID, it.Created = b.ID.String(), b.Created
	}
	switch {
	case b.State == backup.Bad:
		it.State = Bad
	case b.State > backup.Claimed && b.Doubt != nil:
		it.State, it.Why = Bad, b.Doubt.Error()
	case b.State >= backup.SealedHere:
		it.State = Good
		if o.Remembered != nil {
			if _, bad := o.Remembered(b); bad {
				it.State, it.Why = Bad, "an earlier verify found it bad; takumi-backup verify looks again"
			}
		}
	}
	return it
}

// prove reads a backup that has to be good, if nobody remembers that it is.
func (o *Options) prove(ctx context.Context, st store.Store, b *backup.Backup, r *Result) error {
	if o.Remembered != nil {
		if whole, _ := o.Remembered(b); whole {
			return nil
		}
	}
	if o.MaxRead > 0 && r.Read+b.Size > o.MaxRead {
		r.Unread = true
		return ErrUnread
	}
	r.Read += b.Size
	if o.Prove != nil {
		return o.Prove(ctx, b)
	}
	return backup.ProveKnown(ctx, st, b, o.Open)
}

func (o *Options) carryOut(ctx context.Context, st store.Store, list []backup.Backup, items []Item, decisions []Decision, owners map[int][]int, r *Result) error {
	left := make(map[chainOf]string) // what was to be deleted of a chain, and could not
	failed := make(map[int]bool)
	for _, i := range order(items) {
		d, b := decisions[i], &list[i]
		var err error
		switch d.Action {
		case Keep:
			r.Kept++
		case Ignore:
			r.Ignored++
		case Delete:
			linked := items[i].Link != (backup.Link{})
			needer := left[items[i].chain()]
			for _, j := range owners[i] {
				if failed[j] {
					needer = store.Base(items[j].Path)
				}
			}
			if o.Apply && o.Before != nil {
				if err := o.Before(b); err != nil {
					return err
				}
			}
			if needer != "" {
				err = fmt.Errorf("%s: it is needed by %s, which could not be deleted", b.Path, needer)
			} else if err = o.delete(ctx, st, b); ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if failed[i] = err != nil; failed[i] {
				if linked {
					left[items[i].chain()] = store.Base(b.Path)
				}
				if r.Failures++; r.Failed == nil {
					r.Failed = err
				}
				break
			}
			r.Deleted++
			r.Freed += b.Size
		}
		if err := o.Done(b, d, err); err != nil {
			return err
		}
	}
	return nil
}

func (o *Options) delete(ctx context.Context, st store.Store, b *backup.Backup) error {
	if !o.Apply {
		return nil
	}
	return st.Remove(ctx, b.Backup, envelope.DetachedSuffix, store.SignatureSuffix)
}

// withManifests keeps or deletes every manifest with its backup: one in its folder of the
// same time and name up to the ending; or an unreadable one of that name. Two backups may
// share a manifest, which goes with the last. It returns the backups of each manifest.
func withManifests(items []Item, decisions []Decision) map[int][]int {
	type moment struct {
		folder string
		second int64
	}
	backups, unread, owners := make(map[moment][]int), make(map[string][]int), make(map[int][]int)
	for i, it := range items {
		switch at := (moment{it.Folder, it.Created.Unix()}); it.Kind {
		case backup.KindDatabase:
			backups[at] = append(backups[at], i)
		case "":
			unread[stem(it.Path)] = append(unread[stem(it.Path)], i)
		}
	}
	for i, it := range items {
		name := store.Base(it.Path)
		end := strings.LastIndex(name, ".manifest")
		if it.Kind != backup.KindManifest || it.State != Good || end < 0 {
			continue
		}
		mine := slices.Concat(backups[moment{it.Folder, it.Created.Unix()}], unread[stem(it.Path)])
		owners[i] = slices.DeleteFunc(mine, func(j int) bool {
			return !strings.HasPrefix(store.Base(items[j].Path), name[:end]+".")
		})
		for n, j := range owners[i] {
			if n == 0 || decisions[j].Action != Delete {
				decisions[i] = Decision{Action: Keep, Reason: "belongs to " + store.Base(items[j].Path)}
				if decisions[j].Action == Delete {
					decisions[i].Action = Delete
				}
			}
		}
	}
	return owners
}

// stem is a path up to the first "." of its name, which a manifest and its backup share.
func stem(path string) string {
	name, _, _ := strings.Cut(store.Base(path), ".")
	return store.Dir(path) + "\x00" + name
}
