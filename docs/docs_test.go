// Package docs holds documents; this test keeps them true.
package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// tests lists every test of the project as package.TestName.
func tests(t *testing.T) map[string]bool {
	t.Helper()
	found := make(map[string]bool)
	function := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	err := filepath.WalkDir("..", func(path string, _ os.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, m := range function.FindAllStringSubmatch(string(text), -1) {
			found[filepath.Base(filepath.Dir(path))+"."+m[1]] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestClaimsHaveTests: each row of the tables of claims names tests, and each
// of them exists.
func TestClaimsHaveTests(t *testing.T) {
	exists := tests(t)
	name := regexp.MustCompile("`([\\w-]+\\.(?:Test|Fuzz)\\w+)`")
	for page, head := range map[string]string{
		"SECURITY.md": "| claim | test |\n|---|---|\n",
		"SECRETS.md":  "| # demand | command | test |\n|---|---|---|\n",
		"KEYS.md":     "| control | feature | test |\n|---|---|---|\n",
	} {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		_, rest, ok := strings.Cut(string(text), head)
		if !ok {
			t.Fatalf("%s: there is no table of claims", page)
		}
		table, _, _ := strings.Cut(rest, "\n\n")
		for row := range strings.Lines(table) {
			named := name.FindAllStringSubmatch(row, -1)
			if len(named) == 0 {
				t.Errorf("%s: no test for: %s", page, row)
			}
			for _, m := range named {
				if !exists[m[1]] {
					t.Errorf("%s: %s does not exist: %s", page, m[1], row)
				}
			}
		}
	}
}

// TestLinks: what the documents link to inside the project is there.
func TestLinks(t *testing.T) {
	pages, err := filepath.Glob("*.md")
	if err != nil {
		t.Fatal(err)
	}
	link := regexp.MustCompile(`\]\(([^)#]+)(?:#[^)]*)?\)`)
	for _, page := range append(pages, "../README.md", "../CONTRIBUTING.md", "vectors/README.md") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Error(err)
			continue
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(page), m[1])); err != nil {
				t.Errorf("%s: %v", page, err)
			}
		}
	}
}
