package s3store

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/logging"

	"github.com/takumi-backup/takumi-backup/internal/netsafe"
)

// connection is clients that are ready for requests.
type connection struct {
	api   *s3.Client // patient, for what is under way
	probe *s3.Client // for what a user waits for
}

func (s *Store) connect(ctx context.Context) (*connection, error) {
	o := s.opts
	cfg, err := config.LoadDefaultConfig(ctx,
		config.WithHTTPClient(o.client()),
		config.WithLogger(logging.Nop{}),
		config.WithRetryer(func() aws.Retryer { return o.retryer(o.limits.probes) }),
	)
	if err != nil {
		return nil, &Fault{Kind: ErrCredentials, Reason: "the AWS configuration cannot be used: " + clean(err.Error()),
			Fix: "check AWS_PROFILE, AWS_CONFIG_FILE, AWS_CA_BUNDLE and the files that they name"}
	}
	endpoint := o.Endpoint
	for _, name := range []string{"AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"} {
		if endpoint == "" {
			endpoint = os.Getenv(name)
		}
	}
	if o.Region != "" {
		cfg.Region = o.Region
	}
	if cfg.Region == "" && endpoint != "" {
		cfg.Region = "us-east-1" // what servers elsewhere expect when nobody says
	}
	if cfg.Region == "" {
		return nil, &Fault{Kind: ErrRegion, Reason: "no AWS region is set", Fix: "export AWS_REGION=… (the region that the bucket is in)"}
	}
	bounded, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	if _, err := cfg.Credentials.Retrieve(bounded); err != nil {
		return nil, &Fault{Kind: ErrCredentials, Reason: "no AWS credentials can be had: " + clean(err.Error()),
			Fix: "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run where a role is attached (instance, container, web identity)"}
	}
	client := o.guarded(cfg.HTTPClient)
	with := func(attempts int) *s3.Client {
		return s3.NewFromConfig(cfg, func(so *s3.Options) {
			if o.Endpoint != "" {
				so.BaseEndpoint = aws.String(o.Endpoint)
			}
			so.UsePathStyle = o.PathStyle || isAddress(endpoint)
			so.HTTPClient = client
			so.Retryer = o.retryer(attempts)
			so.RetryMaxAttempts = attempts
			so.Logger = logging.Nop{}
			so.ClientLogMode = 0
			// What is sent carries a SHA-256 of ours. What is read in pieces has
			// no checksum; the envelope and the sidecar are what proves it.
			so.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
			so.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
			if o.tune != nil {
				o.tune(so)
			}
		})
	}
	return &connection{api: with(o.limits.attempts), probe: with(o.limits.probes)}, nil
}

// isAddress reports whether an endpoint is an IP address or this machine, where
// a bucket cannot become a part of the host's name.
func isAddress(endpoint string) bool {
	u, err := url.Parse(endpoint)
	if err != nil {
		return false
	}
	_, err = netip.ParseAddr(u.Hostname())
	return err == nil || u.Hostname() == "localhost"
}

// unsigned leaves the body out of the signature, which covers the header with
// the body's SHA-256 anyway: it is computed once.
func unsigned(o *s3.Options) {
	o.APIOptions = append(o.APIOptions, v4.SwapComputePayloadSHA256ForUnsignedPayloadMiddleware)
}

// client is the one that configuration and credentials start from. It has to
// be of this type for the SDK to add the authorities of AWS_CA_BUNDLE.
func (o Options) client() *awshttp.BuildableClient {
	return awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
		t.MaxIdleConnsPerHost = 2 * maxSlots
		t.WriteBufferSize, t.ReadBufferSize = 256<<10, 256<<10
		t.DisableCompression = true
		if o.RequireTLS {
			t.Proxy = netsafe.Proxy // here the requests for credentials are judged
		}
	})
}

// guarded is the client that backups travel through: with the certificates and
// the proxy of the configured one, and without redirects.
func (o Options) guarded(configured aws.HTTPClient) *http.Client {
	var base http.RoundTripper = http.DefaultTransport
	if c, ok := configured.(*awshttp.BuildableClient); ok {
		base = c.GetTransport()
	}
	if o.RequireTLS {
		base = netsafe.Transport(base)
	}
	return &http.Client{
		Transport:     &watched{base, o.limits},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// retryer repeats what the SDK's standard one does, and a few things more.
func (o Options) retryer(attempts int) aws.Retryer {
	return retry.NewStandard(func(r *retry.StandardOptions) {
		r.MaxAttempts = attempts
		r.MaxBackoff = o.limits.pause
		r.Backoff = retry.NewExponentialJitterBackoff(o.limits.pause)
		r.RateLimiter = ratelimit.None
		r.Retryables = append([]retry.IsErrorRetryable{retry.IsErrorRetryableFunc(passing)}, r.Retryables...)
	})
}

func passing(err error) aws.Ternary {
	switch {
	case errors.Is(err, netsafe.ErrPlain), errors.Is(err, errTooLarge), errors.As(err, new(*tls.CertificateVerificationError)):
		return aws.FalseTernary
	case errors.Is(err, errStalled), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF), httpStatus(err) == http.StatusTooManyRequests,
		// What a broken connection makes of a body that arrived cut.
		codeOf(err) == "IncompleteBody", codeOf(err) == "BadDigest", codeOf(err) == "XAmzContentChecksumMismatch":
		return aws.TrueTernary
	}
	return aws.UnknownTernary
}

// sleep waits before attempt n, and less when ctx ends.
func (o Options) sleep(ctx context.Context, n int) error {
	pause := min(o.limits.pause, 100*time.Millisecond<<min(n, 16))
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(pause):
		return nil
	}
}

var errTooLarge = errors.New("the answer is too large")

// errStalled is retryable: the way to S3 hung.
var errStalled = fmt.Errorf("nothing moved for too long: %w", os.ErrDeadlineExceeded)
