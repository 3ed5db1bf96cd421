package s3store

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/takumi-backup/takumi-backup/internal/store"
)

// bytes, the limit of S3
const maxKey = 1024

var (
	// Old buckets have capital letters and underscores.
	bucketName = regexp.MustCompile(`^[A-Za-z0-9._-]+$`) // {3,255} would compile to 255 copies, at every start
	// Access points replace buckets (Amazon S3 User Guide, access point ARNs), with a colon
	// or a slash before their name.
	accessPoint = regexp.MustCompile(`^arn:[a-z-]+:s3(?:-[a-z-]+)?:[a-z0-9-]*:[0-9]*:accesspoint[:/][A-Za-z0-9._-]+`)
)

// split splits a path. The key may be empty, and may end in a slash.
func split(path string) (bucket, key string, err error) {
	refuse := func(why string) (string, string, error) {
		return "", "", fmt.Errorf("%q: %w: %s", path, store.ErrName, why)
	}
	base, _, err := store.SplitURL(path)
	if err != nil {
		return "", "", err
	}
	rest, ok := strings.CutPrefix(base, store.URLScheme)
	if !ok {
		return refuse("a path in S3 is s3://bucket/key")
	}
	if bucket = accessPoint.FindString(rest); bucket != "" {
		key = strings.TrimPrefix(rest[len(bucket):], "/")
	} else {
		bucket, key, _ = strings.Cut(rest, "/")
	}
	key = store.UnescapeKey(key)
	switch {
	case bucket == "":
		return refuse("it names no bucket: a path in S3 is s3://bucket/key")
	case (len(bucket) < 3 || len(bucket) > 255 || !bucketName.MatchString(bucket)) && !accessPoint.MatchString(bucket):
		return refuse("a bucket's name is letters, digits, dots, hyphens and underscores, or the ARN of an access point")
	}
	if why := unfitKey(key); why != "" {
		return refuse(why)
	}
	return bucket, key, nil
}

func unfitKey(key string) string {
	if !utf8.ValidString(key) || strings.ContainsFunc(key, unicode.IsControl) {
		return "control characters and broken UTF-8 have no place in a key"
	}
	for element := range strings.SplitSeq(strings.TrimSuffix(key, "/"), "/") {
		if key != "" && (element == "" || element == "." || element == "..") {
			return "empty elements, . and .. have no place in a key"
		}
	}
	return ""
}

func splitFile(path string) (bucket, key string, err error) {
	if bucket, key, err = split(path); err == nil && (key == "" || strings.HasSuffix(key, "/")) {
		err = fmt.Errorf("%q: %w: it names a folder", path, store.ErrName)
	}
	return bucket, key, err
}

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

// longestSuffix is the longest that this package adds to a backup's name.
const longestSuffix = replaceSuffix + store.SidecarSuffix

// splitRoot splits a root into a bucket and the prefix of its keys.
func splitRoot(root string) (bucket, prefix string, err error) {
	bucket, prefix, err = split(root)
	if prefix != "" && !strings.HasSuffix(prefix, "/") {
		prefix += "/"
	}
	return bucket, prefix, err
}

// under returns the path of a key, which has the root's prefix, with root as the user wrote
// it.
func under(root, prefix, key string) string {
	return store.MapBase(root, func(base string) string {
		return strings.TrimSuffix(base, "/") + "/" + store.EscapeKey(strings.TrimPrefix(key, prefix))
	})
}
