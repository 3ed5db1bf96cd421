package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/spf13/pflag"

	"github.com/takumi-backup/takumi-backup/backup/store"
	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/internal/fail"
	s3store "github.com/takumi-backup/takumi-backup/internal/store/s3"
	"github.com/takumi-backup/takumi-backup/internal/values"
)

// placeFlags say how backups are kept in a bucket. What a flag leaves out comes
// from the environment, so that commands without them, and children, write in
// the same way.
type placeFlags struct {
	lock         string
	retain       time.Duration
	storageClass string
	sse, kmsKey  string
	partSize     string
}

func (p *placeFlags) add(f *pflag.FlagSet) {
	f.StringVar(&p.lock, "object-lock", "", "lock what is written to S3: governance or compliance (default $TAKUMI_S3_OBJECT_LOCK)")
	f.Var((*values.Age)(&p.retain), "retain", "keep that lock for this time, as 30d (default $TAKUMI_S3_RETAIN)")
	f.Lookup("retain").DefValue = ""
	f.StringVar(&p.storageClass, "storage-class", "", "S3 storage class of backups, as STANDARD_IA (default $TAKUMI_S3_STORAGE_CLASS)")
	f.StringVar(&p.sse, "sse", "", "let S3 encrypt as well: AES256 or aws:kms (default $TAKUMI_S3_SSE)")
	f.StringVar(&p.partSize, "part-size", "", "size of S3's parts, from 5M to 1G (default $TAKUMI_S3_PART_SIZE, or 16M): 10,000 of them are one backup on a server that wants equal parts; two are kept in memory")
	f.StringVar(&p.kmsKey, "sse-kms-key", "", "KMS key for that (default $TAKUMI_S3_SSE_KMS_KEY)")
}

func (p placeFlags) options(server store.Server) (s3store.Options, error) {
	own, err := conf.StoreOf(server)
	if err != nil {
		return s3store.Options{}, err
	}
	o := s3store.Options{
		RequireTLS:   conf.Production(),
		StorageClass: types.StorageClass(strings.ToUpper(cmp.Or(p.storageClass, conf.Get("TAKUMI_S3_STORAGE_CLASS"), own.StorageClass))),
		SSE:          types.ServerSideEncryption(cmp.Or(p.sse, conf.Get("TAKUMI_S3_SSE"), own.SSE)),
		KMSKey:       cmp.Or(p.kmsKey, conf.Get("TAKUMI_S3_SSE_KMS_KEY"), own.SSEKey),
		LockMode:     types.ObjectLockMode(strings.ToUpper(cmp.Or(p.lock, conf.Get("TAKUMI_S3_OBJECT_LOCK"), own.ObjectLock))),
		Retain:       p.retain,
		Tags:         tagsOf,
		Identify:     store.Identify,
	}
	if !slices.Contains([]types.ObjectLockMode{"", types.ObjectLockModeGovernance, types.ObjectLockModeCompliance}, o.LockMode) {
		return o, usagef("--object-lock or TAKUMI_S3_OBJECT_LOCK is %q, neither governance nor compliance", o.LockMode)
	}
	if text := cmp.Or(conf.Get("TAKUMI_S3_RETAIN"), own.Retain); text != "" && o.Retain == 0 {
		if err := (*values.Age)(&o.Retain).Set(text); err != nil {
			return o, usagef("TAKUMI_S3_RETAIN: %w", err)
		}
	}
	for _, b := range []struct {
		name string
		set  func(bool)
	}{
		{"TAKUMI_S3_PATH_STYLE", func(on bool) { o.PathStyle = on }},
		{"TAKUMI_S3_TAGS", func(on bool) {
			if !on {
				o.Tags = nil
			}
		}},
	} {
		if text := conf.Get(b.name); text != "" {
			on, err := strconv.ParseBool(text)
			if err != nil {
				return o, usagef("%s is %q, neither true nor false", b.name, text)
			}
			b.set(on)
		}
	}
	if text := cmp.Or(p.partSize, conf.Get("TAKUMI_S3_PART_SIZE"), own.PartSize); text != "" {
		var err error
		if o.PartSize, err = values.PartSize(text); err != nil {
			return o, usagef("--part-size or TAKUMI_S3_PART_SIZE is %q, not a size from 5M to 1G", text)
		}
	}
	if text := conf.Get("TAKUMI_S3_MAX_PARTS"); text != "" {
		parts, err := strconv.Atoi(text)
		if err != nil || parts < 2 {
			return o, usagef("TAKUMI_S3_MAX_PARTS is %q, not a number of 2 or more", text)
		}
		o.MaxParts = parts
	}
	return o, nil
}

// tagsOf labels a backup in a bucket, for its rules of life cycle and of access.
func tagsOf(_ string, head []byte) map[string]string {
	e, err := envelope.Parse(bytes.NewReader(head))
	if err != nil {
		return nil
	}
	return map[string]string{"takumi-backup-kind": e.Kind, "takumi-backup-id": e.ID.String()}
}

// newPlace returns the place of all paths that a command is given, which writes
// as the environment says.
func newPlace() *store.Router { return placeFlags{}.place() }

// place returns the place of all paths. S3 is set up when a path asks for it.
func (p placeFlags) place() *store.Router {
	return store.New(func(server store.Server) (store.Store, error) {
		s, err := p.s3(server)
		if err != nil {
			return nil, err
		}
		l, err := conf.Pace()
		if err != nil || l.Bandwidth == 0 {
			return s, err
		}
		return store.Limited(s, l.Bandwidth), nil
	})
}

// s3 returns S3 alone, at the server that a path names.
func (p placeFlags) s3(server store.Server) (*s3store.Store, error) {
	o, err := p.options(server)
	if err != nil {
		return nil, err
	}
	s, err := s3store.New(o.At(server))
	if err != nil {
		return nil, usagef("setting up S3: %w", err)
	}
	return s, nil
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
