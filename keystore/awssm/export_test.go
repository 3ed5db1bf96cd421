package awssm

import (
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/internal/netsafe/awsclient"
)

// Quick makes everything that waits wait less.
func Quick(o Options) Options {
	o.limits = limits{operation: 20 * time.Second, attempt: 10 * time.Second, credentials: 10 * time.Second, pause: time.Millisecond, attempts: 5}
	return o
}

// Hasty bounds one attempt and a whole operation.
func Hasty(o Options, attempt, operation time.Duration, attempts int) Options {
	o = Quick(o)
	o.limits.attempt, o.limits.operation, o.limits.attempts = attempt, operation, attempts
	return o
}

// ClientOptions are those of the client that s has.
func ClientOptions(s *Secret) secretsmanager.Options { return s.conn.session.api.Options() }

// KeyIn reads the key out of a value.
func KeyIn(text string, binary bool, field string) (*kek.Key, error) {
	return value{[]byte(text), binary}.key(field)
}

// PutIn puts a key into a value.
func PutIn(text string, binary bool, field string, key *kek.Key) (string, error) {
	v, err := value{[]byte(text), binary}.with(field, key)
	return string(v.text), err
}

// Bounded is the transport that bounds answers.
func Bounded(base http.RoundTripper) http.RoundTripper { return awsclient.Bounded(base, maxAnswer) }
