package checklist

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/secretenv"
)

const maxFile = 1 << 20 // bytes of a file that is looked at

// skipped are folders of others' code and of what is built.
var skipped = []string{".git", "node_modules", "vendor", "dist", "build", "coverage", ".next", "artifacts", "cache", "typechain-types"}

type tree struct {
	root    string
	git     bool
	paths   []string        // of files that are looked at, with slashes
	tracked map[string]bool // in git
	ignored map[string]bool // by git, of .env files
}

func openTree(ctx context.Context, root string) (*tree, error) {
	t := &tree{root: root, tracked: make(map[string]bool), ignored: make(map[string]bool)}
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		case d.IsDir() && p != root && slices.Contains(skipped, d.Name()):
			return fs.SkipDir
		case d.Type().IsRegular():
			rel, err := filepath.Rel(root, p)
			if err != nil {
				return err
			}
			t.paths = append(t.paths, filepath.ToSlash(rel))
		}
		return nil
	})
	if err != nil {
		return nil, fail.Usagef("looking through the tree: %w", err)
	}
	out, err := t.run(ctx, "rev-parse", "--show-prefix")
	t.git = err == nil && len(bytes.TrimSpace(out)) == 0 // the root of a repository
	if !t.git {
		return t, nil
	}
	if out, err = t.run(ctx, "ls-files", "-z"); err != nil {
		return nil, err
	}
	for name := range strings.SplitSeq(string(out), "\x00") {
		t.tracked[name] = true
	}
	for _, p := range t.paths {
		if isEnvFile(p) {
			_, err := t.run(ctx, "check-ignore", "-q", "--", p)
			t.ignored[p] = err == nil
		}
	}
	return t, nil
}

// git is a command of git that runs nothing of the tree's own.
func (t *tree) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "git", append([]string{"-C", t.root, "-c", "core.fsmonitor=", "-c", "core.hooksPath=/dev/null", "-c", "diff.external=", "-c", "core.pager=cat"}, args...)...)
	cmd.Env = append(secretenv.Environ(), "GIT_OPTIONAL_LOCKS=0", "GIT_TERMINAL_PROMPT=0")
	return cmd
}

func (t *tree) run(ctx context.Context, args ...string) ([]byte, error) {
	out, err := t.command(ctx, args...).Output()
	if err != nil {
		return nil, fmt.Errorf("asking git (%s): %w", args[0], err)
	}
	return out, nil
}

// read returns a text file, or nothing for one that is too large or no text.
func (t *tree) read(p string) string {
	full := filepath.Join(t.root, filepath.FromSlash(p))
	info, err := os.Lstat(full)
	if err != nil || !info.Mode().IsRegular() || info.Size() > maxFile {
		return ""
	}
	text, err := os.ReadFile(full)
	if err != nil || bytes.IndexByte(text[:min(len(text), 8000)], 0) >= 0 {
		return ""
	}
	return string(text)
}

func (t *tree) has(p string) bool { return slices.Contains(t.paths, p) }

func (t *tree) hasDir(dir string) bool {
	return slices.ContainsFunc(t.paths, func(p string) bool { return strings.HasPrefix(p, dir+"/") })
}

func isEnvFile(p string) bool {
	base := path.Base(p)
	return (base == ".env" || strings.HasPrefix(base, ".env.") || strings.HasSuffix(base, ".env")) && !isExample(p)
}

func isExample(p string) bool {
	base := strings.ToLower(path.Base(p))
	for _, word := range []string{"example", "sample", "template", "dist", ".tpl"} {
		if strings.Contains(base, word) {
			return true
		}
	}
	return false
}

// isTest is what is made for tests and documents, whose values are made up.
func isTest(p string) bool {
	for part := range strings.SplitSeq(strings.ToLower(p), "/") {
		switch {
		case slices.Contains([]string{"test", "tests", "__tests__", "spec", "specs", "fixtures", "fixture", "testdata", "testing", "mocks", "__mocks__", "mock", "examples", "example", "docs", "doc", "e2e", "cypress"}, part),
			strings.Contains(part, ".test."), strings.Contains(part, ".spec."), strings.Contains(part, "_test."), strings.HasPrefix(part, "test_"), strings.HasPrefix(part, "test-"), strings.HasSuffix(part, ".md"):
			return true
		}
	}
	return false
}

func hasExt(p string, exts ...string) bool { return slices.Contains(exts, path.Ext(p)) }

func isCode(p string) bool {
	return hasExt(p, ".js", ".ts", ".jsx", ".tsx", ".mjs", ".cjs", ".mts", ".cts", ".go", ".py", ".rb", ".java", ".sol", ".php", ".sh") && !isTest(p)
}

func isYAML(p string) bool { return hasExt(p, ".yml", ".yaml") && !isTest(p) }

func isDockerfile(p string) bool {
	base := path.Base(p)
	return base == "Dockerfile" || strings.HasPrefix(base, "Dockerfile.") || strings.HasSuffix(base, ".Dockerfile") || base == "Containerfile"
}

func isManager(p string) bool {
	return strings.Contains(strings.ToLower(p), "secret")
}
