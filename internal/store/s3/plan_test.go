package s3store_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/store"
	s3store "github.com/takumi-backup/takumi-backup/internal/store/s3"
	"github.com/takumi-backup/takumi-backup/internal/testkit/s3"
)

// Everything that S3 takes fits into the parts that it takes, in bounded memory.
func TestPlan(t *testing.T) {
	const tib = 1 << 40
	for name, c := range map[string]struct {
		o      s3store.Options
		direct int64 // so much at least fits without segments
		limit  int64
	}{
		"usual":          {s3store.Options{}, 130 << 30, 5 * tib},
		"50 TB":          {s3store.Options{MaxObject: 50e12}, 3 << 30, 50e12},
		"fewer parts":    {s3store.Options{MaxParts: 1000, MaxObject: tib}, 9 << 30, tib},
		"a small server": {s3store.Options{MaxParts: 1000, MaxObject: 5 << 30}, 5 << 30, 5 << 30},
		"large parts":    {s3store.Options{PartSize: 32 * mib}, 250 << 30, 5 * tib},
	} {
		t.Run(name, func(t *testing.T) {
			p := s3store.PlanOf(open(t, "", c.o))
			if one, three := s3store.Memory(p.Part(), 1), s3store.Memory(p.Part(), 3); one > 64*mib || c.o.PartSize == 0 && three > 96*mib {
				t.Errorf("memory %d, of three %d", one, three)
			}
			if direct := int64(p.Direct()) * p.Part(); direct < c.direct {
				t.Errorf("%d bytes fit into %d parts that are sent, want %d", direct, p.Direct(), c.direct)
			}
			if p.Limit() != c.limit {
				t.Errorf("%d bytes fit, want %d", p.Limit(), c.limit)
			}
		})
	}
}

// What fits where all parts have to be of one size, and the memory that it costs.
func TestPlanEqual(t *testing.T) {
	const gib = 1 << 30
	for _, c := range []struct{ part, fits, memory int64 }{
		{0, 20 * gib, 64 * mib}, {0, 156 * gib, 64 * mib}, {64 * mib, 625 * gib, 128 * mib}, {525 * mib, 5 << 40, 1050 * mib},
	} {
		p := s3store.PlanOf(open(t, "", s3store.Options{PartSize: c.part})).Equal()
		if p.Limit() < c.fits || s3store.Memory(p.Part(), 1) > c.memory {
			t.Errorf("%d: %d bytes fit, want %d; %d bytes of memory", c.part, p.Limit(), c.fits, s3store.Memory(p.Part(), 1))
		}
	}
}

// With as few parts as a server takes, every length around every boundary is
// whole or refused: parts, segments, and one byte too many.
func TestFewParts(t *testing.T) {
	t.Parallel()
	const part = 5 * mib
	// Two parts that are sent, and two segments of two parts each.
	o := s3store.Small(s3store.Quick(s3store.Options{PartSize: part, MaxParts: 4, MaxObject: 6 * part}), part, 2*part, part)
	f := fresh(t, o)
	if p := s3store.PlanOf(f.Store); p.Direct() != 1 && p.Direct() != 2 || p.Limit() < 6*part {
		t.Fatalf("%d parts are sent, %d bytes fit", p.Direct(), p.Limit())
	}
	for _, size := range []int{2*part + 1, 4 * part, 6 * part} {
		path := fmt.Sprintf("%s/f%d.enc", f.root, size)
		content := random(size)
		mustSave(t, f, path, content)
		wantBackup(t, f, path, content)
		if err := f.Remove(t.Context(), stat(t, f, path)); err != nil {
			t.Fatal(err)
		}
	}
	_, err := save(t.Context(), f, f.root+"/x.enc", random(6*part+1), store.Options{Sidecar: true})
	wants(t, err, s3store.ErrTooLarge, "x.enc")
	w, err := f.Create(t.Context(), f.root+"/x.enc", store.Options{Sidecar: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(random(5*part + 7)); err != nil {
		t.Fatal(err)
	}
	if err := w.Abort(); err != nil {
		t.Error(err)
	}
	f.wantKeys(t)
}

// Where parts have to be of one size, it is chosen by the backups of the series that
// are there, and not by others.
func TestPartBySeries(t *testing.T) {
	t.Parallel()
	server := s3test.NewMemory()
	endpoint := (&s3test.Vendor{EqualParts: true}).Start(t, server)
	s := open(t, endpoint, s3store.Small(s3store.Quick(s3store.Options{MaxParts: 4}), mib, 5*mib, mib))
	s3store.WantsEqual(s, "bucket")
	server.Put("bucket", "d/db_20260101_000000.sql.enc", make([]byte, 3*mib))
	server.Put("bucket", "d/db_20260102_000000.sql.enc", make([]byte, 6*mib))
	server.Put("bucket", "d/other_20260102_000000.sql.enc", make([]byte, 20*mib))
	for name, want := range map[string]int64{"db_20260103_000000.sql.enc": 3 * mib, "new_20260103_000000.sql.enc": mib, "plain.enc": mib} {
		w, err := s.Create(t.Context(), "s3://bucket/d/"+name, store.Options{Sidecar: true})
		if err != nil {
			t.Fatal(err)
		}
		defer w.Abort()
		if got := s3store.PartOf(w); got != want {
			t.Errorf("%s: parts of %d bytes, want %d", name, got, want)
		}
		if _, err := w.Write(make([]byte, 4*want)); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Commit(); err != nil {
			t.Error(err)
		}
	}
}

// Where parts have to be of one size, it follows the size that is known: what a copy will
// have, or what is replaced. What never fits is refused before a byte of it is sent.
func TestPartBySize(t *testing.T) {
	t.Parallel()
	o := s3store.Small(s3store.Quick(s3store.Options{MaxParts: 4, Identify: anything}), mib, 5*mib, mib)
	rules := &s3test.Vendor{EqualParts: true}
	s, path := open(t, rules.Start(t, s3test.NewMemory()), o), "s3://bucket/x.enc"
	content := random(6 * mib)
	w, err := s.Create(t.Context(), path, store.Options{Sidecar: true, Size: int64(len(content))})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	if got := s3store.PartOf(w); got != 2*mib {
		t.Errorf("parts of %d bytes", got)
	}
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Commit(); err != nil {
		t.Fatal(err)
	}
	content = random(7 * mib)
	if err := changes["Replace"](t.Context(), s, path, content); err != nil {
		t.Fatal(err)
	}
	wantBackup(t, s, path, content)
	before := rules.Received()
	_, err = s.Create(t.Context(), "s3://bucket/y.enc", store.Options{Sidecar: true, Size: 5 << 30})
	wants(t, err, s3store.ErrTooLarge)
	if _, hint := fail.Of(err); !strings.Contains(hint, "TAKUMI_S3_PART_SIZE") {
		t.Errorf("the hint is %q", hint)
	}
	if n := rules.Received() - before; n > 4096 {
		t.Errorf("%d bytes were sent", n)
	}
}
