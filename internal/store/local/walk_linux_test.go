package local

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/takumi-backup/takumi-backup/internal/store"
)

// withoutPrivilege runs a test's file system calls as nobody if it is root, who
// may read every folder. The calling thread alone changes, and is given up.
func withoutPrivilege(t *testing.T, dir string) {
	t.Helper()
	if os.Geteuid() != 0 {
		return
	}
	const nobody = 65534
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
	if err := unix.Setfsuid(nobody); err != nil {
		t.Fatal(err)
	}
}

func TestWalkUnreadable(t *testing.T) {
	root := t.TempDir()
	tree(t, root, "a/x.enc", "b/y.enc", "c/z.enc", "d/w.enc")
	for name, mode := range map[string]os.FileMode{"a": 0o755, "b": 0, "c": 0o755, "d": 0o444} { // of d the names alone
		if err := os.Chmod(filepath.Join(root, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	var found, faults []string
	done := make(chan struct{})
	go func() {
		defer close(done)
		withoutPrivilege(t, root)
		found, faults = walked(t, root, false)
	}()
	<-done
	for _, name := range []string{"b", "d"} {
		if err := os.Chmod(filepath.Join(root, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(found, []string{"a/x.enc", "c/z.enc"}) || !slices.Equal(faults, []string{"b", "d/w.enc"}) {
		t.Errorf("found %q and complained of %q", found, faults)
	}
}

// TestParentsOutOfReach: where not even the working folder can be looked at, no folder is
// made in it, and that is the error.
func TestParentsOutOfReach(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	if err := os.Chmod(dir, 0); err != nil {
		t.Fatal(err)
	}
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		withoutPrivilege(t, filepath.Dir(dir))
		err = makeParents("a/b")
	}()
	<-done
	if !errors.Is(err, fs.ErrPermission) || !store.IsStoreFault(err) {
		t.Errorf("%v", err)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
}
