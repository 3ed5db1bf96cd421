package report

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/verify"
)

func html(t *testing.T, r *verify.Report) string {
	t.Helper()
	var b bytes.Buffer
	if err := WriteHTML(&b, r); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestEscaping: no name makes markup, and none hides what it is.
func TestEscaping(t *testing.T) {
	t.Parallel()
	text := html(t, nasty())
	for _, bad := range []string{"<script", "<img", "onerror=alert(2)>\"", "\u202e", "\u2066", "\x1b", "\x00", "\xff"} {
		if strings.Contains(text, bad) {
			t.Errorf("the page has %q", bad)
		}
	}
	for _, shown := range []string{`&lt;script&gt;alert(1)`, `\u202egnp.exe`, `\x1b[2J`, `\xff`, "מגן"} {
		if n := strings.Count(text, shown); n < 10 {
			t.Errorf("%s is there %d times", shown, n)
		}
	}
	if found := regexp.MustCompile(`(?i)(src|href|style|\bon\w+)=|https?:|url\(|@import`).FindAllString(strings.ReplaceAll(text, "onerror=alert(2)", ""), -1); found != nil {
		for _, f := range found {
			if f != "src=" { // the hostile name's own, in which nothing is markup
				t.Errorf("the page has %q", f)
			}
		}
	}
}

// TestLongReport: a page stays one that a person can read, and says what it left
// out.
func TestLongReport(t *testing.T) {
	t.Parallel()
	r := &verify.Report{Schema: verify.Schema, Finished: noon, Started: noon}
	for i := range 10_400 {
		r.Backups = append(r.Backups, verify.Backup{
			Path: fmt.Sprintf("/b/%d/x.enc", i%65), Kind: "stream", Series: "s", Size: int64(i), Created: noon.Add(-time.Duration(i) * time.Minute),
			Findings: []verify.Finding{{Severity: verify.Warning, Code: verify.SidecarMissing, Message: "no sidecar"}},
		})
	}
	text := html(t, r)
	if len(text) > 2<<20 {
		t.Errorf("the page has %d bytes", len(text))
	}
	for _, told := range []string{"And 10200 further ones", "And 9400 further ones", "And 5 further series", "the oldest 10 are not drawn", "10400 warnings"} {
		if !strings.Contains(text, told) {
			t.Errorf("not told: %s", told)
		}
	}
}

func TestVerdict(t *testing.T) {
	t.Parallel()
	one := func(f ...verify.Finding) []verify.Backup {
		return []verify.Backup{{Proven: verify.Content, Findings: f}, {Proven: verify.Auth}}
	}
	failure, warning := verify.Finding{Severity: verify.Error}, verify.Finding{Severity: verify.Warning}
	for want, r := range map[string]*verify.Report{
		"unproven: there are no backups":                             {},
		"good: nothing wrong with 2 backups":                         {Backups: one()},
		"failed: 1 of 2 backups failed, 1 warning":                   {Backups: one(failure, warning)},
		"warned: 2 warnings":                                         {Backups: one(warning), Findings: []verify.Finding{warning}},
		"failed: 1 error about the store":                            {Backups: one(), Findings: []verify.Finding{failure}},
		"warned: stopped before all was done":                        {Backups: one(), Interrupted: true},
		"failed: 1 of 2 backups failed, stopped before all was done": {Backups: one(failure), Interrupted: true},
	} {
		if s, text := verdict(r); string(s)+": "+text != want {
			t.Errorf("got %s: %s, want %s", s, text, want)
		}
		html(t, r)
	}
}

// browser runs chromium without a window on a page, and returns what it says.
func browser(t *testing.T, page string, args ...string) (stdout, log string) {
	t.Helper()
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatal("chromium is missing: apt-get install chromium, as scripts/test does")
	}
	// Without its sandbox, for it refuses to run as root with it.
	cmd := exec.CommandContext(t.Context(), chromium, append([]string{"--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
		"--user-data-dir=" + filepath.Join(filepath.Dir(page), "profile"), "--enable-logging=stderr", "--v=0"}, append(args, "file://"+page)...)...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s", page, err, errs.String())
	}
	return out.String(), errs.String()
}

// TestInBrowser: a browser shows the page without a complaint, on a phone and on
// a desk. TAKUMI_TEST_SHOTS names a folder to keep the pictures in.
func TestInBrowser(t *testing.T) {
	if os.Getenv("TAKUMI_TEST_INTEGRATION") != "1" {
		t.Skip("set TAKUMI_TEST_INTEGRATION=1, as scripts/test does, to run this test")
	}
	dir := t.TempDir()
	shots := os.Getenv("TAKUMI_TEST_SHOTS")
	if shots == "" {
		shots = dir
	}
	for _, c := range []struct {
		name   string
		report *verify.Report
		width  int // 0: no picture, but the document
	}{{"sample", sample(), 390}, {"sample", sample(), 1280}, {"nasty", nasty(), 390}, {"nasty", nasty(), 0}} {
		path := filepath.Join(dir, c.name+".html")
		if err := Write(path, c.report); err != nil {
			t.Fatal(err)
		}
		what, shot := "--dump-dom", filepath.Join(shots, fmt.Sprintf("%s-%d.png", c.name, c.width))
		if c.width > 0 {
			what = "--screenshot=" + shot
		}
		dom, log := browser(t, path, fmt.Sprintf("--window-size=%d,3200", max(c.width, 390)), what)
		if strings.Contains(log, "CONSOLE") {
			t.Errorf("%s: the browser complains:\n%s", c.name, log)
		}
		if c.width == 0 {
			if strings.Contains(dom, "<script") || strings.Contains(dom, "<img") || !strings.Contains(dom, "&lt;script&gt;alert(1)&lt;/script&gt;") {
				t.Errorf("%s: the document is not what was written", c.name)
			}
		} else if info, err := os.Stat(shot); err != nil || info.Size() < 10_000 {
			t.Errorf("%s: %v, %v", shot, info, err)
		}
	}
}

// TestAccessible: axe, from npm, finds nothing wrong, in light and in dark, on a
// phone and on a desk.
func TestAccessible(t *testing.T) {
	if os.Getenv("TAKUMI_TEST_LONG") != "1" {
		t.Skip("set TAKUMI_TEST_LONG=1, as scripts/test --long does, to run this test")
	}
	if _, err := exec.LookPath("npm"); err != nil {
		t.Fatal("npm is missing: apt-get install npm, as scripts/test --long does")
	}
	dir := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), "npm", "install", "--no-audit", "--no-fund", "--prefix", dir, "axe-core@4.10.3").CombinedOutput(); err != nil {
		t.Fatalf("npm cannot install axe-core: %v\n%s", err, out)
	}
	axe, err := os.ReadFile(filepath.Join(dir, "node_modules/axe-core/axe.min.js"))
	if err != nil {
		t.Fatal(err)
	}
	// The page's policy would keep the examiner out.
	text := strings.Replace(html(t, sample()), "Content-Security-Policy", "x", 1)
	text = strings.Replace(text, "</body>", "<script>"+string(axe)+`</script><script>
axe.run().then(r => document.title = "axe: " + r.passes.length + " rules pass; " +
  r.violations.map(v => v.id + ": " + v.nodes.map(n => n.target + " " + n.failureSummary).join(", ")).join("; "))</script></body>`, 1)
	page := filepath.Join(dir, "page.html")
	if err := os.WriteFile(page, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	examine := func(page string, args ...string) string {
		dom, _ := browser(t, page, append(args, "--virtual-time-budget=30000", "--dump-dom")...)
		_, title, _ := strings.Cut(dom, "<title>")
		title, _, _ = strings.Cut(title, "</title>")
		return title
	}
	for _, scheme := range []string{"0", "1"} { // dark, light
		for _, width := range []string{"390", "1280"} {
			title := examine(page, "--window-size="+width+",900", "--blink-settings=preferredColorScheme="+scheme)
			t.Log(title)
			if !strings.HasPrefix(title, "axe: ") || !strings.HasSuffix(title, " rules pass; ") || strings.HasPrefix(title, "axe: 0") {
				t.Errorf("scheme %s, %s wide: %s", scheme, width, title)
			}
		}
	}
	// It does look: pale letters are found.
	pale := strings.Replace(text, "--soft: #545d68", "--soft: #b0b8c0", 1)
	if err := os.WriteFile(page, []byte(pale), 0o600); err != nil {
		t.Fatal(err)
	}
	if title := examine(page, "--blink-settings=preferredColorScheme=1"); !strings.Contains(title, "color-contrast") {
		t.Errorf("pale letters pass: %s", title)
	}
}
