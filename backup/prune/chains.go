package prune

import (
	"fmt"
	"slices"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/internal/store"
)

type chainOf struct{ folder, id string }

func (it *Item) chain() chainOf { return chainOf{store.Dir(it.Path), it.Link.Chain} }

func chains(items []Item) map[chainOf][]int {
	all := make(map[chainOf][]int)
	for i := range items {
		if items[i].Link != (backup.Link{}) {
			all[items[i].chain()] = append(all[items[i].chain()], i)
		}
	}
	for _, links := range all {
		slices.SortFunc(links, func(a, b int) int { return items[a].Link.N - items[b].Link.N })
	}
	return all
}

// broken returns, by index, what each unusable item lacks: nothing can be restored of it,
// so it does not count.
func broken(items []Item) map[int]string {
	why := make(map[int]string)
	for _, links := range chains(items) {
		next := 0 // the first number that no good link has
		for _, i := range links {
			it := &items[i]
			if it.Link.N > next {
				why[i] = fmt.Sprintf("it needs number %d of its chain, and no good one is there", next)
			}
			if it.Link.N == next && it.State == Good && !it.Incomplete {
				next++
			}
		}
	}
	return why
}

// keepLinks keeps what undeleted items need, with their counts.
func keepLinks(items []Item, decisions []Decision) {
	for _, links := range chains(items) {
		needer := -1
		counts := false
		for _, i := range slices.Backward(links) {
			d := &decisions[i]
			if needer >= 0 && items[i].Link.N < items[needer].Link.N {
				if d.Action == Delete {
					*d = Decision{Action: Keep, Reason: "needed by " + store.Base(items[needer].Path)}
				}
				d.counts = d.counts || counts && d.Action == Keep
			}
			if d.Action != Delete && (needer < 0 || d.counts && !counts) {
				needer, counts = i, counts || d.counts
			}
		}
	}
}

// order is the order of deletion: an increment before what it needs, and a backup before
// its manifest, so that a stopped run leaves none without theirs.
func order(items []Item) []int {
	var plain, linked, manifests []int
	for i, it := range items {
		switch {
		case it.Link != (backup.Link{}):
			linked = append(linked, i)
		case it.Kind == backup.KindManifest:
			manifests = append(manifests, i)
		default:
			plain = append(plain, i)
		}
	}
	slices.SortStableFunc(linked, func(a, b int) int { return items[b].Link.N - items[a].Link.N })
	return slices.Concat(plain, linked, manifests)
}
