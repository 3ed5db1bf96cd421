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
			t.Errorf("%s stands there %d times", shown, n)
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
	for i := range 20_000 {
		r.Backups = append(r.Backups, verify.Backup{
			Path: fmt.Sprintf("/b/%d/x.enc", i%100), Kind: "stream", Series: "s", Size: int64(i), Created: noon.Add(-time.Duration(i) * time.Minute),
			Findings: []verify.Finding{{Severity: verify.Warning, Code: verify.SidecarMissing, Message: "no sidecar"}},
		})
	}
	text := html(t, r)
	if len(text) > 2<<20 {
		t.Errorf("the page has %d bytes", len(text))
	}
	for _, told := range []string{"And 19800 further ones", "And 19000 further ones", "And 40 further series", "the oldest 50 are not drawn", "20000 warnings"} {
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

// TestInBrowser: a browser shows the page without a complaint, on a phone and on
// a desk. TAKUMI_TEST_SHOTS names a folder to keep the pictures in.
func TestInBrowser(t *testing.T) {
	if os.Getenv("TAKUMI_TEST_INTEGRATION") != "1" {
		t.Skip("set TAKUMI_TEST_INTEGRATION=1, as scripts/test does, to run this test")
	}
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatal("chromium is missing: apt-get install chromium, as scripts/test does")
	}
	dir := t.TempDir()
	shots := os.Getenv("TAKUMI_TEST_SHOTS")
	if shots == "" {
		shots = dir
	}
	for name, r := range map[string]*verify.Report{"sample": sample(), "nasty": nasty()} {
		path := filepath.Join(dir, name+".html")
		if err := Write(path, r); err != nil {
			t.Fatal(err)
		}
		browse := func(args ...string) (stdout, log string) {
			t.Helper()
			// Without its sandbox, for it refuses to run as root with it.
			cmd := exec.CommandContext(t.Context(), chromium, append([]string{"--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
				"--user-data-dir=" + filepath.Join(dir, "profile"), "--enable-logging=stderr", "--v=0"}, append(args, "file://"+path)...)...)
			var out, errs bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &errs
			if err := cmd.Run(); err != nil {
				t.Fatalf("%s: %v\n%s", name, err, errs.String())
			}
			return out.String(), errs.String()
		}
		dom, log := browse("--dump-dom")
		if strings.Contains(log, "CONSOLE") {
			t.Errorf("%s: the browser complains:\n%s", name, log)
		}
		if strings.Contains(dom, "<script") || strings.Contains(dom, "<img") || name == "nasty" && !strings.Contains(dom, "&lt;script&gt;alert(1)&lt;/script&gt;") {
			t.Errorf("%s: the document is not what was written", name)
		}
		for _, width := range []int{390, 1280} {
			shot := filepath.Join(shots, fmt.Sprintf("%s-%d.png", name, width))
			_, log := browse(fmt.Sprintf("--window-size=%d,%d", width, 3200), "--screenshot="+shot)
			if strings.Contains(log, "CONSOLE") {
				t.Errorf("%s: the browser complains:\n%s", name, log)
			}
			if info, err := os.Stat(shot); err != nil || info.Size() < 10_000 {
				t.Errorf("%s: %v, %v", shot, info, err)
			}
		}
	}
}
