// Package s3store keeps backups in buckets of S3, and of servers that speak its
// protocol. Make a [Store] with [New]; it is a store.Store of one server, and takes
// paths of the form s3://bucket/key, with or without a query, which says which
// server [Options.At] makes it for. Credentials, region and endpoint come from the
// SDK's default chain, so that AWS_PROFILE, AWS_REGION, AWS_ENDPOINT_URL,
// AWS_ENDPOINT_URL_S3 and AWS_CA_BUNDLE mean what they mean to every AWS tool.
// AWS_MAX_ATTEMPTS is not heeded, and redirects are not followed.
//
// # What holds
//
// An object appears whole under its key or not at all: what is longer than 8 MiB is
// a multipart upload, which S3 shows to nobody before it is completed, and
// completing is conditional (If-None-Match), so that an object that is there is
// never replaced. Where a server refuses that, or is not known to keep it, the
// name is looked at before and after. Each part, and each object that is sent in
// one request, is proved to have arrived: by its SHA-256, when the server confirms
// it; else by Content-MD5 and the MD5 as ETag; else by reading it back. An answer
// of 200 that is not what S3 answers is not taken for one. The sidecar NAME.sha256 is written last: a backup without it was not
// finished. Whatever fails takes the upload back, and makes sure that S3 keeps
// no part of it; what a crash leaves is ended by [Store.Sweep]. An upload without
// a part, whose id was in an answer that got lost, is ended at once by who may list
// uploads, and by Sweep otherwise.
//
// S3 loses answers like any server. Each upload carries a random name of its
// own as metadata (takumi-upload), so that a request that was repeated, and then
// refused because it had been carried out the first time, is told from another
// writer's success.
//
// # Memory
//
// A [Store] itself holds nothing. Its writers share 64 MiB for parts of 16 MiB, or
// of Options.PartSize, but each holds two if it has to: one is filled and one is sent.
// A reader holds 32 MiB, four pieces of 8 MiB, and 64
// KiB before it has read beyond those; whoever only looks at the beginning of a
// backup needs no more. Swap holds at most 8 MiB.
//
// # Large objects
//
// S3 takes 10,000 parts. All that are sent have one size, which some servers demand.
// When only as many are left as it takes to reach Options.MaxObject with parts of 5
// GiB, and the server takes parts of several sizes, each further part is first put together
// from small ones as an object of its own (NAME.segment-…), copied by S3 into
// the upload, and deleted: memory stays bounded, but the writer then has to be
// allowed to read and delete such objects. By default that begins at some 130
// GiB, and sooner where MaxObject is larger or MaxParts smaller.
//
// # What it costs
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
// The package's Store is safe for concurrent use. Nothing is logged, and errors
// hold neither credentials nor requests.
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

	// What S3 allows (Amazon S3 User Guide, multipart upload limits).
	minPart    = 5 * mib
	maxPart    = 5 * gib
	usualParts = 10000
	usualLimit = 5 << 40

	usualPart = 16 * mib
	budget    = 64 * mib // for all parts in memory, where two for each writer fit into it
)

// Options say where a Store is and how it writes. The zero value is AWS, with
// what the environment says.
type Options struct {
	// Profile is the one of the AWS configuration that credentials, and what else
	// it says, come from; "" is the environment.
	Profile   string
	Endpoint  string // in the place of AWS_ENDPOINT_URL; "" heeds that
	Region    string // in the place of AWS_REGION; "" heeds that
	PathStyle bool   // https://host/bucket/key, as most compatible servers want it; always so with an endpoint of an IP address
	// RequireTLS refuses every request over plain http but to this machine
	// itself, and, for credentials, to the metadata services of EC2, ECS and
	// EKS. For production.
	RequireTLS bool

	// PartSize is the size of all parts, 16 MiB when 0, from 5 MiB to 1 GiB. A
	// writer holds at least two of them.
	PartSize int64
	// MaxParts is how many parts the server takes, 10,000 when 0; at least 2.
	MaxParts int
	// MaxObject is the largest object that the server takes, 5 TiB when 0. A
	// longer stream fails, and leaves nothing, as soon as that is known.
	MaxObject int64

	StorageClass types.StorageClass // of backups; their sidecars are always of the standard one
	// SSE is how the server encrypts what is sealed already, and KMSKey with
	// which key, for aws:kms.
	SSE    types.ServerSideEncryption
	KMSKey string
	// LockMode and Retain lock every object that is written against deletion
	// until Retain after its upload began. The bucket needs object lock.
	LockMode types.ObjectLockMode
	Retain   time.Duration
	// Tags, if it is set, says which tags a backup at path gets, from the
	// first bytes of it: all of a small one, and at least 5 MiB of others.
	Tags func(path string, head []byte) map[string]string

	// Identify says which backup begins with these bytes, and whether any does. It
	// has to be set: by it, Remove knows the versions of one backup from those
	// of another that somebody put over it.
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

// At returns the options of the store that a path names: what the path leaves
// open is as it was. An endpoint that comes from a path gets the credentials of
// its profile, and no others.
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
	assemble time.Duration // until that of a request begins that makes the server copy
	pause    time.Duration // the longest between two attempts
	attempts int           // for a request of an upload or download that is under way
	probes   int           // for one of a command that has not got far yet
	cleanup  time.Duration // for taking an upload back, whose context may have ended
}

var usual = limits{
	stall: time.Minute, answer: time.Minute, assemble: 15 * time.Minute, pause: 20 * time.Second,
	attempts: 10, probes: 4, cleanup: time.Minute,
}

// Store is buckets as a place of backups. It connects at the first call that
// needs it, and tries anew when that failed.
type Store struct {
	opts Options
	plan plan

	writers atomic.Int32 // that are open, and share the budget

	mu   sync.Mutex
	conn *connection // nil before the first success
}

var _ store.Store = (*Store)(nil)

// New returns a Store, and fails when the options contradict each other or
// cannot be had. Nothing is asked of a server yet.
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

// session returns the connection for a path, with credentials that were looked for.
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
