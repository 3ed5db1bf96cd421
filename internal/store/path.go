package store

import (
	"fmt"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/takumi-backup/takumi-backup/internal/fail"
)

// ErrScheme is returned for a path that looks remote and is not: taken as a folder's name,
// it would keep backups here that should leave.
var ErrScheme = fail.New(fail.Usage, "", "it names no place that there is: want s3://BUCKET/KEY, or ./ before a folder's name")

var scheme = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*:/`)

// Check fails with ErrScheme for a path that Router would not take.
func Check(path string) error {
	if !IsRemote(path) && scheme.MatchString(path) {
		return fmt.Errorf("%s: %w", path, ErrScheme)
	}
	return nil
}

// IsRemote reports whether path is in a bucket.
func IsRemote(path string) bool { return strings.HasPrefix(path, URLScheme) }

// Clean is [filepath.Clean] for any path; Walk's paths begin with Clean(root).
func Clean(root string) string {
	if !IsRemote(root) {
		return filepath.Clean(root)
	}
	return MapBase(root, func(base string) string { return strings.TrimRight(base, "/") })
}

// Join is [filepath.Join] for any path.
func Join(root string, elements ...string) string {
	if !IsRemote(root) {
		return filepath.Join(append([]string{root}, elements...)...)
	}
	return MapBase(Clean(root), func(base string) string { return base + "/" + EscapeKey(path.Join(elements...)) })
}

// Dir is [filepath.Dir] for any path.
func Dir(name string) string {
	if !IsRemote(name) {
		return filepath.Dir(name)
	}
	return MapBase(name, func(base string) string {
		if i := strings.LastIndexByte(base, '/'); i > len(URLScheme) {
			return base[:i]
		}
		return base
	})
}

// Base is [filepath.Base] for any path.
func Base(name string) string {
	if !IsRemote(name) {
		return filepath.Base(name)
	}
	base, _ := cutQuery(name)
	return UnescapeKey(path.Base(base))
}

// Beside appends a suffix to the name in path.
func Beside(path, suffix string) string {
	return MapBase(path, func(base string) string { return base + suffix })
}

// CutSuffix is the reverse of Beside.
func CutSuffix(path, suffix string) (of string, ok bool) {
	base, query := cutQuery(path)
	base, ok = strings.CutSuffix(base, suffix)
	return base + query, ok
}

// CutRoot returns the part of path below root, "" for root itself. [Join] puts it under
// another root.
func CutRoot(path, root string) (inside string, ok bool) {
	base, query := cutQuery(Clean(path))
	top, at := cutQuery(Clean(root))
	inside, ok = strings.CutPrefix(base+"/", strings.TrimRight(top, "/")+"/")
	if inside = strings.TrimSuffix(inside, "/"); IsRemote(root) {
		inside = UnescapeKey(inside)
	}
	return inside, ok && query == at
}

// Printable quotes a name or path that could confuse a terminal or a reader.
func Printable(name string) string {
	if quoted := strconv.Quote(name); quoted[1:len(quoted)-1] != name {
		return quoted
	}
	return name
}
