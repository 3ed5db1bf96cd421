package contracts

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/takumi-backup/takumi-backup/internal/fsutil"
)

// Revision is the commit of a git working tree.
type Revision struct {
	Commit string `json:"git_commit,omitempty"`
	Branch string `json:"git_branch,omitempty"` // empty when HEAD is detached
}

// maxGitFile bounds what is read of a file in .git.
const maxGitFile = 64 << 20

// ReadRevision returns the commit and branch of the working tree that holds dir,
// from the files in .git alone: git itself would run what the repository tells
// it to. Outside of a working tree the revision is empty, without an error.
func ReadRevision(dir string) (Revision, error) {
	gitDir, err := findGit(dir)
	if err != nil || gitDir == "" {
		return Revision{}, err
	}
	head, err := firstLine(filepath.Join(gitDir, "HEAD"))
	if err != nil {
		return Revision{}, fmt.Errorf("reading the git revision: %w", err)
	}
	ref, symbolic := strings.CutPrefix(head, "ref: ")
	if !symbolic {
		if !isCommit(head) {
			return Revision{}, errors.New("reading the git revision: HEAD is neither a commit nor a branch")
		}
		return Revision{Commit: head}, nil
	}
	if !strings.HasPrefix(ref, "refs/") || !fs.ValidPath(ref) {
		return Revision{}, errors.New("reading the git revision: HEAD names something that is not a branch")
	}
	r := Revision{Branch: strings.TrimPrefix(ref, "refs/heads/")}
	if r.Commit, err = resolve(gitDir, ref); err != nil {
		return Revision{}, fmt.Errorf("reading the git revision: %w", err)
	}
	return r, nil
}

// findGit returns the git folder of the working tree that holds dir, or "".
func findGit(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	for {
		path := filepath.Join(dir, ".git")
		info, err := os.Stat(path)
		switch {
		case err == nil && info.IsDir():
			return path, nil
		case err == nil: // a worktree or submodule
			line, err := firstLine(path)
			target, found := strings.CutPrefix(line, "gitdir: ")
			if err != nil || !found {
				return "", fmt.Errorf("reading the git revision: %s names no git folder", path)
			}
			if !filepath.IsAbs(target) {
				target = filepath.Join(dir, target)
			}
			return target, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", nil
		}
		dir = parent
	}
}

// resolve returns the commit of a ref, or "" before the first commit.
func resolve(gitDir, ref string) (string, error) {
	dirs := []string{gitDir}
	if common, err := firstLine(filepath.Join(gitDir, "commondir")); err == nil { // in a worktree
		if !filepath.IsAbs(common) {
			common = filepath.Join(gitDir, common)
		}
		dirs = append(dirs, common)
	}
	for _, dir := range dirs {
		commit, err := firstLine(filepath.Join(dir, ref))
		if err == nil && isCommit(commit) {
			return commit, nil
		}
		if err == nil {
			return "", fmt.Errorf("%s holds no commit", ref)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	for _, dir := range dirs {
		commit, err := packedRef(filepath.Join(dir, "packed-refs"), ref)
		if err != nil && !errors.Is(err, fs.ErrNotExist) || commit != "" {
			return commit, err
		}
	}
	return "", nil
}

func packedRef(path, ref string) (string, error) {
	f, err := fsutil.OpenRegular(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	lines := bufio.NewScanner(io.LimitReader(f, maxGitFile))
	for lines.Scan() {
		if commit, name, found := strings.Cut(lines.Text(), " "); found && name == ref && isCommit(commit) {
			return commit, nil
		}
	}
	return "", lines.Err()
}

// isCommit says whether text is an object id, of SHA-1 or SHA-256.
func isCommit(text string) bool {
	return (len(text) == 40 || len(text) == 64) && strings.Trim(text, "0123456789abcdef") == ""
}

func firstLine(path string) (string, error) {
	f, err := fsutil.OpenRegular(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, 4096))
	if err != nil {
		return "", err
	}
	line, _, _ := strings.Cut(string(data), "\n")
	return strings.TrimSpace(line), nil
}
