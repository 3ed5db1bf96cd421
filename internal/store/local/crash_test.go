package local

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/internal/store"
)

// hangingWriter is a child that writes a little and then waits to be killed.
func hangingWriter(args []string) error {
	f, err := Create(args[0], store.Options{Sidecar: true})
	if err != nil {
		return err
	}
	if _, err := f.Write(content); err != nil {
		return err
	}
	fmt.Println("written")
	time.Sleep(time.Hour)
	return nil
}

func TestKilledWriter(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "x.enc")
	cmd := child(t, "hang", path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "written\n" {
		t.Fatalf("child says %q: %v", line, err)
	}
	if _, err := Create(path, store.Options{Sidecar: true}); !errors.Is(err, store.ErrBusy) {
		t.Errorf("beside the live writer: %v, want ErrBusy", err)
	}
	if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	wantFiles(t, dir, ".x.enc.partial", ".x.enc.sha256.partial")
	if _, err := save(path, []byte("second"), store.Options{Sidecar: true}); err != nil {
		t.Fatal(err)
	}
	checkBackup(t, path, []byte("second"))
	wantFiles(t, dir, "x.enc", "x.enc.sha256")
}

// A stale temporary file may be a second name of something that matters, or
// open in a process that should not see what is written next.
func TestStaleFileIsNotReused(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "x.enc")
	writeFile(t, partialPath(path), "precious")
	if err := os.Link(partialPath(path), filepath.Join(dir, "other")); err != nil {
		t.Fatal(err)
	}
	if _, err := save(path, content, store.Options{}); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(filepath.Join(dir, "other")); string(got) != "precious" {
		t.Errorf("the second name now holds %.20q", got)
	}
}

func TestLinkInPlaceOfTemporary(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "x.enc")
	writeFile(t, filepath.Join(dir, "other"), "precious")
	if err := os.Symlink("other", partialPath(path)); err != nil {
		t.Fatal(err)
	}
	if _, err := Create(path, store.Options{}); !errors.Is(err, syscall.ELOOP) {
		t.Errorf("error %v, want ELOOP", err)
	}
	if got, _ := os.ReadFile(filepath.Join(dir, "other")); string(got) != "precious" {
		t.Errorf("the target now holds %.20q", got)
	}
}

func TestSweep(t *testing.T) {
	old := strayAge
	defer func() { strayAge = old }()
	line := sumOf(content) + "  a.enc\n"
	files := map[string]string{
		".a.enc.partial":                            "half",
		".a.enc.sha256.partial":                     line,
		".a.enc.envelope.partial":                   "half of what Put writes",
		".a.enc.sig.partial":                        "half of a signature",
		"a.enc.sha256":                              line,             // orphan
		"b.enc.sha256":                              "not a sidecar",  // somebody's own
		"c.enc.sha256":                              line,             // names another file
		"c.iso.sha256":                              line,             // not a backup's
		".d.iso.partial":                            "somebody's own", // not a backup's
		".d.tar.zst.partial":                        "somebody's own", // not a name that is generated
		".up_20261123_020000-2.tar.zst.partial":     "half of a plain one",
		".db_20261123_020000.sql.gz.sha256.partial": line,
		"e.enc":        "a backup",
		"e.enc.sha256": sumOf(nil) + "  e.enc\n",
	}
	dir := t.TempDir()
	var names []string
	for name, text := range files {
		writeFile(t, filepath.Join(dir, name), text)
		names = append(names, name)
	}
	live, err := Create(filepath.Join(dir, "live.enc"), store.Options{Sidecar: true})
	if err != nil {
		t.Fatal(err)
	}
	defer live.Abort()
	names = append(names, ".live.enc.partial", ".live.enc.sha256.partial")

	t.Run("young strays stay", func(t *testing.T) {
		if _, err := save(filepath.Join(dir, "new.enc"), nil, store.Options{Sidecar: true}); err != nil {
			t.Fatal(err)
		}
		names = append(names, "new.enc", "new.enc.sha256")
		wantFiles(t, dir, names...)
	})
	strayAge = 0
	t.Run("plain files do not sweep", func(t *testing.T) {
		if _, err := save(filepath.Join(dir, "plain"), nil, store.Options{}); err != nil {
			t.Fatal(err)
		}
		names = append(names, "plain")
		wantFiles(t, dir, names...)
	})
	t.Run("old strays go", func(t *testing.T) {
		if _, err := save(filepath.Join(dir, "newer.enc"), nil, store.Options{Sidecar: true}); err != nil {
			t.Fatal(err)
		}
		wantFiles(t, dir, "b.enc.sha256", "c.enc.sha256", "c.iso.sha256", ".d.iso.partial", ".d.tar.zst.partial", "e.enc", "e.enc.sha256",
			".live.enc.partial", ".live.enc.sha256.partial", "new.enc", "new.enc.sha256", "plain", "newer.enc", "newer.enc.sha256")
	})
	if _, err := live.Commit(); err != nil {
		t.Errorf("the live writer was disturbed: %v", err)
	}
}

// The moment that a sweep could get wrong: the sidecar stands, the backup does
// not yet.
func TestSweepBetweenTheRenames(t *testing.T) {
	old := strayAge
	defer func() { strayAge = old }()
	strayAge = 0
	dir := t.TempDir()
	path := filepath.Join(dir, "x.enc")
	withSys(t, func(s *system) {
		real := s.renameNew
		s.renameNew = func(from, to string) error {
			if to == path {
				sweep(dir)
			}
			return real(from, to)
		}
	})
	if _, err := save(path, content, store.Options{Sidecar: true}); err != nil {
		t.Fatal(err)
	}
	checkBackup(t, path, content)
}

func TestIsOld(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	writeFile(t, path, "")
	past := time.Now().Add(-48 * time.Hour)
	if err := os.Chtimes(path, past, past); err != nil {
		t.Fatal(err)
	}
	if isOld(path) {
		t.Error("a file copied with its times counts as old")
	}
	if isOld(path + "-missing") {
		t.Error("a missing file counts as old")
	}
}
