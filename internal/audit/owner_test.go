package audit

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// TestOwner: what root makes belongs to whom the folder above belongs, who has to
// go on with it; and what is there keeps its owner.
func TestOwner(t *testing.T) {
	t.Parallel()
	if os.Getenv("TAKUMI_TEST_INTEGRATION") != "1" {
		t.Skip("set TAKUMI_TEST_INTEGRATION=1, as scripts/test does, to run this test")
	}
	if os.Geteuid() != 0 {
		t.Fatal("this test gives files to other users: run it as root")
	}
	const user, group, other = 65534, 65533, 65532
	l := testLog(t, november)
	parent := l.dir
	l.dir = filepath.Join(parent, "audit")
	if err := os.Chown(parent, user, group); err != nil {
		t.Fatal(err)
	}
	owned := func(path string, uid, gid uint32, mode fs.FileMode) {
		t.Helper()
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if s := info.Sys().(*syscall.Stat_t); s.Uid != uid || s.Gid != gid || info.Mode().Perm() != mode {
			t.Errorf("%s: owner %d, group %d, mode %v", path, s.Uid, s.Gid, info.Mode())
		}
	}
	l.mustAppend(t, Record{Operation: "open"})
	owned(l.dir, user, group, 0o700)
	for _, name := range []string{lockName, fileOf(november)} {
		path := filepath.Join(l.dir, name)
		owned(path, user, group, 0o600)
		if err := os.Chown(path, other, other); err != nil {
			t.Fatal(err)
		}
	}
	l.mustAppend(t, Record{Operation: "open"})
	for _, name := range []string{lockName, fileOf(november)} {
		owned(filepath.Join(l.dir, name), other, other, 0o600)
	}
}

// TestForeign: whoever may not write the log is told why.
func TestForeign(t *testing.T) {
	t.Parallel()
	l := testLog(t, november)
	l.sync = func(*os.File) error { return fs.ErrPermission }
	if err := l.Append(t.Context(), Record{Operation: "open"}); !errors.Is(err, ErrOwner) || !errors.Is(err, fs.ErrPermission) {
		t.Error(err)
	}
}
