package scratch_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/internal/postgres/scratch"
	"github.com/takumi-backup/takumi-backup/internal/testkit/postgres"
)

func names(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// leave makes what a killed run would have left in parent: a folder with a name
// that begins as a scratch folder's does, and these files, of which one that ends
// with a slash is a folder that its owner may not enter.
func leave(t *testing.T, parent, name string, files ...string) {
	t.Helper()
	dir := filepath.Join(parent, name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		path := filepath.Join(dir, f)
		err := os.MkdirAll(filepath.Dir(path), 0o700)
		if err == nil && strings.HasSuffix(f, "/") {
			err = os.Chmod(filepath.Dir(path), 0)
		} else if err == nil {
			err = os.WriteFile(path, nil, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestSweep: what a killed run has left goes, and nothing else.
func TestSweep(t *testing.T) {
	t.Parallel()
	parent := t.TempDir()
	at, err := scratch.NewFolder(t.Context(), parent)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(at.Path()); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the folder has mode %v, %v", info.Mode(), err)
	}
	leave(t, parent, "takumi-scratch-1", ".takumi-scratch", "data/base/1", "tree/shut/")
	leave(t, parent, "takumi-scratch-2") // killed before the marker
	leave(t, parent, "takumi-scratch-of-somebody", "thesis")
	leave(t, parent, "other", ".takumi-scratch")
	if err := os.Symlink(filepath.Join(parent, "other"), filepath.Join(parent, "takumi-scratch-link")); err != nil {
		t.Fatal(err)
	}
	again, err := scratch.NewFolder(t.Context(), parent)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"other", filepath.Base(at.Path()), filepath.Base(again.Path()), "takumi-scratch-link", "takumi-scratch-of-somebody"}
	slices.Sort(want)
	if got := names(t, parent); !slices.Equal(got, want) {
		t.Errorf("left are %q, want %q", got, want)
	}
	for _, f := range []*scratch.Folder{at, again} {
		if err := f.Remove(); err != nil {
			t.Error(err)
		}
	}
	if got := names(t, parent); len(got) != 3 {
		t.Errorf("left are %q", got)
	}
	if _, err := scratch.NewFolder(t.Context(), filepath.Join(parent, "missing")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("in a folder that is missing: %v", err)
	}
}

// TestManyFolders: runs that begin at the same time do not sweep each other.
func TestManyFolders(t *testing.T) {
	t.Parallel()
	parent := t.TempDir()
	failed := make(chan error)
	for range 16 {
		go func() {
			for range 20 {
				f, err := scratch.NewFolder(t.Context(), parent)
				if err == nil {
					_, err = os.Stat(filepath.Join(f.Path(), ".takumi-scratch"))
					err = errors.Join(err, f.Remove())
				}
				if err != nil {
					failed <- err
					return
				}
			}
			failed <- nil
		}()
	}
	for range 16 {
		if err := <-failed; err != nil {
			t.Error(err)
		}
	}
	if got := names(t, parent); len(got) != 0 {
		t.Errorf("left are %q", got)
	}
}

// TestStrayServer: where the kernel does not stop the server of a killed run, the
// next run does.
func TestStrayServer(t *testing.T) {
	pgtest.Require(t)
	parent, err := os.MkdirTemp("/tmp", "scratch")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(parent)
	if err := os.Chmod(parent, 0o711); err != nil {
		t.Fatal(err)
	}
	leave(t, parent, "takumi-scratch-9", ".takumi-scratch")
	dir := filepath.Join(parent, "takumi-scratch-9")
	attr := new(syscall.SysProcAttr)
	if os.Geteuid() == 0 {
		u, err := user.Lookup("postgres")
		if err != nil {
			t.Fatal(err)
		}
		uid, _ := strconv.Atoi(u.Uid)
		gid, _ := strconv.Atoi(u.Gid)
		attr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		if err := os.Chown(dir, uid, gid); err != nil {
			t.Fatal(err)
		}
	}
	bin, err := scratch.BinDir()
	if err != nil {
		t.Fatal(err)
	}
	run := func(name string, args ...string) {
		t.Helper()
		cmd := exec.Command(filepath.Join(bin, name), args...)
		cmd.Dir, cmd.SysProcAttr = dir, attr
		if err := cmd.Run(); err != nil {
			t.Fatalf("%s: %v", cmd, err)
		}
	}
	data := filepath.Join(dir, "data")
	run("initdb", "-D", data, "-A", "trust", "--no-sync")
	run("pg_ctl", "-D", data, "-w", "-s", "-l", filepath.Join(dir, "log"), "-o", "-c listen_addresses='' -k "+dir, "start")
	text, err := os.ReadFile(filepath.Join(data, "postmaster.pid"))
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(first)
	if err != nil {
		t.Fatal(err)
	}
	f, err := scratch.NewFolder(t.Context(), parent)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Remove(); err != nil {
		t.Error(err)
	}
	if got := names(t, parent); len(got) != 0 {
		t.Errorf("left are %q", got)
	}
	// It is nobody's child here: the first process reaps it when it likes.
	if stat, err := os.ReadFile("/proc/" + first + "/stat"); err == nil && !strings.Contains(string(stat), ") Z ") {
		t.Errorf("the server, %d, runs on: %s", pid, stat)
		_ = syscall.Kill(pid, syscall.SIGQUIT)
	}
}

// TestStartFails leaves nothing, neither where a socket cannot be nor when it is
// stopped on the way.
func TestStartFails(t *testing.T) {
	pgtest.Require(t)
	for _, name := range []string{"a,b", `a"b`, "a'b", "a@b", strings.Repeat("long", 20)} {
		dir := filepath.Join(t.TempDir(), name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if _, err := scratch.Start(t.Context(), dir); !errors.Is(err, scratch.ErrPath) {
			t.Errorf("in %q: %v", dir, err)
		}
		if got := names(t, dir); len(got) != 0 {
			t.Errorf("left are %q", got)
		}
	}
	parent, err := os.MkdirTemp("/tmp", "scratch")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(parent)
	if err := os.Chmod(parent, 0o711); err != nil {
		t.Fatal(err)
	}
	for _, after := range []time.Duration{0, 50 * time.Millisecond, 300 * time.Millisecond} {
		ctx, cancel := context.WithTimeout(t.Context(), after)
		_, err := scratch.Start(ctx, parent)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("after %v: %v", after, err)
		}
		if got := names(t, parent); len(got) != 0 {
			t.Errorf("after %v left are %q", after, got)
		}
	}
}
