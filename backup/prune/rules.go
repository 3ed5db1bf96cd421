// Package prune deletes the backups that no retention rule keeps. The rules are pure
// functions of the store's content, a policy and the time.
//
// [Run] makes an [Item] of each backup and calls [DecideProved], which verifies what must be good
// before anything is deleted. [Decide] trusts the items.
//
// Under every policy
//
//   - only [Good] backups that are dated neither in the future nor before there were
//     any count, and only such are ever deleted;
//   - the newest of those in each series is kept;
//   - what a kept backup needs is kept, as the full one of its chain;
//   - nothing is deleted before all that counts in its series was read to its end;
//   - an incomplete one never counts, and is deleted only next to one that does, and
//     where it would be if it counted.
//
// Days, weeks (ISO 8601), months and years are those of UTC.
package prune

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/takumi-backup/takumi-backup/backup"
)

// State is how far an item can be trusted.
type State int

const (
	// Unchecked: nobody had the key.
	Unchecked State = iota
	// Good: its time, kind and name are authentic.
	Good
	// Bad: damaged, altered, or not a backup.
	Bad
)

// Series are the backups that may replace each other. The folder is part of it, because two
// hosts may have databases of one name.
type Series struct{ Folder, Kind, Name string }

// String names the series for people.
func (s Series) String() string { return s.Kind + " " + s.Name + " in " + s.Folder }

// Item is one backup.
type Item struct {
	Path string
	Series
	ID      string // copies of one backup have the same
	Created time.Time
	State   State
	Why     string // why State is not Good
	// Incomplete means that the part written last is missing.
	Incomplete bool
	// Link is its place in a chain of increments, or zero. It is kept while a later one is.
	Link backup.Link
}

// Policy is what is kept besides the newest of each series: an item that any rule keeps.
// Zero rules keep nothing.
type Policy struct {
	// Within keeps items that are less older than the newest good one of the series, so
	// that without new backups, and whatever the clock says, none becomes too old.
	Within time.Duration
	Last   int // the newest so many
	// The newest of each of so many days, weeks, months and years that have backups: gaps
	// do not count.
	Daily, Weekly, Monthly, Yearly int
	// Kinds are those that may be deleted at all.
	Kinds []string
	// ByKind are rules for single kinds; their Kinds are ignored.
	ByKind map[string]Policy
}

func (p Policy) of(kind string) Policy {
	if own, ok := p.ByKind[kind]; ok {
		return own
	}
	return p
}

// Skew is how far a backup may be ahead of our clock.
const Skew = 5 * time.Minute

// epoch is before the first sealed backup. Earlier dates come from clocks that start at
// 1970 with an empty battery.
var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// Action is what becomes of an item.
type Action string

const (
	// Keep: a rule keeps it.
	Keep Action = "keep"
	// Delete: no rule keeps it.
	Delete Action = "delete"
	// Ignore: it is left alone and counts for nothing.
	Ignore Action = "ignore"
)

// Decision is an action and its reason, in words.
type Decision struct {
	Action Action
	Reason string

	counts bool // kept by a rule that counts, or as the newest: deletions rely on it
}

// Decide returns a decision for each item, in the order of the items.
func Decide(items []Item, p Policy, now time.Time) []Decision {
	decisions := make([]Decision, len(items))
	series := make(map[Series][]int)
	useless := broken(items)
	for i, it := range items {
		switch {
		case useless[i] != "":
			decisions[i] = Decision{Action: Ignore, Reason: "not counted, and left alone: " + useless[i]}
		case it.State == Bad:
			decisions[i] = Decision{Action: Ignore, Reason: "not counted, and left alone: " + it.Why}
		case it.State != Good:
			decisions[i] = Decision{Action: Ignore, Reason: "not authenticated, and so left alone: " + it.Why}
		case it.Created.After(now.Add(Skew)):
			decisions[i] = Decision{Action: Ignore, Reason: "it is dated in the future, so a clock is or was wrong; left alone"}
		case it.Created.Before(epoch):
			decisions[i] = Decision{Action: Ignore, Reason: "it is dated before there were sealed backups, so a clock was wrong; left alone"}
		default:
			series[it.Series] = append(series[it.Series], i)
		}
	}
	for s, indices := range series {
		slices.SortFunc(indices, func(a, b int) int { return newestFirst(items[a], items[b]) })
		if !slices.Contains(p.Kinds, s.Kind) {
			for _, i := range indices {
				decisions[i] = Decision{Action: Keep, Reason: fmt.Sprintf("backups of the kind %s are not pruned unless that is asked for", s.Kind)}
			}
			continue
		}
		complete := slices.DeleteFunc(slices.Clone(indices), func(i int) bool { return items[i].Incomplete })
		newest := items[slices.Concat(complete, indices)[0]].Created
		p.of(s.Kind).decide(items, complete, decisions, newest)
		if len(complete) == len(indices) {
			continue
		}
		counted := make([]Decision, len(items))
		p.of(s.Kind).decide(items, indices, counted, newest)
		for _, i := range indices {
			switch {
			case !items[i].Incomplete:
			case len(complete) > 0 && counted[i].Action == Delete:
				decisions[i] = counted[i]
			default:
				decisions[i] = Decision{Action: Ignore, Reason: "it has no sidecar, as one that was never finished; not counted, and left alone"}
			}
		}
	}
	keepLinks(items, decisions)
	return decisions
}

func newestFirst(a, b Item) int {
	return cmp.Or(b.Created.Compare(a.Created), b.Link.After(a.Link), cmp.Compare(a.ID, b.ID), cmp.Compare(a.Path, b.Path))
}

type rule struct {
	left   int
	name   string
	period func(n int, t time.Time) string
	last   string // period
}

func (p Policy) rules() []*rule {
	return []*rule{
		{left: p.Last, name: "last", period: func(n int, _ time.Time) string { return fmt.Sprint(n) }},
		{left: p.Daily, name: "daily", period: func(_ int, t time.Time) string { return t.Format("2006-01-02") }},
		{left: p.Weekly, name: "weekly", period: func(_ int, t time.Time) string {
			year, week := t.ISOWeek()
			return fmt.Sprintf("%d-W%02d", year, week)
		}},
		{left: p.Monthly, name: "monthly", period: func(_ int, t time.Time) string { return t.Format("2006-01") }},
		{left: p.Yearly, name: "yearly", period: func(_ int, t time.Time) string { return t.Format("2006") }},
	}
}

func (p Policy) decide(items []Item, indices []int, decisions []Decision, newest time.Time) {
	rules := p.rules()
	for n, i := range indices {
		it := items[i]
		if n > 0 && it.ID == items[indices[n-1]].ID {
			decisions[i] = decisions[indices[n-1]] // a copy; it counts once
			continue
		}
		var reasons []string
		counts := n == 0
		if counts {
			reasons = append(reasons, "newest of its name")
		}
		if p.Within > 0 && newest.Sub(it.Created) < p.Within {
			reasons = append(reasons, "within "+Span(p.Within))
		}
		for _, r := range rules {
			if period := r.period(n, it.Created.UTC()); r.left > 0 && period != r.last {
				r.left--
				r.last = period
				counts = true
				reasons = append(reasons, r.name)
			}
		}
		if len(reasons) == 0 {
			decisions[i] = Decision{Action: Delete, Reason: fmt.Sprintf("made %s before the newest, and no rule keeps it", Span(newest.Sub(it.Created)))}
			continue
		}
		decisions[i] = Decision{Keep, strings.Join(reasons, ", "), counts}
	}
}

// ErrUnread is returned by verify for an item beyond its budget.
var ErrUnread = errors.New("it was not read, as --max-read has it")

// DecideProved decides like [Decide], but deletes nothing of a series before all that a rule
// counts in it, and the newest, has proved good: it calls verify once with the index of
// each such item, and decides again when one fails. It sets State and Why of such items. A
// series of which none verifies, or one may not be read, is left alone. stopped, called
// after every failure, ends the work with its error.
func DecideProved(items []Item, p Policy, now time.Time, verify func(i int) error, stopped func() error) ([]Decision, error) {
	proved := make(map[int]bool)
	unread := make(map[Series]bool)
	for {
		decisions := Decide(items, p, now)
		settled := true
		for _, i := range unproved(items, decisions) {
			if proved[i] || unread[items[i].Series] {
				continue
			}
			err := verify(i)
			switch {
			case err == nil:
				proved[i] = true
				continue
			case errors.Is(err, ErrUnread):
				unread[items[i].Series] = true
				continue
			}
			if err := stopped(); err != nil {
				return nil, err
			}
			items[i].State, items[i].Why = Bad, err.Error()
			settled = false
		}
		if !settled {
			continue
		}
		for i, d := range decisions {
			if d.Action == Delete && unread[items[i].Series] {
				decisions[i] = Decision{Action: Ignore, Reason: "left alone, because not all that would stay was read: --max-read"}
			}
		}
		keepLinks(items, decisions)
		return decisions, nil
	}
}

// unproved returns the items that must be good, oldest series first, newest item first:
// those that count for a rule, and the newest, in each series that would lose something.
// Copies are not considered.
func unproved(items []Item, decisions []Decision) []int {
	losing := make(map[Series]bool)
	for i, d := range decisions {
		if d.Action == Delete {
			losing[items[i].Series] = true
		}
	}
	var found []int
	for i, d := range decisions {
		if d.Action == Keep && d.counts && losing[items[i].Series] {
			found = append(found, i)
		}
	}
	slices.SortFunc(found, func(a, b int) int { return newestFirst(items[a], items[b]) })
	return found
}

// Age writes an age in a few letters, as "5m", "30h" or "12d".
func Age(age time.Duration) string {
	switch {
	case age < -Skew:
		return "in the future"
	case age < time.Minute:
		return "now"
	case age < time.Hour:
		return fmt.Sprintf("%dm", age/time.Minute)
	case age < 48*time.Hour:
		return fmt.Sprintf("%dh", age/time.Hour)
	}
	return Span(age)
}

// Span writes a time span in its largest whole unit, as "30d" or "5h0m0s".
func Span(d time.Duration) string {
	if d >= 24*time.Hour {
		return fmt.Sprintf("%dd", d/(24*time.Hour))
	}
	return d.Round(time.Second).String()
}
