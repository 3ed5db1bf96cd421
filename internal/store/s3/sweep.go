package s3store

import (
	"context"
	"regexp"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/takumi-backup/takumi-backup/internal/store"
)

// Swept is what a crash left, and Sweep found.
type Swept struct {
	Path  string
	Begun time.Time
	Parts bool  // an upload that was never completed; otherwise a temporary object
	Err   error // why it could not be deleted, or nil
}

// Sweep ends the uploads under root that were begun more than age ago and never
// completed, and deletes the temporary objects of that age that writers and
// Replace left. An upload that is still under way would fail: let age be longer
// than any backup takes. With dryRun it only looks.
//
// Every one that was found is reported; the error is that of the listing.
func (s *Store) Sweep(ctx context.Context, root string, age time.Duration, dryRun bool) ([]Swept, error) {
	bucket, prefix, err := splitRoot(root)
	if err != nil {
		return nil, err
	}
	c, err := s.session(ctx, "sweep", root)
	if err != nil {
		return nil, err
	}
	before := time.Now().Add(-age)
	var swept []Swept
	pages := s3.NewListMultipartUploadsPaginator(c.probe, &s3.ListMultipartUploadsInput{Bucket: &bucket, Prefix: optional(prefix)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return swept, s.fault(ctx, "list the uploads of", root, err)
		}
		for _, found := range page.Uploads {
			key, begun := aws.ToString(found.Key), aws.ToTime(found.Initiated)
			// Servers have been seen to list by their own idea of a prefix.
			if !strings.HasPrefix(key, prefix) || begun.After(before) {
				continue
			}
			one := Swept{Path: Scheme + bucket + "/" + key, Begun: begun, Parts: true}
			if !dryRun {
				u := &upload{s: s, c: c, o: object{path: one.Path, bucket: bucket, key: key}, id: aws.ToString(found.UploadId)}
				one.Err = u.abort(ctx)
			}
			swept = append(swept, one)
		}
	}
	for found, err := range s.Files(ctx, root) {
		if err != nil {
			return swept, err
		}
		if !isTemporary(found.Path) || found.ModTime.After(before) {
			continue
		}
		one := Swept{Path: found.Path, Begun: found.ModTime}
		if !dryRun {
			one.Err = s.removeBeside(ctx, found.Path, "", nil)
		}
		swept = append(swept, one)
	}
	if err := context.Cause(ctx); err != nil {
		return swept, err
	}
	return swept, nil
}

// isTemporary reports whether a name is one that only this package gives, and
// only while something is under way.
func isTemporary(path string) bool {
	name := temporary.ReplaceAllString(path, "")
	return name != path && store.Backup{Path: name}.Named()
}

var temporary = regexp.MustCompile(`(` + regexp.QuoteMeta(replaceSuffix) + `|` + regexp.QuoteMeta(segmentMark) + `\d{5})$`)
