package store

import (
	"bytes"
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/internal/config"
	"github.com/takumi-backup/takumi-backup/internal/fail"
	s3store "github.com/takumi-backup/takumi-backup/internal/store/s3"
	"github.com/takumi-backup/takumi-backup/internal/values"
)

// Choice is what somebody asks for of how backups are kept in a bucket. What it leaves
// open the settings say.
type Choice struct {
	Lock         string        // governance or compliance
	Retain       time.Duration // of the lock
	StorageClass string
	SSE, KMSKey  string
	PartSize     string // as 16M
}

// Options are those of a server's buckets.
func (p Choice) Options(conf *config.Settings, server Server) (S3Options, error) {
	own, err := conf.StoreOf(server)
	if err != nil {
		return S3Options{}, err
	}
	o := S3Options{
		RequireTLS:   conf.Production(),
		StorageClass: types.StorageClass(strings.ToUpper(cmp.Or(p.StorageClass, conf.Get("TAKUMI_S3_STORAGE_CLASS"), own.StorageClass))),
		SSE:          types.ServerSideEncryption(cmp.Or(p.SSE, conf.Get("TAKUMI_S3_SSE"), own.SSE)),
		KMSKey:       cmp.Or(p.KMSKey, conf.Get("TAKUMI_S3_SSE_KMS_KEY"), own.SSEKey),
		LockMode:     types.ObjectLockMode(strings.ToUpper(cmp.Or(p.Lock, conf.Get("TAKUMI_S3_OBJECT_LOCK"), own.ObjectLock))),
		Retain:       p.Retain,
		Tags:         tagsOf,
		Identify:     Identify,
	}
	if !slices.Contains([]types.ObjectLockMode{"", types.ObjectLockModeGovernance, types.ObjectLockModeCompliance}, o.LockMode) {
		return o, fail.Usagef("--object-lock or TAKUMI_S3_OBJECT_LOCK is %q, neither governance nor compliance", o.LockMode)
	}
	if text := cmp.Or(conf.Get("TAKUMI_S3_RETAIN"), own.Retain); text != "" && o.Retain == 0 {
		if err := (*values.Age)(&o.Retain).Set(text); err != nil {
			return o, fail.Usagef("TAKUMI_S3_RETAIN: %w", err)
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
				return o, fail.Usagef("%s is %q, neither true nor false", b.name, text)
			}
			b.set(on)
		}
	}
	if text := cmp.Or(p.PartSize, conf.Get("TAKUMI_S3_PART_SIZE"), own.PartSize); text != "" {
		var err error
		if o.PartSize, err = values.PartSize(text); err != nil {
			return o, fail.Usagef("--part-size or TAKUMI_S3_PART_SIZE is %q, not a size from 5M to 1G", text)
		}
	}
	if text := conf.Get("TAKUMI_S3_MAX_PARTS"); text != "" {
		parts, err := strconv.Atoi(text)
		if err != nil || parts < 2 {
			return o, fail.Usagef("TAKUMI_S3_MAX_PARTS is %q, not a number of 2 or more", text)
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

// Place returns the place of all paths. S3 is set up when a path asks for it.
func (p Choice) Place(conf *config.Settings) *Router {
	return New(func(server Server) (Store, error) {
		s, err := p.S3(conf, server)
		if err != nil {
			return nil, err
		}
		l, err := conf.Pace()
		if err != nil || l.Bandwidth == 0 {
			return s, err
		}
		return Limited(s, l.Bandwidth), nil
	})
}

// S3 returns S3 alone, at a server.
func (p Choice) S3(conf *config.Settings, server Server) (*Bucket, error) {
	o, err := p.Options(conf, server)
	if err != nil {
		return nil, err
	}
	s, err := s3store.New(o.At(server))
	if err != nil {
		return nil, fail.Usagef("setting up S3: %w", err)
	}
	return s, nil
}
