package verify

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/internal/store"
)

// TestMain: with one core a slow file would be the only one that is read.
func TestMain(m *testing.M) {
	runtime.GOMAXPROCS(max(2, runtime.GOMAXPROCS(0)))
	os.Exit(m.Run())
}

// remembering returns jobs that share a memory.
func remembering(t *testing.T, s *testStore) func(level Level) *Job {
	dir := filepath.Join(t.TempDir(), "state")
	return func(level Level) *Job {
		m, err := OpenMemory(dir)
		if err != nil {
			t.Fatal(err)
		}
		j := s.job(level)
		j.Memory, j.Saved = m, func(err error) { t.Error(err) }
		return j
	}
}

// TestFoundOnce: what could not be opened, or read, is looked at by the next run,
// whatever was proved of it before.
func TestFoundOnce(t *testing.T) {
	t.Parallel()
	s := newTestStore(t)
	job := remembering(t, s)
	run(t, job(Content))
	j := job(Content)
	j.Keys = ringOf(kek.Generate())
	if sum := run(t, j).Summary(); sum.Failed != len(s.backups) {
		t.Fatalf("%+v", sum)
	}
	j = job(Content)
	j.NewerOnly = true
	if sum := run(t, j).Summary(); sum.Checked != len(s.backups) || sum.Failed != 0 {
		t.Errorf("%+v", sum)
	}
	j = job(Content)
	j.Place = &slow{broken: map[string]bool{s.backups[3].path: true}}
	run(t, j)
	j = job(Content)
	j.NewerOnly = true
	if r := run(t, j); r.Summary().Checked != 1 || !byPath(r)[s.backups[3].path].Checked {
		t.Errorf("%+v", r.Summary())
	}
}

// TestNotRehearsed: a rehearsal that could not be is an error, and takes nothing
// from what is proved of the backup.
func TestNotRehearsed(t *testing.T) {
	t.Parallel()
	s := newTestStore(t)
	job := remembering(t, s)
	run(t, job(Content))
	j := job(Restore)
	j.CanRestore = func(b *Backup) bool { return b.Path == s.backups[0].path }
	j.Restore = func(context.Context, *Backup) []Finding {
		return []Finding{{Severity: Error, Code: NotRehearsed, Message: "no space left on device"}}
	}
	r := run(t, j)
	b := byPath(r)[s.backups[0].path]
	if sum := r.Summary(); sum.Failed != 0 || sum.Errors != 1 || b.Proven != Content || b.Err() == nil {
		t.Errorf("%+v, %s", sum, asJSON(b))
	}
	if p, _ := job(Content).Memory.Of(b.Path); p.Level != Content {
		t.Errorf("%+v", p)
	}
	j = job(Restore)
	j.CanRestore = func(b *Backup) bool { return b.Path == s.backups[0].path }
	j.Restore = func(context.Context, *Backup) []Finding { return []Finding{{Severity: Error, Code: Differs}} }
	if r := run(t, j); r.Summary().Failed != 1 || byPath(r)[s.backups[0].path].Proven == Restore {
		t.Errorf("one that differs: %s", asJSON(byPath(r)[s.backups[0].path]))
	}
}

// TestOverlap: what is met by two paths is said once.
func TestOverlap(t *testing.T) {
	t.Parallel()
	s := newTestStore(t)
	write(t, filepath.Join(s.dir, "stream", "x.sql"), nil)
	// A state folder that cannot be made is said, where somebody listens.
	state := filepath.Join(t.TempDir(), "state")
	m, err := OpenMemory(state)
	if err != nil {
		t.Fatal(err)
	}
	write(t, state, nil)
	var unsaved []error
	for _, saved := range []func(error){nil, func(err error) { unsaved = append(unsaved, err) }} {
		j := s.job(Checksum)
		j.Paths, j.Memory, j.Saved = []string{s.dir, filepath.Join(s.dir, "stream")}, m, saved
		if r := run(t, j); len(r.Findings) != 1 || r.Backups.Len() != len(s.backups) {
			t.Error(asJSON(r.Findings), r.Backups.Len())
		}
	}
	if len(unsaved) != 1 {
		t.Error(unsaved)
	}
}

// TestVanished: a series that has no backup left is too old until somebody says
// that it is to be so, and so is a kind that never had one.
func TestVanished(t *testing.T) {
	t.Parallel()
	s := newTestStore(t)
	job := remembering(t, s)
	run(t, job(Content))
	if err := os.RemoveAll(filepath.Join(s.dir, backup.KindContracts)); err != nil {
		t.Fatal(err)
	}
	run(t, job(Content)) // without --max-age nothing is too old, and nothing is lost
	var newest string
	for _, b := range s.backups {
		if b.label.Kind == backup.KindContracts {
			newest = b.path
			break
		}
	}
	tooOld := func(ages map[string]time.Duration, change ...func(j *Job)) (paths []string) {
		j := job(Content)
		j.MaxAge, j.NewerOnly = ages, true
		// Of another place: it says nothing of this one.
		j.Memory.put("/elsewhere/x.enc", Proof{ID: "1", Kind: backup.KindContracts, Series: "x", Level: Content})
		for _, c := range change {
			c(j)
		}
		for _, f := range run(t, j).Findings {
			if f.Code == TooOld && f.Severity == Error {
				paths = append(paths, f.Path)
			}
		}
		return paths
	}
	const long = 1000 * time.Hour
	for range 2 {
		if got := tooOld(map[string]time.Duration{"": long, backup.KindContracts: long}); !slices.Equal(got, []string{newest}) {
			t.Errorf("%q, want %q", got, newest)
		}
	}
	if got := tooOld(map[string]time.Duration{backup.KindDatabase: long}); got != nil {
		t.Errorf("%q", got)
	}
	if got := tooOld(map[string]time.Duration{"": long}, func(j *Job) { j.Place = blind{path: s.backups[0].path} }); got != nil {
		t.Errorf("where not all can be looked at: %q", got)
	}
	if got := tooOld(map[string]time.Duration{backup.KindContracts: long}, func(j *Job) { j.Paths = []string{s.backups[0].path} }); got != nil {
		t.Errorf("of one file: %q", got)
	}
	if known, err := job(Content).Memory.Accept(newest); !known || err != nil {
		t.Error(known, err)
	}
	if got := tooOld(map[string]time.Duration{"": long, backup.KindContracts: 0}); got != nil {
		t.Errorf("%q", got)
	}
	if got := tooOld(map[string]time.Duration{"": long, backup.KindContracts: long}); !slices.Equal(got, []string{""}) {
		t.Errorf("%q", got)
	}
}

// TestAccept: what took the place of another is an error until it is accepted.
func TestAccept(t *testing.T) {
	t.Parallel()
	s := newTestStore(t)
	remembers := remembering(t, s)
	older, path := s.backups[11], s.backups[10].path // of a series whose names say nothing
	job := func(level Level) *Job {
		j := remembers(level)
		j.Paths = []string{filepath.Dir(path)}
		return j
	}
	latest := filepath.Join(filepath.Dir(path), "latest.enc")
	place := func(b good) {
		write(t, latest, b.data)
		write(t, latest+store.SidecarSuffix, sidecarOf(b.data, latest))
	}
	place(s.backups[10])
	run(t, job(Content))
	place(older)
	for range 2 {
		if b := byPath(run(t, job(Content)))[latest]; !b.has(Replaced) {
			t.Error(asJSON(b))
		}
	}
	if known, err := job(Content).Memory.Accept(latest); !known || err != nil {
		t.Error(known, err)
	}
	if _, known := job(Content).Memory.Of(path); !known {
		t.Error("what was known of others is forgotten")
	}
	for range 2 {
		if b := byPath(run(t, job(Content)))[latest]; b.Findings != nil || b.Proven != Content {
			t.Error(asJSON(b))
		}
	}
	if known, err := job(Content).Memory.Accept(filepath.Join(s.dir, "nothing")); known || err != nil {
		t.Error(known, err)
	}
}

// TestSavedBeside: a backup that takes long keeps nothing from being remembered.
func TestSavedBeside(t *testing.T) {
	t.Parallel()
	s := newTestStore(t)
	job := remembering(t, s)
	stuck := s.backups[0].path // the newest, which is the first
	release := make(chan struct{})
	j := job(Content)
	j.Place, j.saveEvery = &slow{wait: map[string]chan struct{}{stuck: release}}, time.Nanosecond
	done := make(chan *Report)
	go func() {
		r, _ := j.Run(context.Background())
		done <- r
	}()
	last := s.backups[len(s.backups)-1].path
	for end := time.Now().Add(5 * time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if _, known := job(Content).Memory.Of(last); known {
			break
		}
		if time.Now().After(end) {
			t.Error("nothing is saved")
			break
		}
	}
	close(release)
	if r := <-done; r.Summary().Checked != len(s.backups) {
		t.Errorf("%+v", r.Summary())
	}
}
