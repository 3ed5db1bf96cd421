package store

import (
	"fmt"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/takumi-backup/takumi-backup/internal/fail"
)

// ErrScheme is returned for a path that looks like one of a remote place and is
// none: taken for a folder's name, it would keep backups here that were to leave.
var ErrScheme = fail.New(fail.Usage, "", "it names no place that there is: want s3://BUCKET/KEY, or ./ before a folder's name")

var scheme = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*:/`)

// Check fails with ErrScheme for a path that Router would not take.
func Check(path string) error {
	if !IsRemote(path) && scheme.MatchString(path) {
		return fmt.Errorf("%s: %w", path, ErrScheme)
	}
	return nil
}

// IsRemote tells whether a path names something on no file system of this host.
func IsRemote(path string) bool { return strings.HasPrefix(path, "s3://") }

// Clean is [filepath.Clean] for paths of any place: how Walk begins the paths of
// what it finds below root.
func Clean(root string) string {
	if !IsRemote(root) {
		return filepath.Clean(root)
	}
	return strings.TrimRight(root, "/")
}

// Join is [filepath.Join] for paths of any place.
func Join(root string, elements ...string) string {
	if !IsRemote(root) {
		return filepath.Join(append([]string{root}, elements...)...)
	}
	return Clean(root) + "/" + path.Join(elements...)
}

// Dir is [filepath.Dir] for paths of any place.
func Dir(name string) string {
	if !IsRemote(name) {
		return filepath.Dir(name)
	}
	if i := strings.LastIndexByte(name, '/'); i > len("s3://") {
		return name[:i]
	}
	return name
}

// Base is [filepath.Base] for paths of any place.
func Base(name string) string {
	if !IsRemote(name) {
		return filepath.Base(name)
	}
	return path.Base(name)
}
