package main

import (
	"bytes"
	"crypto/rand"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// mount mounts a file system on a new folder for as long as the test runs.
func mount(t *testing.T, source, kind string, flags uintptr, options string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount(source, dir, kind, flags, options); err != nil {
		t.Fatalf("mounting %s: %v", kind, err)
	}
	t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir
}

// tooMuch does not fit a disk of 1 MiB, packed or not.
func tooMuch() []byte {
	content := make([]byte, 4<<20)
	rand.Read(content)
	return content
}

// smallDisk is a sandbox whose folder is a disk of 1 MiB.
func smallDisk(t *testing.T) *sandbox {
	t.Helper()
	needIntegration(t)
	b := newSandbox(t)
	b.dir = mount(t, "tmpfs", "tmpfs", 0, "size=1m")
	return b
}

func TestFullDisk(t *testing.T) {
	t.Parallel()
	content := tooMuch()
	for name, args := range map[string][]string{
		"file":        {"seal", "-o", "x.enc"},
		"unpacked":    {"seal", "-o", "x.enc", "--codec", "none"},
		"BACKUP_ROOT": {"seal"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := smallDisk(t)
			b.env = append(b.env, "BACKUP_ROOT="+b.dir)
			b.run(exitStore, bytes.NewReader(content), args...).says("no space left on device")
			b.holds()
		})
	}
}

// TestFullDiskSilentSource: the source would say nothing for ever, and so the
// failure has to come without it.
func TestFullDiskSilentSource(t *testing.T) {
	t.Parallel()
	t.Run("input", func(t *testing.T) {
		t.Parallel()
		b := smallDisk(t)
		cmd := b.program("seal", "-o", "x.enc")
		w := heldPipe(t, cmd)
		seal := b.start(cmd)
		go w.Write(tooMuch())
		seal.exits(exitStore).says("no space left on device")
		b.holds()
	})
	t.Run("command", func(t *testing.T) {
		t.Parallel()
		b := smallDisk(t)
		pid := b.tmp + "/pid"
		seal := b.start(b.program("seal", "-o", "x.enc", "--", "sh", "-c",
			"echo $$ >"+pid+"; head -c 4000000 /dev/urandom; exec sleep 1000"))
		seal.exits(exitStore).says("no space left on device")
		if !isGone(readPID(t, pid)) {
			t.Error("the command runs on")
		}
		os.Remove(pid)
		b.holds()
	})
}

// TestFileSizeLimit: the limit that quotas of containers are often made of.
func TestFileSizeLimit(t *testing.T) {
	t.Parallel()
	b := newSandbox(t)
	cmd := b.command("sh", "-c", "ulimit -f 1024; exec takumi-backup seal -o x.enc")
	cmd.Stdin = bytes.NewReader(tooMuch())
	b.start(cmd).exits(exitStore).says("file too large")
	b.holds()

	b.seal(tooMuch(), "-o", "x.enc")
	b.start(b.command("sh", "-c", "ulimit -f 1024; exec takumi-backup open x.enc -o out")).exits(exitStore).says("file too large")
	b.holds("x.enc", "x.enc.sha256")
}

func TestOpenToFullDisk(t *testing.T) {
	t.Parallel()
	b := smallDisk(t)
	backup := filepath.Join(t.TempDir(), "x.enc")
	b.seal(tooMuch(), "-o", backup)
	b.run(exitStore, nil, "open", backup, "-o", "out").says("no space left on device")
	b.holds()

	// Standard output can be a file on a full disk too, in both directions.
	for _, args := range [][]string{{"open", backup}, {"seal", "-o", "-"}} {
		out, err := os.Create(b.path("out"))
		if err != nil {
			t.Fatal(err)
		}
		defer out.Close()
		cmd := b.program(args...)
		cmd.Stdin, cmd.Stdout = bytes.NewReader(tooMuch()), out
		b.start(cmd).exits(exitStore).says("no space left on device")
	}
}

func TestReadOnlyFolder(t *testing.T) {
	t.Parallel()
	needIntegration(t)
	b := newSandbox(t)
	view := mount(t, b.dir, "", syscall.MS_BIND, "")
	if err := syscall.Mount("", view, "", syscall.MS_REMOUNT|syscall.MS_BIND|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	content := []byte("content")
	b.run(exitStore, bytes.NewReader(content), "seal", "-o", view+"/x.enc").says("read-only file system")
	b.env = append(b.env, "BACKUP_ROOT="+view)
	b.run(exitStore, bytes.NewReader(content), "seal").says("read-only file system")
	b.seal(content, "-o", "y.enc")
	b.run(exitStore, nil, "open", "y.enc", "-o", view+"/out").says("read-only file system")
	b.holds("y.enc", "y.enc.sha256")
}

// TestDeniedFolder: as somebody who may not write there.
func TestDeniedFolder(t *testing.T) {
	t.Parallel()
	b := newSandbox(t)
	if err := os.Chmod(b.dir, 0o555); err != nil {
		t.Fatal(err)
	}
	cmd := b.program("seal", "-o", "x.enc")
	cmd.Stdin = bytes.NewReader([]byte("content"))
	if os.Geteuid() == 0 {
		// Without this one privilege root is bound by modes like anybody.
		cmd = b.command("setpriv", "--bounding-set=-dac_override", "--inh-caps=-dac_override", program, "seal", "-o", "x.enc")
		cmd.Stdin = bytes.NewReader([]byte("content"))
	}
	b.start(cmd).exits(exitStore).says("permission denied")
	b.holds()
}
