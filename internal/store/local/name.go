package local

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/takumi-backup/takumi-backup/internal/store"
)

// maxName is the limit of every common file system, in bytes. One with a lower limit fails
// when the temporary file is made.
const maxName = 255

// checkName refuses unfit last elements of a path.
func checkName(path string, sidecar bool) error {
	refuse := func(why string) error { return fmt.Errorf("create %q: %w: %s", path, store.ErrName, why) }
	name := filepath.Base(path)
	if strings.HasSuffix(path, "/") || name == "." || name == ".." {
		return refuse("it names a folder")
	}
	// sha256sum escapes these, so that a plain line could not name the file.
	if sidecar && strings.ContainsAny(name, "\\\r\n") {
		return refuse("a backslash, carriage return or line feed has no place in a sidecar")
	}
	if strings.HasPrefix(name, partialPrefix) && strings.HasSuffix(name, partialSuffix) {
		return refuse("names of this form are the store's temporary files")
	}
	longest := name
	if sidecar {
		longest += store.SidecarSuffix
	}
	if over := len(partialPath(longest)) - maxName; over > 0 {
		return refuse(fmt.Sprintf("too long by %d bytes; the temporary file next to it has a longer name, of at most %d", over, maxName))
	}
	return nil
}

// checkTarget fails unless a file can be renamed to path. Only regular files are replaced:
// a device, a pipe or a link is a mistake.
func checkTarget(path string, replace bool) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fault("look for", path, err)
	case !replace:
		return fmt.Errorf("create %s: %w", path, store.ErrExists)
	case !info.Mode().IsRegular():
		return fmt.Errorf("replace %s: %w: not a regular file", path, store.ErrExists)
	}
	return nil
}

func makeParents(dir string) error {
	parent := filepath.Dir(dir)
	if exists(dir) || dir == parent { // a "." that cannot be looked at, as on a lost mount
		return nil
	}
	if err := makeParents(parent); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fault("create folder", dir, err)
	}
	if err := sys.syncDir(parent); err != nil {
		return fault("sync", parent, err)
	}
	return nil
}
