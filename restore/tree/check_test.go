package tree_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/takumi-backup/takumi-backup/restore/tree"
)

// TestCheckOfManyLinks: without a root, the one hard link among 34,000 whose file is not
// before it is found, and the one folder that has a file's name.
func TestCheckOfManyLinks(t *testing.T) {
	t.Parallel()
	const n = 17_000
	check := func(late, folder int) error {
		var out bytes.Buffer
		w := tar.NewWriter(&out)
		add := func(kind byte, name, to string) {
			if err := w.WriteHeader(&tar.Header{Typeflag: kind, Name: name, Linkname: to, Mode: 0o644}); err != nil {
				t.Fatal(err)
			}
		}
		for i := range n {
			file := fmt.Sprintf("f%d", i)
			if i != late {
				add(tar.TypeReg, file, "")
			}
			add(tar.TypeLink, fmt.Sprintf("l%d", i), file)
			add(tar.TypeLink, fmt.Sprintf("m%d", i), file)
			if i == late {
				add(tar.TypeReg, file, "")
			}
		}
		if folder >= 0 {
			add(tar.TypeDir, fmt.Sprintf("l%d", folder), "")
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		_, err := tree.Extract(t.Context(), nil, &out, tree.Options{})
		return err
	}
	if err := check(-1, -1); err != nil {
		t.Errorf("a good archive: %v", err)
	}
	for _, late := range []int{0, n - 1} {
		if err := check(late, -1); !errors.As(err, new(*tree.UnsafeError)) {
			t.Errorf("link %d: %v", late, err)
		}
	}
	if err := check(-1, n/2); !errors.Is(err, tree.ErrArchive) {
		t.Errorf("folder: %v", err)
	}
}
