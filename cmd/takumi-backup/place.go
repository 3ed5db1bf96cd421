package main

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/spf13/pflag"

	stores "github.com/takumi-backup/takumi-backup/backup/store"
	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/values"
)

// newPlace returns the place of all paths that a command is given, which writes as the
// settings say.
func newPlace() *stores.Router { return stores.Choice{}.Place(conf) }

// addPlace adds the flags that say how backups are kept in a bucket.
func addPlace(c *stores.Choice, f *pflag.FlagSet) {
	f.StringVar(&c.Lock, "object-lock", "", "lock what is written to S3: governance or compliance (default $TAKUMI_S3_OBJECT_LOCK)")
	f.Var((*values.Age)(&c.Retain), "retain", "keep that lock for this time, as 30d (default $TAKUMI_S3_RETAIN)")
	f.Lookup("retain").DefValue = ""
	f.StringVar(&c.StorageClass, "storage-class", "", "S3 storage class of backups, as STANDARD_IA (default $TAKUMI_S3_STORAGE_CLASS)")
	f.StringVar(&c.SSE, "sse", "", "let S3 encrypt as well: AES256 or aws:kms (default $TAKUMI_S3_SSE)")
	f.StringVar(&c.PartSize, "part-size", "", "size of S3's parts, from 5M to 1G (default $TAKUMI_S3_PART_SIZE, or 16M): 10,000 of them are one backup on a server that wants equal parts; two are kept in memory")
	f.StringVar(&c.KMSKey, "sse-kms-key", "", "KMS key for that (default $TAKUMI_S3_SSE_KMS_KEY)")
}

// aboutPath wraps an error with what was attempted on path, which the errors of
// a place name already.
func aboutPath(doing, path string, err error) error {
	if class, hint := fail.Of(err); class == fail.Failed && hint == "" && errors.Is(err, fs.ErrNotExist) {
		err = fail.As(fail.Failed, "takumi-backup list shows the backups that there are", err)
	}
	if strings.Contains(err.Error(), path) {
		return fmt.Errorf("%s: %w", doing, err)
	}
	return fmt.Errorf("%s %s: %w", doing, path, err)
}
