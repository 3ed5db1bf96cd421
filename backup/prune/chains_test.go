package prune

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/internal/store"
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
	d, err := DecideProved(items, p, now, func(i int) error {
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

// TestBrokenChains: what a link needs has to be there, good and finished; a copy will do.
func TestBrokenChains(t *testing.T) {
	now := time.Date(2026, 11, 28, 0, 0, 0, 0, time.UTC)
	for _, tc := range []struct{ links, want string }{ // digits are good, then: b bad, u unfinished
		{"0 1 2", "kkk"}, {"0 2", "ki"}, {"1", "i"}, {"0b 1", "ii"}, {"0 1b 2 3", "kiii"}, {"0 1u 2", "kii"}, {"0 1b 1 2", "kikk"}, {"0 0 1", "kkk"}, {"2 1 0", "kkk"},
	} {
		var items []Item
		for i, word := range strings.Fields(tc.links) {
			n := int(word[0] - '0')
			it := Item{
				Path: fmt.Sprintf("d/%d", i), Series: Series{"d", backup.KindUploads, "u"}, ID: fmt.Sprint(n), State: Good,
				Created: now.Add(time.Duration(n-10) * time.Hour), Link: backup.Link{Chain: "a", N: n}, Incomplete: word[1:] == "u",
			}
			if word[1:] == "b" {
				it.State, it.Why = Bad, "damaged"
			}
			items = append(items, it)
		}
		got := ""
		for _, d := range Decide(items, Policy{Within: time.Hour * 24, Kinds: Kinds}, now) {
			got += string(d.Action[0])
		}
		if got != tc.want {
			t.Errorf("%s: %s, want %s", tc.links, got, tc.want)
		}
	}
}

// TestWhatLinksCount: what is needed counts when what needs it does, and is then proved; by
// an increment that only --keep-within keeps it is not.
func TestWhatLinksCount(t *testing.T) {
	day := func(month time.Month, day int) time.Time { return time.Date(2026, month, day, 0, 0, 0, 0, time.UTC) }
	var items []Item
	add := func(chain string, n int, at time.Time) {
		items = append(items, Item{
			Path: fmt.Sprintf("d/%s-%d", chain, n), Series: Series{"d", backup.KindUploads, "u"}, ID: fmt.Sprint(chain, n, at), State: Good,
			Created: at, Link: backup.Link{Chain: chain, N: n},
		})
	}
	add("a", 0, day(10, 10))
	add("a", 1, day(10, 20))
	add("a", 2, day(10, 30)) // the newest of October
	add("a", 3, day(11, 20))
	add("b", 0, day(11, 21))
	add("b", 1, day(11, 22))
	add("c", 0, day(11, 27))
	add("z", 0, day(9, 1))
	add("a", 3, day(9, 2))
	items[len(items)-1].Path += " again" // nobody needs it
	got := make(map[string]string)
	for i, d := range Decide(items, Policy{Within: 10 * 24 * time.Hour, Monthly: 2, Kinds: Kinds}, day(11, 28)) {
		got[items[i].Path[2:]] = fmt.Sprint(d.Action, " ", d.counts, " ", d.Reason)
	}
	for path, want := range map[string]string{
		"a-0": "keep true needed by a-2", "a-1": "keep true needed by a-2", "a-2": "keep true monthly", "a-3": "keep false within 10d",
		"b-0": "keep false within 10d", "b-1": "keep false within 10d", "c-0": "keep true newest of its name, within 10d, monthly",
		"z-0": "delete false made 87d before the newest, and no rule keeps it", "a-3 again": "delete false made 86d before the newest, and no rule keeps it",
	} {
		if got[path] != want {
			t.Errorf("%s: %s, want %s", path, got[path], want)
		}
	}
}

// TestOrder: increments go before what they need, and backups before their manifests.
func TestOrder(t *testing.T) {
	link := func(n int) Item {
		return Item{Series: Series{Kind: backup.KindUploads}, Link: backup.Link{Chain: "a", N: n}}
	}
	kind := func(kind string) Item { return Item{Series: Series{Kind: kind}} }
	items := []Item{kind(backup.KindManifest), link(0), link(2), kind(backup.KindDatabase), link(1)}
	if got := order(items); !slices.Equal(got, []int{3, 2, 4, 1, 0}) {
		t.Errorf("%v", got)
	}
}

// TestManifests: a manifest shares the fate of its backups, by folder, second and name.
func TestManifests(t *testing.T) {
	second := time.Date(2026, 11, 1, 2, 0, 0, 0, time.UTC)
	dump := func(action Action, path string) (Item, Decision) {
		return Item{Path: path, Series: Series{store.Dir(path), backup.KindDatabase, "x"}, State: Good, Created: second}, Decision{Action: action}
	}
	for name, tc := range map[string]struct {
		change  func(it *Item, d *Decision) // of the manifest, which would be kept
		backups []string                    // action and path
		want    Action
	}{
		"of what goes":            {nil, []string{"delete d/a_1.sql.enc"}, Delete},
		"of what stays":           {func(_ *Item, d *Decision) { d.Action = Delete }, []string{"keep d/a_1.sql.enc"}, Keep},
		"of two":                  {nil, []string{"delete d/a_1.sql.enc", "keep d/a_1.dump.enc"}, Keep},
		"of two, the other order": {nil, []string{"keep d/a_1.sql.enc", "delete d/a_1.dump.enc"}, Keep},
		"of two that go":          {nil, []string{"delete d/a_1.sql.enc", "delete d/a_1.dump.enc"}, Delete},
		"of what is left alone":   {func(_ *Item, d *Decision) { d.Action = Delete }, []string{"ignore d/a_1.sql.enc"}, Keep},
		"of what is unreadable":   {func(_ *Item, d *Decision) { d.Action = Delete }, []string{"unread d/a_1.sql.enc"}, Keep},
		"next to another that is": {func(_ *Item, d *Decision) { d.Action = Delete }, []string{"unread d/a_2.sql.enc", "unread e/a_1.sql.enc"}, Delete},
		"that is bad":             {func(it *Item, d *Decision) { it.State, d.Action = Bad, Ignore }, []string{"delete d/a_1.sql.enc"}, Ignore},
		"of another folder":       {nil, []string{"delete e/a_1.sql.enc"}, Keep},
		"of another name":         {nil, []string{"delete d/a_12.sql.enc"}, Keep},
		"of another second":       {func(it *Item, _ *Decision) { it.Created = second.Add(time.Second) }, []string{"delete d/a_1.sql.enc"}, Keep},
		"of the same second":      {func(it *Item, _ *Decision) { it.Created = second.Add(time.Millisecond) }, []string{"delete d/a_1.sql.enc"}, Delete},
		"by another name":         {func(it *Item, _ *Decision) { it.Path = "d/a_1.json.enc" }, []string{"delete d/a_1.sql.enc"}, Keep},
	} {
		it := Item{Path: "d/a_1.manifest.json.enc", Series: Series{"d", backup.KindManifest, "x"}, State: Good, Created: second}
		d := Decision{Action: Keep}
		if tc.change != nil {
			tc.change(&it, &d)
		}
		items, decisions := []Item{it}, []Decision{d}
		for _, b := range tc.backups {
			action, path, _ := strings.Cut(b, " ")
			it, d := dump(Action(action), path)
			if action == "unread" {
				it, d = Item{Path: path, State: Bad}, Decision{Action: Ignore}
			}
			items, decisions = append(items, it), append(decisions, d)
		}
		withManifests(items, decisions)
		if decisions[0].Action != tc.want {
			t.Errorf("%s: %+v", name, decisions[0])
		}
	}
}
