package backup

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/store"
)

// Filter selects backups of a store; the zero value, all of them.
type Filter struct {
	Kinds []string // uploads are increments too
	// Name is a series, with or without its ending, as takumi_db.sql or takumi_db, or a
	// pattern for [path.Match].
	Name  string
	Since time.Time // made then or later
}

// Match reports whether the filter selects a backup. Only the zero value selects backups
// without a readable envelope.
func (f *Filter) Match(b *Backup) bool {
	switch {
	case len(f.Kinds) > 0 && !slices.Contains(f.Kinds, b.Kind) && !slices.Contains(f.Kinds, Family(b.Kind)):
	case f.Name != "" && !named(b, f.Name):
	case !f.Since.IsZero() && (!b.Readable() || b.Created.Before(f.Since)):
	default:
		return true
	}
	return false
}

func named(b *Backup, name string) bool {
	if !b.Readable() {
		return false
	}
	series := b.Series()
	if series == name || strings.HasPrefix(series, name+".") {
		return true
	}
	match, err := path.Match(name, series)
	return match && err == nil
}

// Newest returns, from a sorted list, the newest backup of each folder, kind and series
// that is not bad, archived, in doubt, or later than now.
func (r *Roll) Newest(now time.Time) *Roll {
	type series struct{ folder, kind, name string }
	seen, newest := make(map[series]bool), new(Roll)
	for _, b := range r.All() {
		s := series{store.Dir(b.Path), Family(b.Kind), b.Series()}
		if b.State != Bad && b.Doubt == nil && !b.Created.After(now) && !seen[s] {
			seen[s] = true
			newest.Add(&b)
		}
	}
	newest.SortNewest()
	return newest
}

// ErrManySeries is returned when the newest backup could be of several series.
var ErrManySeries = fail.New(fail.Usage, "say with --name which one", "there are backups of several series")

// LatestOf is [Latest] of the backups under folder that f selects, that are not later than
// now and not in doubt. It fails when there is none, and with ErrManySeries when f selects
// several series.
func LatestOf(ctx context.Context, st store.Store, folder string, f Filter, now time.Time, o Options, use func(*Backup) error) (*Backup, error) {
	var list []Backup
	var series []string
	err := Each(ctx, st, folder, o, func(b *Backup) error {
		if b.Readable() && f.Match(b) && !b.Created.After(now) {
			list = append(list, *b)
			series = append(series, b.Series())
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("looking for the newest backup: %w", err)
	}
	slices.Sort(series)
	if series = slices.Compact(series); len(series) > 1 {
		return nil, fmt.Errorf("looking for the newest backup in %s: %w: %s", folder, ErrManySeries, strings.Join(series[:min(len(series), 10)], ", "))
	}
	slices.SortFunc(list, NewestFirst)
	found, passed, err := Latest(ctx, st, list, func(*Backup) bool { return true }, o, use)
	if found == nil && err == nil {
		err = fmt.Errorf("no %s backup in %s is whole and authentic", strings.Join(f.Kinds, " or "), folder)
		if passed != nil {
			err = fmt.Errorf("%w; the newest: %w", err, passed)
		}
	}
	return found, err
}
