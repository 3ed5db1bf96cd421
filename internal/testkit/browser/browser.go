// Package browser looks at pages with Chromium, for tests.
package browser

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Need skips a test that is to run without other programs.
func Need(t *testing.T) {
	t.Helper()
	if os.Getenv("TAKUMI_TEST_INTEGRATION") != "1" {
		t.Skip("set TAKUMI_TEST_INTEGRATION=1, as scripts/test does, to look at pages with Chromium")
	}
}

// Browser is a Chromium with a profile of its own.
type Browser struct{ profile string }

// New returns a browser for as long as the test runs.
func New(t *testing.T) Browser { return Browser{t.TempDir()} }

// Run opens a URL in Chromium without a window, and returns what that prints. log has
// "CONSOLE" where the page made it complain.
func (b Browser) Run(t *testing.T, url string, args ...string) (stdout, log string) {
	t.Helper()
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatal("chromium is missing: apt-get install chromium, as scripts/test does")
	}
	// Without its sandbox, for it refuses to run as root with it.
	cmd := exec.CommandContext(t.Context(), chromium, append([]string{"--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
		"--user-data-dir=" + b.profile, "--enable-logging=stderr", "--v=0"}, append(args, url)...)...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s", url, err, errs.String())
	}
	return out.String(), errs.String()
}

// Shot takes a picture of a page, in the folder that TAKUMI_TEST_SHOTS names or one that
// goes, and fails when the page makes the browser complain.
func (b Browser) Shot(t *testing.T, url, name string, width int, args ...string) {
	t.Helper()
	dir := os.Getenv("TAKUMI_TEST_SHOTS")
	if dir == "" {
		dir = t.TempDir()
	}
	shot := filepath.Join(dir, fmt.Sprintf("%s-%d.png", name, width))
	_, log := b.Run(t, url, append(args, fmt.Sprintf("--window-size=%d,3200", width), "--screenshot="+shot)...)
	if strings.Contains(log, "CONSOLE") {
		t.Errorf("%s: the browser complains:\n%s", name, log)
	}
	if info, err := os.Stat(shot); err != nil || info.Size() < 10_000 {
		t.Errorf("%s: %v, %v", shot, info, err)
	}
}

// Schemes are arguments for dark and for light colours.
var Schemes = []string{"--blink-settings=preferredColorScheme=0", "--blink-settings=preferredColorScheme=1"}

// Axe returns a function that has axe, from npm, examine the text of a page, and returns
// what is wrong with it, "" for nothing.
func Axe(t *testing.T) func(t *testing.T, text string, args ...string) string {
	t.Helper()
	if os.Getenv("TAKUMI_TEST_LONG") == "" {
		t.Skip("set TAKUMI_TEST_LONG=1, as scripts/test --long does, to examine pages with axe")
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
	b := New(t)
	return func(t *testing.T, text string, args ...string) string {
		t.Helper()
		// The page's policy would keep the examiner out.
		text = strings.Replace(text, "Content-Security-Policy", "x", 1)
		text = strings.Replace(text, "</body>", "<script>"+string(axe)+`</script><script>
axe.run().then(r => document.title = "axe: " + r.passes.length + " rules pass; " +
  r.violations.map(v => v.id + ": " + v.nodes.map(n => n.target + " " + n.failureSummary).join(", ")).join("; "))</script></body>`, 1)
		path := filepath.Join(t.TempDir(), "page.html")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		dom, _ := b.Run(t, "file://"+path, append(args, "--virtual-time-budget=30000", "--dump-dom")...)
		_, title, _ := strings.Cut(dom, "<title>")
		title, _, _ = strings.Cut(title, "</title>")
		t.Log(title)
		passed, wrong, found := strings.Cut(title, " rules pass; ")
		if !found || passed == "axe: 0" {
			return "axe did not run: " + title
		}
		return wrong
	}
}
