package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/takumi-backup/takumi-backup/internal/testkit/tree"
)

// inventory is the sorted contents of the files in a folder.
func inventory(t testing.TB, dir string) string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, name := range names {
		all = append(all, string(readFile(t, name)))
	}
	return strings.Join(all, " ")
}

// TestRestoreUploadsFolding: on a target that folds case and keeps no modes nothing
// is lost without a word, and the backup is not blamed for it.
func TestRestoreUploadsFolding(t *testing.T) {
	t.Parallel()
	needIntegration(t)
	target := treetest.Mount(t, "folding")
	b := newSandbox(t)
	if err := os.Mkdir(b.path("up"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"a": "1", "A": "2", "b": "3"} {
		writeFile(t, b.path("up/"+name), []byte(content))
	}
	b.run(exitOK, nil, "backup", "uploads", b.path("up"), "-o", "up.enc")
	to := filepath.Join(target, "to")
	restore := func(code int, args ...string) *running {
		return b.run(code, nil, append([]string{"restore", "uploads", "up.enc", "--to", to}, args...)...)
	}
	restore(exitFailed).says("keeps no modes").says("--no-modes")
	restore(exitFailed, "--no-modes").says("takes two names for one").says("--on-conflict rename")
	restore(exitUsage, "--on-conflict", "merge")
	if left, _ := os.ReadDir(target); len(left) != 0 {
		t.Errorf("%v is left", left)
	}
	restore(exitSome, "--no-modes", "--keep-going").says(`"a": making "a"`).says("without the 1 that are named above")
	if got := inventory(t, to); got != "2 3" {
		t.Errorf("kept going: %q", got)
	}
	restore(exitOK, "--no-modes", "--on-conflict", "rename", "--yes").says(`restored as "a~1"`).says("1 renamed")
	if got := inventory(t, to); got != "2 1 3" {
		t.Errorf("renamed: %q", got)
	}
	b.run(exitOK, nil, "verify", "up.enc", "--level", "restore", "--scratch-dir", target)
}

// TestRestoreUploadsOwners: who cannot give files away restores them all the same,
// and says so once; a setuid bit does not become that of another.
func TestRestoreUploadsOwners(t *testing.T) {
	t.Parallel()
	needIntegration(t)
	if os.Geteuid() != 0 {
		t.Skip("only root makes files of others")
	}
	b := newSandbox(t)
	if err := os.Mkdir(b.path("up"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "b", "c"} {
		writeFile(t, b.path("up/"+name), []byte(name))
		if err := os.Chown(b.path("up/"+name), 12345, 12345); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(b.path("up/a"), 0o755|os.ModeSetuid); err != nil {
		t.Fatal(err)
	}
	b.run(exitOK, nil, "backup", "uploads", b.path("up"), "-o", "up.enc")
	for name, around := range map[string][]string{
		"capability": {"setpriv", "--bounding-set=-chown", "--inh-caps=-chown"}, "namespace": {"unshare", "-r"},
	} {
		cmd := b.program("restore", "uploads", "up.enc", "--to", b.path(name), "--special")
		r := b.start(b.command(around[0], append(around[1:], cmd.Args...)...))
		r.exits(exitOK).says("its owner 12345:12345 cannot be set here").says("3 without their owner")
		if n := strings.Count(r.stderr.String(), "cannot be set"); n != 1 {
			t.Errorf("%s: said %d times", name, n)
		}
		info, err := os.Stat(b.path(name + "/a"))
		if err != nil || info.Mode()&os.ModeSetuid != 0 || info.Sys().(*syscall.Stat_t).Uid != 0 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
	b.run(exitOK, nil, "restore", "uploads", "up.enc", "--to", b.path("none"), "--no-owner", "--special")
	if info, _ := os.Stat(b.path("none/a")); info.Sys().(*syscall.Stat_t).Uid != 0 || info.Mode()&os.ModeSetuid != 0 {
		t.Errorf("without owners: %v", info.Mode())
	}
	b.run(exitOK, nil, "restore", "uploads", "up.enc", "--to", b.path("all"), "--special")
	if info, _ := os.Stat(b.path("all/a")); info.Sys().(*syscall.Stat_t).Uid != 12345 || info.Mode()&os.ModeSetuid == 0 {
		t.Errorf("with owners: %v", info.Mode())
	}
}
