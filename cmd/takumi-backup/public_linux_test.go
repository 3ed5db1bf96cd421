package main

import (
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/internal/testkit/tree"
)

// publicTree is a sandbox for the program as users have it, with a public tree in
// "tree/public".
func publicTree(t *testing.T) *sandbox {
	t.Helper()
	needIntegration(t)
	if os.Getenv("TAKUMI_TEST_LONG") == "" {
		t.Skip("set TAKUMI_TEST_LONG=1, as scripts/test --long does, to run this test: it fetches packages from npm")
	}
	b := measured(t)
	b.patience = time.Hour
	public := b.path("tree/public")
	if err := os.MkdirAll(public, 0o755); err != nil {
		t.Fatal(err)
	}
	treetest.Public(t, public)
	return b
}

// TestPublicTree: a tree of 78,000 files that nobody made for this project comes back as
// it was, by the listings of diff, bsdtar and getfattr. There is more in it than the
// public part has: owners, holes, devices, attributes, odd names.
func TestPublicTree(t *testing.T) {
	b := publicTree(t)
	dressed := b.path("tree/dressed")
	for seed := range uint64(8) {
		dir := filepath.Join(dressed, string(rune('a'+seed)))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		treetest.Make(t, dir, seed)
	}
	b.shell(`cp -a tree/public/node_modules/date-fns tree/dressed/; cd tree/dressed/date-fns
		find . -name 'a*.js' -exec setfattr -n user.origin -v npm {} +; find . -name 'b*.js' -exec chown 33:1000 {} +
		setfacl -R -m u:33:r locale; setfattr -n trusted.mark -v 1 locale; touch -d 2001-02-03T04:05:06.789012345 README.md`)

	began := time.Now()
	b.run(exitOK, nil, "backup", "uploads", "tree", "-o", "all.enc")
	b.run(exitOK, nil, "verify", "all.enc")
	b.run(exitOK, nil, "restore", "uploads", "all.enc", "--special", "--to", "back")
	t.Logf("backup, verify, restore: %.0f s", time.Since(began).Seconds())
	if got, want := b.listing("back"), b.listing("tree"); got != want {
		t.Errorf("the listing differs:\n%s", firstDifferences(got, want))
	}
	b.shell(`diff -r --no-dereference tree/public back/public`)
	if got, want := b.shell(`cd back; `+attributes), b.shell(`cd tree; `+attributes); got != want || !strings.Contains(got, "user.origin") {
		t.Errorf("the attributes differ:\n%s", firstDifferences(got, want))
	}
}

const attributes = `find . -print0 | LC_ALL=C sort -z | xargs -0 getfattr -h -d -m - -e hex`

// TestPublicArchives: one package of the same tree, and with TAKUMI_TEST_LONG=full all of
// it, archived by others, is sealed, verified, listed and restored. Packed archives are in
// TestArchivesOfOthers. Forms that have no room for long names have the largest package.
func TestPublicArchives(t *testing.T) {
	b := publicTree(t)
	listings := make(map[string]string)
	for _, name := range slices.Sorted(maps.Keys(treetest.Forms)) {
		if form := treetest.Forms[name]; !form.Packed {
			t.Run(name, func(t *testing.T) {
				began := time.Now()
				b.archived(t, form, listings)
				t.Logf("%.0f s", time.Since(began).Seconds())
			})
		}
	}
}

// archived has what form makes of the tree sealed and restored. The listings are those of
// the folders it was made of, by their paths.
func (b *sandbox) archived(t *testing.T, form treetest.Form, listings map[string]string) {
	outer := b.T
	b.T = t
	defer func() { b.T = outer }()
	dir := "tree/public"
	switch {
	case os.Getenv("TAKUMI_TEST_LONG") != "full":
		dir += "/node_modules/date-fns"
	case form.ShortNames:
		dir += "/node_modules/@mui"
	}
	archive, err := os.Create(b.path("archive"))
	if err != nil {
		t.Fatal(err)
	}
	defer archive.Close()
	form.MakeTo(t, archive, b.path(dir))
	if _, err := archive.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	b.run(exitOK, archive, "seal", "--kind", "uploads", "-o", "a.enc")
	b.run(exitOK, nil, "verify", "a.enc")
	under := path.Join("/", form.Under, "x")
	want := strings.Split(b.shell(`cd `+dir+`; find . -printf '`+under[1:len(under)-1]+`%P\n'`), "\n")
	listed := strings.Split(b.run(exitOK, nil, "ls", "a.enc").stdout.String(), "\n")
	for i, name := range want {
		if want[i] = strings.TrimSuffix(name, "/"); want[i] == "" && i == 0 && !form.NoRoot {
			want[i] = "."
		}
	}
	slices.Sort(want)
	slices.Sort(listed)
	if got, want := strings.Join(slices.Compact(listed), "\n"), strings.Join(slices.Compact(want), "\n"); got != want {
		t.Errorf("ls prints others:\n%s", firstDifferences(got, want))
	}
	b.run(exitOK, nil, "restore", "uploads", "a.enc", "--to", "all")
	root := filepath.Join("all", form.Under)
	got, wanted := b.listing(root), listings[dir]
	if wanted == "" {
		wanted = b.listing(dir)
		listings[dir] = wanted
	}
	if form.NoRoot {
		root := regexp.MustCompile(`(?m)^\. .*\n`)
		got, wanted = root.ReplaceAllString(got, ""), root.ReplaceAllString(wanted, "")
	}
	if got != wanted {
		t.Errorf("the listing differs:\n%s", firstDifferences(got, wanted))
	}
	b.shell(`rm -rf a.enc* all archive`)
}

// shell runs a script in the sandbox, which has to succeed, and returns what it prints.
func (b *sandbox) shell(script string) string {
	b.Helper()
	return b.start(b.command("sh", "-euc", script)).exits(0).stdout.String()
}

// listing is what bsdtar says of a tree and its files, sorted.
func (b *sandbox) listing(dir string) string {
	b.Helper()
	return b.shell(`cd ` + dir + `; bsdtar -cf - --format=mtree --options='mtree:!all,type,mode,uid,gid,time,link,nlink,size,device,sha256' . | LC_ALL=C sort`)
}

// firstDifferences has the first lines of which one listing has more than the other.
func firstDifferences(got, want string) string {
	var out strings.Builder
	has := func(text string) map[string]bool {
		lines := make(map[string]bool)
		for line := range strings.Lines(text) {
			lines[line] = true
		}
		return lines
	}
	for sign, of := range map[string][2]map[string]bool{"+": {has(got), has(want)}, "-": {has(want), has(got)}} {
		n := 0
		for _, line := range slices.Sorted(maps.Keys(of[0])) {
			if !of[1][line] && n < 10 {
				n++
				out.WriteString(sign + line)
			}
		}
	}
	return out.String()
}
