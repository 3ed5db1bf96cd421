package replicate

import (
	"strings"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/store"
)

// CheckSeparate fails, with a usage error, for two stores of which one is or contains the other, so
// that copies would be copied, and for an invalid path. endpoint is S3's default, or "".
func CheckSeparate(from, to, endpoint string) error {
	for _, path := range []string{from, to} {
		if err := store.Check(path); err != nil {
			return fail.Usagef("%w", err)
		}
	}
	switch below, above := stands(to, from, endpoint), stands(from, to, endpoint); {
	case below && above:
		return fail.Usagef("%s would be copied to itself", from)
	case below || above:
		return fail.Usagef("%s and %s are in one another, so that copies would be copied", from, to)
	}
	return nil
}

func stands(path, in, endpoint string) bool {
	if !store.IsRemote(path) && !store.IsRemote(in) {
		return backup.Holds(in, path)
	}
	inner, at, err := store.SplitURL(path)
	outer, there, outerErr := store.SplitURL(in)
	_, inside := store.CutRoot(inner, outer)
	return inside && (err != nil || outerErr != nil || sameServer(at, there, endpoint))
}

// sameServer reports whether two servers seem to be one; region and style of paths do not
// matter.
func sameServer(a, b store.Server, endpoint string) bool {
	end := func(s store.Server) store.Server {
		if s.Profile == "" && s.Endpoint == "" {
			s.Endpoint = endpoint
		}
		return store.Server{Profile: s.Profile, Endpoint: strings.ToLower(strings.TrimRight(s.Endpoint, "/"))}
	}
	return end(a) == end(b)
}
