package s3store

import (
	"context"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/takumi-backup/takumi-backup/internal/store"
)

// Swept is what a crash left, and Sweep found.
type Swept struct {
	Path  string
	Begun time.Time
	Parts bool  // an unfinished upload; otherwise a temporary object
	Err   error // why it could not be deleted, or nil
}

// Sweep aborts unfinished uploads under root begun more than age ago, and deletes objects
// of that age that writers, Replace and Remove left: temporary ones, and companions of a
// backup without any version. An upload still under way would fail, so age must exceed the
// longest backup. With dryRun it only looks.
//
// All that were found are returned; the error is that of the listing.
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
	in := &s3.ListMultipartUploadsInput{Bucket: &bucket, Prefix: optional(prefix), EncodingType: types.EncodingTypeUrl}
	var at *string
	for more := true; more; {
		page, err := c.probe.ListMultipartUploads(ctx, in)
		if err == nil {
			var next *string
			if page.NextKeyMarker != nil {
				next = aws.String(*page.NextKeyMarker + "\x00" + aws.ToString(page.NextUploadIdMarker))
			}
			more, err = goesOn(page.IsTruncated, &at, next)
		}
		if err != nil {
			return swept, s.fault(ctx, "list the uploads of", root, err)
		}
		in.KeyMarker, in.UploadIdMarker = decoded(page.NextKeyMarker, page.EncodingType), page.NextUploadIdMarker
		for _, found := range page.Uploads {
			key, ok := keyOf(found.Key, page.EncodingType)
			begun := aws.ToTime(found.Initiated)
			// Some servers interpret a prefix differently.
			if !ok || !strings.HasPrefix(key, prefix) {
				continue
			}
			one := Swept{Path: under(root, prefix, key), Begun: begun, Parts: true}
			// What is not a backup is somebody else's.
			if begun.After(before) || !isTemporary(key) && !(store.Backup{Path: key}).Named() {
				continue
			}
			if !dryRun {
				u := &upload{s: s, c: c, o: object{path: one.Path, bucket: bucket, key: key}, id: aws.ToString(found.UploadId)}
				one.Err = u.abort(ctx)
			}
			swept = append(swept, one)
		}
	}
	standing := map[string]bool{} // companions come behind their backups
	for found, err := range s.list(ctx, root) {
		if err != nil {
			return swept, err
		}
		if found.Named() {
			standing[found.Path] = true
		}
		if found.ModTime.After(before) {
			continue
		}
		if of := companionOf(found.Path); of != "" && !standing[of] {
			orphan, err := s.noVersion(ctx, c, of)
			if err != nil {
				return swept, err
			}
			if !orphan {
				continue
			}
		} else if !isTemporary(found.Path) {
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

// companionOf returns the backup of a sidecar, detached envelope or signature.
func companionOf(path string) string {
	for _, suffix := range []string{store.SidecarSuffix, store.EnvelopeSuffix, store.SignatureSuffix} {
		if of, ok := store.CutSuffix(path, suffix); ok && (store.Backup{Path: of}).Named() {
			return of
		}
	}
	return ""
}

// noVersion reports whether a file has no version, not even a hidden one.
func (s *Store) noVersion(ctx context.Context, c *connection, path string) (bool, error) {
	bucket, key, err := splitFile(path)
	if err != nil {
		return false, err
	}
	found, err := s.versionsOf(ctx, c, bucket, key, nil)
	if err != nil {
		return false, s.fault(ctx, "look for", path, err)
	}
	return !slices.ContainsFunc(found[""], func(v version) bool { return !v.marker }), nil
}

// isTemporary reports whether only this package gives such a name, to unfinished objects.
func isTemporary(path string) bool {
	name := store.MapBase(path, func(base string) string { return temporary.ReplaceAllString(base, "") })
	return name != path && store.Backup{Path: name}.Named()
}

var temporary = regexp.MustCompile(`(` + regexp.QuoteMeta(replaceSuffix) + `|` + regexp.QuoteMeta(segmentMark) + `\d{5})$`)
