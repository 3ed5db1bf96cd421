package s3store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/takumi-backup/takumi-backup/internal/store"
)

// RestoreObject asks S3 to fetch the object at path from its archive, for so many days, or for
// good into INTELLIGENT_TIERING, by a tier of S3's (Standard, Bulk, Expedited), with its
// archived sidecar, envelope and signature. It
// returns at once; already reports that all were asked for before. Open succeeds once the
// copies are readable.
func (s *Store) RestoreObject(ctx context.Context, path string, days int, tier string) (already bool, err error) {
	bucket, key, err := splitFile(path)
	if err != nil {
		return false, err
	}
	c, err := s.session(ctx, "fetch back", path)
	if err != nil {
		return false, err
	}
	asked := false
	for _, suffix := range []string{"", store.SidecarSuffix, store.EnvelopeSuffix, store.SignatureSuffix} {
		request := &types.RestoreRequest{GlacierJobParameters: &types.GlacierJobParameters{Tier: types.Tier(tier)}}
		// What a tier of INTELLIGENT_TIERING has comes back for good: S3 refuses Days.
		if head, err := c.head(ctx, bucket, key+suffix, ""); err != nil || head.ArchiveStatus == "" {
			request.Days = aws.Int32(int32(days))
		}
		_, err = c.probe.RestoreObject(ctx, &s3.RestoreObjectInput{Bucket: &bucket, Key: aws.String(key + suffix), RestoreRequest: request})
		switch {
		case err == nil:
			asked = true
		case codeOf(err) == "RestoreAlreadyInProgress":
			already = true
		case codeOf(err) == "InvalidObjectState", suffix != "" && isMissing(err):
		default:
			return false, s.fault(ctx, "fetch back", store.Beside(path, suffix), err)
		}
	}
	if !asked && !already {
		return false, fmt.Errorf("fetch back %s: it is in no archive, and can be read", path)
	}
	return !asked, nil
}

// Deleted is a backup with a version under a delete marker.
type Deleted struct {
	store.Backup           // of the newest version
	At           time.Time // when it was deleted
}

// Deleted lists, by path, the backups under root that can be undeleted.
func (s *Store) Deleted(ctx context.Context, root string) ([]Deleted, error) {
	bucket, prefix, err := splitRoot(root)
	if err != nil {
		return nil, err
	}
	c, err := s.session(ctx, "list", root)
	if err != nil {
		return nil, err
	}
	found, err := c.versions(ctx, bucket, prefix)
	if err != nil {
		return nil, s.fault(ctx, "list the versions of", root, err)
	}
	var deleted []Deleted
	for key, versions := range found {
		d := Deleted{Backup: store.Backup{Path: under(root, prefix, key)}}
		marker, newest := hidden(versions)
		if !d.Named() || marker == nil || newest == nil {
			continue
		}
		d.At, d.Size, d.ModTime = marker.backup.ModTime, newest.backup.Size, newest.backup.ModTime
		_, sidecar := hidden(found[key+store.SidecarSuffix])
		d.Sidecar = sidecar != nil
		deleted = append(deleted, d)
	}
	slices.SortFunc(deleted, func(a, b Deleted) int { return strings.Compare(a.Path, b.Path) })
	return deleted, nil
}

// hidden returns an object's delete marker, or nil, and its newest version.
func hidden(versions []version) (marker, newest *version) {
	for i := range versions {
		switch v := &versions[i]; {
		case v.marker && v.latest:
			marker = v
		case !v.marker && newest == nil:
			newest = v
		}
	}
	return marker, newest
}

// Undelete restores a deleted backup in a bucket with versions: it deletes the markers of
// the sidecar and other companions, and the backup's last. It fails with fs.ErrNotExist
// when no version is left.
func (s *Store) Undelete(ctx context.Context, path string) error {
	bucket, key, err := splitFile(path)
	if err != nil {
		return err
	}
	c, err := s.session(ctx, "undelete", path)
	if err != nil {
		return err
	}
	found, err := c.versions(ctx, bucket, key)
	if err != nil {
		return s.fault(ctx, "undelete", path, err)
	}
	switch marker, newest := hidden(found[key]); {
	case newest == nil:
		return fmt.Errorf("undelete %s: no version of it is left: %w", path, fs.ErrNotExist)
	case marker == nil:
		return errors.New("undelete " + path + ": it is not deleted")
	}
	for _, suffix := range []string{store.SidecarSuffix, store.EnvelopeSuffix, store.SignatureSuffix, ""} {
		// Repeated deletion leaves several markers.
		for marker, _ := hidden(found[key+suffix]); marker != nil; marker, _ = hidden(found[key+suffix]) {
			err := s.delete(ctx, c, path, bucket, key+suffix, marker.stamp)
			if err == nil {
				found, err = c.versions(ctx, bucket, key)
			}
			if err != nil {
				return s.fault(ctx, "undelete", store.Beside(path, suffix), err)
			}
		}
	}
	return nil
}
