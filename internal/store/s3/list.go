package s3store

import (
	"context"
	"fmt"
	"io/fs"
	"iter"
	"net/url"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/takumi-backup/takumi-backup/internal/store"
)

// Walk implements store.Store: it yields the backups under root, complete or not, in S3's
// order. It ends with a *store.Error about root when listing fails. A backup whose sidecar
// cannot be looked for comes with that error. With all it yields every object, and Sidecar
// is false.
func (s *Store) Walk(ctx context.Context, root string, all bool) iter.Seq2[store.Backup, error] {
	if all {
		return s.list(ctx, root)
	}
	return func(yield func(store.Backup, error) bool) {
		// A sidecar follows its backup, perhaps after others.
		var waiting []store.Backup
		flush := func(path string) bool { // those whose sidecar would have come before path
			for len(waiting) > 0 && (waiting[0].Sidecar || path == "" || store.Beside(waiting[0].Path, store.SidecarSuffix) < path) {
				next, err := waiting[0], error(nil)
				// Some servers list in no order (S3 Express), and a sidecar can be newer
				// than the list.
				if !next.Sidecar {
					next.Sidecar, err = s.hasSidecar(ctx, next.Path)
				}
				if !yield(next, err) {
					return false
				}
				waiting = waiting[1:]
			}
			return true
		}
		for found, err := range s.list(ctx, root) {
			if err != nil {
				yield(store.Backup{}, err)
				return
			}
			if !flush(found.Path) {
				return
			}
			for i := range waiting {
				waiting[i].Sidecar = waiting[i].Sidecar || store.Beside(waiting[i].Path, store.SidecarSuffix) == found.Path
			}
			if found.Named() {
				waiting = append(waiting, found)
			}
		}
		flush("")
	}
}

func (s *Store) hasSidecar(ctx context.Context, path string) (bool, error) {
	bucket, key, err := splitFile(path)
	if err != nil {
		return false, err
	}
	c, err := s.session(ctx, "look for", path)
	if err != nil {
		return false, err
	}
	_, err = c.head(ctx, bucket, key+store.SidecarSuffix, "")
	if isMissing(err) {
		return false, nil
	}
	return err == nil, s.fault(ctx, "look for", store.Beside(path, store.SidecarSuffix), err)
}

// list yields the objects under root. Keys that no path can name are skipped.
func (s *Store) list(ctx context.Context, root string) iter.Seq2[store.Backup, error] {
	return func(yield func(store.Backup, error) bool) {
		fail := func(err error) {
			yield(store.Backup{}, s.fault(ctx, "list", strings.TrimRight(root, "/"), err))
		}
		bucket, prefix, err := splitRoot(root)
		if err != nil {
			fail(err)
			return
		}
		c, err := s.session(ctx, "list", root)
		if err != nil {
			fail(err)
			return
		}
		in := &s3.ListObjectsV2Input{Bucket: &bucket, Prefix: optional(prefix), EncodingType: types.EncodingTypeUrl}
		for more := true; more; {
			page, err := c.probe.ListObjectsV2(ctx, in)
			if err == nil {
				err = ctx.Err()
			}
			if err == nil {
				more, err = goesOn(page.IsTruncated, &in.ContinuationToken, page.NextContinuationToken)
			}
			if err == nil && int(aws.ToInt32(page.KeyCount)) > len(page.Contents)+len(page.CommonPrefixes) {
				err = errCutList
			}
			if err != nil {
				fail(err)
				return
			}
			for _, found := range page.Contents {
				key, ok := keyOf(found.Key, page.EncodingType)
				// Some tools make keys that end in a slash as folders.
				if !ok || strings.HasSuffix(key, "/") || !strings.HasPrefix(key, prefix) {
					continue
				}
				if !yield(store.Backup{Path: under(root, prefix, key), Size: aws.ToInt64(found.Size), ModTime: aws.ToTime(found.LastModified), ETag: aws.ToString(found.ETag)}, nil) {
					return
				}
			}
		}
	}
}

// errCutList is a list that claims to continue but not where.
var errCutList = &Fault{Kind: ErrForeign, Reason: "S3 sent a part of a list, and not what leads to the rest of it",
	Fix: "try again; if it stays so, the server, or a proxy before it, cannot be used"}

// goesOn sets where the next page begins, if there is one.
func goesOn(truncated *bool, at **string, next *string) (bool, error) {
	if !aws.ToBool(truncated) {
		return false, nil
	}
	if aws.ToString(next) == "" || *at != nil && **at == *next {
		return false, errCutList
	}
	*at = next
	return true, nil
}

// decoded undoes the escaping of keys that S3 was asked for, because XML cannot carry all
// of them.
func decoded(key *string, encoding types.EncodingType) *string {
	if key == nil || encoding != types.EncodingTypeUrl {
		return key
	}
	plain, err := url.QueryUnescape(*key)
	if err != nil {
		return key
	}
	return &plain
}

// keyOf returns a listed key, and whether a path can name it.
func keyOf(listed *string, encoding types.EncodingType) (key string, ok bool) {
	key = aws.ToString(decoded(listed, encoding))
	return key, key != "" && unfitKey(key) == ""
}

func (c *connection) head(ctx context.Context, bucket, key, version string) (*s3.HeadObjectOutput, error) {
	return c.probe.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &bucket, Key: &key, VersionId: optional(version)})
}

// Stat implements store.Store. A prefix is a root when it has objects; a bucket always is.
func (s *Store) Stat(ctx context.Context, path string) (b store.Backup, isRoot bool, err error) {
	bucket, key, err := split(path)
	if err != nil {
		return b, false, err
	}
	c, err := s.session(ctx, "look for", path)
	if err != nil {
		return b, false, err
	}
	var missing error
	if key != "" && !strings.HasSuffix(key, "/") {
		head, err := c.head(ctx, bucket, key, "")
		if err == nil {
			_, err := c.head(ctx, bucket, key+store.SidecarSuffix, "")
			if err != nil && !isMissing(err) {
				return b, false, s.fault(ctx, "look for", store.Beside(path, store.SidecarSuffix), err)
			}
			return store.Backup{Path: path, Size: aws.ToInt64(head.ContentLength), ModTime: aws.ToTime(head.LastModified), ETag: aws.ToString(head.ETag), Sidecar: err == nil}, false, nil
		}
		missing = err
	}
	// Errors to a list are specific, those to HEAD are not.
	_, prefix, err := splitRoot(path)
	if err != nil {
		return b, false, err
	}
	page, err := c.probe.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: &bucket, Prefix: optional(prefix), MaxKeys: aws.Int32(1), EncodingType: types.EncodingTypeUrl})
	switch {
	case err != nil:
		return b, false, s.fault(ctx, "look for", path, err)
	case prefix == "" || len(page.Contents) > 0:
		return store.Backup{Path: path}, true, nil
	case missing != nil:
		return b, false, s.fault(ctx, "look for", path, missing)
	}
	return b, false, fmt.Errorf("look for %s: %w", path, fs.ErrNotExist)
}

// version is one, or the only one, of an object.
type version struct {
	stamp
	backup store.Backup // without a path
	latest bool
	marker bool // it says that the object was deleted
	alone  bool // others may be there that S3 does not list
}

// versions lists the versions of all keys with prefix, by key, newest first.
func (c *connection) versions(ctx context.Context, bucket, prefix string) (map[string][]version, error) {
	found := map[string][]version{}
	in := &s3.ListObjectVersionsInput{Bucket: &bucket, Prefix: &prefix, EncodingType: types.EncodingTypeUrl}
	var at *string
	for more := true; more; {
		page, err := c.probe.ListObjectVersions(ctx, in)
		if err != nil {
			return nil, err
		}
		add := func(listed *string, v version) {
			if key, ok := keyOf(listed, page.EncodingType); ok {
				found[key] = append(found[key], v)
			}
		}
		for _, v := range page.Versions {
			add(v.Key, version{
				stamp:  stamp{aws.ToString(v.ETag), aws.ToString(v.VersionId)},
				backup: store.Backup{Size: aws.ToInt64(v.Size), ModTime: aws.ToTime(v.LastModified)},
				latest: aws.ToBool(v.IsLatest),
			})
		}
		for _, v := range page.DeleteMarkers {
			add(v.Key, version{
				stamp: stamp{version: aws.ToString(v.VersionId)}, backup: store.Backup{ModTime: aws.ToTime(v.LastModified)},
				latest: aws.ToBool(v.IsLatest), marker: true,
			})
		}
		var next *string // one key can fill several pages
		if key := aws.ToString(page.NextKeyMarker); key != "" {
			next = aws.String(key + "\x00" + aws.ToString(page.NextVersionIdMarker))
		}
		if more, err = goesOn(page.IsTruncated, &at, next); err != nil {
			return nil, err
		}
		in.KeyMarker, in.VersionIdMarker = decoded(page.NextKeyMarker, page.EncodingType), page.NextVersionIdMarker
	}
	return found, nil
}
