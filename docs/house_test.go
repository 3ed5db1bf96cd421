package docs

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/takumi-backup/takumi-backup/"

// floors are the house from the top: what is on one imports of those below it
// alone. CONTRIBUTING.md draws it.
var floors = []string{"cmd", "verify", "restore", "backup", "keystore", "envelope", "stream", "internal"}

// TestImportsRunDown: no package imports of a floor above its own, none those that
// only tests and measurements use, and internal/testkit is for tests.
func TestImportsRunDown(t *testing.T) {
	list := exec.CommandContext(t.Context(), "go", "list", "-f", `{{.ImportPath}}{{range .Imports}} {{.}}{{end}}`, "./...")
	list.Dir = ".."
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	floor := func(path string) int {
		top, _, _ := strings.Cut(path, "/")
		return slices.Index(floors, top)
	}
	kit := func(path string) bool { return strings.HasPrefix(path, "internal/testkit/") }
	seen := 0
	for line := range strings.Lines(string(out)) {
		words := strings.Fields(strings.ReplaceAll(line, module, ""))
		from := words[0]
		for _, to := range words[1:] {
			if !strings.Contains(line, module+to) {
				continue // of another module
			}
			seen++
			switch {
			case kit(from):
			case kit(to):
				t.Errorf("%s imports %s, which is for tests", from, to)
			case floor(to) < 0 && to != "scripts/systemd": // whose units the program installs
				t.Errorf("%s imports %s, which is not part of the house", from, to)
			case floor(to) >= 0 && floor(from) > floor(to):
				t.Errorf("%s imports %s, which is above it", from, to)
			}
		}
	}
	if seen < 100 {
		t.Errorf("only %d imports were seen", seen)
	}
}
