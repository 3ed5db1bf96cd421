package docs_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// tics are turns of phrase that CONTRIBUTING.md ("Words") replaces by plain ones.
var tics = []struct {
	use string // what to write instead
	re  *regexp.Regexp
}{
	{"is, is in, exists", regexp.MustCompile(`\b(stands|stood)\b(?: (?:for|in for)\b)?`)},
	{"says, shows, reports, notifies", regexp.MustCompile(`\btells\b`)},
	{"next to", regexp.MustCompile(`\b[Bb]eside\b`)},
	{"is not a", regexp.MustCompile(`\b(?:[Tt]here |of it )?(?:is|was|are|were) no [a-z]+`)},
	{"is not, is missing", regexp.MustCompile(`\bis none of it\b|\bthat is none\b`)},
	{"is intended, as it should be", regexp.MustCompile(`\bis to be so\b|\bmay be so\b`)},
	{"a sentence that begins with its subject", regexp.MustCompile(`(?:[.!] |^)What (?:is|was|has|they|makes|opens|came) [^?]*$`)},
}

// idiom reports whether a match is common English, and no tic.
func idiom(match string) bool {
	for _, common := range []string{
		"stands for", "stood for", "stands in for", "There ", "there ", "of it ",
		"is no longer", "are no longer", "was no longer", "were no longer", "is no more", "are no more",
		"is no use", "is no matter", "is no need", "is no way", "is no other", "are no other", "is no one",
	} {
		if strings.HasPrefix(match, common) {
			return true
		}
	}
	return false
}

// TestWords: user-visible text and the documents are free of the tics that
// CONTRIBUTING.md names.
func TestWords(t *testing.T) {
	if found := look("the key stands beside it, and is no key"); len(found) != 3 {
		t.Fatalf("three tics are seen as %q", found)
	}
	if found := look("a letter that stands for a share; it is no longer there; there is no key"); len(found) != 0 {
		t.Fatalf("plain words are seen as tics: %q", found)
	}
	root := ".."
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, path)
		switch {
		case d.IsDir() && (d.Name() == ".git" || d.Name() == "testdata" || d.Name() == "testkit" || d.Name() == "node_modules"):
			return filepath.SkipDir
		// The format is published as it is, the log of changes is history, and
		// the page of style quotes what it is against.
		case rel == "docs/FORMAT.md" || rel == "CHANGELOG.md" || rel == "CONTRIBUTING.md":
			return nil
		case strings.HasSuffix(rel, ".md"):
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			for i, line := range strings.Split(string(text), "\n") {
				report(t, rel, i+1, line)
			}
		case strings.HasSuffix(rel, ".go") && !strings.HasSuffix(rel, "_test.go"):
			return literals(path, func(line int, text string) { report(t, rel, line, text) })
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func report(t *testing.T, file string, line int, text string) {
	for _, found := range look(text) {
		t.Errorf("%s:%d: %s", file, line, found)
	}
}

// look returns the tics of a text, each with what to write instead.
func look(text string) []string {
	var found []string
	for _, tic := range tics {
		for _, match := range tic.re.FindAllString(text, -1) {
			if !idiom(strings.TrimLeft(match, ".! ")) {
				found = append(found, strconv.Quote(match)+": write "+tic.use)
			}
		}
	}
	return found
}

// literals calls f with every line of the string literals of a Go file.
func literals(path string, f func(line int, text string)) error {
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, path, nil, parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			text, err := strconv.Unquote(lit.Value)
			if err != nil {
				return true
			}
			for i, line := range strings.Split(text, "\n") {
				f(set.Position(lit.Pos()).Line+i, line)
			}
		}
		return true
	})
	return nil
}
