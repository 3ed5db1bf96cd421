package verify

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/envelope/sign"
	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/stream"
)

// TestWhole: what prune need not read again is what was proved lately, to its end, of the
// same id and size; what is bad is what was found bad since.
func TestWhole(t *testing.T) {
	t.Parallel()
	b := &backup.Backup{Backup: store.Backup{Path: "/b/x.enc", Size: 100}, ID: envelope.ID{1}}
	now := time.Now()
	for _, tc := range []struct {
		p          Proof
		whole, bad bool
	}{
		{Proof{ID: b.ID.String(), Size: 100, Level: Auth, At: now}, true, false},
		{Proof{ID: b.ID.String(), Size: 100, Level: Content, At: now}, true, false},
		{Proof{ID: b.ID.String(), Size: 100, Level: Checksum, At: now}, false, false},
		{Proof{ID: b.ID.String(), Size: 100, Level: Auth, At: now.Add(-Fresh + time.Minute)}, true, false},
		{Proof{ID: b.ID.String(), Size: 100, Level: Auth, At: now.Add(-Fresh)}, false, false},
		{Proof{ID: b.ID.String(), Size: 100, Level: None}, false, true},
		{Proof{ID: b.ID.String(), Size: 101, Level: Auth, At: now}, false, false},
		{Proof{ID: b.ID.String(), Size: 101, Level: None}, false, false},
		{Proof{ID: b.ID.String(), Size: 100, ETag: `"of another content"`, Level: Auth, At: now}, false, false},
		{Proof{ID: envelope.ID{2}.String(), Size: 100, Level: Auth, At: now}, false, false},
		{Proof{ID: envelope.ID{2}.String(), Size: 100, Level: None}, false, false},
	} {
		m, err := OpenMemory(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		if whole, bad := m.Whole(b); whole || bad {
			t.Errorf("of nothing: %v, %v", whole, bad)
		}
		m.put(b.Path, tc.p)
		if whole, bad := m.Whole(b); whole != tc.whole || bad != tc.bad {
			t.Errorf("%+v: %v, %v", tc.p, whole, bad)
		}
	}
}

// TestLearn: success and damage are remembered; a store that does not answer, or a key that
// is missing, says nothing.
func TestLearn(t *testing.T) {
	t.Parallel()
	b := &backup.Backup{Backup: store.Backup{Path: "/b/x.enc", Size: 100}, ID: envelope.ID{1}}
	b.Kind, b.Name, b.Created = backup.KindStream, "x", time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	damaged, offline := fail.New(fail.Damaged, "", "damaged"), errors.New("no answer")
	id, other := b.ID.String(), envelope.ID{2}.String()
	for _, tc := range []struct {
		was  *Proof
		err  error
		want *Proof
	}{
		{nil, nil, &Proof{ID: id, Level: Auth, Size: 100, Program: "1"}},
		{nil, damaged, nil},
		{nil, offline, nil},
		{&Proof{ID: id, Level: Content, Size: 90, SHA256: "s"}, nil, &Proof{ID: id, Level: Content, Size: 100, SHA256: "s"}},
		{&Proof{ID: id, Level: None, Size: 100}, nil, &Proof{ID: id, Level: Auth, Size: 100}},
		{&Proof{ID: id, Level: Content, Size: 100}, damaged, &Proof{ID: id, Level: None, Size: 100}},
		{&Proof{ID: id, Level: Content, Size: 100}, offline, &Proof{ID: id, Level: Content, Size: 100}},
		{&Proof{ID: other, Level: Content, Size: 100, SHA256: "s"}, nil, &Proof{ID: id, Level: Auth, Size: 100, Program: "1"}},
		{&Proof{ID: other, Level: Content, Size: 100, SHA256: "s"}, damaged, &Proof{ID: id, Level: None, Size: 100, Program: "1"}},
	} {
		m, err := OpenMemory(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		if tc.was != nil {
			m.put(b.Path, *tc.was)
		}
		m.Learn(b, tc.err, "1")
		got, known := m.Of(b.Path)
		if known != (tc.want != nil) {
			t.Errorf("%+v, %v: %+v", tc.was, tc.err, got)
		}
		if tc.want == nil {
			continue
		}
		if lately := time.Since(got.At) < time.Minute; lately != (tc.err == nil) || tc.want.Level == None && !got.At.IsZero() {
			t.Errorf("%+v, %v: at %v", tc.was, tc.err, got.At)
		}
		if made := tc.want.Program != ""; made && (got.Kind != b.Kind || got.Series != "x" || !got.Created.Equal(b.Created)) {
			t.Errorf("%+v, %v: %+v", tc.was, tc.err, got)
		}
		got = Proof{ID: got.ID, Level: got.Level, Size: got.Size, SHA256: got.SHA256, Program: got.Program}
		if got != *tc.want {
			t.Errorf("%+v, %v: %+v, want %+v", tc.was, tc.err, got, *tc.want)
		}
	}
}

func TestSampleSize(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		part    float64
		n, want int
	}{{0, 10, 0}, {0.1, 0, 0}, {0.1, 1, 1}, {0.1, 10, 1}, {0.1, 11, 2}, {0.5, 3, 2}, {1, 7, 7}, {2, 7, 7}} {
		if got := sampleSize(tc.part, tc.n); got != tc.want {
			t.Errorf("%v of %d are %d", tc.part, tc.n, got)
		}
	}
}

// TestMedianSize: the middle of the newest seven that are good and not increments, of three
// at least.
func TestMedianSize(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		sizes []int64 // 0 is a bad one, -1 an increment
		want  int64   // 0: none
	}{
		{nil, 0}, {[]int64{5, 6}, 0}, {[]int64{7, 5, 6}, 6}, {[]int64{5, 6, 0}, 0}, {[]int64{5, -1, 6}, 0}, {[]int64{5, 0, 7, -1, 6}, 6},
		{[]int64{1, 2, 3, 4}, 3}, {[]int64{1, 2, 3, 4, 5, 6, 7, 100, 100, 100}, 4}, {[]int64{1, 2, 3, 4, 5, 6, 100, 100}, 4},
	} {
		var all []peer
		for _, n := range tc.sizes {
			all = append(all, peer{size: n, bad: n == 0, increment: n < 0})
		}
		if got, ok := medianSize(all); got != tc.want || ok != (tc.want > 0) {
			t.Errorf("%v: %d, %v", tc.sizes, got, ok)
		}
	}
}

// TestMergeParts: what a joined report says of the whole, and what does not make one.
func TestMergeParts(t *testing.T) {
	t.Parallel()
	at := func(n int) time.Time { return time.Unix(int64(n), 0) }
	key := Key{ID: "k", Provider: "file:/k"}
	found := Finding{Severity: Warning, Code: Plaintext, Path: "/a", Message: "m"}
	first := &Report{Schema: Schema, Started: at(5), Finished: at(9), Level: Content, Roots: []string{"/a"}, Keys: []Key{key}, Findings: []Finding{found}, Checkpoint: []byte("1")}
	second := &Report{Schema: Schema, Started: at(3), Finished: at(8), Level: Auth, Interrupted: true, Roots: []string{"/a", "/b"}, Checkpoint: []byte("2"),
		Keys:     []Key{key, {ID: "k", Provider: "file:/l"}, {ID: "l", Provider: "file:/k"}},
		Findings: []Finding{found, {Severity: Warning, Code: SideFile, Path: "/a", Message: "m"}, {Severity: Warning, Code: Plaintext, Path: "/b", Message: "m"}, {Severity: Warning, Code: Plaintext, Path: "/a", Message: "n"}}}
	for _, parts := range [][]*Report{{first, second}, {second, first}} {
		all, err := Merge(parts)
		if err != nil || !all.Started.Equal(at(3)) || !all.Finished.Equal(at(9)) || string(all.Checkpoint) != "1" || all.Level != Auth || !all.Interrupted ||
			len(all.Roots) != 2 || len(all.Keys) != 3 || len(all.Findings) != 4 {
			t.Errorf("%+v, %v", all, err)
		}
	}
	for name, parts := range map[string][]*Report{
		"none":          {},
		"another form":  {{Schema: Schema}, {Schema: Schema + 1}},
		"no shard":      {{Schema: Schema, Shard: "x"}},
		"other numbers": {{Schema: Schema, Shard: "1/2"}, {Schema: Schema, Shard: "2/3"}, {Schema: Schema, Shard: "2/2"}},
		"one missing":   {{Schema: Schema, Shard: "1/3"}, {Schema: Schema, Shard: "3/3"}, {Schema: Schema}},
	} {
		if all, err := Merge(parts); !errors.Is(err, ErrMerge) || all != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestOutcome: the worst of a run is its end.
func TestOutcome(t *testing.T) {
	t.Parallel()
	bad := Backup{Path: "/b", Checked: true, Findings: []Finding{{Severity: Error, Code: NoKey, Message: "no key"}}}
	warned := Backup{Path: "/b", Checked: true, Findings: []Finding{{Severity: Warning, Code: Small}}}
	failed := errors.New("stopped")
	for name, tc := range map[string]struct {
		r      Report
		failed error
		one    *Backup
		strict bool
		want   string
	}{
		"good":                  {r: Report{Backups: []Backup{{}}}, want: "<nil>"},
		"stopped":               {r: Report{Backups: []Backup{bad}}, failed: failed, want: "stopped"},
		"one that is bad":       {r: Report{Backups: []Backup{bad}}, one: &bad, want: "verifying /b: no key"},
		"one that is good":      {r: Report{Backups: []Backup{{}}}, one: &Backup{}, want: "<nil>"},
		"some are bad":          {r: Report{Backups: []Backup{bad, {}}}, want: fail.ErrSome.Error()},
		"an error of the store": {r: Report{Backups: []Backup{{}}, Findings: []Finding{{Severity: Error, Code: TooOld}}}, want: fail.ErrSome.Error()},
		"none":                  {r: Report{Roots: []string{"/a", "/b"}}, want: "verifying: there are no backups in /a, /b"},
		"none in a shard":       {r: Report{Shard: "1/2"}, want: "<nil>"},
		"warnings":              {r: Report{Backups: []Backup{warned}}, want: "<nil>"},
		"warnings, strict":      {r: Report{Backups: []Backup{warned}}, strict: true, want: "verifying: there are warnings, and --strict is given"},
		"strict and good":       {r: Report{Backups: []Backup{{}}}, strict: true, want: "<nil>"},
	} {
		if got := fmt.Sprint(tc.r.Outcome(tc.failed, tc.one, tc.strict)); got != tc.want {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// TestFlagWords: the ages and the part that flags give.
func TestFlagWords(t *testing.T) {
	t.Parallel()
	ages, err := MaxAges(nil, []string{"26h", "contracts=8d"})
	if err != nil || len(ages) != 2 || ages[""] != 26*time.Hour || ages["contracts"] != 8*24*time.Hour {
		t.Errorf("%v, %v", ages, err)
	}
	for _, word := range []string{"", "x", "x y=1d", "contracts=", "contracts=x"} {
		if _, err := MaxAges(nil, []string{word}); !isUsage(err) {
			t.Errorf("%q: %v", word, err)
		}
	}
	for text, want := range map[string]float64{"": 0, "10%": 0.1, "100%": 1, "0.5%": 0.005} {
		if got, err := ParseSample(text); got != want || err != nil {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"10", "0%", "101%", "-1%", "x%", "NaN%", "%"} {
		if _, err := ParseSample(text); !isUsage(err) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func isUsage(err error) bool {
	class, _ := fail.Of(err)
	return err != nil && class == fail.Usage
}

// TestOrderOfWork: what was never proved comes first, the newest of it; then what was proved the
// longest time ago, as far as it is due.
func TestOrderOfWork(t *testing.T) {
	t.Parallel()
	now := time.Now()
	ago := func(days int) time.Time { return now.AddDate(0, 0, -days) }
	backups := func() []Backup {
		return []Backup{
			{Path: "proved", Created: ago(1), Proven: Auth, ProvenAt: ago(3)},
			{Path: "long ago", Created: ago(2), Proven: Content, ProvenAt: ago(10)},
			{Path: "old", Created: ago(9)},
			{Path: "less", Created: ago(5), Proven: Checksum, ProvenAt: ago(1)},
			{Path: "unseen", Why: unseen},
		}
	}
	for name, tc := range map[string]struct {
		change func(j *Job)
		want   []string
	}{
		"all":         {func(*Job) {}, []string{"less", "old", "long ago", "proved"}},
		"newer":       {func(j *Job) { j.NewerOnly = true }, []string{"less", "old"}},
		"after":       {func(j *Job) { j.RecheckAfter = 10 * 24 * time.Hour }, []string{"less", "old", "long ago"}},
		"after 3":     {func(j *Job) { j.RecheckAfter = 3 * 24 * time.Hour }, []string{"less", "old", "long ago", "proved"}},
		"after 11":    {func(j *Job) { j.RecheckAfter = 11 * 24 * time.Hour }, []string{"less", "old"}},
		"and samples": {func(j *Job) { j.Sample = 1 }, []string{"less", "old", "long ago", "proved"}},
	} {
		j := &Job{Options: Options{Level: Auth}, now: now}
		tc.change(j)
		all := backups()
		var got []string
		for _, i := range j.plan(all) {
			got = append(got, all[i].Path)
			if all[i].Why != "" {
				t.Errorf("%s: %s is checked, and %s", name, all[i].Path, all[i].Why)
			}
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
		for _, b := range all {
			if (b.Why == "") != slices.Contains(got, b.Path) {
				t.Errorf("%s: %s: %q", name, b.Path, b.Why)
			}
		}
	}
	j := &Job{Options: Options{Level: Auth}, now: now, Sample: 0.5}
	if got := j.plan(backups()); len(got) != 3 {
		t.Errorf("with a sample of one in two: %v", got)
	}
}

// TestFaultCodes: what opening a backup fails with says what kind of fault it is.
func TestFaultCodes(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		err  error
		want Code
	}{
		{backup.ErrUnsigned, Unsigned},
		{sign.ErrMalformed, BadSignature}, {sign.ErrInvalid, BadSignature}, {sign.ErrOtherBackup, BadSignature}, {sign.ErrPayload, BadSignature}, {&sign.UntrustedError{}, BadSignature},
		{&envelope.WrongKeyError{}, NoKey}, {&envelope.VersionError{}, Newer}, {envelope.ErrNotSealed, NotSealed},
		{envelope.ErrAltered, Altered}, {&envelope.SyntaxError{}, Altered},
		{envelope.ErrTruncated, Truncated}, {stream.ErrTruncated, Truncated}, {&stream.ChunkError{Index: 3, Offset: 9}, Damaged}, {&stream.TrailingError{Offset: 9}, Trailing},
		{envelope.ErrDamagedSlot, Damaged}, {envelope.ErrDamagedHead, Damaged}, {stream.ErrTooLong, Damaged},
		{store.ErrArchived, Archived}, {errDisk, Unreadable},
	} {
		err := fmt.Errorf("opening: %w", tc.err)
		f := fault(err, 100)
		if f.Code != tc.want || f.Severity != Error || f.Message == "" || f.Advice == "" && f.Code != BadSignature || f.cause != err {
			t.Errorf("%T %v: %+v", tc.err, tc.err, f)
		}
		if at := map[Code]int64{Truncated: 100, Trailing: 9}[f.Code]; at > 0 && (f.Offset == nil || *f.Offset != at) {
			t.Errorf("%v: %+v", tc.err, f)
		}
		// What says nothing against the backup is not damage.
		class, _ := (&Fault{Path: "x", Finding: Finding{Code: f.Code, cause: errDisk}}).Fail()
		want := fail.Damaged
		switch f.Code {
		case NoKey:
			want = fail.Key
		case Unreadable, Archived, Newer:
			want = fail.Failed
		}
		if class != want {
			t.Errorf("%s: class %v, want %v", f.Code, class, want)
		}
	}
}
