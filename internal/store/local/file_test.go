package local

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/takumi-backup/takumi-backup/internal/fsutil"
	"github.com/takumi-backup/takumi-backup/internal/store"
)

func TestSave(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "db.sql.zst.enc")
	res, err := save(path, content, store.Options{Sidecar: true})
	if err != nil {
		t.Fatal(err)
	}
	if want := (store.Result{Path: path, Size: int64(len(content)), SHA256: sumOf(content)}); res != want {
		t.Errorf("result %+v, want %+v", res, want)
	}
	checkBackup(t, path, content)
	wantFiles(t, dir, "db.sql.zst.enc", "db.sql.zst.enc.sha256")
}

func TestSaveWithoutSidecar(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "out.sql")
	res, err := save(path, content, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if want := (store.Result{Path: path, Size: int64(len(content)), SHA256: ""}); res != want {
		t.Errorf("result %+v, want %+v", res, want)
	}
	wantFiles(t, dir, "out.sql")
}

func TestSaveEmpty(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.enc")
	if _, err := save(path, nil, store.Options{Sidecar: true}); err != nil {
		t.Fatal(err)
	}
	checkBackup(t, path, nil)
}

// A linked file system is what NFS and every system but Linux get.
func TestSaveByLink(t *testing.T) {
	withSys(t, func(s *system) { s.renameNew = fsutil.LinkNew })
	dir := t.TempDir()
	path := filepath.Join(dir, "x.enc")
	if _, err := save(path, content, store.Options{Sidecar: true}); err != nil {
		t.Fatal(err)
	}
	checkBackup(t, path, content)
	wantFiles(t, dir, "x.enc", "x.enc.sha256")
}

func TestModeIgnoresUmask(t *testing.T) {
	for _, umask := range []int{0, 0o077, 0o777} {
		t.Run(fmt.Sprintf("%03o", umask), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "x.enc")
			old := syscall.Umask(umask)
			_, err := save(path, content, store.Options{Sidecar: true})
			syscall.Umask(old)
			if err != nil {
				t.Fatal(err)
			}
			checkBackup(t, path, content)
		})
	}
}

func TestParents(t *testing.T) {
	root := t.TempDir()
	path := filepath.Join(root, "a", "b", "x.enc")
	if _, err := Create(path, store.Options{Sidecar: true}); !store.IsStoreFault(err) || !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("folder missing: error %v, want a store fault", err)
	}
	if _, err := save(path, content, store.Options{Sidecar: true, Parents: true}); err != nil {
		t.Fatal(err)
	}
	checkBackup(t, path, content)
	for _, dir := range []string{"a", "a/b"} {
		if info, err := os.Stat(filepath.Join(root, dir)); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: mode %v, error %v; want 0700", dir, info.Mode(), err)
		}
	}
	_, err := Create(filepath.Join(path, "y.enc"), store.Options{Parents: true})
	if !store.IsStoreFault(err) || !errors.Is(err, syscall.ENOTDIR) {
		t.Errorf("parent is a file: error %v, want a store fault ENOTDIR", err)
	}
}

func TestRelativePath(t *testing.T) {
	t.Chdir(t.TempDir())
	if _, err := save("x.enc", content, store.Options{Sidecar: true, Parents: true}); err != nil {
		t.Fatal(err)
	}
	checkBackup(t, "x.enc", content)
}

func TestExistingFileStays(t *testing.T) {
	for _, name := range []string{"x.enc", "x.enc.sha256"} {
		t.Run("at Create/"+name, func(t *testing.T) {
			dir := t.TempDir()
			writeFile(t, filepath.Join(dir, name), "mine")
			_, err := Create(filepath.Join(dir, "x.enc"), store.Options{Sidecar: true})
			if !errors.Is(err, store.ErrExists) || store.IsStoreFault(err) {
				t.Errorf("error %v, want ErrExists and no store fault", err)
			}
			wantFiles(t, dir, name)
		})
		t.Run("at Commit/"+name, func(t *testing.T) {
			dir := t.TempDir()
			f, err := Create(filepath.Join(dir, "x.enc"), store.Options{Sidecar: true})
			if err != nil {
				t.Fatal(err)
			}
			writeFile(t, filepath.Join(dir, name), "mine")
			if _, err = f.Commit(); !errors.Is(err, store.ErrExists) {
				t.Errorf("error %v, want ErrExists", err)
			}
			wantFiles(t, dir, name)
			if got, _ := os.ReadFile(filepath.Join(dir, name)); string(got) != "mine" {
				t.Errorf("the file now holds %q", got)
			}
		})
	}
}

func TestReplace(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "out.sql")
	writeFile(t, path, "old")
	if _, err := save(path, content, store.Options{Replace: true}); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(path); string(got) != string(content) {
		t.Error("the file was not replaced")
	}
	wantFiles(t, dir, "out.sql")
}

func TestReplaceOnlyRegularFiles(t *testing.T) {
	dir := t.TempDir()
	if err := os.Symlink("elsewhere", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "folder"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"link", "folder", "pipe"} {
		if _, err := Create(filepath.Join(dir, name), store.Options{Replace: true}); !errors.Is(err, store.ErrExists) {
			t.Errorf("%s: error %v, want ErrExists", name, err)
		}
	}
	wantFiles(t, dir, "link", "folder", "pipe")
}

func TestAbort(t *testing.T) {
	dir := t.TempDir()
	f, err := Create(filepath.Join(dir, "x.enc"), store.Options{Sidecar: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(content); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := f.Abort(); err != nil {
			t.Fatal(err)
		}
	}
	wantFiles(t, dir)
	if _, err := f.Write(content); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Write after Abort: %v", err)
	}
	if _, err := f.Commit(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Commit after Abort: %v", err)
	}
}

func TestAbortAfterCommit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.enc")
	f, err := Create(path, store.Options{Sidecar: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Commit(); err != nil {
		t.Fatal(err)
	}
	if err := f.Abort(); err != nil {
		t.Fatal(err)
	}
	checkBackup(t, path, nil)
}

func TestNames(t *testing.T) {
	sha256sum, err := exec.LookPath("sha256sum")
	if err != nil {
		t.Fatal("install coreutils: this test checks sidecars with sha256sum")
	}
	for _, name := range []string{
		"plain.enc", "with two  spaces.enc", " leading.enc", "-c.enc", "*star.enc", "'quote\".enc", "tab\t.enc",
		"データベース.enc", "\xff\xfe not UTF-8.enc", "#comment.enc", ".hidden.enc", "half.partial",
		strings.Repeat("n", 255-len("..sha256.partial")),
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if _, err := save(filepath.Join(dir, name), content, store.Options{Sidecar: true}); err != nil {
				t.Fatal(err)
			}
			checkBackup(t, filepath.Join(dir, name), content)
			cmd := exec.Command(sha256sum, "--strict", "-c", "--", name+store.SidecarSuffix)
			cmd.Dir = dir
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("sha256sum -c: %v\n%s", err, out)
			}
		})
	}
}

func TestRefusedNames(t *testing.T) {
	dir := t.TempDir()
	for _, path := range []string{
		"", ".", "..", dir + "/", dir + "/..", dir + "/back\\slash.enc", dir + "/line\nfeed.enc", dir + "/carriage\rreturn.enc",
		dir + "/.x.enc.partial", dir + "/" + strings.Repeat("n", 256-len("..sha256.partial")), dir + "/" + strings.Repeat("n", 255),
	} {
		if _, err := Create(path, store.Options{Sidecar: true}); !errors.Is(err, store.ErrName) || store.IsStoreFault(err) {
			t.Errorf("%q: error %v, want ErrName and no store fault", path, err)
		}
	}
	wantFiles(t, dir)
	// Without a sidecar nothing has to name the file in a line of text.
	if _, err := save(filepath.Join(dir, "back\\slash"), content, store.Options{}); err != nil {
		t.Error(err)
	}
}

func TestCreateUnique(t *testing.T) {
	dir := t.TempDir()
	path := func(n int) string {
		if n == 1 {
			return filepath.Join(dir, "db.enc")
		}
		return filepath.Join(dir, fmt.Sprintf("db-%d.enc", n))
	}
	if _, err := save(path(1), content, store.Options{Sidecar: true}); err != nil {
		t.Fatal(err)
	}
	busy, err := Create(path(2), store.Options{Sidecar: true})
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Abort()
	f, err := store.CreateUnique(t.Context(), Folder{}, path, store.Options{Sidecar: true})
	if err != nil {
		t.Fatal(err)
	}
	res, err := f.Commit()
	if err != nil || res.Path != path(3) {
		t.Errorf("committed %q, error %v; want %q", res.Path, err, path(3))
	}
	_, err = store.CreateUnique(t.Context(), Folder{}, func(int) string { return filepath.Join(dir, "missing", "x") }, store.Options{})
	if !store.IsStoreFault(err) {
		t.Errorf("error %v, want a store fault", err)
	}
}

func TestRace(t *testing.T) {
	for round := range 20 {
		if round == 10 { // the second half as other systems do it
			withSys(t, func(s *system) { s.renameNew = fsutil.LinkNew })
		}
		dir := t.TempDir()
		path := filepath.Join(dir, "x.enc")
		if round%2 == 1 { // leftovers to fight over
			writeFile(t, partialPath(path), "half a back")
			writeFile(t, path+store.SidecarSuffix, sumOf(content)+"  x.enc\n")
		}
		start := make(chan struct{})
		errs := make([]error, 8)
		var wg sync.WaitGroup
		for i := range errs {
			wg.Go(func() {
				<-start
				f, err := Create(path, store.Options{Sidecar: true})
				if err == nil {
					fmt.Fprintf(f, "writer %d", i)
					_, err = f.Commit()
				}
				errs[i] = err
			})
		}
		close(start)
		wg.Wait()
		winner := -1
		for i, err := range errs {
			switch {
			case err == nil && winner >= 0:
				t.Fatalf("writers %d and %d both won", winner, i)
			case err == nil:
				winner = i
			case !(errors.Is(err, store.ErrExists) || errors.Is(err, store.ErrBusy)) || store.IsStoreFault(err):
				t.Errorf("writer %d: %v, want ErrBusy or ErrExists", i, err)
			}
		}
		if winner < 0 {
			t.Fatalf("nobody won: %v", errs)
		}
		checkBackup(t, path, fmt.Appendf(nil, "writer %d", winner))
		wantFiles(t, dir, "x.enc", "x.enc.sha256")
	}
}

func TestBusy(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.enc")
	f, err := Create(path, store.Options{Sidecar: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Create(path, store.Options{Sidecar: true}); !errors.Is(err, store.ErrBusy) {
		t.Errorf("error %v, want ErrBusy", err) // and not after f has ended, which waits for this
	}
	f.Write(content)
	if _, err := f.Commit(); err != nil {
		t.Fatal(err)
	}
	checkBackup(t, path, content)
}

func TestWriteDoesNotAllocate(t *testing.T) {
	f, err := Create(filepath.Join(t.TempDir(), "x.enc"), store.Options{Sidecar: true})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Abort()
	f.Write(content)
	if n := testing.AllocsPerRun(100, func() { f.Write(content) }); n > 0 {
		t.Errorf("%v allocations per Write", n)
	}
}
