package s3store

import (
	"context"
	"fmt"
	"io/fs"
	"iter"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/takumi-backup/takumi-backup/internal/store"
)

// Walk implements store.Store: it finds the backups under root, whether they
// are complete or not, in the order of their keys. What cannot be listed is one
// error, a *store.Error with root as its path, and the end. Backup.Sidecar is
// of the same listing. With all every object is found, and its Sidecar is false.
func (s *Store) Walk(ctx context.Context, root string, all bool) iter.Seq2[store.Backup, error] {
	if all {
		return s.list(ctx, root)
	}
	return func(yield func(store.Backup, error) bool) {
		// A sidecar comes behind its backup, but others can come in between.
		var waiting []store.Backup
		flush := func(key string) bool { // those whose sidecar would have come before key
			for len(waiting) > 0 && (waiting[0].Sidecar || key == "" || waiting[0].Path+store.SidecarSuffix < key) {
				if !yield(waiting[0], nil) {
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
			if backup, ok := strings.CutSuffix(found.Path, store.SidecarSuffix); ok {
				for i := range waiting {
					waiting[i].Sidecar = waiting[i].Sidecar || waiting[i].Path == backup
				}
			}
			if found.Named() {
				waiting = append(waiting, found)
			}
		}
		flush("")
	}
}

// list finds the objects under root.
func (s *Store) list(ctx context.Context, root string) iter.Seq2[store.Backup, error] {
	return func(yield func(store.Backup, error) bool) {
		fail := func(err error) {
			err = s.fault(ctx, "list", strings.TrimRight(root, "/"), err)
			yield(store.Backup{}, err)
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
		pages := s3.NewListObjectsV2Paginator(c.probe, &s3.ListObjectsV2Input{Bucket: &bucket, Prefix: optional(prefix)})
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				fail(err)
				return
			}
			for _, found := range page.Contents {
				key := aws.ToString(found.Key)
				if strings.HasSuffix(key, "/") {
					continue // what some tools make to have a folder
				}
				// As the user wrote root, with a slash or without.
				path := strings.TrimSuffix(root, "/") + "/" + strings.TrimPrefix(key, prefix)
				if !yield(store.Backup{Path: path, Size: aws.ToInt64(found.Size), ModTime: aws.ToTime(found.LastModified)}, nil) {
					return
				}
			}
		}
	}
}

// splitRoot takes a root apart, into a bucket and what keys under it begin with.
func splitRoot(root string) (bucket, prefix string, err error) {
	bucket, prefix, err = split(root)
	if prefix != "" && !strings.HasSuffix(prefix, "/") {
		prefix += "/"
	}
	return bucket, prefix, err
}

// Stat implements store.Store. A prefix is a root when something stands under
// it, and a bucket always.
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
		head, err := c.probe.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &bucket, Key: &key})
		if err == nil {
			_, err := c.probe.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &bucket, Key: aws.String(key + store.SidecarSuffix)})
			if err != nil && !isMissing(err) {
				return b, false, s.fault(ctx, "look for", path+store.SidecarSuffix, err)
			}
			return store.Backup{Path: path, Size: aws.ToInt64(head.ContentLength), ModTime: aws.ToTime(head.LastModified), Sidecar: err == nil}, false, nil
		}
		missing = err
	}
	// An answer to HEAD does not say what is wrong, that to a list does.
	_, prefix, err := splitRoot(path)
	if err != nil {
		return b, false, err
	}
	page, err := c.probe.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: &bucket, Prefix: optional(prefix), MaxKeys: aws.Int32(1)})
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

// version is one of an object's, or the only one.
type version struct {
	stamp
	backup store.Backup
	latest bool
	marker bool // it says that the object was deleted
}

// versions lists those of every key that begins with a path's, newest first.
func (s *Store) versions(ctx context.Context, c *connection, bucket, prefix string) (map[string][]version, error) {
	found := map[string][]version{}
	pages := s3.NewListObjectVersionsPaginator(c.probe, &s3.ListObjectVersionsInput{Bucket: &bucket, Prefix: &prefix})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, v := range page.Versions {
			add(found, v.Key, version{
				stamp:  stamp{aws.ToString(v.ETag), aws.ToString(v.VersionId)},
				backup: store.Backup{Path: Scheme + bucket + "/" + aws.ToString(v.Key), Size: aws.ToInt64(v.Size), ModTime: aws.ToTime(v.LastModified)},
				latest: aws.ToBool(v.IsLatest),
			})
		}
		for _, v := range page.DeleteMarkers {
			add(found, v.Key, markerOf(v))
		}
	}
	return found, nil
}

func add(to map[string][]version, key *string, v version) {
	to[aws.ToString(key)] = append(to[aws.ToString(key)], v)
}

func markerOf(v types.DeleteMarkerEntry) version {
	return version{
		stamp: stamp{version: aws.ToString(v.VersionId)}, backup: store.Backup{ModTime: aws.ToTime(v.LastModified)},
		latest: aws.ToBool(v.IsLatest), marker: true,
	}
}
