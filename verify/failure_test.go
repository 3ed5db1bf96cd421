package verify

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/internal/fsutil"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/internal/store/local"
	storetest "github.com/takumi-backup/takumi-backup/internal/testkit/store"
	"github.com/takumi-backup/takumi-backup/stream/pack"
)

// lines are the findings of a report, one string each.
func lines(r *Report) []string {
	var all []string
	for _, b := range r.Backups.Found() {
		for _, f := range b.Findings {
			all = append(all, fmt.Sprintf("%s %s: %s", f.Severity, store.Base(b.Path), f.Code))
		}
	}
	for _, f := range r.Findings {
		all = append(all, fmt.Sprintf("%s %s: %s", f.Severity, store.Base(f.Path), f.Code))
	}
	slices.Sort(all)
	return all
}

// TestEveryFailure lets each call to the store fail in turn, once and for good. A report
// that names no failure is the report of a run without one; nothing is said against what
// is good; and what is remembered lets the next run find all.
func TestEveryFailure(t *testing.T) {
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		t.Setenv("TMPDIR", "/dev/shm") // syncing costs nothing there
	}
	dir, key := t.TempDir(), kek.Generate()
	now := time.Now().UTC().Truncate(time.Second)
	put := func(name, kind string, age time.Duration, keys ...*kek.Key) (string, []byte) {
		path := filepath.Join(dir, "d", name+backup.Suffix)
		data := seal(t, []byte("a short one"), envelope.Label{Created: now.Add(-age), Kind: kind, Name: name}, pack.None, keys...)
		write(t, path, data)
		write(t, path+store.SidecarSuffix, sidecarOf(data, path))
		return path, data
	}
	put("whole", backup.KindStream, 0, key)
	rewrapped, data := put("rewrapped", backup.KindStream, 0, key)
	write(t, rewrapped+envelope.DetachedSuffix, data[:envelope.Unit])
	damaged, data := put("damaged", backup.KindStream, 0, key)
	data[len(data)-1] ^= 1
	write(t, damaged, data)
	write(t, damaged+store.SidecarSuffix, sidecarOf(data, damaged))
	altered, _ := put("altered", backup.KindStream, 0, key)
	write(t, altered+store.SidecarSuffix, sidecarOf(nil, altered))
	bare, _ := put("bare", backup.KindStream, 0, key)
	if err := os.Remove(bare + store.SidecarSuffix); err != nil {
		t.Fatal(err)
	}
	put("foreign", backup.KindStream, 0, kek.Generate())
	gone, _ := put("gone", backup.KindDatabase, 90*24*time.Hour, key)
	write(t, filepath.Join(dir, "d", "dump.sql"), nil)
	state := filepath.Join(t.TempDir(), "state")
	job := func(place store.Store, level Level) *Job {
		m, err := OpenMemory(state)
		if err != nil {
			t.Fatal(err)
		}
		return &Job{
			Options: Options{Place: place, Keys: ringOf(key), Level: level, pause: time.Microsecond}, Paths: []string{dir},
			MaxAge: map[string]time.Duration{"": 24 * time.Hour}, Memory: m, Saved: func(err error) { t.Error(err) },
		}
	}
	run(t, job(local.Folder{}, Auth))
	if err := errors.Join(os.Remove(gone), os.Remove(gone+store.SidecarSuffix)); err != nil {
		t.Fatal(err)
	}
	known := mustRead(t, filepath.Join(state, MemoryName))
	for _, tc := range []struct {
		name   string
		level  Level
		always bool
	}{{"once", Auth, false}, {"for good", Auth, true}, {"once, by checksum", Checksum, false}} {
		long := os.Getenv("TAKUMI_TEST_LONG") != ""
		if tc.always && !long {
			continue
		}
		want := lines(run(t, job(local.Folder{}, tc.level)))
		if len(want) < 5 {
			t.Fatalf("%q", want)
		}
		for point, more := 0, true; more; point++ {
			write(t, filepath.Join(state, MemoryName), known)
			calls, failed := 0, ""
			place := &storetest.Faulty{Store: local.Folder{}, Before: func(op, path string) error {
				call := op + " " + store.Base(path)
				if calls++; calls-1 == point || tc.always && call == failed {
					failed = call
					return &store.Error{Op: op, Path: path, Err: syscall.EIO}
				}
				return nil
			}}
			r, err := job(place, tc.level).Run(t.Context())
			more = failed != ""
			what := fmt.Sprintf("%s, call %d, %s", tc.name, point, failed)
			if n := place.Left(); n != 0 {
				t.Errorf("%s: %d files are left open", what, n)
			}
			if err != nil {
				if !errors.Is(err, syscall.EIO) {
					t.Errorf("%s: %v", what, err)
				}
				continue
			}
			got := lines(r)
			named := slices.ContainsFunc(got, func(line string) bool {
				return strings.HasPrefix(line, "error") && strings.HasSuffix(line, string(Unreadable))
			})
			if !named && !slices.Equal(got, want) {
				t.Errorf("%s: found %q, and says of no failure", what, got)
			}
			for _, line := range got {
				if !slices.Contains(want, line) && !strings.HasSuffix(line, string(Unreadable)) {
					t.Errorf("%s: found %q, which is not so", what, line)
				}
			}
			if point%4 != 0 && !long {
				continue
			}
			next := job(local.Folder{}, tc.level)
			next.NewerOnly = true
			found := lines(run(t, next))
			for _, line := range want {
				if strings.HasPrefix(line, "error") && !slices.Contains(found, line) {
					t.Errorf("%s: the next run finds %q", what, found)
				}
			}
		}
	}
}

// TestMemoryFailures lets each call that saves what was proved fail in turn. The file is
// then as it was, nothing is forgotten that was to be remembered, nor remembered that was
// to be forgotten, and the next Save makes up for it.
func TestMemoryFailures(t *testing.T) {
	real := sys
	defer func() { sys = real }()
	proof := func(id string) Proof { return Proof{ID: id, Level: Auth} }
	for point := range 9 {
		dir := filepath.Join(t.TempDir(), "state")
		first, err := OpenMemory(dir)
		if err != nil {
			t.Fatal(err)
		}
		first.put("/old", proof("old"))
		first.put("/kept", proof("kept"))
		if err := first.Save(nil); err != nil {
			t.Fatal(err)
		}
		before := mustRead(t, filepath.Join(dir, MemoryName))
		m, err := OpenMemory(dir)
		if err != nil {
			t.Fatal(err)
		}
		m.put("/new", proof("new"))
		m.put("/passing", proof("passing"))
		calls := 0
		fails := func() error {
			if calls++; calls-1 == point {
				return syscall.EIO
			}
			return nil
		}
		sys.mkdir = func(dir string) error { return cmp.Or(fails(), real.mkdir(dir)) }
		sys.lock = func(path string) (*fsutil.Lock, error) {
			if err := fails(); err != nil {
				return nil, err
			}
			return real.lock(path)
		}
		sys.open = func(path string) (*os.File, error) {
			if err := fails(); err != nil {
				return nil, err
			}
			return real.open(path)
		}
		sys.create = func(path string) (store.Writer, error) {
			if err := fails(); err != nil {
				return nil, err
			}
			w, err := real.create(path)
			return &failing{w, fails}, err
		}
		forget := func(path string) bool { return path == "/old" || path == "/passing" }
		err = m.Save(forget)
		if (err != nil) != (calls > point) || err != nil && !errors.Is(err, syscall.EIO) {
			t.Errorf("call %d: %v", point, err)
		}
		if err == nil && calls != 7 {
			t.Errorf("%d calls", calls)
		}
		if err == nil {
			calls = 10
			if err := m.Save(nil); err != nil || calls != 10 {
				t.Errorf("%d calls to save nothing, %v", calls-10, err)
			}
		}
		if err != nil && point < 6 { // the last only opens what was saved
			if p, _ := m.Of("/passing"); p.ID != "passing" {
				t.Errorf("call %d: what was to be saved is %+v", point, p)
			}
			if got := mustRead(t, filepath.Join(dir, MemoryName)); !bytes.Equal(got, before) {
				t.Errorf("call %d: the file is %s", point, got)
			}
			if err := errors.Join(m.Save(nil), m.Save(forget)); err != nil {
				t.Errorf("call %d: again: %v", point, err)
			}
		}
		sys = real
		again, err := OpenMemory(dir)
		if err != nil {
			t.Fatal(err)
		}
		got := make(map[string]string)
		if err := again.each(func(path string, e entry) { got[path] = e.Proof.ID }); err != nil || !maps.Equal(got, map[string]string{"/kept": "kept", "/new": "new"}) {
			t.Errorf("call %d: remembered is %v, %v", point, got, err)
		}
	}
}

// failing is a file that may fail with each write and at its end.
type failing struct {
	store.Writer
	fails func() error
}

func (f *failing) Write(p []byte) (int, error) {
	if err := f.fails(); err != nil {
		return 0, err
	}
	return f.Writer.Write(p)
}

func (f *failing) Commit() (store.Result, error) {
	if err := f.fails(); err != nil {
		return store.Result{}, err
	}
	return f.Writer.Commit()
}
