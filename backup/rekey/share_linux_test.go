package rekey_test

import (
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/takumi-backup/takumi-backup/backup/rekey"
	treetest "github.com/takumi-backup/takumi-backup/internal/testkit/tree"
)

// TestSharedBlocks: where a file system shares blocks, a rewrap needs no room for a
// second copy of the payload.
func TestSharedBlocks(t *testing.T) {
	dir := treetest.Mount(t, "btrfs")
	path := filepath.Join(dir, "x.enc")
	write(t, path, 90<<20, keyA)
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		t.Fatal(err)
	}
	if free := int64(st.Bavail) * st.Bsize; free > 80<<20 {
		t.Fatalf("%d bytes are free, and the test needs a fuller disk", free)
	}
	if _, err := rekey.Rewrap(t.Context(), path, options(t, always(keyA))); err != nil {
		t.Fatal(err)
	}
	checked(t, path)
}
