package backup_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/backup/chain"
	"github.com/takumi-backup/takumi-backup/backup/members"
	places "github.com/takumi-backup/takumi-backup/backup/store"
	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/internal/fail"
	source "github.com/takumi-backup/takumi-backup/internal/source/tree"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/internal/store/local"
	s3test "github.com/takumi-backup/takumi-backup/internal/testkit/s3"
	treetest "github.com/takumi-backup/takumi-backup/internal/testkit/tree"
	"github.com/takumi-backup/takumi-backup/restore/tree"
)

// tick is more than that of the clock of a file system.
const tick = 12 * time.Millisecond

func init() { backup.Settle(tick - 2*time.Millisecond) }

// nights backs up a folder night after night.
type nights struct {
	t         *testing.T
	place     store.Store
	dir, root string
	state     string
	also      []string
	key       *kek.Key
	open      backup.Options
	every     time.Duration
	wait      time.Duration
	options   source.Options
	now       time.Time
	full      []string // why full ones were made
	made      *backup.Made
}

func newNights(t *testing.T) *nights {
	key := kek.Generate()
	return &nights{t: t, place: local.Folder{}, dir: t.TempDir(), root: t.TempDir(), state: t.TempDir(), key: key,
		open: backup.Options{Keys: ringOf(t, key)}, wait: tick, every: 40 * 24 * time.Hour, now: time.Now().Add(-60 * 24 * time.Hour)}
}

// night makes a backup, and returns its path.
func (n *nights) night() string {
	n.t.Helper()
	if err := n.try(n.place); err != nil {
		n.t.Fatal(err)
	}
	return n.made.Path
}

func (n *nights) try(place store.Store) error {
	time.Sleep(n.wait)
	n.now = n.now.Add(24 * time.Hour)
	job := backup.Job{Store: place, To: backup.Dest{Root: n.root}, Also: n.also, Created: n.now, Recipients: []envelope.Recipient{n.key}}
	run := func(ctx context.Context, j backup.Job) (made *backup.Made, err error) {
		n.made, err = j.Run(ctx, backup.Observer{})
		return n.made, err
	}
	_, err := backup.UploadsIncremental(n.t.Context(), job, run, n.dir, n.options, backup.Incremental{
		StateDir: n.state, FullEvery: n.every, Full: func(why string) { n.full = append(n.full, why) },
	})
	return err
}

func (n *nights) archive(path string) (*members.Archive, error) {
	h, err := backup.OpenAt(n.t.Context(), n.place, path, n.open)
	if err != nil {
		return nil, err
	}
	n.t.Cleanup(func() { h.Close() })
	return h.Members(n.t.Context())
}

// restored describes the tree that a backup restores.
func (n *nights) restored(path string) (map[string]string, error) {
	a, err := n.archive(path)
	if err != nil {
		return nil, err
	}
	whole, err := a.Whole()
	if err != nil {
		return nil, err
	}
	dir := n.t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	if _, err := tree.Extract(n.t.Context(), root, whole, tree.Options{Special: true}); err != nil {
		return nil, err
	}
	return treetest.Describe(n.t, dir), nil
}

func (n *nights) check(path string, want map[string]string) {
	n.t.Helper()
	got, err := n.restored(path)
	if err != nil {
		n.t.Fatal(err)
	}
	treetest.Compare(n.t, got, want)
}

// edit changes the tree at random: contents, names, links, modes and deletions.
func (n *nights) edit(r *rand.Rand) {
	n.t.Helper()
	must := func(err error) {
		n.t.Helper()
		if err != nil && !errors.Is(err, os.ErrExist) && !errors.Is(err, os.ErrNotExist) {
			n.t.Fatal(err)
		}
	}
	var files, folders []string
	must(filepath.WalkDir(n.dir, func(path string, d os.DirEntry, err error) error {
		if d.IsDir() {
			folders = append(folders, path)
		} else {
			files = append(files, path)
		}
		return err
	}))
	folder := func() string { return folders[r.IntN(len(folders))] }
	fresh := func() string {
		return filepath.Join(folder(), fmt.Sprintf("n%d%s", r.IntN(40), []string{"", ".x", "-"}[r.IntN(3)]))
	}
	file := func() string {
		if len(files) == 0 {
			return n.dir + "/none"
		}
		return files[r.IntN(len(files))]
	}
	isFile := func(path string) bool { info, err := os.Lstat(path); return err == nil && info.Mode().IsRegular() }
	switch r.IntN(9) {
	case 0, 1:
		if path := fresh(); !exists(path) || isFile(path) {
			must(os.WriteFile(path, []byte(strings.Repeat(fmt.Sprint(r.Uint64()), r.IntN(9000))), 0o640))
		}
	case 2:
		if path := file(); isFile(path) {
			must(os.WriteFile(path, []byte(fmt.Sprint(r.Uint64())), 0o600))
		}
	case 3:
		must(os.Remove(file()))
	case 4:
		if path := folder(); path != n.dir && r.IntN(3) == 0 {
			must(os.RemoveAll(path))
		}
	case 5:
		from, to := file(), fresh()
		if !exists(to) {
			must(os.Rename(from, to))
		}
	case 6:
		if from, to := folder(), fresh(); from != n.dir && !exists(to) && !strings.HasPrefix(to, from+"/") {
			must(os.Rename(from, to))
		} else {
			must(os.Mkdir(fresh(), 0o750))
		}
	case 7:
		if path := file(); isFile(path) {
			must(os.Link(path, fresh()))
		}
		must(os.Symlink(fmt.Sprint("to", r.IntN(9)), fresh()))
	case 8:
		if path := file(); isFile(path) {
			must(os.Chmod(path, os.FileMode(0o600+r.IntN(64))))
		}
		must(os.Chtimes(folder(), time.Time{}, time.Unix(r.Int64N(1e9), 7)))
	}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// TestEveryNight: a chain of nights of edits, renames and deletions restores each of them as
// it was, from a folder and from a bucket.
func TestEveryNight(t *testing.T) {
	t.Run("folder", func(t *testing.T) { everyNight(t, newNights(t), 9) })
	t.Run("bucket", func(t *testing.T) {
		s3test.Serve(t, s3test.NewMemory())
		n := newNights(t)
		n.root = "s3://bucket/prefix"
		var err error
		if n.place, err = places.Open(n.root, places.S3Options{}); err != nil {
			t.Fatal(err)
		}
		everyNight(t, n, 4)
	})
}

// everyNight makes so many increments, or 30 in the long run.
func everyNight(t *testing.T, n *nights, increments int) {
	if os.Getenv("TAKUMI_TEST_LONG") != "" {
		increments = 30
	}
	treetest.Make(t, n.dir, 7)
	r := rand.New(rand.NewPCG(1, 2))
	var paths []string
	var want []map[string]string
	for night := range 1 + increments {
		if night > 0 {
			for range 1 + r.IntN(12) {
				n.edit(r)
			}
		}
		paths = append(paths, n.night())
		want = append(want, treetest.Describe(t, n.dir))
	}
	if len(n.full) != 1 || n.made.Kind != backup.KindIncrement {
		t.Fatalf("full ones were made because of %q", n.full)
	}
	for night, path := range paths {
		if l, ok := backup.LinkOf(n.made.Name); !ok || l.N != increments || n.made.Series() != "uploads.tar" {
			t.Fatalf("night %d is %s, of series %s", night, n.made.Name, n.made.Series())
		}
		n.check(path, want[night])
	}
}

// TestNothingChanged: what is as it was is not stored again, a folder with a new mode is,
// and what is deleted is gone.
func TestNothingChanged(t *testing.T) {
	n := newNights(t)
	for i := range 200 {
		writeFile(t, filepath.Join(n.dir, fmt.Sprint(i)), make([]byte, 1000*i))
	}
	n.night()
	n.night()
	if s := n.made.Tree; s.Files != 0 || s.Same != 200 {
		t.Errorf("%+v", s)
	}
	if n.made.In > 10<<10 {
		t.Errorf("an archive of nothing has %d bytes", n.made.In)
	}
	writeFile(t, n.dir+"/5", []byte("new"))
	if err := os.Remove(n.dir + "/6"); err != nil {
		t.Fatal(err)
	}
	path := n.night()
	if s := n.made.Tree; s.Files != 1 || s.Same != 198 {
		t.Errorf("%+v", s)
	}
	a, err := n.archive(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Find("6"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the deleted file: %v", err)
	}
	for name, size := range map[string]int64{"5": 3, "7": 7000} {
		e, err := a.File(name)
		if err != nil {
			t.Fatal(err)
		}
		body, _, err := a.Open(e)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.Copy(io.Discard, body); got != size || err != nil {
			t.Errorf("%s has %d bytes: %v", name, got, err)
		}
	}
	all := 0
	for _, err := range a.All() {
		if all++; err != nil {
			t.Fatal(err)
		}
	}
	if all != 200 {
		t.Errorf("the tree has %d entries", all)
	}
}

func writeFile(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestInDoubt: whatever is not as it was, a full backup is made, and why is said.
func TestInDoubt(t *testing.T) {
	states := func(n *nights) []string {
		all, err := filepath.Glob(n.state + "/uploads/*")
		if err != nil {
			t.Fatal(err)
		}
		return slices.DeleteFunc(all, func(p string) bool { return strings.HasSuffix(p, ".lock") || strings.HasSuffix(p, "/key") })
	}
	for name, tc := range map[string]struct {
		spoil func(n *nights, path string)
		why   string
	}{
		"the state is lost":        {func(n *nights, _ string) { os.Remove(states(n)[0]) }, "no state"},
		"the state is damaged":     {func(n *nights, _ string) { writeFile(t, states(n)[0], []byte("x")) }, "reading the state"},
		"the local key is lost":    {func(n *nights, _ string) { os.Remove(n.state + "/uploads/key") }, "reading the state"},
		"the last one is gone":     {func(n *nights, path string) { os.Remove(path) }, "is missing"},
		"the last one is cut":      {func(n *nights, path string) { os.Truncate(path, 9000) }, "another backup has its name"},
		"another key":              {func(n *nights, _ string) { n.key = kek.Generate() }, "the keys or recipients have changed"},
		"no attributes":            {func(n *nights, _ string) { n.options.NoXattrs = true }, "attributes"},
		"the full one is old":      {func(n *nights, _ string) { n.every = 48 * time.Hour }, "the chain is as long as"},
		"the clock was put back":   {func(n *nights, _ string) { n.now = n.now.Add(-100 * 24 * time.Hour) }, "in the future"},
		"it was put back a little": {func(n *nights, _ string) { n.now = n.now.Add(-36 * time.Hour) }, "in the future"},
		"a new copy":               {func(n *nights, _ string) { n.also = append(n.also, n.root+"/new") }, "/new does not have the chain"},
		"a copy without the last":  {func(n *nights, path string) { os.Remove(n.also[0] + "/uploads/" + filepath.Base(path)) }, "/also/uploads/"},
		"a full one has its place": {func(n *nights, path string) { swap(t, n, path) }, "another backup has its name"},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNights(t)
			n.also = []string{n.root + "/also"}
			writeFile(t, n.dir+"/a", []byte("a"))
			n.night()
			n.full = nil
			path := n.night()
			if len(n.full) > 0 {
				t.Errorf("at first: %q", n.full)
			}
			tc.spoil(n, path)
			n.night()
			if n.made.Kind != backup.KindUploads || len(n.full) != 1 || !strings.Contains(n.full[0], tc.why) {
				t.Errorf("a backup of kind %s was made: %q", n.made.Kind, n.full)
			}
		})
	}
}

// swap puts another sealed backup in the place of one.
func swap(t *testing.T, n *nights, path string) {
	t.Helper()
	content := backupFor(t, n.key)
	writeFile(t, path, content)
}

// TestBrokenChain: what a link needs is named when it is missing or another, before
// anything is read of it, and the state is left when a backup fails.
func TestBrokenChain(t *testing.T) {
	n := newNights(t)
	writeFile(t, n.dir+"/a", []byte("a"))
	full := n.night()
	writeFile(t, n.dir+"/b", []byte("b"))
	n.night()
	writeFile(t, n.dir+"/c", []byte("c"))
	last := n.night()
	want := treetest.Describe(t, n.dir)
	n.check(last, want)
	good, err := os.ReadFile(full)
	if err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(){
		"missing":   func() { os.Remove(full) },
		"cut":       func() { writeFile(t, full, good[:len(good)-20]) },
		"another":   func() { swap(t, n, full) },
		"its slots": func() { writeFile(t, full, []byte(strings.Replace(string(good), "slot key", "slot kex", 1))) },
	} {
		spoil()
		if _, err := n.archive(last); !errors.Is(err, members.ErrChain) || !strings.Contains(err.Error(), filepath.Base(full)) {
			t.Errorf("%s: %v", name, err)
		}
		writeFile(t, full, good)
	}
	n.check(last, want)
}

// TestDamagedInTheMiddle: damage in the content of a link, whose head and end are good, is
// named with that link, what is elsewhere comes back, and a chain that is known to be
// damaged gets no more links.
func TestDamagedInTheMiddle(t *testing.T) {
	n := newNights(t)
	noise := make([]byte, 300_000)
	rand.NewChaCha8([32]byte{1}).Read(noise)
	writeFile(t, n.dir+"/a", []byte("a"))
	writeFile(t, n.dir+"/large", noise)
	full := n.night()
	writeFile(t, n.dir+"/b", []byte("b"))
	last := n.night()
	bad, err := os.ReadFile(full)
	if err != nil {
		t.Fatal(err)
	}
	bad[len(bad)/2] ^= 1
	writeFile(t, full, bad)
	a, err := n.archive(last)
	if err != nil {
		t.Fatal(err)
	}
	wants := func(what string, err error) {
		t.Helper()
		if class, hint := fail.Of(err); !errors.Is(err, members.ErrChain) || !strings.Contains(err.Error(), filepath.Base(full)+", number 0") || class != fail.Damaged || !strings.Contains(hint, "another copy of the store") {
			t.Errorf("%s: %v, %v, %q", what, err, class, hint)
		}
	}
	_, err = n.restored(last)
	wants("restore", err)
	content := func(name string) ([]byte, error) {
		e, err := a.File(name)
		if err != nil {
			return nil, err
		}
		r, _, err := a.Open(e)
		if err != nil {
			return nil, err
		}
		return io.ReadAll(r)
	}
	_, err = content("large")
	wants("one file", err)
	if got, err := content("b"); err != nil || string(got) != "b" {
		t.Errorf("%q, %v", got, err)
	}
	if err := chain.MarkBad(n.state, n.made.Envelope.Name[len("uploads_20060102_150405."):][:16]); err != nil {
		t.Fatal(err)
	}
	n.full = nil
	n.night()
	if n.made.Kind != backup.KindUploads || len(n.full) != 1 || !strings.Contains(n.full[0], "damaged") {
		t.Errorf("the next night: %s, %q", n.made.Kind, n.full)
	}
	if left, err := filepath.Glob(n.state + "/uploads/bad-*"); err != nil || len(left) > 0 {
		t.Errorf("the chain has ended, and %q is left", left)
	}
	n.night()
	if n.made.Kind != backup.KindIncrement {
		t.Errorf("the night after that: %s", n.made.Kind)
	}
}

// TestUnreadNight: a file or folder that can't be read stays in the tree as it was, and
// what was in the folder does; a further name of a file that is another now does not.
func TestUnreadNight(t *testing.T) {
	if os.Geteuid() == 0 {
		treetest.AsNobody(t, "^TestUnreadNight$")
		return
	}
	n := newNights(t)
	var reported []string
	n.options.Report = func(p source.Problem) { reported = append(reported, p.Path) }
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	in := func(name string) string { return filepath.Join(n.dir, name) }
	t.Cleanup(func() { _ = os.Chmod(in("closed"), 0o700) })
	must(os.MkdirAll(in("closed/deep"), 0o700))
	for _, name := range []string{"a", "closed/deep/x", "closed/y", "gone", "last"} {
		writeFile(t, in(name), []byte(name))
	}
	must(os.Link(in("a"), in("b")))
	must(os.Link(in("a"), in("closed/z")))
	n.night()
	check := func(want map[string]string, wantReported ...string) {
		t.Helper()
		reported = nil
		a, err := n.archive(n.night())
		must(err)
		got := make(map[string]string)
		for e, err := range a.All() {
			must(err)
			if e.Type == "d" {
				continue
			}
			file, err := a.File(e.Name())
			must(err)
			body, _, err := a.Open(file)
			must(err)
			content, err := io.ReadAll(body)
			must(err)
			got[e.Name()] = string(content)
		}
		if !maps.Equal(got, want) || !slices.Equal(reported, wantReported) {
			t.Errorf("%v are in the tree, and %q were reported", got, reported)
		}
		whole, err := a.Whole()
		must(err)
		if _, err := tree.Extract(t.Context(), nil, whole, tree.Options{}); err != nil {
			t.Error(err)
		}
	}
	must(os.Chmod(in("a"), 0))
	must(os.Chmod(in("closed"), 0))
	must(os.Remove(in("gone")))
	want := map[string]string{"a": "a", "b": "a", "closed/deep/x": "closed/deep/x", "closed/y": "closed/y", "closed/z": "a", "last": "last"}
	check(want, "a", "b", "closed/")

	must(os.Remove(in("a")))
	must(os.Remove(in("b")))
	writeFile(t, in("a"), []byte("another"))
	want["a"] = "another"
	delete(want, "b")
	delete(want, "closed/z")
	check(want, "closed/", "closed/z")

	must(os.Chmod(in("closed"), 0o700))
	must(os.Chmod(in("closed/z"), 0o600))
	must(os.Remove(in("closed/y")))
	want["closed/z"] = "a"
	delete(want, "closed/y")
	check(want)
	if len(n.full) != 1 {
		t.Errorf("full ones were made because of %q", n.full)
	}
}

// TestFailedNight: a backup that fails leaves the state as it was, and the next one is an
// increment on the same.
func TestFailedNight(t *testing.T) {
	n := newNights(t)
	writeFile(t, n.dir+"/a", []byte("a"))
	n.night()
	writeFile(t, n.dir+"/b", []byte("b"))
	if err := n.try(full{}); err == nil {
		t.Fatal("a backup onto a full disk succeeded")
	}
	path := n.night()
	if n.made.Kind != backup.KindIncrement || n.made.Tree.Files != 1 {
		t.Errorf("kind %s, %+v", n.made.Kind, n.made.Tree)
	}
	n.check(path, treetest.Describe(t, n.dir))
}

// full is a store that takes nothing.
type full struct{ local.Folder }

func (full) Create(context.Context, string, store.Options) (store.Writer, error) {
	return nil, errors.New("no space left")
}

// TestChecksum: with it a file is stored whose times do not show that it has changed,
// and one that is as it was is not.
func TestChecksum(t *testing.T) {
	n := newNights(t)
	n.options.Checksum = true
	for _, name := range []string{"small", "large"} {
		writeFile(t, filepath.Join(n.dir, name), []byte(strings.Repeat(name, 30000)))
	}
	writeFile(t, n.dir+"/tiny", []byte("x"))
	n.night()
	path := n.night()
	if s := n.made.Tree; s.Files != 0 || s.Same != 3 {
		t.Errorf("%+v", s)
	}
	n.check(path, treetest.Describe(t, n.dir))
	writeFile(t, n.dir+"/tiny", []byte("y"))
	path = n.night()
	if s := n.made.Tree; s.Files != 1 || s.Same != 2 {
		t.Errorf("%+v", s)
	}
	n.check(path, treetest.Describe(t, n.dir))
}
