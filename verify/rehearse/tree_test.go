package rehearse

import (
	"archive/tar"
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/takumi-backup/takumi-backup/restore/tree"
)

// archive has one of everything, and one name twice.
func archive(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	add := func(h tar.Header, content string) {
		h.Size = int64(len(content))
		err := w.WriteHeader(&h)
		if err == nil {
			_, err = w.Write([]byte(content))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	add(tar.Header{Typeflag: tar.TypeDir, Name: "./", Mode: 0o755}, "")
	add(tar.Header{Typeflag: tar.TypeDir, Name: "./d/", Mode: 0o750}, "")
	add(tar.Header{Typeflag: tar.TypeReg, Name: "./d/big", Mode: 0o640}, strings.Repeat("0123456789", 20_000))
	add(tar.Header{Typeflag: tar.TypeReg, Name: "./d/twice", Mode: 0o600}, "the first")
	add(tar.Header{Typeflag: tar.TypeLink, Name: "./d/first", Linkname: "./d/twice"}, "")
	add(tar.Header{Typeflag: tar.TypeReg, Name: "./d/twice", Mode: 0o600}, "the second")
	add(tar.Header{Typeflag: tar.TypeReg, Name: "./empty", Mode: 0o600}, "")
	add(tar.Header{Typeflag: tar.TypeSymlink, Name: "./link", Linkname: "d/big"}, "")
	add(tar.Header{Typeflag: tar.TypeLink, Name: "./hard", Linkname: "./d/big"}, "")
	add(tar.Header{Typeflag: tar.TypeFifo, Name: "./fifo", Mode: 0o600}, "")
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestComparison: a tree is what its archive says, and whatever is changed in it
// is found under its name.
func TestComparison(t *testing.T) {
	t.Parallel()
	packed := archive(t)
	write := func(name, content string) func(string) error {
		return func(dir string) error { return os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600) }
	}
	replace := func(name string, with func(path string) error) func(string) error {
		return func(dir string) error {
			path := filepath.Join(dir, name)
			return errors.Join(os.RemoveAll(path), with(path))
		}
	}
	for name, c := range map[string]struct {
		change func(dir string) error
		want   string
	}{
		"nothing":       {nil, ""},
		"a byte":        {write("d/big", strings.Repeat("0123456789", 19_999)+"0123456788"), `"d/big": its content differs after byte 196608`},
		"shorter":       {write("d/big", "0"), `"d/big": it has 1 bytes, want 200000`},
		"the earlier":   {write("d/twice", "the first"), `"d/twice": it has 9 bytes, want 10`},
		"missing":       {replace("empty", func(string) error { return nil }), `"empty": it is missing`},
		"a folder":      {replace("empty", func(p string) error { return os.Mkdir(p, 0o700) }), `"empty": it is not a file`},
		"no folder":     {replace("d", func(p string) error { return os.WriteFile(p, nil, 0o600) }), `"d": it is not a folder`},
		"another link":  {replace("link", func(p string) error { return os.Symlink("d/twice", p) }), `"link": it leads to "d/twice", want "d/big"`},
		"a copy":        {replace("hard", func(p string) error { return os.WriteFile(p, nil, 0o600) }), `"hard": it is not the same file as "./d/big"`},
		"another right": {func(dir string) error { return os.Chmod(filepath.Join(dir, "d/big"), 0o644) }, `"d/big": its mode is -rw-r--r--, want -rw-r-----`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			root, err := os.OpenRoot(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer root.Close()
			stats, err := tree.Extract(t.Context(), root, bytes.NewReader(packed), tree.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if c.change != nil {
				if err := c.change(dir); err != nil {
					t.Fatal(err)
				}
			}
			compare := &comparison{ctx: t.Context(), root: root, stats: &stats, wrong: make(map[string]string), links: make(map[string][]string)}
			if err := compare.archive(bytes.NewReader(packed)); err != nil {
				t.Fatal(err)
			}
			err = compare.verdict()
			if c.want == "" && err != nil || c.want != "" && (!errors.Is(err, ErrDiffers) || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%v, want %s", err, c.want)
			}
		})
	}
}
