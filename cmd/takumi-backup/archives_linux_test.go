package main

import (
	"bytes"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/takumi-backup/takumi-backup/internal/testkit/tree"
)

// TestArchivesOfOthers: what others archive is sealed, verified, listed, read by member
// and restored, and is the tree that it was made of. A short run has one form of each
// sort.
func TestArchivesOfOthers(t *testing.T) {
	t.Parallel()
	forms := []string{"GNU tar, pax sparse 1.0", "7z", "xz"}
	if os.Getenv("TAKUMI_TEST_LONG") != "" {
		forms = slices.Sorted(maps.Keys(treetest.Forms))
	}
	b := newSandbox(t)
	dir := treetest.Sample(t)
	want := treetest.Describe(t, dir)
	for _, name := range forms {
		form, under := treetest.Forms[name], ""
		if form.Under != "" {
			under = form.Under + "/"
		}
		must := func(what string, ok bool) {
			t.Helper()
			if !ok {
				t.Errorf("%s: %s", name, what)
			}
		}
		b.run(exitOK, bytes.NewReader(form.Make(t, dir)), "seal", "--kind", "uploads", "-o", "a.enc")
		b.run(exitOK, nil, "verify", "a.enc")
		b.run(exitOK, nil, "verify", "--level", "restore", "--scratch-dir", b.path(""), "a.enc")

		listed := strings.Split(strings.TrimSpace(b.run(exitOK, nil, "ls", "a.enc").stdout.String()), "\n")
		var names []string
		for path := range want {
			switch {
			case path != "":
				names = append(names, under+path)
			case !form.NoRoot:
				names = append(names, filepath.Clean(under))
			}
		}
		slices.Sort(names)
		slices.Sort(listed)
		must("ls prints "+strings.Join(listed, " "), slices.Equal(slices.Compact(listed), names))
		for _, member := range []string{"holes", "d/again"} {
			content := b.run(exitOK, nil, "open", "a.enc", "--member", under+member).stdout.Bytes()
			must("another "+member, bytes.Equal(content, readFile(t, filepath.Join(dir, member))))
		}

		b.run(exitOK, nil, "restore", "uploads", "a.enc", "--to", "all")
		got := treetest.Describe(t, filepath.Join(b.path("all"), under))
		if form.NoRoot {
			got[""] = want[""]
		}
		treetest.Compare(t, got, want)
		b.run(exitOK, nil, "restore", "uploads", "a.enc", "--to", "part", "--include", path.Join(under, "holes"), "--include", path.Join(under, "d/e"))
		part := treetest.Describe(t, filepath.Join(b.path("part"), under))
		for path := range part {
			must(path+" is another", path == "" || part[path] == want[path])
		}
		must("not all that is included came", part["holes"] != "" && part["d/e/zeros"] != "" && part["f"] == "")
		for _, made := range []string{"a.enc", "a.enc.sha256", "all", "part"} {
			if err := os.RemoveAll(b.path(made)); err != nil {
				t.Fatal(err)
			}
		}
		if t.Failed() {
			t.Fatalf("with %s", name)
		}
	}
}
