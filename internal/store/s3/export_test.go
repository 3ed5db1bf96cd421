package s3store

import (
	"context"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/takumi-backup/takumi-backup/internal/store"
)

// Quick makes everything that waits wait less.
func Quick(o Options) Options {
	o.limits = limits{
		stall: 5 * time.Second, answer: 10 * time.Second, assemble: 20 * time.Second, pause: 100 * time.Millisecond,
		attempts: 8, probes: 3, cleanup: 5 * time.Second,
	}
	return o
}

// Hasty bounds how long nothing may move, and how often is tried.
func Hasty(o Options, stall time.Duration, attempts int) Options {
	o = Quick(o)
	o.limits.stall, o.limits.answer, o.limits.attempts = stall, stall, attempts
	return o
}

// Restless hardly waits between two tries.
func Restless(o Options) Options {
	o = Quick(o)
	o.limits.pause = time.Millisecond
	return o
}

// Small makes parts, segments and what S3 copies at once small.
func Small(o Options, part, segment, copied int64) Options {
	o.loosen = func(p *plan) { p.part, p.least, p.segment, p.copied = part, min(part, minPart), segment, copied }
	return o
}

// WantsEqual has the server known as one that wants equal parts.
func WantsEqual(s *Store, bucket string) {
	c, err := s.session(context.Background(), "", "s3://"+bucket)
	if err != nil {
		panic(err)
	}
	c.of(bucket).unequal.set(false)
}

// PartOf is the size of a writer's parts.
func PartOf(w store.Writer) int64 { return w.(*Writer).plan.part }

// Tuned changes the SDK's options.
func Tuned(o Options, tune func(*s3.Options)) Options {
	o.tune = tune
	return o
}

// Watched is the transport that all requests go through.
func Watched(base http.RoundTripper, stall time.Duration) http.RoundTripper {
	return &watched{base, limits{stall: stall, answer: stall, assemble: stall}}
}

// Plan is what becomes of a store's options.
type Plan = plan

// PlanOf returns a store's.
func PlanOf(s *Store) Plan { return s.plan }

// Part, Direct and Limit are a plan's.
func (p plan) Part() int64  { return p.part }
func (p plan) Direct() int  { return p.direct }
func (p plan) Limit() int64 { return p.limit() }
func (p plan) Equal() plan  { return p.equal() }

// Memory is what parts of this size take at most together.
func Memory(size int64, writers int32) int64 {
	return int64(tokens/cost(size, writers)) * size * int64(writers)
}

// What an error of S3 means, and what becomes of it.
var (
	Meanings = map[string]func(error) bool{
		"missing": isMissing, "lost": isLost, "race": isRace, "denied": isDenied, "unsupported": isUnsupported, "refused": isRefused, "unequal": isUnequal, "gone": isGone,
	}
	Reason = reason
)
