package report

import (
	"bytes"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/internal/testkit/browser"
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
	var backups []verify.Backup
	for i := range 10_400 {
		backups = append(backups, verify.Backup{
			Path: fmt.Sprintf("/b/%d/x.enc", i%65), Kind: "stream", Series: "s", Size: int64(i), Created: noon.Add(-time.Duration(i) * time.Minute),
			Findings: []verify.Finding{{Severity: verify.Warning, Code: verify.SidecarMissing, Message: "no sidecar"}},
		})
	}
	r.Backups = verify.ListOf(backups...)
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
	one := func(f ...verify.Finding) *verify.List {
		return verify.ListOf(verify.Backup{Proven: verify.Content, Findings: f}, verify.Backup{Proven: verify.Auth})
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
		if s, text := Verdict(r); string(s)+": "+text != want {
			t.Errorf("got %s: %s, want %s", s, text, want)
		}
		html(t, r)
	}
}

// TestInBrowser: a browser shows the page without a complaint, on a phone and on
// a desk. TAKUMI_TEST_SHOTS names a folder to keep the pictures in.
func TestInBrowser(t *testing.T) {
	browser.Need(t)
	chrome, dir := browser.New(t), t.TempDir()
	for name, r := range map[string]*verify.Report{"sample": sample(), "nasty": nasty()} {
		path := filepath.Join(dir, name+".html")
		if err := Write(path, r); err != nil {
			t.Fatal(err)
		}
		chrome.Shot(t, "file://"+path, name, 390)
	}
	chrome.Shot(t, "file://"+filepath.Join(dir, "sample.html"), "sample", 1280)
	dom, _ := chrome.Run(t, "file://"+filepath.Join(dir, "nasty.html"), "--dump-dom")
	if strings.Contains(dom, "<script") || strings.Contains(dom, "<img") || !strings.Contains(dom, "&lt;script&gt;alert(1)&lt;/script&gt;") {
		t.Error("the document is not what was written")
	}
}

// TestAccessible: axe, from npm, finds nothing wrong, in light and in dark, on a
// phone and on a desk.
func TestAccessible(t *testing.T) {
	examine := browser.Axe(t)
	text := html(t, sample())
	for _, scheme := range browser.Schemes {
		for _, width := range []string{"390", "1280"} {
			if wrong := examine(t, text, "--window-size="+width+",900", scheme); wrong != "" {
				t.Errorf("%s, %s wide: %s", scheme, width, wrong)
			}
		}
	}
	// It does look: pale letters are found.
	pale := strings.Replace(text, "--soft: #545d68", "--soft: #b0b8c0", 1)
	if wrong := examine(t, pale, browser.Schemes[1]); !strings.Contains(wrong, "color-contrast") {
		t.Errorf("pale letters pass: %s", wrong)
	}
}
