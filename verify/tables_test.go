package verify

import (
	"errors"
	"fmt"
	"slices"
	"strings"
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
		p                  Proof
		whole, bad, proved bool
	}{
		{Proof{ID: b.ID.String(), Size: 100, Level: Auth, At: now}, true, false, true},
		{Proof{ID: b.ID.String(), Size: 100, Level: Content, At: now}, true, false, true},
		{Proof{ID: b.ID.String(), Size: 100, Level: Checksum, At: now}, false, false, true},
		{Proof{ID: b.ID.String(), Size: 100, Level: Auth, At: now.Add(-Fresh + time.Minute)}, true, false, true},
		{Proof{ID: b.ID.String(), Size: 100, Level: Auth, At: now.Add(-Fresh)}, false, false, true},
		{Proof{ID: b.ID.String(), Size: 100, Level: None}, false, true, false},
		{Proof{ID: b.ID.String(), Size: 101, Level: Auth, At: now}, false, false, false},
		{Proof{ID: b.ID.String(), Size: 101, Level: None}, false, false, false},
		{Proof{ID: b.ID.String(), Size: 100, ETag: `"of another content"`, Level: Auth, At: now}, false, false, false},
		{Proof{ID: envelope.ID{2}.String(), Size: 100, Level: Auth, At: now}, false, false, false},
		{Proof{ID: envelope.ID{2}.String(), Size: 100, Level: None}, false, false, false},
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
		if p, proved := m.Proved(b.Path, b.ID.String(), b.Size, b.ETag); proved != tc.proved || p != tc.p {
			t.Errorf("%+v: proved: %v, %+v", tc.p, proved, p)
		}
	}
}

// TestRememberedID: the id of a file counts as long as nobody has written to it.
func TestRememberedID(t *testing.T) {
	t.Parallel()
	m, at := mustOpen(t, t.TempDir()), time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	m.put("/x", Proof{ID: "1", Size: 5, ETag: "e", Level: Checksum, At: at})
	m.put("/bad", Proof{ID: "1", Size: 5, ETag: "e"})
	for _, tc := range []struct {
		f    store.Backup
		want string
	}{
		{store.Backup{Path: "/x", Size: 5, ETag: "e", ModTime: at.Add(-1)}, "1"},
		{store.Backup{Path: "/x", Size: 5, ETag: "e", ModTime: at}, ""},
		{store.Backup{Path: "/x", Size: 6, ETag: "e", ModTime: at.Add(-1)}, ""},
		{store.Backup{Path: "/x", Size: 5, ETag: "f", ModTime: at.Add(-1)}, ""},
		{store.Backup{Path: "/bad", Size: 5, ETag: "e", ModTime: at.Add(-1)}, ""},
		{store.Backup{Path: "/y", ModTime: at.Add(-1)}, ""},
	} {
		if got := m.ID(tc.f); got != tc.want {
			t.Errorf("%+v: %q", tc.f, got)
		}
	}
}

// TestRemember: what a run found of a backup next to what was known of it.
func TestRemember(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	now, chunk := at.AddDate(0, 0, 7), int64(3)
	was := Proof{ID: "1", Kind: "stream", Series: "x", SHA256: "s", Size: 100, Created: at, Level: Content, At: at}
	replaced := Finding{Severity: Error, Code: Replaced}
	damaged := Finding{Severity: Error, Code: Damaged, Chunk: &chunk}
	for name, tc := range map[string]struct {
		change   func(b *Backup, p *Proof)
		codes    []Code
		proven   Level // of the backup
		at       time.Time
		remember Level
		id       string
	}{
		"the same":                {func(b *Backup, p *Proof) {}, nil, Content, now, Content, "1"},
		"proved to a higher":      {func(b *Backup, p *Proof) { b.Proven = Restore }, nil, Restore, now, Restore, "1"},
		"proved to a lower":       {func(b *Backup, p *Proof) { b.Proven = Auth }, nil, Content, at, Content, "1"},
		"of other bytes":          {func(b *Backup, p *Proof) { b.Proven, b.SHA256 = Auth, "t" }, nil, Auth, now, Auth, "1"},
		"of another id":           {func(b *Backup, p *Proof) { b.Proven, b.ID = Auth, "2" }, nil, Auth, now, Auth, "2"},
		"a reused name":           {func(b *Backup, p *Proof) { b.ID, b.Created = "2", at.Add(1) }, nil, Content, now, Content, "2"},
		"of another kind":         {func(b *Backup, p *Proof) { b.Kind = "uploads" }, []Code{Replaced}, None, time.Time{}, None, "1"},
		"of another series":       {func(b *Backup, p *Proof) { b.Series = "y" }, []Code{Replaced}, None, time.Time{}, None, "1"},
		"an older one":            {func(b *Backup, p *Proof) { b.Created = at.Add(-1) }, []Code{Replaced}, None, time.Time{}, None, "1"},
		"misplaced already":       {func(b *Backup, p *Proof) { b.Kind = "uploads"; b.add(replaced) }, []Code{Replaced}, Content, now, None, "1"},
		"maybe misplaced":         {func(b *Backup, p *Proof) { b.Kind = "uploads"; b.add(Finding{Severity: Warning, Code: Replaced}) }, []Code{Replaced, Replaced}, None, time.Time{}, None, "1"},
		"otherwise bad too":       {func(b *Backup, p *Proof) { b.Kind = "uploads"; b.add(Finding{Severity: Error, Code: NoKey}) }, []Code{NoKey, Replaced}, None, time.Time{}, None, "1"},
		"unread":                  {func(b *Backup, p *Proof) { b.ID, b.Kind = "", "" }, nil, Content, now, Content, "1"},
		"damaged":                 {func(b *Backup, p *Proof) { b.add(damaged) }, []Code{Damaged}, Content, now, None, "1"},
		"damaged, and shorter":    {func(b *Backup, p *Proof) { b.Size = 99; b.add(damaged) }, []Code{Truncated}, Content, now, None, "1"},
		"shorter, of another id":  {func(b *Backup, p *Proof) { b.Size, b.ID = 99, "2"; b.add(damaged) }, []Code{Damaged}, Content, now, None, "1"},
		"shorter, at no chunk":    {func(b *Backup, p *Proof) { b.Size = 99; b.add(Finding{Severity: Error, Code: Damaged}) }, []Code{Damaged}, Content, now, None, "1"},
		"shorter, otherwise bad":  {func(b *Backup, p *Proof) { b.Size = 99; b.add(Finding{Severity: Error, Code: Altered, Chunk: &chunk}) }, []Code{Altered}, Content, now, None, "1"},
		"nothing proved":          {func(b *Backup, p *Proof) { b.Proven = None }, nil, None, now, Content, "1"},
		"unknown":                 {func(b *Backup, p *Proof) { p.ID = "" }, nil, Content, now, Content, "1"},
		"unknown and bad":         {func(b *Backup, p *Proof) { p.ID = ""; b.add(damaged) }, []Code{Damaged}, Content, now, None, ""},
		"unknown, nothing proved": {func(b *Backup, p *Proof) { p.ID = ""; b.Proven = None }, nil, None, now, None, ""},
	} {
		m, err := OpenMemory(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		b := Backup{Path: "/b/x.enc", ID: "1", Kind: "stream", Series: "x", SHA256: "s", Size: 100, Created: at, Proven: Content, ProvenAt: now, etag: "e", KeyID: "k"}
		p := was
		if tc.change(&b, &p); p.ID != "" {
			m.put(b.Path, p)
		}
		m.remember(&b, "2")
		got, known := m.Of(b.Path)
		if !slices.Equal(codesOf(b.Findings), tc.codes) || b.Proven != tc.proven || !b.ProvenAt.Equal(tc.at) {
			t.Errorf("%s: %s", name, asJSON(b))
		}
		if known != (tc.id != "") || got.ID != tc.id || got.Level != tc.remember || (got.Level == None) != got.At.IsZero() {
			t.Errorf("%s: remembered is %+v", name, got)
		}
		if anew := got.Program == "2"; anew && (got.At != b.ProvenAt || got.SHA256 != b.SHA256 || got.ETag != "e" || got.KeyID != "k" || got.Size != b.Size) {
			t.Errorf("%s: remembered is %+v", name, got)
		}
	}
}

// TestBrokenChain: what needs a bad link of its chain is bad, also when another shard has
// that link; nothing else is.
func TestBrokenChain(t *testing.T) {
	t.Parallel()
	const chain, other = "0123456789abcdef", "fedcba9876543210"
	link := func(folder, chain string, n int, codes ...Code) Backup {
		name := fmt.Sprintf("uploads_2026112%d_020000.%s-%d.tar", n, chain, n)
		b := Backup{Path: folder + "/" + name + backup.Suffix, Name: name}
		for _, c := range codes {
			b.add(Finding{Severity: Error, Code: c})
		}
		return b
	}
	l := new(List)
	for _, b := range []Backup{
		link("/a", chain, 4, NotRehearsed), link("/a", chain, 3), link("/a", chain, 2, NoKey), link("/a", chain, 1, Damaged), link("/a", chain, 0),
		link("/a", other, 3), link("/b", chain, 3), link("/c", chain, 3), link("/d", chain, 1, BrokenChain), link("/d", chain, 2, BrokenChain),
		link("/e", chain, 1, NotRehearsed), link("/e", chain, 2), {Path: "/a/x.enc", Name: "x", Findings: []Finding{{Severity: Error, Code: Damaged}}},
	} {
		l.add(&b, false)
	}
	foreign := link("/c", chain, 2, Unreadable)
	l.add(&foreign, true)
	l.sort()
	r := &Report{Backups: l}
	var lost []string
	j := &Job{Lost: func(chain string) { lost = append(lost, chain) }}
	j.chains(r)
	var got []string
	for _, b := range r.Backups.All() {
		f := b.Findings[max(0, len(b.Findings)-1):]
		if len(f) > 0 && f[0].Code == BrokenChain && f[0].Message != "" {
			of, _ := backup.LinkOf(b.Name)
			got = append(got, store.Dir(b.Path)+" "+fmt.Sprint(of.N)+": "+f[0].Message)
		}
	}
	bad := func(n int) string {
		return fmt.Sprintf("it needs uploads_2026112%d_020000.%s-%d.tar.enc, number %d of its chain, which is bad", n, chain, n, n)
	}
	if want := []string{"/a 4: " + bad(1), "/a 3: " + bad(1), "/a 2: " + bad(1), "/c 3: " + bad(2)}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if !slices.Equal(lost, []string{chain}) {
		t.Errorf("lost: %q", lost)
	}
	new(Job).chains(r) // nobody asks which are lost
}

// TestStrayAges: what may still be written is left alone, and what is left says whose it was.
func TestStrayAges(t *testing.T) {
	t.Parallel()
	j := &Job{now: time.Now()}
	for _, tc := range []struct {
		name  string
		age   time.Duration
		there bool
		code  Code
		words string
	}{
		{".x.enc.partial", strayAge - 1, true, "", ""},
		{".x.enc.partial", strayAge, false, SideFile, "a backup that was killed"},
		{".x.enc.partial", strayAge, true, SideFile, "a rewrap or reencrypt"},
		{".x.enc.sha256.partial", strayAge, true, SideFile, "a rewrap or reencrypt"},
		{".x.sql.partial", strayAge, false, SideFile, "a backup that was killed"},
		{".x.partial", strayAge, false, "", ""},
		{"x.sql.partial", strayAge, false, "", ""},
		{".x.sql", strayAge, false, Plaintext, "a dump or archive"},
		{"x.enc" + store.SidecarSuffix, strayAge - 1, false, "", ""},
		{"x.enc" + store.SidecarSuffix, strayAge, false, SideFile, "the sidecar of a backup"},
		{"x.enc" + store.SidecarSuffix, strayAge, true, "", ""},
		{"x.enc" + envelope.DetachedSuffix, strayAge, false, SideFile, "the envelope of a backup"},
		{"x.enc" + store.SignatureSuffix, strayAge, false, SideFile, "the signature of a backup"},
		{"x" + store.SidecarSuffix, strayAge, false, "", ""},
	} {
		f := &store.Backup{Path: "/d/" + tc.name, ModTime: j.now.Add(-tc.age)}
		got, found := j.strayFinding(f, func(path string) bool { return path == "/d/x.enc" && tc.there })
		if found != (tc.code != "") || got.Code != tc.code || !strings.HasPrefix(got.Message, tc.words) || found && got.Path != f.Path {
			t.Errorf("%+v: %+v", tc, got)
		}
	}
}

// TestAge: the newest one is too old for its series, and an older one for what is kept.
func TestAge(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	now := time.Now()
	for _, tc := range []struct {
		kind         string
		age, behind  time.Duration
		newest       bool
		retention    time.Duration
		tooOld, past bool
	}{
		{backup.KindStream, day, 0, true, 0, false, false},
		{backup.KindStream, day + 1, 0, true, 0, true, false},
		{backup.KindStream, day + 1, day, false, 0, false, false},
		{backup.KindManifest, day + 1, 0, true, 0, false, false},
		{backup.KindUploads, 50 * day, 31 * day, false, 30 * day, false, false},
		{backup.KindUploads, 50 * day, 31*day + 1, false, 30 * day, false, true},
		{backup.KindIncrement, 50 * day, 31*day + 1, false, 30 * day, false, true},
		{backup.KindContracts, 50 * day, 31*day + 1, false, 30 * day, false, false},
		{backup.KindUploads, 50 * day, 31*day + 1, false, 0, false, false},
		{backup.KindManifest, 50 * day, 31*day + 1, true, 30 * day, false, false},
	} {
		j := &Job{now: now, MaxAge: map[string]time.Duration{"": day}, Retention: tc.retention}
		r, b := new(Report), Backup{Kind: tc.kind, Created: now.Add(-tc.age)}
		j.age(r, &b, tc.newest, b.Created.Add(tc.behind))
		if tooOld := len(r.Findings) == 1; tooOld != tc.tooOld || b.has(PastRetention) != tc.past {
			t.Errorf("%+v: %s, %s", tc, asJSON(r.Findings), asJSON(b.Findings))
		}
	}
}

// TestSummary counts one of each.
func TestSummary(t *testing.T) {
	t.Parallel()
	bad, warning, unrehearsed := Finding{Severity: Error, Code: Damaged}, Finding{Severity: Warning, Code: Small}, Finding{Severity: Error, Code: NotRehearsed}
	r := Report{
		Backups: ListOf([]Backup{
			{Checked: true, Size: 1}, {Checked: true, Size: 2, Findings: []Finding{warning, bad}}, {Checked: true, Size: 4, Findings: []Finding{warning, warning}},
			{Size: 8, Findings: []Finding{unrehearsed}},
		}...),
		Findings: []Finding{warning, bad},
	}
	if got, want := r.Summary(), (Summary{Backups: 4, Checked: 3, Failed: 1, Warned: 2, Bytes: 7, Errors: 3, Warnings: 4}); got != want {
		t.Errorf("%+v, want %+v", got, want)
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
		l, all := new(List), []uint32(nil)
		for i, n := range tc.sizes {
			b := Backup{Size: n}
			if n == 0 {
				b.add(Finding{Severity: Error})
			} else if n < 0 {
				b.Kind = backup.KindIncrement
			}
			l.add(&b, false)
			all = append(all, uint32(i))
		}
		if got, ok := l.medianSize(all); got != tc.want || ok != (tc.want > 0) {
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
		"good":                  {r: Report{Backups: ListOf(Backup{})}, want: "<nil>"},
		"stopped":               {r: Report{Backups: ListOf(bad)}, failed: failed, want: "stopped"},
		"one that is bad":       {r: Report{Backups: ListOf(bad)}, one: &bad, want: "verifying /b: no key"},
		"one that is good":      {r: Report{Backups: ListOf(Backup{})}, one: &Backup{}, want: "<nil>"},
		"some are bad":          {r: Report{Backups: ListOf(bad, Backup{})}, want: fail.ErrSome.Error()},
		"an error of the store": {r: Report{Backups: ListOf(Backup{}), Findings: []Finding{{Severity: Error, Code: TooOld}}}, want: fail.ErrSome.Error()},
		"none":                  {r: Report{Roots: []string{"/a", "/b"}}, want: "verifying: there are no backups in /a, /b"},
		"none in a shard":       {r: Report{Shard: "1/2"}, want: "<nil>"},
		"warnings":              {r: Report{Backups: ListOf(warned)}, want: "<nil>"},
		"warnings, strict":      {r: Report{Backups: ListOf(warned)}, strict: true, want: "verifying: there are warnings, and --strict is given"},
		"strict and good":       {r: Report{Backups: ListOf(Backup{})}, strict: true, want: "<nil>"},
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
	backups := func() *List {
		return ListOf([]Backup{
			{Path: "proved", Created: ago(1), Proven: Auth, ProvenAt: ago(3)},
			{Path: "long ago", Created: ago(2), Proven: Content, ProvenAt: ago(10)},
			{Path: "old", Created: ago(9)},
			{Path: "less", Created: ago(5), Proven: Checksum, ProvenAt: ago(1)},
			{Path: "unseen", Why: unseen},
		}...)
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
			got = append(got, all.at(int(i)).Path)
			if why := all.why(int(i)); why != "" {
				t.Errorf("%s: %s is checked, and %s", name, all.at(int(i)).Path, why)
			}
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
		for _, b := range all.All() {
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
