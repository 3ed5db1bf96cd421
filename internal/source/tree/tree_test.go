package tree_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/takumi-backup/takumi-backup/internal/source/tree"
	"github.com/takumi-backup/takumi-backup/internal/testkit/tree"
)

// open opens a tree that nothing should be wrong with.
func open(t testing.TB, dir string, o tree.Options) *tree.Reader {
	t.Helper()
	if o.Report == nil {
		o.Report = func(p tree.Problem) { t.Errorf("reported: %v", p) }
	}
	r, err := tree.Open(t.Context(), dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func archive(t testing.TB, dir string, o tree.Options) []byte {
	t.Helper()
	data, err := io.ReadAll(open(t, dir, o))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// gnuTar runs tar, where there is one, on an archive.
func gnuTar(t testing.TB, in []byte, args ...string) []byte {
	t.Helper()
	if _, err := exec.LookPath("tar"); err != nil {
		t.Skip("there is no tar to compare with")
	}
	cmd := exec.Command("tar", args...)
	cmd.Stdin = bytes.NewReader(in)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, stderr.Bytes())
	}
	return out
}

// TestGNUTarExtractsTheSame: what GNU tar makes of the archive is the tree.
func TestGNUTarExtractsTheSame(t *testing.T) {
	t.Parallel()
	for seed := range uint64(5) {
		dir, out := treetest.TempDir(t), treetest.TempDir(t)
		treetest.Make(t, dir, seed)
		data := archive(t, dir, tree.Options{})
		gnuTar(t, data, "-x", "-p", "--numeric-owner", "-C", out)
		treetest.Compare(t, treetest.Describe(t, out), treetest.Describe(t, dir))
		if again := archive(t, dir, tree.Options{}); !bytes.Equal(data, again) {
			t.Error("the same tree gives another archive")
		}
	}
}

func TestAsNobody(t *testing.T) {
	t.Parallel()
	treetest.AsNobody(t, "TestGNUTarExtractsTheSame|TestUnreadable")
}

// TestUnreadable: what this user may not read is reported and left out; of a
// folder, the folder itself is kept.
func TestUnreadable(t *testing.T) {
	if os.Geteuid() == 0 {
		return // root reads everything; TestAsNobody runs this test
	}
	dir := treetest.TempDir(t)
	write(t, filepath.Join(dir, "a/b"), "x")
	write(t, filepath.Join(dir, "c"), "x")
	write(t, filepath.Join(dir, "d"), "x")
	for _, path := range []string{"a", "c"} {
		if err := os.Chmod(filepath.Join(dir, path), 0); err != nil {
			t.Fatal(err)
		}
	}
	var reported []string
	r := open(t, dir, tree.Options{Report: func(p tree.Problem) { reported = append(reported, p.Path) }})
	data, err := io.ReadAll(r)
	if err != nil || list(t, data) != "./ a/ d" || strings.Join(reported, " ") != "a/ c" || r.Stats().Problems != 2 || r.Stats().Unread != 2 {
		t.Errorf("%v, %s, reported %q, %+v", err, list(t, data), reported, r.Stats())
	}
}

// TestReadInPieces: it does not matter how the archive is read.
func TestReadInPieces(t *testing.T) {
	t.Parallel()
	dir := treetest.TempDir(t)
	treetest.Make(t, dir, 3)
	want := archive(t, dir, tree.Options{})
	for _, slow := range []func(io.Reader) io.Reader{iotest.HalfReader, iotest.DataErrReader} {
		got, err := io.ReadAll(slow(open(t, dir, tree.Options{})))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d bytes, want %d, %v", len(got), len(want), err)
		}
	}
}

func write(t testing.TB, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func list(t testing.TB, data []byte) string {
	t.Helper()
	return strings.TrimSpace(strings.ReplaceAll(string(gnuTar(t, data, "-t")), "\n", " "))
}

func TestOrderAndExclude(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, path := range []string{"b", "a/z", "a/c/d", "a.b", "cache/x", "deep/er/cache/y", "n.tmp", "a/n.tmp"} {
		write(t, filepath.Join(dir, path), path)
	}
	for _, tc := range []struct {
		exclude []string
		want    string
	}{
		{nil, "./ a/ a/c/ a/c/d a/n.tmp a/z a.b b cache/ cache/x deep/ deep/er/ deep/er/cache/ deep/er/cache/y n.tmp"},
		{[]string{"*.tmp", "cache"}, "./ a/ a/c/ a/c/d a/z a.b b deep/ deep/er/"},
		{[]string{"/*.tmp", "/cache/", "a/c/*"}, "./ a/ a/c/ a/n.tmp a/z a.b b deep/ deep/er/ deep/er/cache/ deep/er/cache/y"},
		{[]string{"deep/**/y", "a/**"}, "./ a/ a.b b cache/ cache/x deep/ deep/er/ deep/er/cache/ n.tmp"},
		{[]string{"*"}, "./"},
	} {
		patterns, err := tree.ParsePatterns(tc.exclude)
		if err != nil {
			t.Fatal(err)
		}
		if got := list(t, archive(t, dir, tree.Options{Exclude: patterns})); got != tc.want {
			t.Errorf("without %q:\n got %s\nwant %s", tc.exclude, got, tc.want)
		}
	}
	for _, bad := range []string{"", "/", "[", "a/../b", "a//b", "./a", "a/[z-a"} {
		if _, err := tree.ParsePatterns([]string{bad}); err == nil {
			t.Errorf("%q passes for a pattern", bad)
		}
	}
}

func TestRefusedRoots(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "file"), "x")
	for name, make := range map[string]func(string) error{
		"missing": func(string) error { return nil },
		"link":    func(p string) error { return os.Symlink(dir, p) },
		"link/":   func(string) error { return nil },
		"file":    func(string) error { return nil },
		"empty":   func(p string) error { return os.Mkdir(p, 0o755) },
	} {
		path := dir + "/" + name
		if err := make(path); err != nil {
			t.Fatal(err)
		}
		_, err := tree.Open(t.Context(), path, tree.Options{})
		if err == nil || errors.Is(err, tree.ErrEmpty) != (name == "empty") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if data := archive(t, filepath.Join(dir, "empty"), tree.Options{AllowEmpty: true}); list(t, data) != "./" {
		t.Errorf("an empty folder gives %q", list(t, data))
	}
}

// TestChangesMeanwhile: the archive stays valid, a large file that changed comes
// again, and one that changes each time is reported.
func TestChangesMeanwhile(t *testing.T) {
	t.Parallel()
	const size = 3 << 20
	touch := func(p string) error { return os.Chtimes(p, time.Now(), time.Unix(1, 0)) }
	for name, tc := range map[string]struct {
		change func(path string) error
		times  int
		length int64
		again  int
	}{
		"shrinks":        {func(p string) error { return os.Truncate(p, size/2) }, 1, size / 2, 1},
		"to nothing":     {func(p string) error { return os.Truncate(p, 0) }, 1, 0, 1},
		"grows":          {func(p string) error { return os.Truncate(p, size*2) }, 1, size * 2, 1},
		"touched":        {touch, 1, size, 1},
		"mtime set back": {keepTime, 1, size, 1},
		"touched twice":  {touch, 2, size, 1},
		"each time":      {touch, 3, size, 0},
		"unlinked":       {os.Remove, 1, size, 0}, // the open file is whole
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			path := filepath.Join(dir, "big")
			write(t, path, strings.Repeat("0123456789abcdef", size/16))
			write(t, filepath.Join(dir, "c"), "last")
			var reported []tree.Problem
			r := open(t, dir, tree.Options{Report: func(p tree.Problem) { reported = append(reported, p) }})
			var data []byte
			for range tc.times {
				head := make([]byte, 2<<20) // inside of the first, second, third time
				if len(data) > 0 {
					head = make([]byte, size)
				}
				if _, err := io.ReadFull(r, head); err != nil {
					t.Fatal(err)
				}
				data = append(data, head...)
				time.Sleep(20 * time.Millisecond) // the kernel's clock goes in steps
				if err := tc.change(path); err != nil {
					t.Fatal(err)
				}
			}
			rest, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			out := t.TempDir()
			gnuTar(t, append(data, rest...), "-x", "-C", out)
			got, _ := os.ReadFile(filepath.Join(out, "big"))
			if now, err := os.ReadFile(path); int64(len(got)) != tc.length || err == nil && !bytes.Equal(got, now) {
				t.Errorf("extracted: %d bytes, want %d as the file has them now", len(got), tc.length)
			}
			if last, _ := os.ReadFile(filepath.Join(out, "c")); string(last) != "last" {
				t.Errorf("what follows is %q", last)
			}
			want := tree.Stats{Files: 2, Folders: 1, Bytes: tc.length + 4, Again: tc.again}
			if name == "each time" {
				want.Problems, want.Changed = 1, 1
			}
			if s := r.Stats(); s != want || len(reported) != want.Problems || want.Problems > 0 && !errors.Is(reported[0], tree.ErrChanged) {
				t.Errorf("counted %+v, want %+v; reported %v", s, want, reported)
			}
		})
	}
}

// keepTime writes to a file and sets its time back.
func keepTime(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteAt([]byte("changed"), 0)
	return errors.Join(err, os.Chtimes(path, time.Now(), info.ModTime()))
}

// TestVanished: files go, and come again as something else, between the listing
// of their folder and their turn.
func TestVanished(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for i := range 2000 {
		write(t, filepath.Join(dir, string(rune('a'+i%20))+"/"+strings.Repeat("x", 1+i/20)), "content")
	}
	var reported []tree.Problem
	r := open(t, dir, tree.Options{Report: func(p tree.Problem) { reported = append(reported, p) }})
	head := make([]byte, 512)
	if _, err := io.ReadFull(r, head); err != nil {
		t.Fatal(err)
	}
	// The reading ahead is somewhere before the last folders.
	if err := os.RemoveAll(filepath.Join(dir, "s")); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(dir, "t")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc", filepath.Join(dir, "t")); err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if len(reported) != 2 || reported[0].Path != "s" || !errors.Is(reported[0], tree.ErrVanished) ||
		reported[1].Path != "t" || !errors.Is(reported[1], tree.ErrChanged) {
		t.Errorf("reported %v", reported)
	}
	if names := list(t, append(head, rest...)); strings.Contains(names, "passwd") || !strings.Contains(names, "r/x") {
		t.Error("the archive holds too much or too little")
	}
}

func TestRootVanishes(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "root")
	write(t, filepath.Join(dir, "x"), strings.Repeat("x", 1<<20))
	r := open(t, dir, tree.Options{Report: func(tree.Problem) {}})
	if _, err := io.ReadFull(r, make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, r); !errors.Is(err, tree.ErrGone) {
		t.Errorf("got %v, want ErrGone", err)
	}
}

func TestSocket(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a"), "x")
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var reported []tree.Problem
	r := open(t, dir, tree.Options{Report: func(p tree.Problem) { reported = append(reported, p) }})
	data, err := io.ReadAll(r)
	if err != nil || list(t, data) != "./ a" {
		t.Errorf("%v, %s", err, list(t, data))
	}
	if len(reported) != 1 || !errors.Is(reported[0], tree.ErrSocket) || r.Stats() != (tree.Stats{Files: 1, Folders: 1, Bytes: 1, Sockets: 1}) {
		t.Errorf("reported %v, %+v", reported, r.Stats())
	}
}

// TestStop: the end of the context ends the reading with its cause, Close ends
// it at any moment, and neither leaves a goroutine or an open file.
func TestStop(t *testing.T) {
	dir := t.TempDir()
	for i := range 400 {
		write(t, filepath.Join(dir, string(rune('a'+i%20))+"/"+strings.Repeat("y", 1+i/20)), strings.Repeat("z", i*500))
	}
	goroutines, files := runtime.NumGoroutine(), openFiles(t)
	cause := errors.New("stopped")
	for after := int64(0); after < 1<<20; after += 99_999 {
		ctx, cancel := context.WithCancelCause(t.Context())
		r, err := tree.Open(ctx, dir, tree.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.CopyN(io.Discard, r, after); err != nil {
			t.Fatal(err)
		}
		if after%2 == 0 {
			cancel(cause)
			if _, err := io.Copy(io.Discard, r); !errors.Is(err, cause) {
				t.Errorf("got %v, want the cause", err)
			}
		}
		r.Close()
		r.Close()
		if _, err := r.Read(make([]byte, 1)); err == nil {
			t.Error("Read works after Close")
		}
		cancel(nil)
	}
	for deadline := time.Now().Add(time.Minute); runtime.NumGoroutine() > goroutines && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	if n := runtime.NumGoroutine(); n > goroutines {
		t.Errorf("%d goroutines, %d before", n, goroutines)
	}
	if n := openFiles(t); n > files {
		t.Errorf("%d open files, %d before", n, files)
	}
}

func openFiles(t *testing.T) int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("this system does not list open files")
	}
	return len(entries)
}

// TestLinksOfWhatIsStoredAnew: when the first name of a file is stored anew, and nothing but
// its content shows why, so are the further ones: a chain is restored archive by archive.
func TestLinksOfWhatIsStoredAnew(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "a"), []byte("content"), 0o600), os.Link(filepath.Join(dir, "a"), filepath.Join(dir, "b"))); err != nil {
		t.Fatal(err)
	}
	facts := make(map[string]tree.Facts)
	stored := make(map[string]bool)
	o := tree.Options{
		Checksum: true,
		Earlier: func(path string) *tree.Facts {
			if f, ok := facts[path]; ok {
				return &f
			}
			return nil
		},
		Seen: func(path string, f tree.Facts, anew bool) { facts[path], stored[path] = f, anew },
	}
	for _, tc := range []struct{ hash, want string }{{"", "true true"}, {"", "false false"}, {"another", "true true"}} {
		if tc.hash != "" {
			f := facts["a"]
			f.Hash = []byte(tc.hash)
			facts["a"] = f
		}
		archive(t, dir, o)
		if got := fmt.Sprint(stored["a"], stored["b"]); got != tc.want {
			t.Errorf("with the hash %q: stored %s, want %s", tc.hash, got, tc.want)
		}
	}
}
