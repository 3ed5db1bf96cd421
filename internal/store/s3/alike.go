package s3store

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/netsafe/awsclient"
	"github.com/takumi-backup/takumi-backup/internal/redact"
)

// OtherBackupError says that under the backup that was to be deleted lie versions
// of another one: somebody wrote over that.
type OtherBackupError struct {
	Path    string
	Version string // the id of such a version
	Why     string
}

func (e *OtherBackupError) Error() string {
	return fmt.Sprintf("delete %s: version %s of it %s, so that none was deleted; look whether it is the good one (docs/OFFSITE.md, \"Against ransomware\")",
		e.Path, redact.Line(e.Version, 80), e.Why)
}

// Fail is the class and the hint of the error.
func (*OtherBackupError) Fail() (fail.Class, string) {
	return fail.Failed, "look at the versions of this object: docs/OFFSITE.md, against ransomware"
}

// alike fails unless the envelopes of all versions say the same of what retention
// goes by: kind, name and time. What decided that a backup is deleted was read
// in the newest version, and whoever may write can put one over any backup. A
// rewrap and a reencryption keep all three.
func (s *Store) alike(ctx context.Context, c *connection, path, bucket, key string, versions []version) error {
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
				return &OtherBackupError{path, v.version, "is no backup"}
			case !old:
				latest = found
			case found.Kind != latest.Kind || found.Name != latest.Name || !found.Created.Equal(latest.Created):
				return &OtherBackupError{path, v.version, fmt.Sprintf("is another backup, %s of %s",
					redact.Line(found.Name, 120), found.Created.UTC().Format(time.RFC3339))}
			}
		}
	}
	return nil
}

// headOf reads the first bytes of one version.
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
	if err != nil {
		return nil, cutOff(err)
	}
	return head, nil
}
