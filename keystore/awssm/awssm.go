// Package awssm keeps keys in AWS Secrets Manager. Give its [Scheme] to keystore.Parse:
//
//	src, err := keystore.Parse("awssm:takumi/production/BACKUP_ENCRYPTION_KEY", awssm.Scheme(awssm.Options{RequireTLS: true}))
//	...
//	key, err := src.Load(ctx)
//
// # The URI
//
//	awssm:SECRET-ID[#field][@version]
//
// SECRET-ID is a secret's name or ARN. The version is a stage (AWSCURRENT by default,
// AWSPREVIOUS or any other), or an id of 32 to 64 characters. Since names may hold an @,
// the version is what follows the last one (behind the # if there is one): write a name
// with an @ as awssm:backup@takumi@AWSCURRENT.
//
// The value is 64 hex digits, as text or as binary, or binary of exactly 32 bytes. With a
// field it is a JSON object that has the digits as that field's string; the other fields
// are kept. A value is at most 64 KiB.
//
// # Credentials and region
//
// Credentials come from the SDK's default chain (environment, profile, web identity,
// container, instance), the region from the secret's ARN or else from AWS_REGION,
// AWS_DEFAULT_REGION or the profile. AWS_ENDPOINT_URL, AWS_ENDPOINT_URL_SECRETS_MANAGER and
// AWS_CA_BUNDLE are respected, AWS_MAX_ATTEMPTS is not. Redirects are not followed.
//
// # Versions
//
// Secrets Manager deletes versions without a stage, and moves AWSPREVIOUS with every
// change, so the key before the last would soon be lost. Store therefore gives a replaced
// version a stage of its own, "takumi-" and the key's id. A secret can have 20 stages, of
// which three are AWS's: with 17 former keys Store fails, and the error says how to give
// one up.
//
// A Store that is interrupted may leave a version with the stage AWSPENDING, whose key was
// never used. The next one removes that stage.
//
// # Secrets
//
// Errors contain no value, and of a request or an answer only the error's code and a
// message without possible keys. The SDK's logging is off. The SDK holds values in Go
// strings, which cannot be wiped; copies made here are.
//
// Sources: the AWS Secrets Manager API Reference (GetSecretValue, ListSecretVersionIds,
// CreateSecret, PutSecretValue, UpdateSecretVersionStage) and its User Guide on versions
// and quotas.
package awssm

import (
	"context"
	"fmt"
	"time"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/internal/redact"
	"github.com/takumi-backup/takumi-backup/keystore"
)

// Options says what a program demands of the secrets it uses.
type Options struct {
	// RequireTLS, for production, refuses plain http except to this machine and, for
	// credentials, the metadata services of EC2, ECS and EKS.
	RequireTLS bool

	limits limits // the usual ones when zero
}

type limits struct {
	operation   time.Duration // a Load, Versions or Store with all its requests
	attempt     time.Duration // one request
	credentials time.Duration // finding credentials
	pause       time.Duration // the longest between two attempts
	attempts    int           // for one request
}

var usual = limits{operation: 30 * time.Second, attempt: 5 * time.Second, credentials: 10 * time.Second, pause: 4 * time.Second, attempts: 5}

// Scheme is awssm:SECRET-ID[#field][@version], for keystore.Parse, which then
// returns a *Secret.
func Scheme(opts Options) keystore.Scheme {
	if opts.limits == (limits{}) {
		opts.limits = usual
	}
	return keystore.Scheme{
		Name: "awssm", Form: "SECRET-ID[#field][@version]",
		Parse: func(rest string) (keystore.Source, error) {
			s, err := parse(rest)
			if err != nil {
				return nil, err
			}
			s.conn = &connection{opts: opts, arnRegion: arnRegion(s.id)}
			return s, nil
		},
	}
}

var _ keystore.Storer = (*Secret)(nil)

// Secret is a key in AWS Secrets Manager; the zero Secret is not usable. It connects at the
// first call that needs it, and again after a failure. It is safe for concurrent use.
//
// An operation has 30 seconds, a request 5 seconds. Requests that were throttled, met a
// server error or did not get through are made up to 5 times, with growing pauses.
type Secret struct {
	id      string
	field   string // "" when the value is the key alone
	version string // a stage or a version id; "" means AWSCURRENT
	conn    *connection
}

// DestroyCommand implements keystore.Destroyable. AWS deletes a version without a stage.
func (s *Secret) DestroyCommand(id kek.ID) string {
	if s.version == "" {
		return ""
	}
	return fmt.Sprintf("aws secretsmanager update-secret-version-stage --secret-id %s --version-stage %s%s --remove-from-version-id %s  # and %s likewise, where that version has it", s.id, stageOf, id, s.version, stagePrevious)
}

// String is the URI, as it was given to Parse.
func (s *Secret) String() string {
	uri := "awssm:" + s.id
	if s.field != "" {
		uri += "#" + s.field
	}
	if s.version != "" {
		uri += "@" + s.version
	}
	return redact.Keys(uri)
}

// Load fetches the key by GetSecretValue. The kinds of its errors are keystore.ErrNotFound
// (no such secret, version or field in that region), keystore.ErrRefused (no permission, no
// credentials, no region, a secret marked for deletion, an invalid value) and
// keystore.ErrUnreachable (throttled, a server error, no answer); when ctx ends, its own
// error.
func (s *Secret) Load(ctx context.Context) (*kek.Key, error) {
	var key *kek.Key
	err := s.within(ctx, func(ctx context.Context, c *session) error {
		got, err := s.get(ctx, c, s.version)
		if err != nil {
			return err
		}
		defer got.value.wipe()
		key, err = s.keyOf(got)
		return err
	})
	return key, err
}

func (s *Secret) within(ctx context.Context, f func(context.Context, *session) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	bounded, cancel := context.WithTimeout(ctx, s.conn.opts.limits.operation)
	defer cancel()
	c, err := s.open(bounded)
	if err == nil {
		err = f(bounded, c)
	}
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}
