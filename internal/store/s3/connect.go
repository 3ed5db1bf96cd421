package s3store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/ec2rolecreds"
	"github.com/aws/aws-sdk-go-v2/credentials/endpointcreds"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/logging"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/takumi-backup/takumi-backup/internal/netsafe/awsclient"
)

type connection struct {
	api      *s3.Client // patient, for what is under way
	probe    *s3.Client // for what a user waits for
	endpoint string     // "" is AWS
	inPath   bool       // path style, not virtual host
}

func (s *Store) connect(ctx context.Context) (*connection, error) {
	o := s.opts
	way := o.way()
	cfg, err := way.Load(ctx)
	if err != nil {
		return nil, &Fault{Kind: ErrCredentials, Reason: "the AWS configuration cannot be used: " + clean(err.Error()), Fix: awsclient.FixConfig}
	}
	endpoint := o.Endpoint
	if o.Profile != "" {
		// The server in a path's profile overrides the environment's.
		profile := profileOf(cfg)
		endpoint = cmp.Or(endpoint, profile.BaseEndpoint)
		cfg.Region = cmp.Or(profile.Region, cfg.Region)
	}
	endpoint = cmp.Or(endpoint, os.Getenv("AWS_ENDPOINT_URL_S3"), os.Getenv("AWS_ENDPOINT_URL"))
	cfg.Region = cmp.Or(o.Region, cfg.Region)
	if cfg.Region == "" && endpoint != "" {
		cfg.Region = "us-east-1" // what servers elsewhere expect when nobody says
	}
	if cfg.Region == "" {
		return nil, &Fault{Kind: ErrRegion, Reason: "no AWS region is set", Fix: "export AWS_REGION=… (the region that the bucket is in)"}
	}
	if o.named && o.Profile == "" {
		return nil, &Fault{Kind: ErrCredentials, Reason: "the path names an endpoint and no profile, and an endpoint in a path gets no credentials that are meant for another",
			Fix: "add &profile=NAME to the path, a profile of ~/.aws/credentials with the keys of that server; or set AWS_ENDPOINT_URL in the place of endpoint="}
	}
	bounded, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	got, err := cfg.Credentials.Retrieve(bounded)
	if err == nil && o.Profile != "" && o.named && oneOf(got.Source, ec2rolecreds.ProviderName, endpointcreds.ProviderName) && profileOf(cfg).CredentialSource == "" {
		err = fmt.Errorf("the profile %s has none of its own", o.Profile)
	}
	if err != nil {
		return nil, &Fault{Kind: ErrCredentials, Reason: "no AWS credentials can be had: " + clean(err.Error()), Fix: awsclient.FixCredentials}
	}
	inPath := o.PathStyle || isAddress(endpoint)
	client := way.Client(cfg, func(base http.RoundTripper) http.RoundTripper { return &watched{base, o.limits} })
	with := func(attempts int) *s3.Client {
		return s3.NewFromConfig(cfg, func(so *s3.Options) {
			if endpoint != "" {
				so.BaseEndpoint = &endpoint
			}
			so.UsePathStyle, so.UseARNRegion = inPath, true
			so.HTTPClient = client
			so.Retryer = way.Retryer(attempts)
			so.RetryMaxAttempts = attempts
			so.Logger = logging.Nop{}
			so.ClientLogMode = 0
			so.APIOptions = append(so.APIOptions, withoutEncoding)
			// Uploads carry our own SHA-256. Partial reads have no checksum; the envelope
			// and the sidecar prove them.
			so.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
			so.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
			if o.tune != nil {
				o.tune(so)
			}
		})
	}
	return &connection{api: with(o.limits.attempts), probe: with(o.limits.probes), endpoint: endpoint, inPath: inPath}, nil
}

func profileOf(cfg aws.Config) (profile config.SharedConfig) {
	for _, source := range cfg.ConfigSources {
		if shared, ok := source.(config.SharedConfig); ok {
			profile = shared
		}
	}
	return profile
}

// fits fails for an endpoint that contains the bucket, as some vendors' consoles show it:
// keys would begin with the bucket's name. It also fails for an access point with path
// style.
func (c *connection) fits(bucket string) error {
	if c.inPath && strings.HasPrefix(bucket, "arn:") {
		return &Fault{Kind: ErrNoBucket, Reason: "an access point is part of the host's name, and cannot be in the path of requests, as path_style or an endpoint that is an address asks for",
			Fix: "leave out path_style; unset AWS_ENDPOINT_URL; or use the name of the bucket, or the alias of the access point, in place of its ARN"}
	}
	u, err := url.Parse(c.endpoint)
	if err != nil || bucket == "" || !slices.Contains(append(strings.Split(u.Path, "/"), strings.Split(u.Host, ".")[0]), bucket) {
		return nil
	}
	return &Fault{Kind: ErrNoBucket, Reason: fmt.Sprintf("the endpoint %s names the bucket %s, which the path does already", clean(u.Redacted()), bucket),
		Fix: "leave the bucket out of AWS_ENDPOINT_URL, or of endpoint= in the path"}
}

// isAddress reports whether an endpoint is an IP address or this machine, which a bucket's
// name cannot prefix.
func isAddress(endpoint string) bool {
	u, err := url.Parse(endpoint)
	if err != nil {
		return false
	}
	_, err = netip.ParseAddr(u.Hostname())
	return err == nil || u.Hostname() == "localhost"
}

// unsigned excludes the body from the signature, which covers the header with its SHA-256
// anyway.
func unsigned(o *s3.Options) {
	o.APIOptions = append(o.APIOptions, v4.SwapComputePayloadSHA256ForUnsignedPayloadMiddleware)
}

// withoutEncoding does not sign Accept-Encoding, which watched sets.
func withoutEncoding(stack *middleware.Stack) error {
	return stack.Finalize.Insert(middleware.FinalizeMiddlewareFunc("WithoutEncoding", func(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (middleware.FinalizeOutput, middleware.Metadata, error) {
		if r, ok := in.Request.(*smithyhttp.Request); ok {
			r.Header.Del("Accept-Encoding")
		}
		return next.HandleFinalize(ctx, in)
	}), "Signing", middleware.Before)
}

// way is how a request reaches S3.
func (o Options) way() awsclient.Options {
	return awsclient.Options{
		RequireTLS: o.RequireTLS, Profile: o.Profile, Attempts: o.limits.probes, Pause: o.limits.pause, Passing: passing,
		Tune: func(t *http.Transport) {
			t.MaxIdleConnsPerHost = 2 * maxSlots
			t.WriteBufferSize, t.ReadBufferSize = 256<<10, 256<<10
			t.DisableCompression = true
		},
	}
}

func passing(err error) aws.Ternary {
	switch {
	case errors.Is(err, errTooLarge):
		return aws.FalseTernary
	case errors.Is(err, errStalled), errors.Is(err, errForeign), errors.Is(err, io.EOF),
		// errors of a body that a broken connection cut
		codeOf(err) == "IncompleteBody", codeOf(err) == "BadDigest", codeOf(err) == "XAmzContentChecksumMismatch":
		return aws.TrueTernary
	}
	return aws.UnknownTernary
}

// sleep waits before attempt n, or until ctx ends.
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
