package verify

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/internal/store/local"
	"github.com/takumi-backup/takumi-backup/stream/pack"
)

// TestMergeTellsTheWorst: the run that ended last is right about a backup, also
// when it proved nothing; and equal paths of two hosts are two backups.
func TestMergeTellsTheWorst(t *testing.T) {
	t.Parallel()
	now := time.Now()
	report := func(host string, finished time.Time, b Backup) *Report {
		b.Checked = true
		return &Report{Schema: Schema, Host: host, Finished: finished, Backups: ListOf(b)}
	}
	good := func(path string) Backup { return Backup{Path: path, Proven: Content, ProvenAt: now} }
	bad := func(path string) Backup {
		return Backup{Path: path, Findings: []Finding{{Severity: Error, Code: Damaged}}}
	}
	const local, remote = "/b/a.enc", "s3://b/a.enc"
	for name, tc := range map[string]struct {
		a, b *Report
		want []bool // which are bad
	}{
		"bad now":         {report("h", now, good(local)), report("h", now.Add(1), bad(local)), []bool{true}},
		"mended":          {report("h", now, bad(local)), report("h", now.Add(1), good(local)), []bool{false}},
		"at once":         {report("h", now, bad(local)), report("h", now, good(local)), []bool{true}},
		"two hosts":       {report("h", now, bad(local)), report("i", now.Add(1), good(local)), []bool{false, true}},
		"one bucket":      {report("h", now, good(remote)), report("i", now.Add(1), bad(remote)), []bool{true}},
		"not looked at":   {report("h", now, bad(local)), &Report{Schema: Schema, Host: "h", Finished: now.Add(1), Backups: ListOf(Backup{Path: local})}, []bool{true}},
		"no longer there": {report("h", now, bad(local)), &Report{Schema: Schema, Host: "h", Finished: now.Add(1)}, []bool{true}},
	} {
		for _, parts := range [][]*Report{{tc.a, tc.b}, {tc.b, tc.a}} {
			all, err := Merge(parts)
			if err != nil {
				t.Fatal(err)
			}
			var got []bool
			for _, b := range all.Backups.All() {
				got = append(got, b.Worst() == Error)
			}
			slices.SortFunc(got, func(a, b bool) int { return map[bool]int{false: 0, true: 1}[a] - map[bool]int{false: 0, true: 1}[b] })
			if !slices.Equal(got, tc.want) {
				t.Errorf("%s: %v, want %v", name, got, tc.want)
			}
		}
	}
}

// TestMergeKeys: the keys of all reports are there, each of a place once.
func TestMergeKeys(t *testing.T) {
	t.Parallel()
	one, two, elsewhere := Key{ID: "1", Provider: "file:/k"}, Key{ID: "2", Provider: "file:/k"}, Key{ID: "1", Provider: "file:/l"}
	all, err := Merge([]*Report{{Schema: Schema, Keys: []Key{one, two}}, {Schema: Schema, Keys: []Key{elsewhere, two, one}}})
	if err != nil || !slices.Equal(all.Keys, []Key{one, two, elsewhere}) {
		t.Errorf("%v, %v", all, err)
	}
}

// blind is a place that does not give one of its files.
type blind struct {
	local.Folder
	path string
}

func (p blind) Open(ctx context.Context, path string) (store.Object, error) {
	if path == p.path {
		return nil, errors.New("input/output error")
	}
	return p.Folder.Open(ctx, path)
}

// TestShardsLoseNothing: each backup is checked in exactly one shard, also one that a
// shard cannot read, and one that has another id by the time the next shard looks.
func TestShardsLoseNothing(t *testing.T) {
	t.Parallel()
	s := newTestStore(t)
	const n = 3
	shards := func(before func(i int, j *Job)) (parts []*Report) {
		for i := range n {
			j := s.job(Checksum)
			j.Shard = backup.Shard{Index: i + 1, Count: n}
			before(i, j)
			parts = append(parts, run(t, j))
		}
		return parts
	}
	whole := func(parts []*Report) *Report {
		found := 0
		for _, r := range parts {
			found += r.Backups.Len()
		}
		all, err := Merge(parts)
		if err != nil || found != len(s.backups) || all.Backups.Len() != found {
			t.Fatalf("%v: %d backups in the shards, want %d", err, found, len(s.backups))
		}
		return all
	}
	for lost := range n {
		all := whole(shards(func(i int, j *Job) {
			if i == lost {
				j.Place = blind{path: s.backups[4].path}
			}
		}))
		own := backup.Shard{Index: lost + 1, Count: n}.Has(s.backups[4].path)
		if b := byPath(all)[s.backups[4].path]; b.has(Unreadable) != own {
			t.Errorf("shard %d: %s", lost+1, asJSON(b))
		}
	}
	for turn := 1; turn < n; turn++ {
		whole(shards(func(i int, _ *Job) {
			if i == turn {
				for _, b := range s.backups {
					write(t, b.path, seal(t, []byte("words"), b.label, pack.None, s.keys...))
				}
			}
		}))
	}
}

// TestMergeOneRun: the report that a shard has left the week before is not taken for
// one of this run. Reports of whole stores may be of any time.
func TestMergeOneRun(t *testing.T) {
	t.Parallel()
	now := time.Now()
	parts := func(first, second string, ago time.Duration) []*Report {
		return []*Report{{Schema: Schema, Shard: first, Started: now}, {Schema: Schema, Shard: second, Started: now.Add(-ago)}}
	}
	if _, err := Merge(parts("1/2", "2/2", 24*time.Hour)); err != nil {
		t.Error(err)
	}
	if _, err := Merge(parts("", "", 1000*time.Hour)); err != nil {
		t.Error(err)
	}
	all := parts("1/2", "2/2", 7*24*time.Hour)
	for range 2 {
		if _, err := Merge(all); !errors.Is(err, ErrMerge) || !strings.Contains(err.Error(), "shard 2/2 began 168h0m0s before shard 1/2") {
			t.Error(err)
		}
		slices.Reverse(all)
	}
}
