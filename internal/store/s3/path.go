package s3store

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/takumi-backup/takumi-backup/internal/store"
)

// Scheme begins every path of this package.
const Scheme = "s3://"

// maxKey is the longest key that S3 takes, in bytes.
const maxKey = 1024

// split takes a path apart. The key may be empty, and may end in a slash.
func split(path string) (bucket, key string, err error) {
	refuse := func(why string) (string, string, error) {
		return "", "", fmt.Errorf("%q: %w: %s", path, store.ErrName, why)
	}
	rest, ok := strings.CutPrefix(path, Scheme)
	if !ok {
		return refuse("a path in S3 is s3://bucket/key")
	}
	bucket, key, _ = strings.Cut(rest, "/")
	switch {
	case bucket == "":
		return refuse("it names no bucket: a path in S3 is s3://bucket/key")
	case strings.ContainsFunc(bucket, func(r rune) bool { return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyz0123456789.-", r) }):
		return refuse("a bucket's name is lower-case letters, digits, dots and hyphens")
	case !utf8.ValidString(key) || strings.ContainsFunc(key, unicode.IsControl):
		return refuse("control characters and broken UTF-8 have no place in a key")
	}
	for element := range strings.SplitSeq(strings.TrimSuffix(key, "/"), "/") {
		if key != "" && (element == "" || element == "." || element == "..") {
			return refuse("empty elements, . and .. have no place in a key")
		}
	}
	return bucket, key, nil
}

// splitFile is split for a path that names an object.
func splitFile(path string) (bucket, key string, err error) {
	if bucket, key, err = split(path); err == nil && (key == "" || strings.HasSuffix(key, "/")) {
		err = fmt.Errorf("%q: %w: it names a folder", path, store.ErrName)
	}
	return bucket, key, err
}

// splitNew is splitFile for an object that is to be made.
func splitNew(path string, sidecar bool) (bucket, key string, err error) {
	if bucket, key, err = splitFile(path); err != nil {
		return "", "", err
	}
	// sha256sum escapes it, so that a plain line could not name the file.
	if sidecar && strings.Contains(key, `\`) {
		return "", "", fmt.Errorf("create %q: %w: a backslash has no place in a sidecar", path, store.ErrName)
	}
	if over := len(key) + len(longestSuffix) - maxKey; over > 0 {
		return "", "", fmt.Errorf("create %q: %w: too long by %d bytes", path, store.ErrName, over)
	}
	return bucket, key, nil
}

// longestSuffix is of the names that this package adds to a backup's.
const longestSuffix = replaceSuffix + store.SidecarSuffix
