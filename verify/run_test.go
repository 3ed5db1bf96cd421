package verify

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/internal/store/local"
	"github.com/takumi-backup/takumi-backup/stream/pack"
)

// TestPlan: which backups are checked, and in which order.
func TestPlan(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 23, 3, 0, 0, 0, time.UTC)
	day := func(n int) time.Time { return now.AddDate(0, 0, -n) }
	backups := func() *List {
		return ListOf([]Backup{
			{Path: "unproved-old", Created: day(9)},
			{Path: "lately", Created: day(8), Proven: Content, ProvenAt: day(2)},
			{Path: "long-ago", Created: day(7), Proven: Restore, ProvenAt: day(100)},
			{Path: "too-little", Created: day(6), Proven: Checksum, ProvenAt: day(1)},
			{Path: "newest", Created: day(0)},
			{Path: "broken", Why: "it cannot be looked at"},
		}...)
	}
	due := []string{"newest", "too-little", "unproved-old"}
	for name, tc := range map[string]struct {
		job  Job
		want []string
	}{
		"all":       {Job{}, append(slices.Clone(due), "long-ago", "lately")},
		"newer":     {Job{NewerOnly: true}, due},
		"recheck":   {Job{RecheckAfter: 90 * 24 * time.Hour}, append(slices.Clone(due), "long-ago")},
		"both":      {Job{NewerOnly: true, RecheckAfter: 90 * 24 * time.Hour}, append(slices.Clone(due), "long-ago")},
		"a sample":  {Job{RecheckAfter: 90 * 24 * time.Hour, Sample: 0.01}, append(slices.Clone(due), "long-ago", "lately")},
		"of all":    {Job{Sample: 1}, append(slices.Clone(due), "long-ago", "lately")},
		"one level": {Job{Options: Options{Level: Checksum}, NewerOnly: true}, []string{"newest", "unproved-old"}},
	} {
		j := tc.job
		j.now = now
		if j.Level == None {
			j.Level = Content
		}
		all := backups()
		var got []string
		for _, i := range j.plan(all) {
			got = append(got, all.at(int(i)).Path)
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s: %v, want %v", name, got, tc.want)
		}
	}
	// A sample of half takes one of the two, and in the end each of them.
	seen := make(map[string]bool)
	for range 100 {
		all := backups()
		j := Job{Options: Options{Level: Content}, Sample: 0.5, now: now}
		order := j.plan(all)
		if len(order) != 4 {
			t.Fatalf("%d are checked", len(order))
		}
		seen[all.at(int(order[3])).Path] = true
	}
	if len(seen) != 2 {
		t.Errorf("only %v", seen)
	}
}

// TestMemory: what is remembered is that of these bytes, in any process.
func TestMemory(t *testing.T) {
	t.Parallel()
	s := newTestStore(t)
	dir := filepath.Join(t.TempDir(), "state")
	open := func() *Memory {
		m, err := OpenMemory(dir)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	job := func(level Level) *Job {
		j := s.job(level)
		j.Memory, j.NewerOnly = open(), true
		j.Saved = func(err error) { t.Error(err) }
		return j
	}
	if sum := run(t, job(Content)).Summary(); sum.Checked != len(s.backups) {
		t.Errorf("%+v", sum)
	}
	path := s.backups[3].path
	if p, ok := open().Of(path); !ok || p.Level != Content || p.KeyID == "" || p.Program != "test" || p.Size != int64(len(s.backups[3].data)) {
		t.Errorf("%+v", p)
	}
	r := run(t, job(Auth))
	if sum := r.Summary(); sum.Checked != 0 || r.Backups.at(0).Proven != Content || r.Backups.at(0).Why == "" {
		t.Errorf("%+v", sum)
	}
	// A lesser level leaves the better proof of the same bytes.
	j := job(Checksum)
	j.NewerOnly = false
	if r := run(t, j); r.Summary().Checked != len(s.backups) || r.Backups.at(5).Proven != Content {
		t.Error(asJSON(r.Backups.at(5)))
	}
	// One that was found bad is no longer proved, and is looked at again.
	bad := slices.Clone(s.backups[3].data)
	bad[len(bad)-1] ^= 1
	write(t, path, bad)
	j = job(Content)
	j.NewerOnly = false
	run(t, j)
	if p, _ := open().Of(path); p.Level != None || p.ID == "" {
		t.Errorf("%+v", p)
	}
	if sum := run(t, job(Content)).Summary(); sum.Checked != 1 || sum.Failed != 1 {
		t.Errorf("%+v", sum)
	}
	// So is one that was re-encrypted: another id, the same time.
	write(t, path, seal(t, s.backups[3].content, s.backups[3].label, pack.Codec(s.backups[3].label.Codec), s.keys...))
	write(t, path+store.SidecarSuffix, sidecarOf(mustRead(t, path), path))
	if sum := run(t, job(Content)).Summary(); sum.Checked != 1 || sum.Failed != 0 {
		t.Errorf("%+v", sum)
	}
	// Two processes that save keep what the other has saved.
	one, two := open(), open()
	one.put("a", Proof{ID: "1", Level: Auth})
	two.put("b", Proof{ID: "2", Level: Auth})
	if err := errors.Join(one.Save(nil), two.Save(nil)); err != nil {
		t.Fatal(err)
	}
	if p, ok := open().Proved("a", "1", 0, ""); !ok || p.Level != Auth {
		t.Error("what the first saved is lost")
	}
	if p, ok := two.Proved("a", "1", 0, ""); !ok || p.Level != Auth {
		t.Error("the second does not know what the first saved")
	}
	three := open()
	three.put("a", Proof{ID: "3", Level: Auth})
	three.see("/x", sight{Kind: "3"})
	one.see("/x", sight{Kind: "1"})
	if err := errors.Join(one.Save(nil), three.Save(nil), one.Save(nil)); err != nil {
		t.Fatal(err)
	}
	if p, _ := open().Of("a"); p.ID != "3" || open().of("/x").Seen.Kind != "3" {
		t.Error("what was saved before is saved again, and takes the place of what is newer")
	}
	three.put("a", Proof{ID: "1", Level: Auth})
	if err := three.Save(nil); err != nil {
		t.Fatal(err)
	}
	if _, ok := open().Proved("a", "1", 0, `"of another content"`); ok {
		t.Error("what is said of another content counts")
	}
	// What is no longer there is forgotten, and nothing else; an empty store
	// may be a disk that is not mounted.
	os.Remove(path)
	run(t, job(Content))
	_, gone := open().Of(path)
	_, kept := open().Of(s.backups[4].path)
	if _, elsewhere := open().Of("a"); gone || !kept || !elsewhere {
		t.Error(gone, kept, elsewhere)
	}
	if err := os.RemoveAll(s.dir); err != nil {
		t.Fatal(err)
	}
	os.Mkdir(s.dir, 0o700)
	if r := run(t, job(Content)); r.Backups.Len() != 0 {
		t.Error(asJSON(r))
	}
	if _, ok := open().Of(s.backups[4].path); !ok {
		t.Error("an empty store is forgotten")
	}
	for _, text := range []string{"{", `{"version": 1, "backups": null}`, `{"version": 1, "seen": null}`} {
		write(t, filepath.Join(dir, MemoryName), []byte(text))
		if _, err := OpenMemory(dir); !errors.Is(err, ErrMemory) {
			t.Errorf("%s: %v", text, err)
		}
	}
	write(t, filepath.Join(dir, MemoryName), []byte(`{"version": 3}`))
	two.put("b", Proof{})
	if err := two.Save(nil); !errors.Is(err, ErrMemory) {
		t.Error(err)
	}
}

func mustRead(t testing.TB, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestStoreFindings: what can only be seen next to the others.
func TestStoreFindings(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	key := kek.Generate()
	now := time.Now().UTC().Truncate(time.Second)
	put := func(kind string, age time.Duration, size int) string {
		at := now.Add(-age)
		name := backup.Naming{Base: kind, Kind: kind, Codec: pack.None, Time: at}.FileName(1)
		path := filepath.Join(dir, kind, name)
		content := []byte(strings.Repeat("x", size))
		if kind == backup.KindUploads || kind == backup.KindContracts {
			content = tarOf(t, "x", content)
		}
		data := seal(t, content, envelope.Label{Created: at, Kind: kind, Name: kind}, pack.None, key)
		write(t, path, data)
		write(t, path+store.SidecarSuffix, sidecarOf(data, path))
		return path
	}
	const day = 24 * time.Hour
	want := make(map[string][]Code)
	for i, size := range []int{9000, 30_000, 31_000, 32_000, 1000} {
		path := put(backup.KindUploads, time.Duration(5+9*i)*day, size)
		switch i {
		case 0:
			want[path] = []Code{Small}
		case 4: // with no other before it, and 36 days before the newest
			want[path] = []Code{PastRetention}
		}
	}
	late := put(backup.KindStream, 3*day, 10)
	put(backup.KindStream, 5*day, 10) // not the newest
	put(backup.KindContracts, 3*day, 10)
	want[put(backup.KindStream, -time.Hour, 10)] = []Code{Future}
	open := put("other", 0, 10)
	os.Chmod(open, 0o640)
	want[open] = []Code{Permissions}

	old := now.Add(-2 * time.Hour)
	strays := map[string]Code{
		"dump.sql": Plaintext, "stream/uploads.tar.GZ": Plaintext, "takumi_db_20261123_020000.bin.zst": Plaintext,
		".x.enc.partial": SideFile, "stream/.takumi_db_20261123_020000.sql.zst.partial": SideFile,
		"gone.enc.sha256": SideFile, "gone.enc.envelope": SideFile,
		"notes.txt": "", "audit/audit.jsonl": "", ".mine.partial": "",
	}
	for name := range strays {
		write(t, filepath.Join(dir, name), nil)
		os.Chtimes(filepath.Join(dir, name), old, old)
	}
	write(t, filepath.Join(dir, ".young.enc.partial"), nil)                // somebody writes it now
	if err := os.Chtimes(late+store.SidecarSuffix, old, old); err != nil { // of a backup that is there
		t.Fatal(err)
	}

	j := &Job{
		Options: Options{Place: local.Folder{}, Keys: ringOf(key), Level: Content, pause: time.Millisecond}, Paths: []string{dir},
		MaxAge: map[string]time.Duration{"": 2 * day, backup.KindContracts: 5 * day, backup.KindUploads: 6 * day}, Retention: 30 * day,
		KnownKeys: []Key{{ID: "a", Overdue: true, NextRotation: old}, {ID: "b"}},
	}
	var planned int
	var bytes int64
	j.Planned = func(n int, size int64) { planned, bytes = n, size }
	r := run(t, j)
	for _, b := range byPath(r) {
		bytes -= b.Size
	}
	if planned != r.Backups.Len() || bytes != 0 {
		t.Errorf("of %d backups %d were planned, and %d bytes are left", r.Backups.Len(), planned, bytes)
	}
	for path, b := range byPath(r) {
		codes := slices.DeleteFunc(codesOf(b.Findings), func(c Code) bool { return c == Incomplete })
		if !slices.Equal(codes, want[path]) {
			t.Errorf("%s: %s, want %v", path, asJSON(b.Findings), want[path])
		}
	}
	got := make(map[string]Code)
	for _, f := range r.Findings {
		if (f.Severity == Error) != (f.Code == TooOld) || f.Message == "" || f.Advice == "" {
			t.Error(asJSON(f))
		}
		got[strings.TrimPrefix(f.Path, dir+"/")] = f.Code
	}
	maps.DeleteFunc(strays, func(_ string, c Code) bool { return c == "" })
	strays[""] = KeyOverdue
	strays[strings.TrimPrefix(late, dir+"/")] = TooOld // of its series: the backup is good
	if !maps.Equal(got, strays) {
		t.Errorf("%v, want %v", got, strays)
	}
}

// TestShardsMerged: however many shards there are, their reports joined say of
// every backup, once, what one run says of it.
func TestShardsMerged(t *testing.T) {
	t.Parallel()
	s := newTestStore(t)
	write(t, filepath.Join(s.dir, "plain.sql"), nil)
	write(t, s.backups[9].path, s.backups[9].data[:5000])
	j := s.job(Checksum)
	j.KnownKeys = []Key{{ID: "a", Overdue: true}}
	whole := run(t, j)
	for most, want := range map[time.Duration]int{1: 0, time.Hour: len(s.backups)} {
		j := s.job(Checksum)
		j.MaxDuration = most
		if r := run(t, j); r.Summary().Checked != want || want == 0 && r.Backups.at(0).Why != "the run had taken 1ns" {
			t.Errorf("in %v: %+v, %q", most, r.Summary(), r.Backups.at(0).Why)
		}
	}
	for _, n := range []int{1, 2, 7} {
		var parts []*Report
		findings := 0
		for i := range n {
			j := s.job(Checksum)
			j.Shard = backup.Shard{Index: i + 1, Count: n}
			j.KnownKeys = []Key{{ID: "a", Overdue: true}}
			parts = append(parts, run(t, j))
			findings += len(parts[i].Findings)
		}
		if findings != 2 {
			t.Errorf("%d shards say %d things of the store, want each of 2 once", n, findings)
		}
		all, err := Merge(parts)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := describe(all), describe(whole); got != want || all.Shard != "" || all.Summary() != whole.Summary() {
			t.Errorf("%d shards:\n%s\nwant\n%s", n, got, want)
		}
		if n > 1 {
			if _, err := Merge(parts[1:]); !errors.Is(err, ErrMerge) {
				t.Errorf("without one of %d: %v", n, err)
			}
		}
	}
	newer := *whole
	newer.Schema++
	for _, bad := range [][]*Report{nil, {whole, &newer}, {{Schema: Schema, Shard: "1/2"}, {Schema: Schema, Shard: "1/3"}}, {{Schema: Schema, Shard: "x"}}} {
		if _, err := Merge(bad); !errors.Is(err, ErrMerge) {
			t.Errorf("%v", err)
		}
	}
	// A backup in two reports is as the later check says.
	later := *whole
	var backups []Backup
	for _, b := range whole.Backups.All() {
		backups = append(backups, *b)
	}
	backups[0].ProvenAt, backups[0].Proven = time.Now().Add(time.Hour), Content
	later.Backups, later.Finished = ListOf(backups...), whole.Finished.Add(time.Hour)
	for _, order := range [][]*Report{{whole, &later}, {&later, whole}} {
		if all, err := Merge(order); err != nil || all.Backups.at(0).Proven != Content || all.Backups.Len() != len(s.backups) {
			t.Error(err, asJSON(all.Backups.at(0)))
		}
	}
}

func describe(r *Report) string {
	var text strings.Builder
	for _, b := range r.Backups.All() {
		fmt.Fprintln(&text, b.Path, b.Checked, b.Proven, codesOf(b.Findings))
	}
	fmt.Fprintln(&text, slices.Sorted(slices.Values(codesOf(r.Findings))))
	return text.String()
}
