// Package awsclient configures all clients of AWS, for keys and backups: configuration and
// credentials, certificates, proxy and endpoints, plain http (when TLS is required, only to
// this machine and to metadata services), retries, and no logging. It is separate from
// netsafe, which stays free of the SDK.
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

// hints without a usable configuration or credentials
const (
	FixConfig      = "check AWS_PROFILE, AWS_CONFIG_FILE, AWS_CA_BUNDLE and the files that they name"
	FixCredentials = "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run where a role is attached (instance, container, web identity)"
)

// Options says how a client speaks to AWS.
type Options struct {
	// RequireTLS refuses what netsafe.Check refuses, for requests for credentials too,
	// except to the metadata services.
	RequireTLS bool
	Region     string        // when neither environment nor profile names one
	Profile    string        // whose credentials are used, and none of the environment; "" is AWS_PROFILE
	Timeout    time.Duration // of one request with its answer; 0 is none
	Attempts   int           // for one request
	Pause      time.Duration // the longest between two attempts
	// Passing says whether some failures are temporary; others are judged here.
	Passing func(error) aws.Ternary
	// Tune, when not nil, changes the transport.
	Tune func(*http.Transport)
}

// Load reads the SDK's default configuration. The result's HTTP client requests
// credentials; all others use [Options.Client].
func (o Options) Load(ctx context.Context) (aws.Config, error) {
	// The SDK adds the authorities of AWS_CA_BUNDLE only to this type.
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

// Client returns the client for keys and backups: with the certificates and the proxy of
// cfg, and without redirects, which would carry them anywhere. wrap goes around its
// transport.
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

// Retryer repeats what the SDK's standard one does, and an answer that was cut or says that
// there were too many requests, but no permanent failures.
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

// Status is the HTTP status in err, or 0.
func Status(err error) int {
	var answer interface{ HTTPStatusCode() int }
	if errors.As(err, &answer) {
		return answer.HTTPStatusCode()
	}
	return 0
}

// SendText describes a failure to send a request or read its answer, without the SDK's
// layers and the address, which may be signed.
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
