package prune_test

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/takumi-backup/takumi-backup/backup"
	. "github.com/takumi-backup/takumi-backup/backup/prune"
	"github.com/takumi-backup/takumi-backup/envelope/slot"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/internal/store/local"
	storetest "github.com/takumi-backup/takumi-backup/internal/testkit/store"
	"github.com/takumi-backup/takumi-backup/stream/pack"
)

// TestEveryFailure lets each call to the store fail in turn, alone and with all that
// follow. Nothing goes that would have stayed, nothing that stays loses its manifest or
// its full backup, what is said to be deleted is gone, and what was not done the next run
// does. A success has done everything.
func TestEveryFailure(t *testing.T) {
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		t.Setenv("TMPDIR", "/dev/shm") // syncing costs nothing there
	}
	s := newShelf(t)
	s.o.Policy = Policy{Last: 1, Kinds: Kinds}
	whole := make(map[string][]byte)
	seal := func(kind, format string, age int) {
		name := fmt.Sprintf(format, noon.AddDate(0, 0, -age).Format("20060102_150405"))
		j := backup.Job{
			Source: backup.From(strings.NewReader("content")), Unguarded: true, Kind: kind, Name: name, Created: noon.AddDate(0, 0, -age),
			Pack: pack.Options{Codec: pack.None}, Recipients: slot.Recipients(s.key),
			Store: local.Folder{}, To: backup.Dest{Path: filepath.Join(s.dir, name+backup.Suffix)},
		}
		if _, err := j.Run(t.Context(), backup.Observer{}); err != nil {
			t.Fatal(err)
		}
	}
	for _, age := range []int{0, 40, 50} {
		seal(backup.KindDatabase, "db_%s.sql", age)
		seal(backup.KindManifest, "db_%s.manifest.json", age)
	}
	for n, age := range []int{60, 59} {
		seal([]string{backup.KindUploads, backup.KindIncrement}[n], "u_%s.0123456789abcdef-"+fmt.Sprint(n)+".tar", age)
		seal([]string{backup.KindUploads, backup.KindIncrement}[n], "u_%s.fedcba9876543210-"+fmt.Sprint(n)+".tar", age-58)
	}
	for _, e := range entries(t, s.dir) {
		content, err := os.ReadFile(filepath.Join(s.dir, e))
		if err != nil {
			t.Fatal(err)
		}
		whole[e] = content
	}
	reset := func() {
		for name, content := range whole {
			if err := os.WriteFile(filepath.Join(s.dir, name), content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	run := func(before func(op, path string) error) (*Result, []string, int, error) {
		var said []string
		s.o.Done = func(b *backup.Backup, d Decision, err error) error {
			if d.Action == Delete && err == nil {
				said = append(said, store.Base(b.Path))
			}
			return nil
		}
		place := &storetest.Faulty{Store: local.Folder{}, Before: before}
		r, err := Run(t.Context(), place, s.dir, s.o)
		return r, said, place.Left(), err
	}
	well := func(string, string) error { return nil }
	if r, _, _, err := run(well); err != nil || r.Deleted != 6 || r.Kept != 4 {
		t.Fatalf("%+v, %v", r, err)
	}
	want := entries(t, s.dir)

	for name, all := range map[string]bool{"one call": false, "all from one on": true} {
		for point, more := 0, true; more; point++ {
			reset()
			calls, failed := 0, ""
			r, said, left, err := run(func(op, path string) error {
				if calls++; calls-1 == point || all && calls > point {
					failed += " " + op + " " + store.Base(path)
					return &store.Error{Op: op, Path: path, Err: syscall.EIO}
				}
				return nil
			})
			more = failed != ""
			what := fmt.Sprintf("%s, %d:%s", name, point, failed)
			after := entries(t, s.dir)
			if left != 0 {
				t.Errorf("%s: %d files are left open", what, left)
			}
			gone := slices.DeleteFunc(slices.Sorted(maps.Keys(whole)), func(name string) bool {
				return !strings.HasSuffix(name, backup.Suffix) || slices.Contains(after, name)
			})
			if slices.Sort(said); !slices.Equal(said, gone) {
				t.Errorf("%s: said to be deleted are %q, and gone %q", what, said, gone)
			}
			var freed int64
			for _, name := range gone {
				freed += int64(len(whole[name]))
			}
			if r != nil && (r.Deleted != len(gone) || r.Freed != freed) {
				t.Errorf("%s: %d, %d bytes, and gone are %d, %d bytes", what, r.Deleted, r.Freed, len(gone), freed)
			}
			for _, name := range want {
				if !slices.Contains(after, name) {
					t.Errorf("%s: %s is deleted", what, name)
				}
			}
			for _, name := range after {
				for _, needed := range []string{strings.Replace(name, ".sql", ".manifest.json", 1), full(whole, name)} {
					if !slices.Contains(after, needed) {
						t.Errorf("%s: %s is there without its %s", what, name, needed)
					}
				}
			}
			if err == nil && r.Failures == 0 && !r.Damaged && !slices.Equal(after, want) {
				t.Errorf("%s: success was said, and left are %q", what, after)
			}
			if _, _, _, err := run(well); err != nil || !slices.Equal(entries(t, s.dir), want) {
				t.Errorf("%s: the next run: %v, left are %q", what, err, entries(t, s.dir))
			}
			if content, err := os.ReadFile(filepath.Join(s.dir, want[0])); err != nil || !bytes.Equal(content, whole[want[0]]) {
				t.Errorf("%s: %s was changed, %v", what, want[0], err)
			}
			if t.Failed() {
				return
			}
		}
	}
}

// full is the name of the full backup that one of a chain needs, or its own.
func full(all map[string][]byte, name string) string {
	_, chain, found := strings.Cut(name, ".")
	for other := range all {
		if found && strings.Contains(chain, "-1.tar") && strings.HasSuffix(other, strings.Replace(chain, "-1.tar", "-0.tar", 1)) {
			return other
		}
	}
	return name
}

func entries(t *testing.T, dir string) (names []string) {
	t.Helper()
	all, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		names = append(names, e.Name())
	}
	return names
}
