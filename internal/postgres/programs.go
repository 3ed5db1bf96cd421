package postgres

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"

	"github.com/takumi-backup/takumi-backup/internal/secretenv"
)

// ProgramError says that no program fits a server.
type ProgramError struct {
	Name   string
	Server int            // the server's major version
	Found  map[string]int // the programs that there are, with their versions
}

func (e *ProgramError) Error() string {
	if len(e.Found) == 0 {
		return fmt.Sprintf("%s is neither in PATH nor in /usr/lib/postgresql: install PostgreSQL's client programs, version %d", e.Name, e.Server)
	}
	text := fmt.Sprintf("the server is PostgreSQL %d, and needs %s of that version or a later one; there is only", e.Server, e.Name)
	sep := " "
	for _, path := range sortedPaths(e.Found) {
		text += fmt.Sprintf("%s%s, version %d", sep, path, e.Found[path])
		sep = ", "
	}
	return text
}

func sortedPaths(found map[string]int) []string {
	var paths []string
	for path := range found {
		paths = append(paths, path)
	}
	slices.Sort(paths)
	return paths
}

// debianPrograms is where Debian keeps each version's programs. A variable for tests.
var debianPrograms = "/usr/lib/postgresql/*/bin"

// Program returns the path of a program of PostgreSQL that fits a server: from PATH, or
// from Debian's folders. The server's own version comes first, because a later program
// writes settings that an older server refuses at a restore; then the newest. A failure is
// *ProgramError.
func Program(ctx context.Context, name string, server int) (string, error) {
	var candidates []string
	if path, err := exec.LookPath(name); err == nil {
		candidates = append(candidates, path)
	}
	others, err := filepath.Glob(filepath.Join(debianPrograms, name))
	if err != nil {
		return "", err
	}
	found := make(map[string]int)
	best := ""
	for _, path := range append(candidates, others...) {
		major, ok := programVersion(ctx, path)
		if !ok {
			continue
		}
		found[path] = major
		switch {
		case major == server:
			return path, nil
		case major > server && major > found[best]:
			best = path
		}
	}
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	if best == "" {
		return "", &ProgramError{name, server, found}
	}
	return best, nil
}

var versionWords = regexp.MustCompile(`\(PostgreSQL\) (\d+)`)

func programVersion(ctx context.Context, path string) (int, bool) {
	cmd := exec.CommandContext(ctx, path, "--version")
	cmd.Env = secretenv.Environ()
	out, err := cmd.Output()
	if err != nil {
		return 0, false
	}
	match := versionWords.FindSubmatch(out)
	if match == nil {
		return 0, false
	}
	major, err := strconv.Atoi(string(match[1]))
	return major, err == nil
}
