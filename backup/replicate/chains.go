package replicate

import (
	"fmt"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/store"
)

// ErrLink is wrapped for an increment whose chain is incomplete at the destination.
var ErrLink = fail.New(fail.Failed, "copy the whole chain: the other errors say what is wrong with the rest of it", "it is not copied, because what it needs could not be")

// chainOf is a chain of incremental backups, by the names of its files.
type chainOf struct{ folder, id string }

func chainAt(path string) (c chainOf, n int, ok bool) {
	l, ok := backup.LinkOf(store.Base(path))
	return chainOf{store.Dir(path), l.Chain}, l.N, ok
}

// needed returns the highest number to copy of each chain.
func needed(found []backup.Backup, wanted func(*backup.Backup) bool) map[chainOf]int {
	most := make(map[chainOf]int)
	for i := range found {
		if c, n, ok := chainAt(found[i].Path); ok && wanted(&found[i]) {
			most[c] = max(most[c], n)
		}
	}
	return most
}

// Waves groups the items by index: the items of a group may be copied concurrently, and an
// increment comes in a later group than those it needs.
func Waves(items []Item) [][]int {
	var waves [][]int
	for i := range items {
		n := 0
		if _, number, ok := chainAt(items[i].Backup.Path); ok {
			n = number
		}
		for len(waves) <= n {
			waves = append(waves, nil)
		}
		waves[n] = append(waves[n], i)
	}
	return waves
}

// Links remembers failed copies of chains. It is for one goroutine.
type Links struct{ failed map[chainOf]string }

// Failed takes note of an item that is not at the destination.
func (l *Links) Failed(i Item) {
	if c, _, ok := chainAt(i.Backup.Path); ok {
		if l.failed == nil {
			l.failed = make(map[chainOf]string)
		}
		l.failed[c] = store.Base(i.Backup.Path)
	}
}

// Check fails for an item that needs a missing one. Items of one wave do not need each
// other.
func (l *Links) Check(i Item) error {
	if c, n, ok := chainAt(i.Backup.Path); ok && n > 0 && l.failed[c] != "" {
		return fmt.Errorf("%s: %w: %s", i.Backup.Path, ErrLink, l.failed[c])
	}
	return nil
}
