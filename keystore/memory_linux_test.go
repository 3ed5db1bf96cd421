package keystore_test

import (
	"errors"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/takumi-backup/takumi-backup/keystore"
)

func fsType(t *testing.T, dir string) uint32 {
	t.Helper()
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		t.Fatal(err)
	}
	return uint32(st.Type)
}

// onDisk returns a temporary folder that is not held in memory.
func onDisk(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if inMemory(t, dir) {
		t.Skip("TMPDIR is in memory")
	}
	return dir
}

func inMemory(t *testing.T, dir string) bool {
	fs := fsType(t, dir)
	return fs == unix.TMPFS_MAGIC || fs == unix.RAMFS_MAGIC
}

// delivery checks what root may deliver in a folder that is held in memory.
func delivery(t *testing.T, dir string) {
	t.Helper()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	good := put(t, dir, "good", canaryHex+"\n", 0o440)
	docker := put(t, dir, "docker", canaryHex, 0o444)
	for _, path := range []string{good, docker} {
		if _, err := (keystore.File{Path: path}).Load(t.Context()); err != nil {
			t.Error(err)
		}
	}
	for _, mode := range []uint32{0o446, 0o460, 0o640, 0o644, 0o550, 0o2440} {
		refused(t, put(t, dir, "bad", canaryHex, mode), keystore.ErrRefused, "mode is", "chmod 0440", "defaultMode")
		os.Remove(dir + "/bad")
	}
	// The group is how the caller may read it.
	grouped := put(t, dir, "grouped", canaryHex, 0o440)
	if err := os.Chown(grouped, 0, nobody); err != nil {
		t.Fatal(err)
	}
	owned := put(t, dir, "owned", canaryHex, 0o440)
	if err := os.Chown(owned, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	lines := loadAs(t, nobody, grouped, good, owned, docker)
	for i, want := range []string{"ok", "do not let uid 65534 read it", "mode is 0440", "ok"} {
		if !strings.Contains(lines[i], want) {
			t.Errorf("as nobody: got %q, want %q", lines[i], want)
		}
	}
}

func TestDeliveredInSharedMemory(t *testing.T) {
	needRoot(t)
	if _, err := os.Stat("/dev/shm"); err != nil || fsType(t, "/dev/shm") != unix.TMPFS_MAGIC {
		t.Skip("/dev/shm is not a tmpfs")
	}
	dir, err := os.MkdirTemp("/dev/shm", "keystore")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	delivery(t, dir)
}

func TestDeliveredByMount(t *testing.T) {
	needRoot(t)
	if os.Getenv("TAKUMI_TEST_INTEGRATION") == "" {
		t.Skip("mounts file systems; set TAKUMI_TEST_INTEGRATION=1 to run it")
	}
	for _, fs := range []string{"tmpfs", "ramfs"} {
		t.Run(fs, func(t *testing.T) {
			dir := openDir(t)
			if err := unix.Mount(fs, dir, fs, unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); errors.Is(err, unix.EPERM) {
				t.Skip("root may not mount here, as in a container")
			} else if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := unix.Unmount(dir, 0); err != nil {
					t.Error(err)
				}
			})
			delivery(t, dir)
			kubernetes := put(t, dir, "kubernetes", canaryHex, 0o644)
			refused(t, kubernetes, keystore.ErrRefused, "mode is 0644")
			writable := put(t, dir, "writable", canaryHex, 0o664)
			if err := unix.Mount(fs, dir, fs, unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
				t.Fatal(err)
			}
			if _, err := (keystore.File{Path: kubernetes}).Load(t.Context()); err != nil {
				t.Error(err)
			}
			refused(t, writable, keystore.ErrRefused, "mode is 0664")
		})
	}
}
