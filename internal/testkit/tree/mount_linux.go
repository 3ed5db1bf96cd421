package treetest

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// Mount mounts a fresh file system for the length of a test and returns where:
//
//   - "tmpfs", 64 MiB;
//   - "folding", NTFS that folds case, lists small letters, and keeps neither modes nor
//     owners;
//   - "btrfs", which has subvolumes.
//
// The test is skipped where this user may not mount, or the kernel knows no such file
// system.
func Mount(t testing.TB, kind string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root mounts")
	}
	dir := filepath.Join(t.TempDir(), "mount")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	image := filepath.Join(filepath.Dir(dir), "image")
	must := func(name string, args ...string) {
		if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
			t.Skipf("%s is not possible here: %v\n%s", name, err, out)
		}
	}
	make := func(size string) { must("truncate", "-s", size, image) }
	switch kind {
	case "tmpfs":
		must("mount", "-t", "tmpfs", "-o", "size=64m,mode=755", "tmpfs", dir)
	case "folding":
		make("32M")
		must("mkfs.ntfs", "-F", "-q", image)
		must("lowntfs-3g", "-o", "ignore_case", image, dir)
	case "btrfs":
		make("200M")
		must("mkfs.btrfs", "-q", image)
		must("mount", "-o", "loop", image, dir)
	default:
		t.Fatalf("no file system is called %q", kind)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}
