package verify

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/internal/store"
)

// ErrMerge is returned for reports that do not make one.
var ErrMerge = errors.New("these reports do not make one")

// Merge joins the reports of one store's shards, or of several stores. Of a backup in
// several reports the one counts that checked it and ended last, and of two that ended
// together the one that found it bad. A path means another backup on another host, unless
// it is in a bucket, or all hosts worked on shards of one store. Shards must be complete,
// and of one run: nobody has checked a missing part, and a shard that could not run has
// left an old report. The error wraps ErrMerge.
func Merge(reports []*Report) (*Report, error) {
	if len(reports) == 0 {
		return nil, fmt.Errorf("%w: there are none", ErrMerge)
	}
	if err := checkShards(reports); err != nil {
		return nil, err
	}
	all := *reports[0]
	all.Roots, all.Backups, all.Findings, all.Keys, all.Shard = nil, nil, nil, nil, ""
	at := make(map[string]taken)
	var backups []Backup
	for _, r := range reports {
		if r.Schema != Schema {
			return nil, fmt.Errorf("%w: one has schema %d, and this program knows %d", ErrMerge, r.Schema, Schema)
		}
		if r.Started.Before(all.Started) {
			all.Started = r.Started
		}
		if r.Finished.After(all.Finished) {
			all.Finished, all.Checkpoint = r.Finished, r.Checkpoint
		}
		all.Level = min(all.Level, r.Level)
		all.Interrupted = all.Interrupted || r.Interrupted
		addNew(&all.Roots, r.Roots, func(a, b string) bool { return a == b })
		addNew(&all.Keys, r.Keys, func(a, b Key) bool { return a.ID == b.ID && a.Provider == b.Provider })
		addNew(&all.Findings, r.Findings, func(a, b Finding) bool {
			return a.Code == b.Code && a.Path == b.Path && a.Message == b.Message
		})
		for _, b := range r.Backups.All() {
			key := keyOf(r, b)
			was, found := at[key]
			if !found {
				at[key] = taken{len(backups), r.Finished}
				backups = append(backups, *b)
			} else if old := &backups[was.at]; supersedes(b, old, r.Finished.Compare(was.finished)) {
				at[key] = taken{was.at, r.Finished}
				*old = *b
			}
		}
	}
	slices.SortStableFunc(backups, func(a, b Backup) int {
		return cmp.Or(b.Created.Compare(a.Created), cmp.Compare(a.Path, b.Path))
	})
	all.Backups = ListOf(backups...)
	return &all, nil
}

// taken is a backup's place in the joined report, and when its own report was finished.
type taken struct {
	at       int
	finished time.Time
}

func keyOf(r *Report, b *Backup) string {
	if r.Shard != "" || store.IsRemote(b.Path) {
		return b.Path
	}
	return r.Host + "\x00" + b.Path
}

// supersedes reports whether b replaces old; later compares when their reports were
// finished.
func supersedes(b, old *Backup, later int) bool {
	if b.Checked != old.Checked {
		return b.Checked
	}
	return later > 0 || later == 0 && b.Worst() == Error
}

func addNew[T any](to *[]T, from []T, same func(a, b T) bool) {
	for _, v := range from {
		if !slices.ContainsFunc(*to, func(w T) bool { return same(v, w) }) {
			*to = append(*to, v)
		}
	}
}

// oneRun is within how long all shards of a run begin.
const oneRun = 24 * time.Hour

func checkShards(reports []*Report) error {
	var count int
	var first, last *Report
	seen := make(map[int]bool)
	for _, r := range reports {
		if r.Shard == "" {
			continue
		}
		s, err := backup.ParseShard(r.Shard)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrMerge, err)
		}
		if count != 0 && s.Count != count {
			return fmt.Errorf("%w: one is of %d shards, another of %d", ErrMerge, count, s.Count)
		}
		count = s.Count
		seen[s.Index] = true
		if first == nil || r.Started.Before(first.Started) {
			first = r
		}
		if last == nil || r.Started.After(last.Started) {
			last = r
		}
	}
	var missing []string
	for i := 1; i <= count; i++ {
		if !seen[i] {
			missing = append(missing, backup.Shard{Index: i, Count: count}.String())
		}
	}
	if missing != nil {
		return fmt.Errorf("%w: shard %v is missing", ErrMerge, missing[:min(len(missing), 10)])
	}
	if first != nil && last.Started.Sub(first.Started) > oneRun {
		return fmt.Errorf("%w: they are not of one run: shard %s began %v before shard %s; look why there is no newer report of it",
			ErrMerge, first.Shard, last.Started.Sub(first.Started).Round(time.Hour), last.Shard)
	}
	return nil
}
