package prune_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/takumi-backup/takumi-backup/backup/prune"
)

const day = 24 * time.Hour

var (
	kinds  = []string{"database", "uploads"}
	takumi = Series{"/b", "database", "takumi_db.sql"}
)

func at(text string) time.Time {
	for _, layout := range []string{time.RFC3339, "2006-01-02 15:04", "2006-01-02"} {
		if t, err := time.Parse(layout, text); err == nil {
			return t
		}
	}
	panic(text)
}

func good(s Series, created string) Item {
	return Item{Path: s.Name + " " + created, Series: s, ID: s.Name + created, Created: at(created), State: Good}
}

func series(created ...string) []Item {
	var items []Item
	for _, c := range created {
		items = append(items, good(takumi, c))
	}
	return items
}

// letters shows decisions as one letter each: k, d or i.
func letters(decisions []Decision) string {
	var b strings.Builder
	for _, d := range decisions {
		b.WriteByte(d.Action[0])
	}
	return b.String()
}

func TestDecide(t *testing.T) {
	bad := func(created string) Item {
		it := good(takumi, created)
		it.State, it.Why = Bad, "chunk 3 is damaged"
		return it
	}
	incomplete := func(created string) Item {
		it := good(takumi, created)
		it.Incomplete = true
		return it
	}
	unchecked := func(created string) Item {
		it := good(takumi, created)
		it.State, it.Why = Unchecked, "wrong key"
		return it
	}
	of := func(kind, name string, created ...string) []Item {
		items := series(created...)
		for i := range items {
			items[i].Kind, items[i].Name = kind, name
		}
		return items
	}
	in := func(folder string, items []Item) []Item {
		for i := range items {
			items[i].Folder = folder
		}
		return items
	}
	copyOf := func(it Item, path string) Item { it.Path = path; return it }
	month := Policy{Within: 30 * day}
	for _, tc := range []struct {
		name  string
		now   string
		p     Policy
		items []Item
		want  string
	}{
		{"nothing", "2030-05-01", month, nil, ""},
		{"a month before the newest is kept, and to the second no more", "2030-06-02", month,
			series("2030-05-31 02:00", "2030-05-02", "2030-05-01T02:00:01Z", "2030-05-01 02:00", "2030-04-30"), "kkkdd"},
		{"the order of the items does not matter", "2030-05-31 02:00", month,
			series("2030-04-30", "2030-05-31 02:00", "2030-05-01 02:00", "2030-05-02"), "dkdk"},
		{"a job that stopped", "2036-01-01", month, series("2030-05-30", "2030-05-29", "2030-05-01", "2030-04-30"), "kkkd"},
		{"a bad, a future and an unfinished one do not count as the newest", "2030-08-01", month,
			append(series("2031-01-01", "2030-05-30", "2030-05-01"), bad("2030-07-30"), incomplete("2030-07-30"), incomplete("2030-05-02"), incomplete("2030-04-02")), "ikkiiid"},
		{"a kind has rules of its own", "2030-05-31", Policy{Within: 30 * day, ByKind: map[string]Policy{"uploads": {Within: 90 * day}}},
			append(of("uploads", "u", "2030-05-30", "2030-03-20"), series("2030-05-30", "2030-03-20")...), "kkkd"},
		{"the newest is kept whatever its age", "2036-01-01", month, series("2030-05-30", "2030-04-30"), "kd"},
		{"also by a policy that keeps nothing", "2030-05-31", Policy{}, series("2030-05-30", "2030-05-29"), "kd"},
		{"a single one", "2036-01-01", Policy{}, series("2030-05-30"), "k"},

		{"a zone's hours are not days", "2030-05-31", Policy{Within: day},
			series("2030-05-31T00:30:00+09:00", "2030-05-30T01:00:00+09:00", "2030-05-29T23:00:00+09:00", "2030-05-29T16:00:00Z"), "kkdk"},
		{"daylight saving takes no hour", "2030-04-02", Policy{Within: 2 * day},
			series("2030-04-01T02:00:00+02:00", "2030-03-30T02:00:00+01:00", "2030-03-30T01:00:00+01:00"), "kkd"},
		{"days are UTC's", "2030-05-31", Policy{Daily: 2},
			series("2030-05-30T08:30:00+09:00", "2030-05-29T23:00:00Z", "2030-05-29T08:00:00+09:00"), "kdk"},

		{"last", "2030-05-31", Policy{Last: 2}, series("2030-05-04", "2030-05-03", "2030-05-02", "2030-05-01"), "kkdd"},
		{"the newest of each day", "2030-05-31", Policy{Daily: 2},
			series("2030-05-04 12:00", "2030-05-04 02:00", "2030-05-03 23:59", "2030-05-03 00:00", "2030-05-02 23:59"), "kdkdd"},
		{"a gap takes nothing away", "2030-12-31", Policy{Daily: 3},
			series("2030-05-04", "2030-02-03", "2029-01-02", "2028-01-01"), "kkkd"},
		{"ISO weeks across a year's end", "2030-01-10", Policy{Weekly: 2}, // Monday 2029-12-31 begins week 1 of 2030
			series("2030-01-06", "2029-12-31", "2029-12-30", "2029-12-24", "2029-12-23"), "kdkdd"},
		{"months", "2030-05-31", Policy{Monthly: 2}, series("2030-05-30", "2030-05-01", "2030-04-30", "2030-03-31"), "kdkd"},
		{"years, with a leap day", "2033-01-01", Policy{Yearly: 2}, series("2032-02-29", "2032-02-28", "2030-12-31", "2028-12-31"), "kdkd"},
		{"rules add up", "2030-05-31", Policy{Within: day, Last: 1, Daily: 2, Monthly: 3},
			series("2030-05-30", "2030-05-29 12:00", "2030-05-28", "2030-04-28", "2030-04-27", "2030-03-01"), "kkdkdk"},

		{"the future is not counted, and not deleted", "2030-05-31", Policy{Last: 1},
			series("2031-01-01", "2030-05-31 00:06", "2030-05-30", "2030-05-29"), "iikd"},
		{"a small skew is not a future", "2030-05-31", Policy{Last: 1}, series("2030-05-31 00:05", "2030-05-30"), "kd"},
		{"only the future", "2030-05-31", Policy{}, series("2031-01-01", "2032-01-01"), "ii"},
		{"a clock at 1970", "2030-05-31", Policy{}, series("1970-01-01", "2030-05-30", "2030-05-29"), "ikd"},
		{"our own clock at 1970", "1970-01-01", month, series("2030-05-30", "2020-05-29"), "ii"},
		{"our own clock far ahead", "2130-01-01", month, series("2030-05-30", "2030-05-29", "2030-04-30"), "kkd"},
		{"bad ones are not counted", "2030-05-31", Policy{Last: 1}, append(series("2030-05-28", "2030-05-27"), bad("2030-05-30"), bad("2027-01-01")), "kdii"},
		{"unchecked ones neither", "2030-05-31", Policy{Last: 1}, append(series("2030-05-28", "2030-05-27"), unchecked("2030-05-30"), unchecked("2027-01-01")), "kdii"},
		{"incomplete ones are not counted", "2030-05-31", Policy{Last: 2},
			append(series("2030-05-28", "2030-05-26", "2030-05-25"), incomplete("2030-05-30"), incomplete("2030-05-27"), incomplete("2027-01-01")), "kkdidd"},
		{"incomplete ones newer than what counts", "2030-05-31", Policy{Last: 1},
			append(series("2030-05-28"), incomplete("2030-05-30"), incomplete("2030-05-29")), "kid"},
		{"only incomplete ones", "2030-05-31", Policy{}, []Item{incomplete("2030-05-30"), incomplete("2030-05-29")}, "ii"},
		{"a copy of an incomplete one", "2030-05-31", Policy{}, []Item{incomplete("2030-05-30"), copyOf(good(takumi, "2030-05-30"), "copy")}, "ik"},
		{"only bad ones", "2030-05-31", Policy{}, []Item{bad("2030-05-30"), unchecked("2030-05-29")}, "ii"},

		{"each name for itself", "2036-01-01", month, append(of("database", "a", "2030-05-30", "2030-04-29"), of("database", "b", "2027-01-02", "2026-12-03")...), "kdkd"},
		{"each kind for itself", "2036-01-01", month, append(of("database", "a", "2030-05-30"), of("uploads", "a", "2027-01-02", "2026-12-03")...), "kkd"},
		{"each folder for itself", "2036-01-01", month, append(in("/b/one", series("2030-05-30")), in("/b/two", series("2027-01-02", "2026-12-03"))...), "kkd"},
		{"contracts stay", "2036-01-01", month, of("contracts", "contract_snapshot", "2030-05-30", "2027-01-01"), "kk"},
		{"unknown kinds stay", "2036-01-01", month, of("stream", "x", "2030-05-30", "2027-01-01"), "kk"},
		{"unless asked", "2036-01-01", Policy{Kinds: []string{"contracts"}}, append(of("contracts", "c", "2030-05-30", "2027-01-01"), series("2027-01-01", "2026-01-02")...), "kdkk"},
		{"copies count once", "2036-01-01", Policy{Last: 2},
			append(series("2030-05-30", "2030-05-29", "2030-05-28"), copyOf(good(takumi, "2030-05-30"), "copy"), copyOf(good(takumi, "2030-05-28"), "copy2")), "kkdkd"},
	} {
		if tc.p.Kinds == nil {
			tc.p.Kinds = kinds
		}
		got := Decide(tc.items, tc.p, at(tc.now))
		if letters(got) != tc.want {
			t.Errorf("%s: got %s, want %s: %v", tc.name, letters(got), tc.want, got)
		}
		for _, d := range got {
			if d.Reason == "" {
				t.Errorf("%s: no reason given: %v", tc.name, got)
			}
		}
	}
}

// TestSettle: what looks good and is not, is found out before anything goes.
func TestSettle(t *testing.T) {
	damaged := errors.New("chunk 7 is damaged")
	for _, tc := range []struct {
		broken string // days of May whose backups do not verify
		asked  string // in this order
		want   string
	}{
		{"", "5 4", "kkddd"},
		{"5", "5 4 3", "ikkdd"},
		{"5 4 3", "5 4 3 2", "iiikk"},
		{"5 3", "5 4 3 2", "ikikd"},
		{"5 4", "5 4 3 2", "iikkd"},
	} {
		items := series("2030-05-05", "2030-05-04", "2030-05-03", "2030-05-02", "2030-05-01")
		var asked []string
		got, err := DecideProved(items, Policy{Last: 2, Kinds: kinds}, at("2030-05-31"), func(i int) error {
			d := fmt.Sprint(items[i].Created.Day())
			asked = append(asked, d)
			if strings.Contains(tc.broken, d) {
				return damaged
			}
			return nil
		}, func() error { return nil })
		if err != nil || letters(got) != tc.want || strings.Join(asked, " ") != tc.asked {
			t.Errorf("broken %s: %s, asked %q, %v", tc.broken, letters(got), asked, err)
		}
	}

	// What may not be read lets nothing go.
	got, err := DecideProved(series("2030-05-05", "2030-05-04", "2030-05-03"), Policy{Last: 2, Kinds: kinds}, at("2030-05-31"), func(i int) error {
		if i == 1 {
			return ErrUnread
		}
		return nil
	}, func() error { return nil })
	if err != nil || letters(got) != "kki" {
		t.Errorf("unread: %s, %v", letters(got), err)
	}

	// Nor is any more of its series read, while others are.
	items := append(series("2030-05-05", "2030-05-04", "2030-05-03"), good(Series{"/b", "uploads", "u"}, "2030-05-05"), good(Series{"/b", "uploads", "u"}, "2030-05-04"), good(Series{"/b", "uploads", "u"}, "2030-05-03"))
	var asked []int
	got, err = DecideProved(items, Policy{Last: 1, Daily: 2, Kinds: kinds}, at("2030-05-31"), func(i int) error {
		asked = append(asked, i)
		switch i {
		case 0:
			return ErrUnread
		case 3:
			return damaged
		}
		return nil
	}, func() error { return nil })
	if err != nil || letters(got) != "kkiikk" || !slices.Equal(asked, []int{0, 3, 4}) || items[3].State != Bad || items[3].Why != damaged.Error() {
		t.Errorf("%s, asked %v, %v, %+v", letters(got), asked, err, items[3])
	}

	// What only --keep-within keeps is not read, nor what is of a series that loses nothing.
	asked = nil
	items = append(series("2030-05-05", "2030-05-04", "2030-05-01"), good(Series{"/b", "uploads", "u"}, "2030-05-05"))
	got, err = DecideProved(items, Policy{Within: 2 * day, Kinds: kinds}, at("2030-05-31"), func(i int) error {
		asked = append(asked, i)
		return nil
	}, func() error { return nil })
	if err != nil || letters(got) != "kkdk" || !slices.Equal(asked, []int{0}) {
		t.Errorf("%s, asked %v, %v", letters(got), asked, err)
	}

	stop := errors.New("stopped")
	_, err = DecideProved(series("2030-05-05", "2030-05-04"), Policy{Kinds: kinds}, at("2030-05-31"),
		func(int) error { return damaged }, func() error { return stop })
	if !errors.Is(err, stop) {
		t.Errorf("stopped: %v", err)
	}
}

// TestNothingGoodIsLost: whatever a store holds and whatever the policy, each
// series keeps its newest good backup, which was proved when anything of it
// goes; every good backup that the rules keep when all damage is known beforehand
// stays; what is not good stays; what is less older than the newest good one than the
// policy says stays, and a clock that is ahead changes nothing; and pruning again deletes
// nothing.
func TestNothingGoodIsLost(t *testing.T) {
	rounds := 10_000
	if os.Getenv("TAKUMI_TEST_LONG") != "" {
		rounds = 100_000
	}
	rng := rand.New(rand.NewPCG(5, 23))
	deleted := 0
	for range rounds {
		now := at("2035-03-01").Add(time.Duration(rng.IntN(800*24)) * time.Hour)
		items, sound := randomStore(rng, now)
		small := func() int { return max(0, rng.IntN(6)-2) }
		p := Policy{Within: time.Duration(rng.IntN(60)) * day, Last: small(), Daily: small(), Weekly: small(), Monthly: small(), Yearly: small(), Kinds: kinds}
		proved := make(map[string]bool)
		settle := func(items []Item, now time.Time) []Decision {
			got, err := DecideProved(items, p, now, func(i int) error {
				if !sound[items[i].Path] {
					return errors.New("damaged")
				}
				proved[items[i].Path] = true
				return nil
			}, func() error { return nil })
			if err != nil {
				t.Fatal(err)
			}
			return got
		}
		before := slices.Clone(items)
		decisions := settle(items, now)
		late := func(it Item) bool { return it.Created.After(now) }
		if !slices.ContainsFunc(before, late) {
			if ahead := settle(slices.Clone(before), now.AddDate(1+rng.IntN(90), 0, 0)); letters(ahead) != letters(decisions) {
				t.Fatalf("a clock that is ahead makes %s of %s\n%+v", letters(ahead), letters(decisions), p)
			}
		}

		known := slices.Clone(before)
		for i := range known {
			if !sound[known[i].Path] {
				known[i].State = Bad
			}
		}
		for i, best := range Decide(known, p, now) {
			if best.Action == Keep && decisions[i].Action == Delete {
				t.Fatalf("%+v is deleted, and could have been kept: %s", before[i], best.Reason)
			}
		}

		newest := make(map[Series]Item)
		var left []Item
		losing := make(map[Series]bool)
		for i, it := range before {
			counts := it.State == Good && !it.Created.After(now.Add(Skew)) && it.Created.Year() >= 2026
			if best, ok := newest[it.Series]; counts && sound[it.Path] && (!ok || it.Created.After(best.Created)) {
				newest[it.Series] = it
			}
			if decisions[i].Action == Delete {
				deleted++
				losing[it.Series] = true
				if !counts || it.Kind == "contracts" {
					t.Fatalf("%+v is deleted", it)
				}
				continue
			}
			left = append(left, it)
		}
		for s, best := range newest {
			if !slices.ContainsFunc(left, func(it Item) bool { return it.Series == s && it.Created.Equal(best.Created) && sound[it.Path] }) {
				t.Fatalf("%v: the last good one, of %v, is deleted\n%+v", s, best.Created, p)
			}
			for i, it := range before {
				if it.Series == s && decisions[i].Action == Delete && best.Created.Sub(it.Created) < p.Within {
					t.Fatalf("%+v is deleted, %v before the newest good one\n%+v", it, best.Created.Sub(it.Created), p)
				}
			}
		}
		for s := range losing {
			if !slices.ContainsFunc(left, func(it Item) bool { return it.Series == s && proved[it.Path] }) {
				t.Fatalf("%v loses backups and none that is kept was proved good", s)
			}
		}
		if again := settle(left, now); strings.Contains(letters(again), "d") {
			t.Fatalf("pruning twice deletes more: %s, then %s\n%+v", letters(decisions), letters(again), p)
		}
	}
	if deleted < rounds/3 {
		t.Errorf("only %d backups were deleted in %d rounds: the test shows little", deleted, rounds)
	}
}

// randomStore returns some backups, and which of them are sound to the end.
func randomStore(rng *rand.Rand, now time.Time) ([]Item, map[string]bool) {
	sound := make(map[string]bool)
	var items []Item
	for n := range rng.IntN(25) {
		it := Item{
			Path:    fmt.Sprint(n),
			Series:  Series{"/b", []string{"database", "database", "uploads", "contracts"}[rng.IntN(4)], []string{"a", "b"}[rng.IntN(2)]},
			ID:      fmt.Sprint("id", n),
			Created: now.Add(-time.Duration(rng.IntN(1000)) * time.Hour),
			State:   Good,
		}
		switch rng.IntN(12) {
		case 0:
			it.State = Bad
		case 1:
			it.State = Unchecked
		case 2:
			it.Created = now.Add(time.Duration(rng.IntN(1000)) * time.Hour)
		case 3:
			it.Created = time.Unix(rng.Int64N(1e6), 0)
		case 4:
			it.Created = now.Add(-time.Duration(rng.IntN(5000)) * day)
		case 5:
			if n > 0 { // a copy
				path := it.Path
				it = items[rng.IntN(n)]
				it.Path = path
			}
		}
		sound[it.Path] = rng.IntN(4) > 0
		items = append(items, it)
	}
	return items, sound
}

func TestSpan(t *testing.T) {
	for d, want := range map[time.Duration]string{24 * time.Hour: "1d", 36 * time.Hour: "1d", 24*time.Hour - time.Second: "23h59m59s", 1500 * time.Millisecond: "2s", 800 * 24 * time.Hour: "800d"} {
		if got := Span(d); got != want {
			t.Errorf("%v is %s, want %s", d, got, want)
		}
	}
}

func TestAge(t *testing.T) {
	for age, want := range map[time.Duration]string{
		-Skew: "now", -Skew - 1: "in the future", 59 * time.Second: "now", time.Minute: "1m", time.Hour - 1: "59m", time.Hour: "1h", 48*time.Hour - 1: "47h", 48 * time.Hour: "2d",
	} {
		if got := Age(age); got != want {
			t.Errorf("%v is %s, want %s", age, got, want)
		}
	}
}
