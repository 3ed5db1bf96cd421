package awssm

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/logging"

	"github.com/takumi-backup/takumi-backup/internal/netsafe"
	"github.com/takumi-backup/takumi-backup/keystore"
)

// connection is what a Secret and its versions share.
type connection struct {
	opts      Options
	arnRegion string // of the secret's ARN, or ""

	mu      sync.Mutex
	session *session // nil before the first success
}

// session is a client that is ready for requests.
type session struct {
	api         *secretsmanager.Client
	credentials aws.CredentialsProvider
	region      string
}

// open makes the client if there is none, and sees that there are credentials:
// the SDK would look for missing ones anew at every attempt.
func (s *Secret) open(ctx context.Context) (*session, error) {
	c, err := s.connect(ctx)
	if err != nil {
		return nil, err
	}
	bounded, cancel := context.WithTimeout(ctx, s.conn.opts.limits.credentials)
	defer cancel()
	if _, err := c.credentials.Retrieve(bounded); err != nil {
		return nil, s.noCredentials(c.region, err)
	}
	return c, nil
}

func (s *Secret) connect(ctx context.Context) (*session, error) {
	conn := s.conn
	conn.mu.Lock()
	defer conn.mu.Unlock()
	if conn.session != nil {
		return conn.session, nil
	}
	cfg, err := config.LoadDefaultConfig(ctx,
		config.WithHTTPClient(conn.opts.client()),
		config.WithRetryer(conn.opts.retryer),
		config.WithDefaultRegion(conn.arnRegion),
		config.WithLogger(logging.Nop{}),
	)
	if err != nil {
		return nil, s.refuse("the AWS configuration cannot be used: "+clean(err.Error()), "check AWS_PROFILE, AWS_CONFIG_FILE, AWS_CA_BUNDLE and the files that they name")
	}
	switch {
	case cfg.Region == "":
		return nil, s.refuse("no AWS region is set", "export AWS_REGION=… (the region that the secret is in), or name the secret by its ARN")
	case conn.arnRegion != "" && cfg.Region != conn.arnRegion:
		return nil, s.refuse(fmt.Sprintf("its ARN is one of region %s, but the configured region is %s", conn.arnRegion, clean(cfg.Region)), "export AWS_REGION="+conn.arnRegion)
	}
	conn.session = &session{credentials: cfg.Credentials, region: cfg.Region}
	conn.session.api = secretsmanager.NewFromConfig(cfg, func(o *secretsmanager.Options) {
		o.HTTPClient = conn.opts.guarded(cfg.HTTPClient)
		o.Logger = logging.Nop{}
		o.ClientLogMode = 0
	})
	return conn.session, nil
}

// client is the one that configuration and credentials start from. It has to
// be of this type for the SDK to add the authorities of AWS_CA_BUNDLE.
func (o Options) client() *awshttp.BuildableClient {
	client := awshttp.NewBuildableClient().WithTimeout(o.limits.attempt)
	if !o.RequireTLS {
		return client
	}
	// Here the requests for credentials are judged.
	return client.WithTransportOptions(func(t *http.Transport) { t.Proxy = netsafe.Proxy })
}

// guarded is the client that keys travel through: with the certificates and
// the proxy of the configured one, bounded, and without redirects, which would
// carry a new key wherever the answer says.
func (o Options) guarded(configured aws.HTTPClient) *http.Client {
	var transport http.RoundTripper = http.DefaultTransport
	if c, ok := configured.(*awshttp.BuildableClient); ok {
		transport = c.GetTransport()
	}
	if o.RequireTLS {
		transport = netsafe.Transport(transport)
	}
	return &http.Client{
		Transport:     bounded{transport},
		Timeout:       o.limits.attempt,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// retryer repeats what the SDK's standard one does, and a few things more, but
// for failures that will be the same the next time.
func (o Options) retryer() aws.Retryer {
	return retry.NewStandard(func(r *retry.StandardOptions) {
		r.MaxAttempts = o.limits.attempts
		r.Backoff = retry.NewExponentialJitterBackoff(o.limits.pause)
		r.RateLimiter = ratelimit.None
		r.Retryables = append([]retry.IsErrorRetryable{retry.IsErrorRetryableFunc(passing)}, r.Retryables...)
	})
}

func passing(err error) aws.Ternary {
	var api smithy.APIError
	switch {
	case errors.Is(err, netsafe.ErrPlain), errors.Is(err, errTooLarge), errors.As(err, new(*tls.CertificateVerificationError)),
		errors.As(err, &api) && api.ErrorCode() == "LimitExceededException":
		return aws.FalseTernary
	case httpStatus(err) == http.StatusTooManyRequests, errors.Is(err, io.ErrUnexpectedEOF):
		return aws.TrueTernary
	}
	return aws.UnknownTernary
}

// maxAnswer is more than any answer of Secrets Manager: a page of 100 versions
// with 20 stages of 256 characters in all, or a value of 64 KiB in base64.
const maxAnswer = 1 << 20

var errTooLarge = errors.New("the answer is too large")

// bounded lets answers of at most maxAnswer bytes through.
type bounded struct{ base http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		// The SDK closes the body as soon as an answer begins. The WriteTo that
		// its body has then fails, in the last, empty read that net/http still
		// makes, and net/http drops the connection with the answer. Read does not.
		r = r.WithContext(r.Context()) // a copy, for the request is not ours to change
		r.Body = struct{ io.ReadCloser }{r.Body}
	}
	resp, err := b.base.RoundTrip(r)
	if err == nil {
		resp.Body = &boundedBody{resp.Body, maxAnswer}
	}
	return resp, err
}

type boundedBody struct {
	io.ReadCloser
	left int
}

func (b *boundedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.left -= n; b.left < 0 {
		return 0, errTooLarge
	}
	return n, err
}

func (s *Secret) refuse(reason, fix string) error {
	return &keystore.Error{URI: s.String(), Kind: keystore.ErrRefused, Reason: reason, Fix: fix}
}
