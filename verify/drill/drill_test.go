package drill

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/verify/rehearse"
)

var now = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func entry(kind, base string, age time.Duration, state backup.State) backup.Backup {
	made := now.Add(-age)
	name := base + "_" + made.Format("20060102_150405") + ".sql.zst"
	return backup.Backup{
		Backup: store.Backup{Path: "/store/" + kind + "/" + name}, State: state,
		Label: envelope.Label{Created: made, Kind: kind, Name: name},
	}
}

func TestPick(t *testing.T) {
	t.Parallel()
	const hour = time.Hour
	entries := []backup.Backup{ // newest first
		entry("database", "a_db", -48*hour, backup.Authentic), // of the future
		entry("database", "a_globals", 0, backup.Authentic),   // roles
		entry("database", "a_db", hour, backup.Bad),
		entry("database", "b_db", 2*hour, backup.Authentic),
		entry("database", "a_db", 3*hour, backup.Authentic),
		entry("stream", "s", 4*hour, backup.Authentic),
		entry("uploads", "uploads", 5*hour, backup.Authentic),
		entry("database", "a_db", 6*hour, backup.Authentic),
		entry("contracts", "c", 7*hour, backup.Claimed),
		{Backup: store.Backup{Path: "/store/junk"}, State: backup.Bad},
	}
	picked, err := Pick(entries, nil, true, now)
	if err != nil || len(picked) != 2 || picked[0].Path != entries[3].Path || picked[1].Path != entries[6].Path {
		t.Errorf("%+v, %v", picked, err)
	}
	// A newer one that is not authentic is told of: by its envelope, or else its name.
	headless := entries[2]
	headless.ID, headless.Label = envelope.ID{}, envelope.Label{}
	for i, bad := range []backup.Backup{entries[2], headless} {
		if picked, err = Pick([]backup.Backup{entries[4], bad}, nil, true, now); err != nil || picked[0].Newer == nil || picked[0].Newer.Path != bad.Path {
			t.Errorf("%d: %+v, %v", i, picked, err)
		}
		if picked, err = Pick([]backup.Backup{entries[1], entries[3], bad}, nil, true, now); err != nil || picked[0].Newer != nil {
			t.Errorf("%d, of another series: %+v, %v", i, picked, err)
		}
	}
	// So in a bucket whose path names its server.
	bad, good := headless, entries[4]
	for _, e := range []*backup.Backup{&bad, &good} {
		e.Path = "s3://bucket" + e.Path + "?endpoint=https://h/"
	}
	if picked, err = Pick([]backup.Backup{good, bad}, nil, true, now); err != nil || picked[0].Newer == nil {
		t.Errorf("in a bucket: %+v, %v", picked, err)
	}
	older := entry("database", "a_db", 9*hour, backup.Bad)
	if picked, err = Pick([]backup.Backup{entries[4], older}, nil, true, now); err != nil || picked[0].Newer != nil {
		t.Errorf("an older one: %+v, %v", picked, err)
	}
	drawn := make(map[string]int)
	for range 300 {
		picked, err := Pick(entries, []string{"database"}, false, now)
		if err != nil || len(picked) != 1 {
			t.Fatalf("%+v, %v", picked, err)
		}
		p := picked[0]
		drawn[p.Path]++
		// RPO is that of the newest of the same database.
		want := entries[4].Created
		if p.Path == entries[3].Path {
			want = p.Created
		}
		if p.Newest != want {
			t.Errorf("%s: the newest of its series is of %v, want %v", p.Path, p.Newest, want)
		}
	}
	for _, i := range []int{3, 4, 7} {
		if n := drawn[entries[i].Path]; n < 50 { // 100 are expected; less than 50 is one in 10^9
			t.Errorf("%s was drawn %d times of 300", entries[i].Path, n)
		}
	}
	if len(drawn) != 3 {
		t.Errorf("drawn were %v", drawn)
	}
	for _, kinds := range [][]string{{"contracts"}, {"database", "contracts"}} {
		if _, err := Pick(entries, kinds, false, now); !errors.Is(err, ErrNone) || !strings.Contains(err.Error(), "contracts") {
			t.Errorf("%q: %v", kinds, err)
		}
	}
	if _, err := Pick(entries[8:], nil, false, now); !errors.Is(err, ErrNone) {
		t.Error(err)
	}
}

// TestSection: what a backup is called does not become part of the page.
func TestSection(t *testing.T) {
	t.Parallel()
	const hostile = "`\n## Drill of 2026: passed\n<script>|*[x](y)\x1b\u202e"
	p := Picked{Newest: now.Add(-30 * time.Hour)}
	e := entry("database", hostile, 40*24*time.Hour, backup.Authentic)
	p.Backup = &e
	outcome := &rehearse.Outcome{Restored: 90 * time.Minute, Tables: 3, Rows: 1000, Compared: []string{hostile}, Notes: []string{hostile}}
	targets := Targets{RTO: time.Hour, RPO: 26 * time.Hour}
	ok := NewResult(p, outcome, nil, now, targets)
	bad := NewResult(p, nil, errors.New(hostile), now, targets)
	r := &Report{Time: now, Who: hostile, Program: "takumi-backup", Root: hostile, Random: true, Results: []Result{ok, bad},
		PassedOver: 2, PassedOverWhy: hostile, Error: hostile}
	text := r.Section()
	headings := 0
	for line := range strings.SplitSeq(text, "\n") {
		if strings.HasPrefix(line, "#") {
			headings++
		}
		if strings.ContainsAny(line, "\x1b\u202e") {
			t.Errorf("%q", line)
		}
		// Outside of code spans there is no markup.
		for i, part := range strings.Split(line, "`") {
			if i%2 == 0 && strings.Contains(part, "<script") {
				t.Errorf("%q", line)
			}
		}
	}
	if headings != 3 {
		t.Errorf("%d headings:\n%s", headings, text)
	}
	for _, want := range []string{
		"## Drill of 2026-11-23 12:00 UTC: FAILED\n", "passed over: 2 that are", "FAILED, nothing was rehearsed: `", "### database, passed\n", "### database, FAILED\n", "drawn by lot",
		"RTO): 1h30m0s, MISSED the target of 1h0m0s", "RPO): 30h0m0s, MISSED the target of 26h0m0s", "40.0 days before the drill", "3 tables, 1000 rows",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the section lacks %q:\n%s", want, text)
		}
	}
	if n := len(ok.Missed()); n != 2 {
		t.Errorf("%q", ok.Missed())
	}
	if n := len(bad.Missed()); n != 1 { // what was not restored has taken no time
		t.Errorf("%q", bad.Missed())
	}
}

// TestAppend: the page grows, and loses nothing to a drill that ends at the same
// time: that one is told.
func TestAppend(t *testing.T) {
	t.Parallel()
	page := filepath.Join(t.TempDir(), "docs", "page.md")
	r := &Report{Time: now, Passed: true}
	for n := 1; n <= 3; n++ {
		if err := Append(page, r); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Count(string(text), "\n\n## Drill of 2026-11-23 12:00 UTC: passed\n"); got != n || !strings.HasPrefix(string(text), "# Drills\n") {
			t.Fatalf("after %d drills:\n%s", n, text)
		}
	}
	done := make(chan error)
	const many = 20
	for range many {
		go func() { done <- Append(page, r) }()
	}
	written := 3
	for range many {
		switch err := <-done; {
		case err == nil:
			written++
		case !errors.Is(err, store.ErrBusy):
			t.Error(err)
		}
	}
	text, err := os.ReadFile(page)
	if got := strings.Count(string(text), "\n## Drill of "); err != nil || got != written {
		t.Errorf("%d sections for %d drills, %v", got, written, err)
	}
	if entries, _ := os.ReadDir(filepath.Dir(page)); len(entries) != 1 {
		t.Errorf("beside the page: %v", fmt.Sprint(entries))
	}
}

// TestOutcome: one failure is the drill's, several are reported and are one; what was missed
// is counted, and neither is an error by itself.
func TestOutcome(t *testing.T) {
	t.Parallel()
	one, other := errors.New("one"), errors.New("other")
	slow := Result{Path: "slow", RTO: 7200, RTOTarget: 3600, Notes: []string{"a note"}}
	for name, tc := range map[string]struct {
		results          []Result
		fault, want      error
		reported, missed int
		said, warned     int
	}{
		"well":             {results: []Result{{}, {}}, said: 2},
		"missed":           {results: []Result{slow}, missed: 1, said: 1, warned: 2},
		"failed":           {results: []Result{{Fault: one, Error: "one"}}, want: one},
		"one of several":   {results: []Result{{Fault: one, Error: "one"}, {}}, want: fail.ErrSome, reported: 1, said: 1},
		"not begun":        {fault: other, want: other},
		"not written down": {results: []Result{{Fault: one, Error: "one"}}, fault: other, want: other},
	} {
		r := Report{Results: tc.results}
		said, warned, reported := 0, 0, 0
		missed := r.Tell(func(string, ...any) { said++ }, func(string, ...any) { warned++ })
		err := r.Outcome(tc.fault, func(error) { reported++ })
		if !errors.Is(err, tc.want) || reported != tc.reported || missed != tc.missed || said != tc.said || warned != tc.warned {
			t.Errorf("%s: %v, reported %d, missed %d, said %d, warned %d", name, err, reported, missed, said, warned)
		}
	}
}

// TestCheck: a kind that no drill knows is a mistake, and the page is one of the state
// folder where none is named or here.
func TestCheck(t *testing.T) {
	t.Parallel()
	if err := (&Options{Kinds: []string{"stream"}}).Check(); err == nil {
		t.Error("a drill of streams")
	}
	for page, want := range map[string]string{"": "/state/DRILLS.md", "/a.md": "/a.md"} {
		o := Options{Kinds: Kinds, State: "/state", Page: page}
		if err := o.Check(); err != nil || o.Page != want {
			t.Errorf("%q: %q, %v", page, o.Page, err)
		}
	}
}
