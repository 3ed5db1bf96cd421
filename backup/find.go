package backup

import (
	"cmp"
	"context"
	"errors"
	"iter"

	"github.com/takumi-backup/takumi-backup/internal/store"
)

// Find lists what [All] yields. roots reports that the paths include a folder or are
// several, so that some can fail.
func Find(ctx context.Context, st store.Store, paths []string) (found []Backup, roots bool, err error) {
	roots = len(paths) > 1
	for b, err := range All(ctx, st, paths, func(string) { roots = true }) {
		if err != nil {
			return nil, roots, err
		}
		found = append(found, b)
	}
	return found, roots, nil
}

// All yields the backups at the paths, each once: a file whatever its name, and for a
// folder, which it names before, what [store.Store.Walk] finds. Only path and size are
// known then; a file that cannot be looked at is Bad, with its Err. The last error is the
// context's, or that of the only path.
func All(ctx context.Context, st store.Store, paths []string, folder func(path string)) iter.Seq2[Backup, error] {
	return func(yield func(Backup, error) bool) {
		seen := make(map[string]bool)
		once := func(b Backup) bool {
			if len(paths) > 1 && b.Err == nil { // a folder alone has each once
				if seen[b.Path] {
					return true
				}
				seen[b.Path] = true
			}
			return yield(b, nil)
		}
		for _, path := range paths {
			file, isRoot, err := st.Stat(ctx, path)
			next := true
			switch {
			case ctx.Err() != nil:
				yield(Backup{}, context.Cause(ctx))
				return
			case err != nil && len(paths) == 1:
				yield(Backup{}, err)
				return
			case err != nil:
				next = once(unreadable(path, err))
			case !isRoot:
				next = once(Backup{Backup: file})
			default:
				folder(path)
				for b, err := range walk(ctx, st, path) {
					if err != nil {
						yield(Backup{}, err)
						return
					}
					if next = once(b); !next {
						break
					}
				}
			}
			if !next {
				return
			}
		}
	}
}

// WithLinks adds to the result of [Find] the missing backups that its increments need of
// their chains.
func WithLinks(ctx context.Context, st store.Store, found []Backup) ([]Backup, error) {
	type chain struct{ folder, id string }
	has := make(map[string]bool)
	last, links := make(map[chain]int), make(map[chain]int) // the highest number and the count of each
	for i := range found {
		has[found[i].Path] = true
		if l, ok := LinkOf(store.Base(found[i].Path)); ok {
			c := chain{store.Dir(found[i].Path), l.Chain}
			last[c] = max(last[c], l.N)
			links[c]++
		}
	}
	for of, n := range last {
		if links[of] > n {
			continue
		}
		for b, err := range walk(ctx, st, of.folder) {
			if err != nil {
				return nil, err
			}
			if b.Err != nil && b.Path == of.folder {
				return nil, b.Err
			}
			if l, ok := LinkOf(store.Base(b.Path)); ok && store.Dir(b.Path) == of.folder && l.Chain == of.id && l.N < n && !has[b.Path] {
				found = append(found, b)
			}
		}
	}
	return found, nil
}

// walk yields the backups under root, Bad ones included. Its last error is the context's.
func walk(ctx context.Context, st store.Store, root string) iter.Seq2[Backup, error] {
	return func(yield func(Backup, error) bool) {
		for file, err := range st.Walk(ctx, root, false) {
			if ctx.Err() != nil {
				yield(Backup{}, context.Cause(ctx))
				return
			}
			b := Backup{Backup: file}
			if err != nil {
				b = unreadable(Unread(root, file, err))
			}
			if !yield(b, nil) {
				return
			}
		}
	}
}

// Unread returns the path of what a walk of root could not look at, and why.
func Unread(root string, file store.Backup, err error) (string, error) {
	if fault, ok := errors.AsType[*store.Error](err); ok && file.Path == "" {
		return fault.Path, err
	}
	return cmp.Or(file.Path, root), err
}
