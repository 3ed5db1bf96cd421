//go:build !linux

package tree

import (
	"archive/tar"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

func mknod(int, string, *tar.Header) error { return errors.ErrUnsupported }

func syncTree(dir *os.File) error {
	return filepath.WalkDir(dir.Name(), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() && !d.Type().IsRegular() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		return f.Sync()
	})
}

func isMount(string) bool { return false }

func mountBelow(string) string { return "" }

// exchange swaps the names of two folders; unsupported here.
func exchange(string, string) error { return errors.ErrUnsupported }

// renameNew renames a folder to a name that does not exist.
func renameNew(from, to string) error { return renamePlain(from, to) }
