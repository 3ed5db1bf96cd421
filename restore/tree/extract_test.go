package tree_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	source "github.com/takumi-backup/takumi-backup/internal/source/tree"
	"github.com/takumi-backup/takumi-backup/internal/testkit/tree"
	"github.com/takumi-backup/takumi-backup/restore/tree"
)

func extract(t testing.TB, dir string, src io.Reader, o tree.Options) (tree.Stats, error) {
	t.Helper()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	return tree.Extract(t.Context(), root, src, o)
}

// everything is for trees that are known: nothing of them is left out.
func everything(t testing.TB) tree.Options {
	return tree.Options{Special: true, Report: func(path string, why error) { t.Errorf("%q: %v", path, why) }}
}

func archive(t testing.TB, dir string) []byte {
	t.Helper()
	r, err := source.Open(t.Context(), dir, source.Options{Report: func(p source.Problem) { t.Error(p) }})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	for seed := range uint64(6) {
		dir, out := treetest.TempDir(t), treetest.TempDir(t)
		treetest.Make(t, dir, 100+seed)
		if _, err := extract(t, out, bytes.NewReader(archive(t, dir)), everything(t)); err != nil {
			t.Fatal(err)
		}
		treetest.Compare(t, treetest.Describe(t, out), treetest.Describe(t, dir))
	}
}

func TestAsNobody(t *testing.T) {
	t.Parallel()
	treetest.AsNobody(t, "TestRoundTrip|TestMaliciousArchives|TestFailures|TestInclude|TestUnreadableTree")
}

// TestUnreadableTree: the tree itself may be one that its owner cannot list.
func TestUnreadableTree(t *testing.T) {
	t.Parallel()
	out := treetest.TempDir(t)
	t.Cleanup(func() { os.Chmod(out, 0o700) })
	var data bytes.Buffer
	w := tar.NewWriter(&data)
	if err := errors.Join(w.WriteHeader(&tar.Header{Name: "./", Typeflag: tar.TypeDir, Mode: 0o300, ModTime: time.Unix(1000, 0)}), w.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := extract(t, out, &data, everything(t)); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(out); err != nil || info.Mode().Perm() != 0o300 || info.ModTime().Unix() != 1000 {
		t.Errorf("%v, %v", info, err)
	}
}

// TestGNUTar: what GNU tar writes, in each of its formats, is extracted as it
// was. Only PAX keeps parts of a second and times outside of 33 bits.
func TestGNUTar(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("tar"); err != nil {
		t.Skip("there is no tar to compare with")
	}
	for format, flags := range map[string][]string{
		"pax": {"--format=pax"}, "pax, sparse": {"--format=pax", "--sparse"},
		"pax, old sparse": {"--format=pax", "--sparse", "--sparse-version=0.1"},
		"gnu":             {"--format=gnu"}, "gnu, sparse": {"--format=gnu", "--sparse"},
	} {
		for seed := range uint64(2) {
			dir, out := treetest.TempDir(t), treetest.TempDir(t)
			treetest.Make(t, dir, 200+seed)
			cmd := exec.Command("tar", append(flags, "-c", "--sort=name", "-C", dir, ".")...)
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			data, err := cmd.Output()
			if err != nil {
				t.Fatalf("%v: %s", err, stderr.Bytes())
			}
			if _, err := extract(t, out, bytes.NewReader(data), everything(t)); err != nil {
				t.Fatalf("%s: %v", format, err)
			}
			got, want := treetest.Describe(t, out), treetest.Describe(t, dir)
			if strings.HasPrefix(format, "gnu") {
				for _, lines := range []map[string]string{got, want} {
					for path, line := range lines {
						whole, rest, _ := strings.Cut(line, ".")
						lines[path] = whole + rest[9:]
					}
				}
			}
			treetest.Compare(t, got, want)
		}
	}
}

func blocks(t testing.TB, path string) int64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return int64(st.Blocks)
}

// TestHoles: a gigabyte of hole with an island in it takes no more room than the
// island, and reading it takes no memory.
func TestHoles(t *testing.T) {
	t.Parallel()
	size := int64(1 << 30)
	dir, out := t.TempDir(), t.TempDir()
	f, err := os.Create(filepath.Join(dir, "sparse"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	island := bytes.Repeat([]byte("island"), 5000)
	if _, err := f.WriteAt(island, size/2+77); err != nil {
		t.Fatal(err)
	}
	r, err := source.Open(t.Context(), dir, source.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := extract(t, out, r, everything(t)); err != nil {
		t.Fatal(err)
	}
	got, err := os.Open(filepath.Join(out, "sparse"))
	if err != nil {
		t.Fatal(err)
	}
	defer got.Close()
	p := make([]byte, len(island)+2)
	if _, err := got.ReadAt(p, size/2+76); err != nil || !bytes.Equal(p, append(append([]byte{0}, island...), 0)) {
		t.Errorf("the island is lost: %v", err)
	}
	if info, err := got.Stat(); err != nil || info.Size() != size {
		t.Errorf("the size is %d, %v", info.Size(), err)
	}
	if is, was := blocks(t, got.Name()), blocks(t, f.Name()); is > was+64 {
		t.Errorf("takes %d blocks, %d before", is, was)
	}
}

// part is an entry of an archive that is made by hand.
type part struct {
	tar.Header
	body string
}

func pack(t testing.TB, parts ...part) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, p := range parts {
		p.Size = int64(len(p.body))
		if p.Mode == 0 {
			p.Mode = 0o644
			if p.Typeflag == tar.TypeDir {
				p.Mode = 0o755
			}
		}
		p.ModTime = time.Unix(1_700_000_000, 0)
		p.Uid, p.Gid = os.Getuid(), os.Getgid()
		if err := w.WriteHeader(&p.Header); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, p.body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func file(name, body string) part { return part{tar.Header{Typeflag: tar.TypeReg, Name: name}, body} }
func dir(name string) part        { return part{tar.Header{Typeflag: tar.TypeDir, Name: name}, ""} }
func sym(name, to string) part {
	return part{tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: to}, ""}
}
func hard(name, to string) part {
	return part{tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: to}, ""}
}

func TestInclude(t *testing.T) {
	t.Parallel()
	data := pack(t, dir("./"), dir("a/"), part{tar.Header{Typeflag: tar.TypeDir, Name: "a/b/", Mode: 0o711}, ""}, file("a/b/one", "1"),
		file("a/b/two", "2"), dir("c/"), file("c/one", "3"), hard("c/link", "a/b/one"))
	for _, tc := range []struct {
		include []string
		want    string
		err     string
	}{
		{[]string{"a/b/one"}, "a a/b a/b/one", ""},
		{[]string{"one"}, "a a/b a/b/one c c/one", ""},
		{[]string{"/c/one", "two"}, "a a/b a/b/two c c/one", ""},
		{[]string{"a"}, "a a/b a/b/one a/b/two", ""},
		{[]string{"c"}, "", `include that as well`},
		{[]string{"a/*/one", "c/link"}, "a a/b a/b/one c c/link", ""},
		{[]string{"missing"}, "", "nothing by that name"},
	} {
		out := t.TempDir()
		include, err := source.ParsePatterns(tc.include)
		if err != nil {
			t.Fatal(err)
		}
		_, err = extract(t, out, bytes.NewReader(data), tree.Options{Include: include})
		if tc.err != "" {
			if err == nil || !strings.Contains(err.Error(), tc.err) {
				t.Errorf("%q: %v", tc.include, err)
			}
			continue
		}
		var names []string
		filepath.Walk(out, func(path string, info os.FileInfo, _ error) error {
			names = append(names, strings.TrimPrefix(strings.TrimPrefix(path, out), "/"))
			if strings.HasSuffix(path, "/a/b") && info.Mode().Perm() != 0o711 {
				t.Errorf("%q: the folder above has mode %v", tc.include, info.Mode())
			}
			return nil
		})
		if got := strings.TrimSpace(strings.Join(names, " ")); err != nil || got != tc.want {
			t.Errorf("%q: %s, want %s, %v", tc.include, got, tc.want, err)
		}
	}
}

// TestEndOfSource: what the source says after the archive's own end counts.
func TestEndOfSource(t *testing.T) {
	t.Parallel()
	altered := errors.New("not authentic")
	data := pack(t, file("a", "1"))
	src := io.MultiReader(bytes.NewReader(data), failing{altered})
	if _, err := extract(t, t.TempDir(), src, tree.Options{}); !errors.Is(err, altered) {
		t.Errorf("got %v", err)
	}
	for cut := range len(data) - 1024 {
		src := io.MultiReader(bytes.NewReader(data[:cut]), failing{altered})
		if _, err := extract(t, t.TempDir(), src, tree.Options{}); !errors.Is(err, altered) {
			t.Fatalf("cut at %d: %v", cut, err)
		}
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(altered)
	if _, err := tree.Extract(ctx, nil, bytes.NewReader(data), tree.Options{}); !errors.Is(err, altered) {
		t.Errorf("stopped: %v", err)
	}
}

type failing struct{ error }

func (f failing) Read([]byte) (int, error) { return 0, f.error }
