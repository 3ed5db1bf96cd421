// Package s3store keeps backups in buckets of S3 and compatible servers. A [Store], made by
// [New], is a store.Store of one server for paths s3://bucket/key, with an optional query
// that [Options.At] understands. Credentials, region and endpoint come from the SDK's
// default chain, with AWS_PROFILE, AWS_REGION, AWS_ENDPOINT_URL, AWS_ENDPOINT_URL_S3 and
// AWS_CA_BUNDLE. AWS_MAX_ATTEMPTS is ignored, and redirects are not followed.
//
// # Guarantees
//
// An object appears whole under its key or not at all: above 8 MiB it is a multipart
// upload, which is invisible until completed. Completion is conditional (If-None-Match), so
// that objects are never overwritten; where a server refuses conditions, or may ignore
// them, the name is looked at before and after. The arrival of each part and object is
// proved by its SHA-256, when the server confirms it; else by Content-MD5 and the MD5 as
// ETag; else by reading it back. A 200 that no S3 server sends is an error. The sidecar
// NAME.sha256 is written last: a backup without it is unfinished. A failure aborts the
// upload, and checks that S3 keeps no part of it; [Store.Sweep] cleans up after a crash. An
// upload without a part, whose id was in a lost answer, is aborted at once with the right
// to list uploads, and by Sweep otherwise.
//
// S3 loses answers like any server. Each upload has a random name as metadata
// (takumi-upload), which distinguishes a repeated request, refused because the first was
// carried out, from another writer's success.
//
// # Memory
//
// A [Store] itself holds nothing. Its writers share 64 MiB for parts of 16 MiB, or of
// Options.PartSize, but each holds at least two: one is filled and one is sent. A reader
// holds 32 MiB, four pieces of 8 MiB, but only 64 KiB until it reads beyond those. Swap
// holds at most 8 MiB.
//
// # Large objects
//
// S3 takes 10,000 parts. All sent parts have one size, which some servers demand. When only
// as many are left as it takes to reach Options.MaxObject with parts of 5 GiB, and the
// server takes parts of several sizes, each further part is first composed from small ones
// as an object of its own (NAME.segment-…), copied into the upload by S3, and deleted:
// memory stays bounded, but the writer needs the right to read and delete such objects. By
// default that begins at some 130 GiB, and earlier with a larger MaxObject or smaller
// MaxParts.
//
// # Costs
//
// Requests, for an object of n parts, or pieces of 8 MiB:
//
//	Create … Commit   6 that try what the server can and allows (POST 2, PUT, DELETE,
//	                  GET, HEAD), 1 when that folder was tried by the process, then 1
//	                  (up to 8 MiB) or n + 2; 2 HEAD more where a server is not known
//	                  to keep conditions, as AWS is; and 1 for the sidecar
//	Open and inspect  1 (the first 64 KiB come with the answer), 1 for each ReadAt elsewhere
//	Read to the end   1 + n
//	Walk              1 for 1,000 objects, sidecars included
//	Remove            1 list of versions, and 1 for each that backup and companions
//	                  have; where there are versions 2, and 1 more for each old one
//	Swap              some 6, and 1 for each GiB that S3 copies; at most 8 MiB travel
//
// A Store is safe for concurrent use. Nothing is logged, and errors hold neither
// credentials nor requests.
package s3store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/takumi-backup/takumi-backup/internal/store"
)

const (
	mib = 1 << 20
	gib = 1 << 30

	// limits of S3 (Amazon S3 User Guide, multipart upload limits)
	minPart    = 5 * mib
	maxPart    = 5 * gib
	usualParts = 10000
	usualLimit = 5 << 40

	usualPart = 16 * mib
	budget    = 64 * mib // for all parts in memory, if two for each writer fit
)

// Options are the server of a Store and how it writes. The zero value is AWS, with the
// environment.
type Options struct {
	// Profile is the profile of the AWS configuration; "" is the environment.
	Profile   string
	Endpoint  string // in the place of AWS_ENDPOINT_URL; "" heeds that
	Region    string // in the place of AWS_REGION; "" heeds that
	PathStyle bool   // https://host/bucket/key, as for most compatible servers; always with an IP address
	// RequireTLS, for production, refuses plain http except to this machine and, for
	// credentials, the metadata services of EC2, ECS and EKS.
	RequireTLS bool

	// PartSize is the size of all parts, 16 MiB when 0, from 5 MiB to 1 GiB. A writer holds
	// at least two.
	PartSize int64
	// MaxParts is the server's limit, 10,000 when 0; at least 2.
	MaxParts int
	// MaxObject is the server's largest object, 5 TiB when 0. A longer stream fails as soon
	// as that is known.
	MaxObject int64

	StorageClass types.StorageClass // of backups; sidecars have the standard one
	// SSE is how the server encrypts the sealed objects, and KMSKey the key for aws:kms.
	SSE    types.ServerSideEncryption
	KMSKey string
	// LockMode and Retain lock every object until Retain after its upload began. The bucket
	// needs object lock.
	LockMode types.ObjectLockMode
	Retain   time.Duration
	// Tags, if set, returns the tags of a backup from its first bytes: all of a small one,
	// at least 5 MiB of others.
	Tags func(path string, head []byte) map[string]string

	// Identify says which backup, if any, begins with these bytes. It must be set: Remove
	// distinguishes the versions of a backup from those of another that was put over it.
	Identify func(head []byte) (Identity, bool)

	named  bool              // a path names the endpoint
	limits limits            // the usual ones when zero
	tune   func(*s3.Options) // for tests
	loosen func(*plan)       // for tests
}

// Identity is what retention goes by.
type Identity struct {
	Kind, Name string
	Created    time.Time
}

func (i Identity) is(other Identity) bool {
	return i.Kind == other.Kind && i.Name == other.Name && i.Created.Equal(other.Created)
}

// At returns the options with the server of a path. An endpoint from a path gets only the
// credentials of its profile.
func (o Options) At(server store.Server) Options {
	o.Profile = cmp.Or(server.Profile, o.Profile)
	o.Region = cmp.Or(server.Region, o.Region)
	o.Endpoint = cmp.Or(server.Endpoint, o.Endpoint)
	if server.PathStyle != "" {
		o.PathStyle = server.PathStyle == "true"
	}
	o.named = server.Endpoint != ""
	return o
}

type limits struct {
	stall    time.Duration // without a byte sent or received
	answer   time.Duration // until an answer begins
	assemble time.Duration // for a request that makes the server copy
	pause    time.Duration // the longest between two attempts
	attempts int           // for a request of an upload or download under way
	probes   int           // for the first requests of a command
	cleanup  time.Duration // for aborting an upload, whose context may have ended
}

var usual = limits{
	stall: time.Minute, answer: time.Minute, assemble: 15 * time.Minute, pause: 20 * time.Second,
	attempts: 10, probes: 4, cleanup: time.Minute,
}

// Store keeps backups in buckets. It connects at the first call that needs it, and again
// after a failure.
type Store struct {
	opts Options
	plan plan

	writers atomic.Int32 // that are open, and share the budget

	mu   sync.Mutex
	conn *connection // nil before the first success
}

var _ store.Store = (*Store)(nil)

// New fails when the options are invalid. It makes no request.
func New(o Options) (*Store, error) {
	o.PartSize = cmp.Or(o.PartSize, usualPart)
	o.MaxParts = cmp.Or(o.MaxParts, usualParts)
	o.MaxObject = cmp.Or(o.MaxObject, usualLimit)
	if o.limits == (limits{}) {
		o.limits = usual
	}
	switch {
	case o.Identify == nil:
		return nil, errors.New("s3: nothing says which backup an object is")
	case o.PartSize < minPart || o.PartSize > gib:
		return nil, fmt.Errorf("s3: parts of %d bytes: at least 5 MiB are needed, and 1 GiB is allowed", o.PartSize)
	case o.MaxParts < 2 || o.MaxObject < 1:
		return nil, fmt.Errorf("s3: a limit of %d parts and %d bytes leaves no room for an upload", o.MaxParts, o.MaxObject)
	case (o.LockMode == "") != (o.Retain <= 0):
		return nil, fmt.Errorf("s3: object lock takes a mode and a time, or neither")
	case o.KMSKey != "" && o.SSE == "":
		o.SSE = types.ServerSideEncryptionAwsKms
	}
	p := plan{part: o.PartSize, least: minPart, segment: maxPart, copied: gib, parts: o.MaxParts, object: o.MaxObject}
	if o.loosen != nil {
		o.loosen(&p)
	}
	return &Store{opts: o, plan: p.split()}, nil
}

// session returns the connection for a path, with credentials.
func (s *Store) session(ctx context.Context, op, path string) (*connection, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn == nil {
		conn, err := s.connect(ctx)
		if err != nil {
			return nil, s.fault(ctx, op, path, err)
		}
		s.conn = conn
	}
	bucket, _, err := split(path)
	if err == nil {
		err = s.fault(ctx, op, path, s.conn.fits(bucket))
	}
	return s.conn, err
}
