package prune

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/backup"
)

// TestChains: what a kept increment needs is kept, one that lacks something counts for
// nothing, and an increment goes before what it needs.
func TestChains(t *testing.T) {
	now := time.Date(2026, 11, 28, 0, 0, 0, 0, time.UTC)
	chain := func(id string, first, last int, from int) (items []Item) {
		for n := first; n <= last; n++ {
			items = append(items, Item{
				Path: fmt.Sprintf("d/%s-%d", id, n), Series: Series{"d", backup.KindUploads, "uploads.tar"}, ID: fmt.Sprint(id, n), State: Good,
				Created: now.AddDate(0, 0, from+n), Link: backup.Link{Chain: id, N: n},
			})
		}
		return items
	}
	kept := func(items []Item, d []Decision, action Action) (paths []string) {
		for i := range items {
			if d[i].Action == action {
				paths = append(paths, strings.TrimPrefix(items[i].Path, "d/"))
			}
		}
		return paths
	}
	p := Policy{Last: 1, Kinds: []string{backup.KindUploads}}

	items := slices.Concat(chain("a", 0, 3, -20), chain("b", 0, 2, -10))
	d := Decide(items, p, now)
	if got := kept(items, d, Keep); !slices.Equal(got, []string{"b-0", "b-1", "b-2"}) {
		t.Errorf("a chain: kept %q", got)
	}
	if !d[4].counts || !strings.Contains(d[4].Reason, "needed by b-2") {
		t.Errorf("the full one: %+v", d[4])
	}
	if o := order(items); items[o[0]].Path != "d/a-3" || items[o[len(o)-1]].Link.N != 0 {
		t.Errorf("the order is %v", o)
	}

	items = slices.Concat(chain("a", 0, 3, -20), chain("b", 1, 2, -10))
	if got := kept(items, Decide(items, p, now), Keep); !slices.Equal(got, []string{"a-0", "a-1", "a-2", "a-3"}) {
		t.Errorf("without the full one of the newer chain: kept %q", got)
	}

	items = slices.Concat(chain("a", 0, 3, -20), chain("b", 0, 2, -10))
	d, err := Settle(items, p, now, func(i int) error {
		if items[i].Path == "d/b-1" {
			return fmt.Errorf("damaged")
		}
		return nil
	}, func() error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	if got := kept(items, d, Delete); slices.ContainsFunc(got, func(p string) bool { return strings.HasPrefix(p, "b-") }) || len(got) > 4 {
		t.Errorf("with a damaged link: deleted %q", got)
	}
	if got := kept(items, d, Keep); !slices.Contains(got, "b-0") {
		t.Errorf("with a damaged link, the newest that is whole is b-0: kept %q", got)
	}
}
