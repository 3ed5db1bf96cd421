package serve

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/internal/audit"
	"github.com/takumi-backup/takumi-backup/internal/store/local"
	"github.com/takumi-backup/takumi-backup/internal/testkit/browser"
	"github.com/takumi-backup/takumi-backup/keystore"
	"github.com/takumi-backup/takumi-backup/verify"
	"github.com/takumi-backup/takumi-backup/verify/drill"
	"github.com/takumi-backup/takumi-backup/verify/report"
	"github.com/takumi-backup/takumi-backup/verify/runs"
	"github.com/takumi-backup/takumi-backup/verify/status"
)

type ring = *keystore.Ring

// lent is a place of a key that remembers what it gave.
type lent struct {
	key   *kek.Key
	mu    sync.Mutex
	given []*kek.Key
}

func (*lent) String() string { return "file:/etc/takumi-backup/backup.key" }

func (l *lent) Load(context.Context) (*kek.Key, error) {
	key, err := kek.New(bytes.Clone(l.key.Bytes()))
	l.mu.Lock()
	defer l.mu.Unlock()
	l.given = append(l.given, key)
	return key, err
}

// wiped reports how many keys were given, and fails the test when one still is one.
func (l *lent) wiped(t *testing.T) int {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, k := range l.given {
		if !bytes.Equal(k.Bytes(), make([]byte, len(k.Bytes()))) {
			t.Error("a key was kept")
		}
	}
	return len(l.given)
}

// fixture is a store with its state and its audit log.
type fixture struct {
	Source
	lent *lent
	t    testing.TB
	at   time.Time // when backups are made; zero: now
}

func sample(t testing.TB) *fixture {
	dir := t.TempDir()
	f := &fixture{lent: &lent{key: kek.Generate()}, t: t}
	f.Source = Source{Root: filepath.Join(dir, "store"), Place: local.Folder{}, State: filepath.Join(dir, "state"), Audit: filepath.Join(dir, "audit"), Report: filepath.Join(dir, "verify.json"),
		Keys: func() (ring, error) { return keystore.NewRing(f.lent), nil }}
	f.Session = func() (*audit.Session, error) {
		return audit.NewSession(audit.SessionOptions{Log: audit.New(f.Audit), Common: audit.Record{Operation: "serve"}, Code: func(error) (int, bool) { return 0, false }, Warn: t.Errorf}), nil
	}
	if err := os.MkdirAll(f.Root, 0o700); err != nil {
		t.Fatal(err)
	}
	return f
}

// seal makes a backup of content.
func (f *fixture) seal(path, kind, name string, content []byte) {
	f.t.Helper()
	if err := os.MkdirAll(filepath.Join(f.Root, filepath.Dir(path)), 0o700); err != nil {
		f.t.Fatal(err)
	}
	at := f.at
	if at.IsZero() {
		at = time.Now()
	}
	j := backup.Job{Source: backup.From(bytes.NewReader(content)), Unguarded: kind != backup.KindUploads, Kind: kind, Name: name, Created: at,
		Recipients: []envelope.Recipient{f.lent.key}, Store: f.Place, To: backup.Dest{Path: filepath.Join(f.Root, path)}}
	if _, err := j.Run(f.t.Context(), backup.Observer{}); err != nil {
		f.t.Fatal(err)
	}
}

func archive(t testing.TB, names ...string) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range names {
		name = strings.ReplaceAll(name, "\x00", "")
		if name == "" {
			continue
		}
		h := &tar.Header{Name: name, Mode: 0o644, Size: 1, ModTime: time.Now(), Format: tar.FormatGNU}
		if strings.HasPrefix(name, "link") {
			h.Typeflag, h.Linkname, h.Size = tar.TypeSymlink, "<script>alert('to')</script>", 0
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if h.Size > 0 {
			if _, err := w.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func get(t testing.TB, h http.Handler, path string) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
	return w.Code, w.Body.String()
}

// injections are names that try to be something else.
var injections = []string{
	`<script>alert(1)</script>`, `"><img src=x onerror=alert(2)>`, `' onmouseover='alert(3)`, `</title></style></pre><svg/onload=alert(4)>`,
	`javascript:alert(5)`, `&lt;b&gt;&amp;&#x3c;`, "\u202egnp.exe", "`${alert(6)}`", `{{.}}<%= 7 %>`, `<!--<base href=//evil.example>`, `]]><style>*{display:none}</style>`, `..%2f..%2fetc`,
}

// odd are further ones that no backup may be called, but files and records may.
var odd = []string{"new\nline", "\x1b[2J", "\xff\xfe", "\x00", "\u2066", strings.Repeat("long", 50)}

// allowed are the elements of a page, each with the attributes that it may have.
var allowed = regexp.MustCompile(`^(html lang|head|meta (charset|http-equiv|content|name)|title( id)?|style|body|a (class|href|rel|aria-current)|header class|nav (class|aria-label)|main (id|tabindex)|footer` +
	`|section aria-labelledby|article class|h[123]( id)?|p( class)?|ul( class)?|li|dl class|div class|dt|dd|bdi( class)?|code|pre (class|tabindex|aria-label)|span class|span|small|strong|time datetime|details|summary` +
	`|table role|thead role|tbody role|tr role|t[hd] (role|scope|class|data-label)|figure|figcaption|svg (class|viewbox|role|aria-labelledby|aria-hidden)|g class|path (class|d)|circle (class|cx|cy|r)|polyline (class|points)|text (x|y|class))$`)

var links = regexp.MustCompile(`^(#content|/|/(series|backups|findings|drills|audit)|/backups\?(series=[0-9a-f]{20}(&page=\d+)?|page=\d+)|/backup/[0-9a-f]{20}(/contents(\?page=\d+)?)?)$`)

// markup fails for a page that has other elements, attributes or links than may be.
func markup(t *testing.T, path, page string) {
	t.Helper()
	z := html.NewTokenizer(strings.NewReader(page))
	for {
		switch z.Next() {
		case html.ErrorToken:
			if z.Err() != io.EOF {
				t.Errorf("%s: %v", path, z.Err())
			}
			return
		case html.CommentToken:
			t.Errorf("%s: the comment %q", path, z.Token().Data)
		case html.StartTagToken, html.SelfClosingTagToken:
			tok := z.Token()
			if len(tok.Attr) == 0 && !allowed.MatchString(tok.Data) && !allowed.MatchString(tok.Data+" class") {
				t.Errorf("%s: the element %s", path, tok)
			}
			for _, a := range tok.Attr {
				if !allowed.MatchString(tok.Data + " " + a.Key) {
					t.Errorf("%s: %s of %s", path, a.Key, tok)
				}
				if a.Key == "href" && !links.MatchString(a.Val) {
					t.Errorf("%s: a link to %q", path, a.Val)
				}
			}
		}
	}
}

// TestInjections: whatever the names of backups, files, members and keys, the records of
// the audit log, the errors of jobs, the findings and the drills say is text on every
// page, and shows what it is.
func TestInjections(t *testing.T) {
	t.Parallel()
	f := sample(t)
	f.hostile(t)
	s := newSite(t.Context(), f.Source)
	paths := []string{"/", "/series", "/backups", "/findings", "/drills", "/audit"}
	_, list := get(t, s, "/backups")
	refs := regexp.MustCompile(`/backup/[0-9a-f]{20}`).FindAllString(list, -1)
	if len(refs) < len(injections)+len(odd) {
		t.Errorf("there are %d backups", len(refs))
	}
	for _, ref := range refs {
		paths = append(paths, ref)
	}
	_, status := get(t, s, "/")
	paths = append(paths, regexp.MustCompile(`/backups\?series=[0-9a-f]{20}`).FindAllString(status, -1)...)
	paths = append(paths, "/"+refOf(f.Root), "/nowhere/<script>", "/backup/<script>/contents", "/backups?series=<script>", "/backups?page=-1", "/backups?page=99999999999999999999")
	shown := make(map[string]int)
	for _, path := range append(paths, f.contents(t)) {
		code, page := get(t, s, strings.ReplaceAll(path, "<script>", "%3Cscript%3E"))
		if code != http.StatusOK && code != http.StatusNotFound {
			t.Errorf("%s: %d", path, code)
		}
		markup(t, path, page)
		for _, bad := range []string{"\u202e", "\u2066", "\x1b", "\x00", "\xff"} {
			if strings.Contains(page, bad) {
				t.Errorf("%s has %q", path, bad)
			}
		}
		text := html.UnescapeString(page)
		for _, name := range injections {
			shown[name] += strings.Count(text, strings.ReplaceAll(name, "\u202e", `\u202e`))
		}
	}
	for _, name := range injections {
		if shown[name] < 10 {
			t.Errorf("%s is shown %d times", name, shown[name])
		}
	}
}

// hostile fills the store, its state and the audit log with names that try something.
func (f *fixture) hostile(t *testing.T) {
	t.Helper()
	for i, name := range injections {
		f.seal(fmt.Sprintf("stream/%d.enc", i), backup.KindStream, strings.ReplaceAll(name, "/", "∕"), []byte("x"))
	}
	for i, name := range append(append([]string{}, odd...), injections...) {
		name = strings.NewReplacer("/", "", "\x00", "").Replace(name)
		if err := os.WriteFile(filepath.Join(f.Root, name[:min(len(name), 200)]+fmt.Sprint(i)+".enc"), []byte("no backup"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f.seal("members.enc", backup.KindUploads, "members.tar", archive(t, append(append([]string{"link"}, odd...), injections...)...))
	log := audit.New(f.Audit)
	var all []string
	for _, text := range append(append([]string{}, injections...), odd...) {
		all = append(all, text)
		if err := log.Append(t.Context(), audit.Record{Operation: text, Outcome: audit.Outcome(text), User: text, Host: text, Path: text, Name: text, Kind: text, KeyIDs: []string{text}, OldIDs: []string{text}, Keys: []string{text}, Detail: text, Error: text}); err != nil {
			t.Fatal(err)
		}
	}
	text := strings.Join(all, " ")
	d := &drill.Report{Who: text, Program: text, Root: text, Error: text, Results: []drill.Result{{Path: text, ID: text, Kind: text, Name: text, KeyID: text, Error: text, Compared: all, Notes: all}, {Compared: all}, {Files: 1, RTO: 2, RTOTarget: 1}}}
	run := &runs.Run{Task: "backup", Started: time.Now(), Finished: time.Now(), Error: text, Parts: []runs.Part{{Name: text, Error: text}}, Drilled: []runs.Series{{Folder: text, Kind: text, Name: text}}}
	_, err := runs.Remember(f.State, run)
	if err := errors.Join(err, drill.Keep(f.State, d)); err != nil {
		t.Fatal(err)
	}
	entries, err := backup.List(t.Context(), f.Place, f.Root, backup.Options{})
	if err != nil {
		t.Fatal(err)
	}
	r := &verify.Report{Schema: verify.Schema, Finished: time.Now(), Findings: []verify.Finding{{Severity: verify.Error, Code: verify.Code(text), Path: text, Message: text, Advice: text}}}
	var backups []verify.Backup
	for _, e := range entries {
		backups = append(backups, verify.Backup{Path: e.Path, Size: e.Size, ID: e.ID.String(), Findings: []verify.Finding{{Severity: verify.Severity(text), Code: verify.Code(text), Path: text, Message: text, Advice: text}}})
	}
	r.Backups = verify.ListOf(backups...)
	if err := report.Write(f.Report, r); err != nil {
		t.Fatal(err)
	}
	f.Copies = []string{filepath.Join(f.Root, "../copy<script>")}
}

// contents is the page of what is in members.enc.
func (f *fixture) contents(t *testing.T) string {
	t.Helper()
	return "/backup/" + refOf(filepath.Join(f.Root, "members.enc")) + "/contents"
}

// TestUnknownTexts: what comes from elsewhere than files is text too.
func TestUnknownTexts(t *testing.T) {
	t.Parallel()
	v := &view{Status: &status.Status{Time: time.Now()}}
	for _, text := range append(append([]string{}, injections...), odd...) {
		v.warnings = append(v.warnings, text)
		v.timers = append(v.timers, status.Timer{Unit: text})
		v.Keys = append(v.Keys, status.Key{ID: text, Provider: text, Overdue: true})
		v.Series = append(v.Series, status.Series{Kind: text, Name: text, Folder: text, Path: text, Bad: 1, Copies: []status.Copy{{Store: text, Error: text}}}, status.Series{Kind: text, Name: text, Folder: text})
		v.backups = append(v.backups, entry{ref: refOf(text), signer: text, opens: text, Backup: verify.Backup{Path: text, ID: text, Kind: text, Name: text, Series: text, Created: time.Now(), Unjudged: text, Proven: verify.Auth, ProvenAt: time.Now()}})
	}
	s := &site{Source: Source{Root: "<script>"}}
	leaves := []leaf{v.statusPage(), v.seriesPage(), v.backupsPage("", 1), v.findingsPage(), unread(result[*view]{err: errors.New(injections[0])}), s.auditPage(result[*tail]{err: errors.New(injections[1])}),
		s.auditPage(result[*tail]{value: &tail{broken: errors.New(injections[1])}})}
	for i := range v.backups {
		leaves = append(leaves, s.backupPage(&v.backups[i], v))
	}
	for i, l := range leaves {
		var b strings.Builder
		if err := s.document(l).Render(&b); err != nil {
			t.Fatal(err)
		}
		markup(t, fmt.Sprint("page ", i), b.String())
	}
}

// TestContents: what is in a backup is shown by its index, page for page, when somebody
// asks; the audit log has who did, and no key is kept.
func TestContents(t *testing.T) {
	t.Parallel()
	f := sample(t)
	var names []string
	for i := range perPage + 5 {
		names = append(names, fmt.Sprintf("folder/file-%05d", i))
	}
	f.seal("uploads/u.enc", backup.KindUploads, "u.tar", archive(t, names...))
	f.seal("stream/s.enc", backup.KindStream, "s", []byte("no archive"))
	s := newSite(t.Context(), f.Source)
	path := "/backup/" + refOf(filepath.Join(f.Root, "uploads/u.enc"))
	_, page := get(t, s, path)
	if !strings.Contains(page, `href="`+path+`/contents"`) || !strings.Contains(page, "takumi-backup restore uploads ") {
		t.Errorf("the page of the backup: %s", page)
	}
	given := f.lent.wiped(t)
	_, first := get(t, s, path+"/contents")
	_, second := get(t, s, path+"/contents?page=2")
	for text, on := range map[string]string{names[0]: first, names[perPage-1]: first, names[perPage]: second, names[perPage+4]: second} {
		if strings.Count(first+second, text+"<") != 1 || !strings.Contains(on, text) {
			t.Errorf("%s is shown %d times", text, strings.Count(first+second, text))
		}
	}
	if !strings.Contains(first, `contents?page=2"`) || strings.Contains(second, "page=3") {
		t.Error("the pages do not lead to each other")
	}
	if n := f.lent.wiped(t); n != given+2 {
		t.Errorf("%d keys were fetched for two pages", n-given)
	}
	if _, page := get(t, s, fmt.Sprintf("%s/contents?page=%d", path, maxPage+1)); !strings.Contains(page, errDeep.Error()) {
		t.Error("there is no bound")
	}
	if _, page := get(t, s, "/backup/"+refOf(filepath.Join(f.Root, "stream/s.enc"))+"/contents"); !strings.Contains(page, "has no index") {
		t.Errorf("of what has none: %s", page)
	}
	var records []audit.Record
	err := audit.Read(t.Context(), f.Audit, func(e audit.Entry) error { records = append(records, e.Record); return nil })
	if err != nil || len(records) != 3 {
		t.Fatalf("%d records, %v", len(records), err)
	}
	if r := records[0]; r.Operation != "serve" || r.Outcome != audit.Done || r.Kind != "uploads" || len(r.KeyIDs) != 1 || !strings.Contains(r.Detail, "for 192.0.2.1") || !strings.HasSuffix(r.Path, "u.enc") {
		t.Errorf("%+v", r)
	}
	if r := records[2]; r.Outcome != audit.Failed || r.Error == "" {
		t.Errorf("%+v", r)
	}
	// Without a session there are none.
	f.Session = nil
	s = newSite(t.Context(), f.Source)
	if code, _ := get(t, s, path+"/contents"); code != http.StatusNotFound {
		t.Errorf("without --contents: %d", code)
	}
	if _, page := get(t, s, path); strings.Contains(page, "/contents") {
		t.Error("without --contents there is a link")
	}
	f.lent.wiped(t)
}

// TestTroubles: what is wrong is what the first page begins with, with what helps.
func TestTroubles(t *testing.T) {
	t.Parallel()
	f := sample(t)
	s := newSite(t.Context(), f.Source)
	if _, page := get(t, s, "/"); !strings.Contains(page, "there are no backups") {
		t.Errorf("of an empty store: %s", page)
	}
	f.seal("database/x_20260101_000000.sql.enc", backup.KindDatabase, "x_20260101_000000.sql", []byte("x"))
	f.MaxAge = map[string]time.Duration{"": time.Nanosecond}
	f.Copies = []string{f.Root + "/../copy"}
	past := runs.Run{Task: "backup", Finished: time.Now(), Error: "the disk is full"}
	if _, err := runs.Remember(f.State, &past); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(f.Root, "junk.enc"), []byte("junk"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(f.State, verify.MemoryName), []byte("junk"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(f.Report, []byte("junk"), 0o600); err != nil {
		t.Fatal(err)
	}
	s = newSite(t.Context(), f.Source)
	_, page := get(t, s, "/")
	page = html.UnescapeString(page)
	for _, want := range []string{"what was verified is not shown", "what verify found is not known", "the last good backup is late", "the last run failed: <bdi>the disk is full", "1 file of the store ",
		"lacks the last good backup of 1 series", "takumi-backup replicate " + f.Root, "takumi-backup backup all", `<header class="failed">`} {
		if !strings.Contains(page, want) {
			t.Errorf("not said: %s", want)
		}
	}
	if _, page := get(t, s, "/backups"); !strings.Contains(page, "Not sealed") {
		t.Errorf("of junk: %s", page)
	}
	// A store that is gone is said, and what was known of it stays.
	if err := os.RemoveAll(f.Root); err != nil {
		t.Fatal(err)
	}
	if code, page := get(t, newSite(t.Context(), f.Source), "/backups"); code != http.StatusServiceUnavailable || !strings.Contains(page, "the store cannot be read") {
		t.Errorf("of a store that is gone: %d, %s", code, page)
	}
	s.store.last.asked, s.store.last.at = time.Time{}, time.Now().Add(-time.Hour)
	if code, page := get(t, s, "/backups"); code != http.StatusOK || !strings.Contains(page, "The store cannot be read") || !strings.Contains(page, "x_20260101") {
		t.Errorf("of a store that went: %d, %s", code, page)
	}
}

// TestAuditTail: the last records are shown, the newest first, and where the chain breaks
// that is said.
func TestAuditTail(t *testing.T) {
	t.Parallel()
	f := sample(t)
	log := audit.New(f.Audit)
	s := newSite(t.Context(), f.Source)
	if _, page := get(t, s, "/audit"); !strings.Contains(page, "has no records") {
		t.Errorf("of none: %s", page)
	}
	for i := range maxRecent + 3 {
		if err := log.Append(t.Context(), audit.Record{Operation: "open", Outcome: audit.Done, Path: fmt.Sprintf("/backup-%d.enc", i)}); err != nil {
			t.Fatal(err)
		}
	}
	s = newSite(t.Context(), f.Source)
	_, page := get(t, s, "/audit")
	if first, last := strings.Index(page, "/backup-202.enc"), strings.Index(page, "/backup-3.enc"); first < 0 || last < first || strings.Contains(page, "/backup-2.enc") {
		t.Errorf("the newest is at %d, the oldest at %d", first, last)
	}
	files, err := filepath.Glob(f.Audit + "/*.jsonl")
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	text, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(files[0], bytes.Replace(text, []byte("/backup-100.enc"), []byte("/backup-1OO.enc"), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	s = newSite(t.Context(), f.Source)
	if _, page := get(t, s, "/audit"); !strings.Contains(page, "the audit log is broken") || strings.Contains(page, "/backup-102.enc") || !strings.Contains(page, "/backup-99.enc") {
		t.Errorf("of a broken one: %s", page)
	}
}

// TestMany: of a store with very many backups the newest are held, and pages are short.
func TestMany(t *testing.T) {
	t.Parallel()
	const most = 5000
	v := &view{Status: &status.Status{Time: time.Now()}}
	now := time.Now()
	for i := range 2*most + 10 {
		v.backups = append(v.backups, entry{series: seriesRef("/b", "stream", fmt.Sprint("s-", i%3)), Backup: verify.Backup{Path: fmt.Sprintf("/b/%d", i), Kind: "stream", Name: fmt.Sprint("n-", i), Series: fmt.Sprint("s-", i%3), Created: now.Add(time.Duration(i) * time.Second)}})
		if len(v.backups) == 2*most {
			v.cut(most)
		}
	}
	v.cut(most)
	if len(v.backups) != most || v.older != most+10 || v.backups[0].Name != fmt.Sprint("n-", 2*most+9) {
		t.Errorf("%d are held, %d left out, the newest is %s", len(v.backups), v.older, v.backups[0].Name)
	}
	for i := range 2000 {
		v.Series = append(v.Series, status.Series{Kind: "stream", Name: fmt.Sprint("s-", i), Copies: []status.Copy{{Store: "/copy"}}})
	}
	for _, l := range []leaf{v.backupsPage("", 1), v.backupsPage("", 1<<40), v.backupsPage(seriesRef("/b", "stream", "s-1"), 3), v.seriesPage(), v.findingsPage(), v.statusPage()} {
		var b strings.Builder
		if err := (&site{}).document(l).Render(&b); err != nil {
			t.Fatal(err)
		}
		if b.Len() > 1<<20 {
			t.Errorf("a page has %d bytes", b.Len())
		}
	}
}

// TestInBrowser: Chromium shows the pages without a complaint, with hostile names as text,
// on a phone and on a desk, in light and in dark. TAKUMI_TEST_SHOTS names a folder to keep
// the pictures in.
func TestInBrowser(t *testing.T) {
	browser.Need(t)
	hostile, good := sample(t), sample(t)
	hostile.hostile(t)
	good.fine(t)
	chrome := browser.New(t)
	for name, f := range map[string]*fixture{"hostile": hostile, "good": good} {
		server := httptest.NewServer(newGuard(Options{}, newSite(t.Context(), f.Source)))
		t.Cleanup(server.Close)
		if name == "good" {
			for _, path := range []string{"/series", "/drills"} {
				chrome.Shot(t, server.URL+path, name+"-"+path[1:], 390, browser.Schemes[1])
			}
			chrome.Shot(t, server.URL+"/", name+"-dark", 1280, browser.Schemes[0])
			continue
		}
		for _, path := range []string{"/backups", "/audit", f.contents(t)} {
			dom, log := chrome.Run(t, server.URL+path, "--dump-dom")
			if strings.Contains(log, "CONSOLE") {
				t.Errorf("%s: the browser complains:\n%s", path, log)
			}
			markup(t, path, dom)
		}
		chrome.Shot(t, server.URL+"/", name, 390, browser.Schemes[1])
	}
}

// fine fills a store as a host has it where all goes well.
func (f *fixture) fine(t testing.TB) {
	t.Helper()
	now := time.Now()
	for day := range 12 {
		at := now.AddDate(0, 0, day-11)
		f.at = at
		name := "takumi_db_" + at.UTC().Format("20060102_150405") + ".sql.zst"
		f.seal("database/"+name+".enc", backup.KindDatabase, name, bytes.Repeat([]byte{byte(day)}, 30_000+day*day*400))
	}
	f.seal("members.enc", backup.KindUploads, "members.tar", archive(t, "avatars/a.png", "avatars/b.png", "link"))
	log := audit.New(f.Audit)
	code := 4
	for _, r := range []audit.Record{{Operation: "seal", Outcome: audit.Done, Path: f.Root + "/database/x.enc", BytesIn: 1000, BytesOut: 500}, {Operation: "open", Outcome: audit.Failed, ExitCode: &code, Path: "/x", Error: "no key at hand opens it"}} {
		r.User, r.Host = "root", "db1"
		if err := log.Append(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	d := &drill.Report{Time: now.Add(-time.Hour), Passed: true, Who: "root@db1", Root: f.Root, Results: []drill.Result{{Path: f.Root + "/members.enc", Kind: "uploads", Name: "members.tar", RTO: 12.5, RPO: 3600, RTOTarget: 3600, RPOTarget: 1, Files: 2, Bytes: 2, Compared: []string{"2 files are as the archive has them"}}}}
	_, err := runs.Remember(f.State, &runs.Run{Task: "backup", Started: now, Finished: now})
	if err := errors.Join(err, drill.Keep(f.State, d)); err != nil {
		t.Fatal(err)
	}
}

// TestAccessible: axe, from npm, finds nothing wrong with any page, in light and in dark,
// on a phone and on a desk.
func TestAccessible(t *testing.T) {
	examine := browser.Axe(t)
	f := sample(t)
	f.fine(t)
	s := newSite(t.Context(), f.Source)
	for _, path := range []string{"/", "/series", "/backups", "/findings", "/drills", "/audit", strings.TrimSuffix(f.contents(t), "/contents"), f.contents(t)} {
		_, text := get(t, s, path)
		for i, scheme := range browser.Schemes {
			if wrong := examine(t, text, fmt.Sprintf("--window-size=%d,900", []int{390, 1280}[i]), scheme); wrong != "" {
				t.Errorf("%s, %s: %s", path, scheme, wrong)
			}
		}
	}
}
