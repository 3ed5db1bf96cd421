package tree_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	source "github.com/takumi-backup/takumi-backup/internal/source/tree"
	"github.com/takumi-backup/takumi-backup/internal/testkit/tree"
	"github.com/takumi-backup/takumi-backup/restore/tree"
)

// whole reads an archive the way that a restore does, and fails unless a check
// without a target accepts it as well.
func whole(t testing.TB, data []byte, into string, o tree.Options) (tree.Stats, error) {
	t.Helper()
	run := func(root *os.Root) (tree.Stats, error) {
		a, err := tree.Open(bytes.NewReader(data))
		if err != nil {
			return tree.Stats{}, err
		}
		defer a.Close()
		return tree.Extract(t.Context(), root, a, o)
	}
	root, err := os.OpenRoot(into)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	_, checked := run(nil)
	stats, err := run(root)
	if (err == nil) != (checked == nil) {
		t.Errorf("extraction says %v, and a check %v", err, checked)
	}
	return stats, err
}

// TestForms: what each program writes in each of its forms comes back as it was, or
// in what the form can hold.
func TestForms(t *testing.T) {
	t.Parallel()
	dir := treetest.Sample(t)
	want := treetest.Describe(t, dir)
	for name, form := range treetest.Forms {
		t.Run(name, func(t *testing.T) {
			data, out := form.Make(t, dir), t.TempDir()
			if _, err := whole(t, data, out, tree.Options{NumericOwner: true}); err != nil {
				t.Fatal(err)
			}
			out = filepath.Join(out, form.Under)
			got := treetest.Describe(t, out)
			if form.NoRoot {
				got[""] = want[""]
			}
			treetest.Compare(t, got, want)
			include, err := source.ParsePatterns([]string{"/" + filepath.Join(form.Under, "d/e")})
			if err != nil {
				t.Fatal(err)
			}
			part := t.TempDir()
			if _, err := whole(t, data, part, tree.Options{NumericOwner: true, Include: include}); err != nil {
				t.Fatal(err)
			}
			some := treetest.Describe(t, filepath.Join(part, form.Under))
			if len(some) != 5 || some["d"] != want["d"] || some["d/e/zeros"] != want["d/e/zeros"] {
				t.Errorf("included: %v", some)
			}
			var a, b unix.Stat_t
			linked := unix.Lstat(out+"/l1", &a) == nil && unix.Lstat(out+"/d/l2", &b) == nil && a.Ino == b.Ino
			if linked == form.NoLinks {
				t.Errorf("the two names of the symbolic link are one: %v", linked)
			}
		})
	}
}

// TestWrappedDamage: a stream that was cut, or that something follows, is not taken
// for an archive that ends there, and an error of the backup stays what it is.
func TestWrappedDamage(t *testing.T) {
	t.Parallel()
	dir := treetest.Sample(t)
	for name, script := range map[string]string{"gzip": "tar cz .", "zstd": "tar c . | zstd -q", "xz": "tar c . | xz -0", "bzip2": "tar cj ."} {
		data := treetest.Shell(t, dir, script, "tar", "zstd", "xz", "bzip2")
		for what, bad := range map[string][]byte{
			"cut in half": data[:len(data)/2], "cut at the end": data[:len(data)-1], "a head alone": data[:8], "followed": append(bytes.Clone(data), "garbage that follows"...),
		} {
			_, err := whole(t, bad, t.TempDir(), tree.Options{})
			if err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("%s, %s: %v", name, what, err)
			}
		}
		altered := fmt.Errorf("altered")
		for cut := range 3 {
			src := io.MultiReader(bytes.NewReader(data[:len(data)*cut/2]), failing{altered})
			a, err := tree.Open(src)
			if err == nil {
				_, err = tree.Extract(t.Context(), nil, a, tree.Options{})
				a.Close()
			}
			if err != altered {
				t.Errorf("%s, cut at %d/2: %v, want the error of the backup", name, cut, err)
			}
		}
	}
}
