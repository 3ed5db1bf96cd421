package s3store

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/netsafe/awsclient"
	"github.com/takumi-backup/takumi-backup/internal/redact"
	"github.com/takumi-backup/takumi-backup/internal/store"
)

// Remove implements store.Store. In a bucket with versions it deletes all of them, the
// oldest first: otherwise the version before would come back, and cost money.
//
// It fails with store.ErrChanged when another object has the key, with an *OtherBackupError
// for versions of another backup, with a *LockedError for a locked one, and with
// *store.Error when S3 refuses; the backup is deleted if the error's path is not the
// backup's.
func (s *Store) Remove(ctx context.Context, b store.Backup, beside ...string) error {
	bucket, key, err := splitFile(b.Path)
	if err != nil {
		return err
	}
	c, err := s.session(ctx, "delete", b.Path)
	if err != nil {
		return err
	}
	found, err := s.versionsOf(ctx, c, bucket, key, append([]string{store.SidecarSuffix}, beside...))
	if err != nil {
		return s.fault(ctx, "look for", b.Path, err)
	}
	i := slices.IndexFunc(found[""], func(v version) bool { return v.latest && !v.marker })
	if i < 0 || !same(found[""][i].backup, b) {
		return fmt.Errorf("delete %s: %w", b.Path, store.ErrChanged)
	}
	if err := s.checkSameBackup(ctx, c, b.Path, bucket, key, found[""]); err != nil {
		return s.fault(ctx, "delete", b.Path, err)
	}
	// A companion's lock may end later, and would keep it for ever.
	for _, suffix := range append([]string{"", store.SidecarSuffix}, beside...) {
		for _, v := range found[suffix] {
			if v.marker || v.version == "" || v.version == "null" {
				continue
			}
			if err := s.locked(ctx, c, store.Beside(b.Path, suffix), bucket, key+suffix, v.version); err != nil {
				return err
			}
		}
	}
	for _, suffix := range append([]string{"", store.SidecarSuffix}, beside...) {
		if err := s.deleteAll(ctx, c, store.Beside(b.Path, suffix), bucket, key+suffix, found[suffix]); err != nil {
			return s.fault(ctx, "delete", store.Beside(b.Path, suffix), err)
		}
	}
	return nil
}

// in whole seconds, as some answers have them
func same(a, b store.Backup) bool {
	return a.Size == b.Size && a.ModTime.Truncate(time.Second).Equal(b.ModTime.Truncate(time.Second))
}

// versionsOf finds the versions of key with each suffix, and without one, by suffix.
func (s *Store) versionsOf(ctx context.Context, c *connection, bucket, key string, suffixes []string) (map[string][]version, error) {
	found := map[string][]version{}
	all, err := c.versions(ctx, bucket, key)
	for _, suffix := range append([]string{""}, suffixes...) {
		switch {
		case err == nil:
			found[suffix] = all[key+suffix]
		case codeOf(err) != "AccessDenied" && !isUnsupported(err):
			return nil, err
		default:
			// Without the right to list versions, this finds the object of a bucket that
			// has none.
			head, headErr := c.head(ctx, bucket, key+suffix, "")
			if isMissing(headErr) {
				continue
			}
			if isDenied(headErr) {
				return nil, err // which says more
			}
			if headErr != nil {
				return nil, headErr
			}
			if head.VersionId != nil && !isUnsupported(err) {
				return nil, needsVersions(err)
			}
			found[suffix] = []version{unlisted(head)}
		}
	}
	return found, nil
}

// unlisted is the present version where S3 does not list them; there may be others.
func unlisted(head *s3.HeadObjectOutput) version {
	return version{
		stamp:  stamp{aws.ToString(head.ETag), aws.ToString(head.VersionId)},
		backup: store.Backup{Size: aws.ToInt64(head.ContentLength), ModTime: aws.ToTime(head.LastModified)},
		latest: true, alone: head.VersionId != nil,
	}
}

// needsVersions is the error without the right to list the versions of a bucket that has
// some: a deletion would only hide the object.
func needsVersions(err error) error {
	return &Fault{Kind: ErrDenied, Reason: "the bucket keeps versions, and S3 does not list them: " + reason(err).Error(),
		Fix: "allow s3:ListBucketVersions (for the bucket), s3:GetObjectVersion and s3:DeleteObjectVersion; docs/OFFSITE.md has the policy"}
}

func (s *Store) deleteAll(ctx context.Context, c *connection, path, bucket, key string, versions []version) error {
	versions = slices.Clone(versions)
	slices.SortStableFunc(versions, func(a, b version) int {
		return cmp.Or(a.backup.ModTime.Compare(b.backup.ModTime), compareBool(a.latest, b.latest))
	})
	for _, v := range versions {
		if len(versions) == 1 && v.version == "null" {
			v.version = "" // a bucket without versions, or without the right to delete one
		}
		var err error
		if v.alone {
			err = s.deleteEach(ctx, c, path, bucket, key, v)
		} else {
			err = s.delete(ctx, c, path, bucket, key, v.stamp)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// deleteEach deletes the versions of a key that S3 does not list: each deletion shows the
// one before.
func (s *Store) deleteEach(ctx context.Context, c *connection, path, bucket, key string, v version) error {
	var first Identity
	for n := 0; ; n++ {
		if (store.Backup{Path: path}).Named() {
			head, err := s.headOf(ctx, c, bucket, key, v.version)
			if err != nil {
				return err
			}
			found, _ := s.opts.Identify(head)
			if n == 0 {
				first = found
			} else if !found.is(first) {
				return &OtherBackupError{path, v.version, "is not a version of what was deleted"}
			}
		}
		if err := s.delete(ctx, c, path, bucket, key, v.stamp); err != nil {
			return err
		}
		next, err := c.head(ctx, bucket, key, "")
		if isMissing(err) {
			return nil
		}
		if err != nil {
			return err
		}
		if aws.ToString(next.VersionId) == v.version {
			return fmt.Errorf("delete %s: S3 answered that it deleted version %s, and shows it", path, redact.Line(v.version, 80))
		}
		v = unlisted(next)
	}
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// delete deletes one version, or the object with that ETag. A missing one counts as
// deleted.
func (s *Store) delete(ctx context.Context, c *connection, path, bucket, key string, v stamp) error {
	in := &s3.DeleteObjectInput{Bucket: &bucket, Key: &key, VersionId: optional(v.version)}
	if v.version == "" {
		in.IfMatch = optional(v.etag)
	}
	_, err := c.api.DeleteObject(ctx, in)
	if in.IfMatch != nil && isRefused(err) {
		in.IfMatch = nil
		there, lookErr := c.head(ctx, bucket, key, "")
		if lookErr == nil && aws.ToString(there.ETag) != v.etag {
			return fmt.Errorf("delete %s: %w", path, store.ErrChanged)
		}
		_, err = c.api.DeleteObject(ctx, in)
	}
	switch {
	case err == nil, isMissing(err):
		return nil
	case isLost(err):
		return fmt.Errorf("delete %s: %w", path, store.ErrChanged)
	case awsclient.Status(err) >= http.StatusBadRequest && awsclient.Status(err) < http.StatusInternalServerError:
		if locked := s.locked(ctx, c, path, bucket, key, v.version); locked != nil {
			return locked
		}
	}
	return err
}

// locked returns the error of a locked version, or nil if it is not locked or S3 does not
// say.
func (s *Store) locked(ctx context.Context, c *connection, path, bucket, key, version string) error {
	head, err := c.head(ctx, bucket, key, version)
	if err != nil {
		return nil
	}
	e := &LockedError{Path: path, Version: version}
	switch until := aws.ToTime(head.ObjectLockRetainUntilDate); {
	case head.ObjectLockLegalHoldStatus == types.ObjectLockLegalHoldStatusOn:
		e.Mode = "LEGAL HOLD"
	case until.After(time.Now()):
		e.Mode, e.Until = string(head.ObjectLockMode), until
	default:
		return nil
	}
	return e
}

// Put implements store.Store. It compares the content first, and the ETag when S3 writes.
// In a bucket with versions all of them are deleted.
func (s *Store) Put(ctx context.Context, path, suffix string, was, now []byte) error {
	if now == nil {
		return s.removeBeside(ctx, path, suffix, func() error {
			_, err := s.holds(ctx, store.Beside(path, suffix), was)
			if isMissing(err) {
				return nil
			}
			return err
		})
	}
	bucket, key, err := splitFile(path)
	if err != nil {
		return err
	}
	c, err := s.session(ctx, "write", store.Beside(path, suffix))
	if err != nil {
		return err
	}
	o := object{path: store.Beside(path, suffix), bucket: bucket, key: key + suffix, companion: true}
	o.match, err = s.holds(ctx, o.path, was)
	if isMissing(err) && was == nil {
		o.absent, err = true, nil
	}
	if isMissing(err) {
		err = fmt.Errorf("write %s: %w", o.path, store.ErrChanged)
	}
	if err == nil {
		_, err = s.put(ctx, c, o, now)
	}
	if isAny(err, store.ErrExists, store.ErrBusy) {
		err = fmt.Errorf("write %s: %w", o.path, store.ErrChanged)
	}
	return s.fault(ctx, "write", o.path, err)
}

// holds returns the ETag of a small object, and fails with store.ErrChanged when its
// content differs.
func (s *Store) holds(ctx context.Context, path string, content []byte) (etag string, err error) {
	there, err := s.open(ctx, path)
	if err != nil {
		return "", err
	}
	defer there.Close()
	text, err := io.ReadAll(io.LimitReader(there, int64(len(content))+1))
	if err == nil && (content == nil || !bytes.Equal(text, content)) {
		err = fmt.Errorf("write %s: %w", path, store.ErrChanged)
	}
	return there.src.etag, err
}

// putBeside locks until that time, as the files written together.
func (s *Store) putBeside(ctx context.Context, path, suffix string, content []byte, until time.Time) error {
	bucket, key, err := splitFile(path)
	if err != nil {
		return err
	}
	c, err := s.session(ctx, "write", store.Beside(path, suffix))
	if err != nil {
		return err
	}
	_, err = s.put(ctx, c, object{path: store.Beside(path, suffix), bucket: bucket, key: key + suffix, companion: true, until: until}, content)
	return s.fault(ctx, "write", store.Beside(path, suffix), err)
}

// removeBeside deletes the object that it finds at store.Beside(path, suffix), and not a
// later one. It calls check, if set, in between.
func (s *Store) removeBeside(ctx context.Context, path, suffix string, check func() error) error {
	bucket, key, err := splitFile(path)
	if err != nil {
		return err
	}
	c, err := s.session(ctx, "delete", store.Beside(path, suffix))
	if err != nil {
		return err
	}
	found, err := s.versionsOf(ctx, c, bucket, key+suffix, nil)
	if err == nil && check != nil {
		err = check()
	}
	if err == nil {
		err = s.deleteAll(ctx, c, store.Beside(path, suffix), bucket, key+suffix, found[""])
	}
	return s.fault(ctx, "delete", store.Beside(path, suffix), err)
}

func sidecarOf(file string, sum [sha256.Size]byte) []byte {
	return []byte(store.FormatSidecar(sum, store.Base(file)))
}

// putSidecar writes the sidecar of the object made at path. Against concurrent writers it
// replaces only the sidecar seen before the object was looked at, so that the writer of the
// last object writes the last sidecar. When another object is at path, the error is
// store.ErrChanged.
func (s *Store) putSidecar(ctx context.Context, c *connection, file object, made stamp, sum [sha256.Size]byte) error {
	o := object{path: store.Beside(file.path, store.SidecarSuffix), bucket: file.bucket, key: file.key + store.SidecarSuffix, companion: true, until: file.until}
	for try := 1; ; try++ {
		o.match, o.absent = "", false
		switch was, err := c.head(ctx, o.bucket, o.key, ""); {
		case isMissing(err):
			o.absent = true
		case err != nil:
			return s.fault(ctx, "write", o.path, err)
		default:
			o.match = aws.ToString(was.ETag)
		}
		now, err := s.stat(ctx, c, file.path, file.bucket, file.key)
		if err == nil && now.src.etag != made.etag || isMissing(err) {
			return fmt.Errorf("write %s: %w", o.path, store.ErrChanged)
		}
		if err == nil {
			_, err = s.put(ctx, c, o, sidecarOf(file.path, sum))
		}
		if !isAny(err, store.ErrChanged, store.ErrExists, store.ErrBusy) || try == 8 {
			return s.fault(ctx, "write", o.path, err)
		}
	}
}

func (s *Store) cleanup(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), s.opts.limits.cleanup)
}

// isNotDeleted reports whether err means that S3 keeps the object.
func isNotDeleted(err error) bool {
	return errors.As(err, new(*LockedError)) || isDenied(err) || errors.Is(err, ErrDenied)
}

// OtherBackupError is returned when the backup to delete has versions of another backup
// below it: somebody overwrote that.
type OtherBackupError struct {
	Path    string
	Version string // the id of such a version
	Why     string
}

func (e *OtherBackupError) Error() string {
	return fmt.Sprintf("delete %s: version %s of it %s, so that none was deleted; look whether it is the good one (docs/OFFSITE.md, \"Against ransomware\")",
		e.Path, redact.Line(e.Version, 80), e.Why)
}

func (*OtherBackupError) Fail() (fail.Class, string) {
	return fail.Failed, "look at the versions of this object: docs/OFFSITE.md, against ransomware"
}

// checkSameBackup fails unless all versions' envelopes agree on kind, name and time, by which
// retention decides. It read only the newest version, and any writer can put one over a
// backup. Rewraps and reencryptions keep all three.
func (s *Store) checkSameBackup(ctx context.Context, c *connection, path, bucket, key string, versions []version) error {
	if !slices.ContainsFunc(versions, func(v version) bool { return !v.latest && !v.marker }) {
		return nil
	}
	var latest Identity
	for _, old := range []bool{false, true} {
		for _, v := range versions {
			if v.marker || v.latest == old {
				continue
			}
			head, err := s.headOf(ctx, c, bucket, key, v.version)
			if err != nil {
				return err
			}
			found, ok := s.opts.Identify(head)
			switch {
			case !ok:
				return &OtherBackupError{path, v.version, "is not a backup"}
			case !old:
				latest = found
			case !found.is(latest):
				return &OtherBackupError{path, v.version, fmt.Sprintf("is another backup, %s of %s",
					redact.Line(found.Name, 120), found.Created.UTC().Format(time.RFC3339))}
			}
		}
	}
	return nil
}

func (s *Store) headOf(ctx context.Context, c *connection, bucket, key, version string) ([]byte, error) {
	out, err := c.probe.GetObject(ctx, &s3.GetObjectInput{
		Bucket: &bucket, Key: &key, VersionId: optional(version), Range: aws.String(fmt.Sprintf("bytes=0-%d", headLen-1)),
	})
	if awsclient.Status(err) == http.StatusRequestedRangeNotSatisfiable { // it is empty
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer out.Body.Close()
	head, err := io.ReadAll(io.LimitReader(out.Body, headLen))
	return head, cutOff(err)
}
