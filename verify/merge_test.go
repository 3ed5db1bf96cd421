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
)

// TestMergeTellsTheWorst: the run that ended last is right about a backup, also
// when it proved nothing; and equal paths of two hosts are two backups.
func TestMergeTellsTheWorst(t *testing.T) {
	t.Parallel()
	now := time.Now()
	report := func(host string, finished time.Time, b Backup) *Report {
		b.Checked = true
		return &Report{Schema: Schema, Host: host, Finished: finished, Backups: []Backup{b}}
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
		"not looked at":   {report("h", now, bad(local)), &Report{Schema: Schema, Host: "h", Finished: now.Add(1), Backups: []Backup{{Path: local}}}, []bool{true}},
		"no longer there": {report("h", now, bad(local)), &Report{Schema: Schema, Host: "h", Finished: now.Add(1)}, []bool{true}},
	} {
		for _, parts := range [][]*Report{{tc.a, tc.b}, {tc.b, tc.a}} {
			all, err := Merge(parts)
			if err != nil {
				t.Fatal(err)
			}
			var got []bool
			for i := range all.Backups {
				got = append(got, all.Backups[i].Worst() == Error)
			}
			slices.SortFunc(got, func(a, b bool) int { return map[bool]int{false: 0, true: 1}[a] - map[bool]int{false: 0, true: 1}[b] })
			if !slices.Equal(got, tc.want) {
				t.Errorf("%s: %v, want %v", name, got, tc.want)
			}
		}
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

// TestShardsLoseNothing: a backup that one shard cannot read, and so cannot tell
// whose it is, is in the joined report, whichever shard that was.
func TestShardsLoseNothing(t *testing.T) {
	t.Parallel()
	s := newTestStore(t)
	for lost := range 3 {
		var parts []*Report
		for i := range 3 {
			j := s.job(Checksum)
			j.Shard = backup.Shard{Index: i + 1, Count: 3}
			if i == lost {
				j.Place = blind{path: s.backups[4].path}
			}
			parts = append(parts, run(t, j))
		}
		if b := byPath(parts[lost])[s.backups[4].path]; b == nil || !b.has(Unreadable) {
			t.Errorf("shard %d says nothing of it", lost+1)
		}
		if all, err := Merge(parts); err != nil || len(all.Backups) != len(s.backups) {
			t.Errorf("%v: %d backups", err, len(all.Backups))
		}
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
	if _, err := Merge(parts("1/2", "2/2", 23*time.Hour)); err != nil {
		t.Error(err)
	}
	if _, err := Merge(parts("", "", 1000*time.Hour)); err != nil {
		t.Error(err)
	}
	if _, err := Merge(parts("1/2", "2/2", 7*24*time.Hour)); !errors.Is(err, ErrMerge) || !strings.Contains(err.Error(), "shard 2/2 began 168h0m0s before shard 1/2") {
		t.Error(err)
	}
}
