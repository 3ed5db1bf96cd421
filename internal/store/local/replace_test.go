package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/internal/store"
)

// newContent is the old one behind another head.
var newContent = append(bytes.Repeat([]byte("sealed again "), 1000), content[4096:]...)

// replace puts newContent in the place of the backup at path.
func replace(ctx context.Context, path string) error {
	r, err := Folder{}.Replace(ctx, path)
	if err != nil {
		return err
	}
	defer r.Abort()
	if _, err := r.Write(newContent[:13000]); err != nil {
		return err
	}
	var seen bytes.Buffer
	if err := r.CopyFrom(ctx, 4096, &seen); err != nil {
		return err
	}
	if !bytes.Equal(seen.Bytes(), content[4096:]) {
		return fmt.Errorf("%d bytes were seen", seen.Len())
	}
	if _, err := r.Finish(); err != nil {
		return err
	}
	o, err := r.Open(ctx)
	if err != nil {
		return err
	}
	defer o.Close()
	if got, err := io.ReadAll(o); err != nil || !bytes.Equal(got, newContent) {
		return fmt.Errorf("read %d bytes back: %v", len(got), err)
	}
	return r.Swap(ctx)
}

func saveOld(t *testing.T, path string) {
	t.Helper()
	if _, err := save(path, content, store.Options{Sidecar: true}); err != nil {
		t.Fatal(err)
	}
}

func TestReplaceWhole(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "x.enc")
	saveOld(t, path)
	if err := replace(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	checkBackup(t, path, newContent)
	wantFiles(t, dir, "x.enc", "x.enc.sha256")
}

func TestReplaceKeepsOthersOff(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "x.enc")
	saveOld(t, path)
	r, err := Folder{}.Replace(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (Folder{}).Replace(t.Context(), path); !errors.Is(err, store.ErrBusy) {
		t.Errorf("a second one: %v, want ErrBusy", err)
	}
	if _, err := r.Open(t.Context()); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Open before Finish: %v", err)
	}
	if err := r.Swap(t.Context()); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Swap before Finish: %v", err)
	}
	if err := r.Abort(); err != nil {
		t.Error(err)
	}
	checkBackup(t, path, content)
	wantFiles(t, dir, "x.enc", "x.enc.sha256")
}

func TestReplaceRefuses(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "x.enc")
	if _, err := (Folder{}).Replace(t.Context(), path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	if err := os.Symlink("y.enc", path); err != nil {
		t.Fatal(err)
	}
	if _, err := (Folder{}).Replace(t.Context(), path); err == nil {
		t.Error("a link was taken for the backup")
	}
	wantFiles(t, dir, "x.enc")
}

// Whatever takes the place of the old file meanwhile is left alone.
func TestReplaceOfAChangedFile(t *testing.T) {
	for name, change := range map[string]func(path string) error{
		"written to": func(path string) error { return os.WriteFile(path, []byte("longer or shorter"), 0o600) },
		"touched":    func(path string) error { return os.Chtimes(path, time.Time{}, time.Unix(1, 0)) },
		"deleted":    os.Remove,
		"written to, at the same time": func(path string) error {
			info, err := os.Stat(path)
			return errors.Join(err, os.WriteFile(path, []byte("longer or shorter"), 0o600), os.Chtimes(path, time.Time{}, info.ModTime()))
		},
		"replaced, at the same time": func(path string) error {
			info, err := os.Stat(path)
			return errors.Join(err, os.WriteFile(path+".other", content, 0o600), os.Chtimes(path+".other", time.Time{}, info.ModTime()), os.Rename(path+".other", path))
		},
		"replaced": func(path string) error {
			return errors.Join(os.WriteFile(path+".other", content, 0o600), os.Rename(path+".other", path))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "x.enc")
			saveOld(t, path)
			r, err := Folder{}.Replace(t.Context(), path)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := r.Finish(); err != nil {
				t.Fatal(err)
			}
			if err := change(path); err != nil {
				t.Fatal(err)
			}
			want, _ := os.ReadFile(path)
			if err := r.Swap(t.Context()); !errors.Is(err, store.ErrChanged) {
				t.Errorf("Swap: %v, want ErrChanged", err)
			}
			if err := r.Abort(); err != nil {
				t.Error(err)
			}
			if got, _ := os.ReadFile(path); !bytes.Equal(got, want) {
				t.Error("the file was replaced all the same")
			}
		})
	}
}

// oldOrNew checks that path is one of the two backups whole, and says whether its
// sidecar is its own.
func oldOrNew(t *testing.T, what, path string) (holds bool) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(got, content) && !bytes.Equal(got, newContent) {
		t.Fatalf("%s: %d bytes, neither the old nor the new backup: %v", what, len(got), err)
	}
	line, err := os.ReadFile(path + store.SidecarSuffix)
	return err == nil && string(line) == sumOf(got)+"  "+filepath.Base(path)+"\n"
}

// nextRun is the next run on the same backup. It may only look.
func nextRun(t *testing.T, what, path string) {
	t.Helper()
	r, err := Folder{}.Replace(t.Context(), path)
	if err != nil {
		t.Fatalf("%s: the next run: %v", what, err)
	}
	if err := r.Abort(); err != nil {
		t.Errorf("%s: the next run: %v", what, err)
	}
	if !oldOrNew(t, what, path) {
		t.Errorf("%s: the next run did not mend the sidecar", what)
	}
	wantFiles(t, filepath.Dir(path), "x.enc", "x.enc.sha256")
}

func TestEveryFailureOfReplace(t *testing.T) {
	const points = 14
	point, mended := 0, 0
	for ; ; point++ {
		path := filepath.Join(t.TempDir(), "x.enc")
		saveOld(t, path)
		op, count := "", -1
		real := sys
		sys.everyCall(func(name string) error {
			if count++; count == point {
				op = name
				return syscall.EIO
			}
			return nil
		})
		err := replace(t.Context(), path)
		sys = real
		if op == "" {
			if err != nil {
				t.Fatalf("nothing failed, yet: %v", err)
			}
			break
		}
		what := fmt.Sprintf("call %d, %s", point, op)
		if e, ok := errors.AsType[*store.Error](err); !ok || e.Err != syscall.EIO {
			t.Errorf("%s: %v, want an *Error with EIO", what, err)
		}
		if !oldOrNew(t, what, path) {
			mended++
		}
		nextRun(t, what, path)
	}
	if point != points {
		t.Errorf("%d calls could fail, want %d", point, points)
	}
	if mended == 0 {
		t.Error("no failure fell between the two renames")
	}
}

// crashingReplacer is the child of TestEveryCrashOfReplace: it dies before call
// number args[1].
func crashingReplacer(args []string) error {
	point, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	count := -1
	die := func() {
		if count++; count == point {
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
			time.Sleep(time.Minute) // the signal is on its way
		}
	}
	unlink := sys.remove
	sys.remove = func(path string) error { die(); return unlink(path) }
	sys.everyCall(func(string) error { die(); return nil })
	return replace(context.Background(), args[0])
}

func init() { children["replace"] = crashingReplacer }

func TestEveryCrashOfReplace(t *testing.T) {
	old := strayAge
	defer func() { strayAge = old }()
	strayAge = 0
	point, mended, swept := 0, 0, false
	for died := true; died; point++ {
		dir := t.TempDir()
		path := filepath.Join(dir, "x.enc")
		saveOld(t, path)
		cmd := child(t, "replace", path, strconv.Itoa(point))
		out, err := cmd.Output()
		died = err != nil
		if died && cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
			t.Fatalf("point %d: %v: %s", point, err, out)
		}
		what := fmt.Sprint("point ", point)
		if !oldOrNew(t, what, path) {
			mended++
		}
		// Also when another writer sweeps the folder first, and again.
		if swept = !swept; swept {
			sweep(dir)
			sweep(dir)
		}
		nextRun(t, what, path)
	}
	if point < 15 || mended < 2 {
		t.Errorf("%d points to die at, %d between the renames", point, mended)
	}
}

// What Swap left next to a backup that was deleted since is swept.
func TestStagedSidecarOfNothing(t *testing.T) {
	old := strayAge
	defer func() { strayAge = old }()
	strayAge = 0
	dir := t.TempDir()
	path := filepath.Join(dir, "x.enc")
	staged := partialPath(path + store.SidecarSuffix)
	line := sumOf(content) + "  x.enc\n"
	writeFile(t, staged, line)
	sweep(dir)
	wantFiles(t, dir)
	// And what is not a sidecar of the backup that is there is no reason to wait.
	writeFile(t, path, string(content))
	writeFile(t, staged, line[:20])
	sweep(dir)
	wantFiles(t, dir, "x.enc")
	writeFile(t, staged, sumOf(newContent)+"  x.enc\n")
	sweep(dir)
	wantFiles(t, dir, "x.enc", ".x.enc.sha256.partial")
	r, err := Folder{}.Replace(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	r.Abort()
	wantFiles(t, dir, "x.enc")
}
