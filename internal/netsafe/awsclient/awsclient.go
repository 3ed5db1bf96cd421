// Package awsclient is the one way to AWS, for keys and for backups: where the
// configuration and the credentials come from, which certificates, proxy and
// endpoints hold, what goes over plain http (nothing, when TLS is required, but to
// this machine and to the metadata services that have no https), which failures
// are repeated, and that nothing is logged. It is apart from netsafe so that who
// needs that alone does not get the SDK with it.
package awsclient

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/logging"

	"github.com/takumi-backup/takumi-backup/internal/netsafe"
)

// Advice for whoever has no configuration or no credentials that can be used.
const (
	FixConfig      = "check AWS_PROFILE, AWS_CONFIG_FILE, AWS_CA_BUNDLE and the files that they name"
	FixCredentials = "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run where a role is attached (instance, container, web identity)"
)

// Options says how a client speaks to AWS.
type Options struct {
	// RequireTLS refuses what netsafe.Check refuses, for the requests for
	// credentials too; to the metadata services they may go.
	RequireTLS bool
	Region     string        // when neither environment nor profile names one
	Profile    string        // whose credentials are used, and none of the environment; "" is AWS_PROFILE
	Timeout    time.Duration // of one request with its answer; 0 is none
	Attempts   int           // for one request
	Pause      time.Duration // the longest between two attempts
	// Passing says of some failures whether they pass; the others are judged here.
	Passing func(error) aws.Ternary
	// Tune, when not nil, changes the transport.
	Tune func(*http.Transport)
}

// Load reads the SDK's default configuration. The result's HTTP client makes the
// requests for credentials; for all others there is [Options.Client].
func (o Options) Load(ctx context.Context) (aws.Config, error) {
	// It has to be of this type for the SDK to add the authorities of AWS_CA_BUNDLE.
	client := awshttp.NewBuildableClient().WithTimeout(o.Timeout).WithTransportOptions(func(t *http.Transport) {
		if o.RequireTLS {
			t.Proxy = netsafe.Proxy
		}
		if o.Tune != nil {
			o.Tune(t)
		}
	})
	return config.LoadDefaultConfig(ctx,
		config.WithSharedConfigProfile(o.Profile),
		config.WithHTTPClient(client),
		config.WithRetryer(func() aws.Retryer { return o.Retryer(o.Attempts) }),
		config.WithDefaultRegion(o.Region),
		config.WithLogger(logging.Nop{}),
	)
}

// Client returns the client that keys and backups travel through: with the
// certificates and the proxy of cfg, and without redirects, which would carry
// them wherever an answer says. wrap goes around its transport.
func (o Options) Client(cfg aws.Config, wrap func(http.RoundTripper) http.RoundTripper) *http.Client {
	var base http.RoundTripper = http.DefaultTransport
	if c, ok := cfg.HTTPClient.(*awshttp.BuildableClient); ok {
		base = c.GetTransport()
	}
	if o.RequireTLS {
		base = netsafe.Transport(base)
	}
	return &http.Client{
		Transport:     wrap(base),
		Timeout:       o.Timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Retryer repeats what the SDK's standard one does, and an answer that was cut or
// says that there were too many requests, but nothing that will be the same the
// next time.
func (o Options) Retryer(attempts int) aws.Retryer {
	return retry.NewStandard(func(r *retry.StandardOptions) {
		r.MaxAttempts = attempts
		r.MaxBackoff = o.Pause
		r.Backoff = retry.NewExponentialJitterBackoff(o.Pause)
		r.RateLimiter = ratelimit.None
		r.Retryables = append([]retry.IsErrorRetryable{retry.IsErrorRetryableFunc(o.passing)}, r.Retryables...)
	})
}

func (o Options) passing(err error) aws.Ternary {
	if o.Passing != nil {
		if known := o.Passing(err); known != aws.UnknownTernary {
			return known
		}
	}
	switch {
	case errors.Is(err, netsafe.ErrPlain), errors.As(err, new(*tls.CertificateVerificationError)):
		return aws.FalseTernary
	case Status(err) == http.StatusTooManyRequests, errors.Is(err, io.ErrUnexpectedEOF):
		return aws.TrueTernary
	}
	return aws.UnknownTernary
}

// Status is the HTTP status of the answer that err is about, or 0.
func Status(err error) int {
	var answer interface{ HTTPStatusCode() int }
	if errors.As(err, &answer) {
		return answer.HTTPStatusCode()
	}
	return 0
}

// SendText is what went wrong with sending a request or reading its answer,
// without the SDK's layers and without the address, which may be signed.
func SendText(err error) string {
	var sent *url.Error
	var read *smithy.DeserializationError
	switch {
	case errors.As(err, &sent):
		return sent.Err.Error()
	case errors.As(err, &read) && read.Err != nil:
		return read.Err.Error()
	}
	return err.Error()
}
