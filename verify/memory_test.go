package verify

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/takumi-backup/takumi-backup/kek"
)

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
}

// TestOverlap: what is met by two paths is said once.
func TestOverlap(t *testing.T) {
	t.Parallel()
	s := newTestStore(t)
	write(t, filepath.Join(s.dir, "stream", "x.sql"), nil)
	j := s.job(Checksum)
	j.Paths = []string{s.dir, filepath.Join(s.dir, "stream")}
	if r := run(t, j); len(r.Findings) != 1 || len(r.Backups) != len(s.backups) {
		t.Error(asJSON(r.Findings), len(r.Backups))
	}
}
