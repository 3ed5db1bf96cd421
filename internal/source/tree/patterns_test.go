package tree_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/takumi-backup/takumi-backup/internal/source/tree"
)

// ignored returns what git leaves out of a tree with these patterns: paths, folders
// with a slash, without what is in them.
func ignored(t *testing.T, dir string, patterns []string) []string {
	t.Helper()
	write(t, filepath.Join(dir, ".git/info/exclude"), strings.Join(patterns, "\n")+"\n")
	cmd := exec.Command("git", "-c", "core.excludesFile=", "-c", "core.ignoreCase=false", "check-ignore", "--no-index", "-z", "--stdin")
	cmd.Dir = dir
	var paths []string
	filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		rel := strings.TrimPrefix(strings.TrimPrefix(path, dir), "/")
		switch {
		case rel == ".git":
			return filepath.SkipDir
		case rel != "":
			paths = append(paths, rel)
		}
		return err
	})
	cmd.Stdin = strings.NewReader(strings.Join(paths, "\x00"))
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	if err := cmd.Run(); err != nil && stderr.Len() > 0 {
		t.Fatalf("%v: %s", err, stderr.Bytes())
	}
	return strings.Split(strings.TrimSuffix(out.String(), "\x00"), "\x00")
}

// TestAsGit: patterns leave out what git leaves out with them.
func TestAsGit(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("there is no git to compare with")
	}
	dir := t.TempDir()
	if out, err := exec.Command("git", "init", "-q", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, path := range []string{"a", "b", "!a", "#a", "x.tmp", "a.b", "A", "-", "]", "[", "^", "a b ", "a*", "back\\slash", "{a,b}", "new\nline", "dir/a", "dir/b/a", "dir/b/c/a", "b.d/a",
		"foo/bar", "foo/baz/bar", "deep/foo/bar", "doc/frotz/x", "a9", "aZ", "a-", "keep/me", "keep/me.not"} {
		write(t, filepath.Join(dir, path), "x")
	}
	check := func(patterns []string) {
		t.Helper()
		parsed, err := tree.ParsePatterns(patterns)
		if err != nil {
			t.Errorf("%q: %v", patterns, err)
			return
		}
		out := ignored(t, dir, patterns)
		got := archive(t, dir, tree.Options{Exclude: append(parsed, must(tree.ParsePatterns([]string{"/.git"}))...)})
		var kept []string
		filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
			rel := strings.TrimPrefix(strings.TrimPrefix(path, dir), "/")
			if rel == "" || strings.HasPrefix(rel, ".git") || slices.Contains(out, rel) {
				return err
			}
			if info.IsDir() {
				rel += "/"
			}
			kept = append(kept, rel)
			return err
		})
		text := strings.TrimPrefix(strings.TrimSuffix(string(gnuTar(t, got, "-t", "--quoting-style=literal")), "\n")+"\n", "./\n")
		if want := strings.Join(append(kept, ""), "\n"); sorted(text) != sorted(want) {
			t.Errorf("%q:\n got %q\nwant %q", patterns, sorted(text), sorted(want))
		}
	}
	for _, patterns := range [][]string{
		{"[!a]*"}, {"[^a]*"}, {"*.{jpg,png}"}, {"{a,b}"}, {"!a"}, {"*", "!a"}, {"dir/", "!dir/a"}, {"dir/*", "!dir/b"}, {"*.tmp", "!x.tmp", "x.*"},
		{`\!a`}, {`\#a`}, {"a/"}, {"/a"}, {"dir/a"}, {"foo/bar"}, {"**/foo/bar"}, {"foo/**"}, {"foo/**/bar"}, {"**/bar"}, {"foo/*/bar"}, {"**"}, {"/**"}, {"**/"},
		{"a**b"}, {"a?"}, {"a[0-9]"}, {"a[[:digit:]]"}, {"a[[:upper:]-]"}, {"[]]"}, {"[[]"}, {"[]-]"}, {"[a-]"}, {"[!]-]"}, {`[\]]`}, {`a\*`}, {`back\\slash`}, {`a\ b\ `}, {"frotz/"},
		{"doc/frotz/"}, {"/*", "!/keep", "/keep/*", "!/keep/me"}, {"*", "!*/", "!*.tmp"}, {"b.d"}, {"?"}, {"A"}, {`[a\-z]`}, {"[--a]"},
	} {
		check(patterns)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	pieces := []string{"a", "b", "*", "**", "?", "[!a]", "[a-c]", "dir", "foo", "bar", ".", "x", "/", "/", "keep", "me"}
	for range 60 {
		var patterns []string
		for range 1 + rng.IntN(3) {
			text := []string{"", "", "!", "/"}[rng.IntN(4)]
			for range 1 + rng.IntN(4) {
				text += pieces[rng.IntN(len(pieces))]
			}
			if _, err := tree.ParsePatterns([]string{text}); err == nil {
				patterns = append(patterns, text)
			}
		}
		if len(patterns) > 0 {
			check(patterns)
		}
	}
}

func must(p tree.Patterns, err error) tree.Patterns {
	if err != nil {
		panic(err)
	}
	return p
}

func sorted(text string) string {
	lines := strings.Split(text, "\n")
	slices.Sort(lines)
	return strings.Join(lines, " ")
}

// TestPatternFiles: lines, comments and blanks as git reads them; and what is no
// pattern, and what matches nothing, is said.
func TestPatternFiles(t *testing.T) {
	t.Parallel()
	got, err := tree.ReadPatterns(strings.NewReader("\ufeff*.tmp\r\n\n# comment\n\\#not\ntrailing  \nkept\\ \n  leading\n/cache/\nlast"))
	want := []string{"*.tmp", `\#not`, "trailing", `kept\ `, "  leading", "/cache/", "last"}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, want %q, %v", got, want, err)
	}
	p := must(tree.ParsePatterns([]string{"a", "*.{jpg,png}", "missing", "!a", "b/"}))
	p.Match("a", false)
	p.Match("b", false)
	if words := fmt.Sprint(p.Unused()); strings.Count(words, "matches nothing") != 3 || !strings.Contains(words, "braces") {
		t.Errorf("got %s", words)
	}
	for _, bad := range []string{"[", "[a", "[!", "[]", "a/[z-a]", `a\`, "[[:nonsense:]]", "[[:digit:", "a//b", "./a", "a/..", "!", "!/", "\xff*"} {
		if _, err := tree.ParsePatterns([]string{bad}); err == nil {
			t.Errorf("%q passes for a pattern", bad)
		}
	}
}

// TestMarkedFolders: folders that say that they are caches are left out but for
// what says so, and nobody takes another file for such a tag, nor the root.
func TestMarkedFolders(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for path, content := range map[string]string{
		"cache/CACHEDIR.TAG": "Signature: 8a477f597d28d172789f06886806bc55\n# more", "cache/x": "", "cache/y/z": "", "fake/CACHEDIR.TAG": "Signature: no", "fake/x": "",
		"not/.nobackup": "", "not/x": "", ".nobackup": "", "a": "",
	} {
		write(t, filepath.Join(dir, path), content)
	}
	r := open(t, dir, tree.Options{ExcludeCaches: true, ExcludeIfPresent: []string{".nobackup"}})
	var data bytes.Buffer
	if _, err := data.ReadFrom(r); err != nil {
		t.Fatal(err)
	}
	if got := list(t, data.Bytes()); got != "./ .nobackup a cache/ cache/CACHEDIR.TAG fake/ fake/CACHEDIR.TAG fake/x not/ not/.nobackup" || r.Stats().Excluded != 3 {
		t.Errorf("got %s, %+v", got, r.Stats())
	}
	if got := list(t, archive(t, dir, tree.Options{})); strings.Count(got, " ") != 13 {
		t.Errorf("without the flags: %s", got)
	}
}
