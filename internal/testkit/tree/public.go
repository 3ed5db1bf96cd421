package treetest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// packages are what Public has from the npm registry: 60,000 files.
var packages = []string{
	"next@16.4.6", "typescript@5.9.3", "@types/node@24.0.0", "date-fns@4.1.0", "lodash-es@4.17.21", "@mui/icons-material@7.3.5", "core-js@3.46.0",
}

// Public fills dir with a tree that nobody made for this project, of 78,000 files: Go's
// distribution in "go", and large packages of npm, with links between them as npm and
// pnpm make them, in "node_modules". What it fetches is kept in the user's cache. Times
// are whole seconds and owners root's, as old archives and 7z have them.
func Public(t testing.TB, dir string) {
	t.Helper()
	goroot := strings.TrimSpace(string(Shell(t, ".", "go env GOROOT", "go")))
	must := func(script string, args ...string) {
		t.Helper()
		cmd := exec.Command("sh", append([]string{"-euc", script, "sh"}, args...)...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", cmd, err, out)
		}
	}
	must(`cp -a "$1" go; mkdir node_modules`, goroot)
	for _, p := range packages {
		name, _, _ := strings.Cut(p[1:], "@")
		must(`mkdir -p "node_modules/$2"; tar --no-same-owner -xzf "$1" -C "node_modules/$2" --strip-components=1`, fetched(t, p), p[:1]+name)
	}
	must(`cd node_modules; mkdir .bin .store; cp -al lodash-es .store/lodash-es
		for f in next/dist/bin/next typescript/bin/tsc typescript/bin/tsserver; do ln -s "../$f" ".bin/${f##*/}"; done
		find . .. \( -type d -o -type l \) -exec touch -h -d @1700000000 {} +`)
}

// fetched returns the path of a package of npm, whose content npm checks when it fetches it.
func fetched(t testing.TB, name string) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	cache = filepath.Join(cache, "takumi-backup", "npm")
	path := filepath.Join(cache, strings.NewReplacer("@", "", "/", "-").Replace(name)+".tgz")
	if _, err := os.Stat(path); err == nil {
		return path
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		t.Fatal(err)
	}
	Shell(t, cache, `d=$(mktemp -d ./fetch-XXXXXX); trap 'rm -rf "$d"' EXIT; npm pack --silent --pack-destination "$d" `+name+`; mv "$d"/*.tgz `+filepath.Base(path), "npm")
	return path
}
