package awssm

import (
	"context"
	"errors"
	"net/http"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/logging"

	"github.com/takumi-backup/takumi-backup/internal/netsafe/awsclient"
	"github.com/takumi-backup/takumi-backup/keystore"
)

type connection struct {
	opts      Options
	arnRegion string // of the secret's ARN, or ""

	mu      sync.Mutex
	session *session // nil before the first success
}

type session struct {
	api         *secretsmanager.Client
	credentials aws.CredentialsProvider
	region      string
}

// open makes the client, if needed, and checks for credentials: the SDK would look for
// missing ones at every attempt.
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
	way := conn.opts.way(conn.arnRegion)
	cfg, err := way.Load(ctx)
	if err != nil {
		return nil, s.refuse("the AWS configuration cannot be used: "+clean(err.Error()), awsclient.FixConfig)
	}
	if cfg.Region == "" {
		return nil, s.refuse("no AWS region is set", "export AWS_REGION=… (the region that the secret is in), or name the secret by its ARN")
	}
	if conn.arnRegion != "" { // wherever this host is
		cfg.Region = conn.arnRegion
	}
	conn.session = &session{credentials: cfg.Credentials, region: cfg.Region}
	conn.session.api = secretsmanager.NewFromConfig(cfg, func(o *secretsmanager.Options) {
		o.HTTPClient = way.Client(cfg, func(base http.RoundTripper) http.RoundTripper { return awsclient.Bounded(base, maxAnswer) })
		o.Logger = logging.Nop{}
		o.ClientLogMode = 0
	})
	return conn.session, nil
}

func (o Options) way(region string) awsclient.Options {
	return awsclient.Options{
		RequireTLS: o.RequireTLS, Region: region, Timeout: o.limits.attempt, Attempts: o.limits.attempts, Pause: o.limits.pause,
		Passing: func(err error) aws.Ternary {
			var api smithy.APIError
			if errors.Is(err, awsclient.ErrTooLarge) || errors.As(err, &api) && api.ErrorCode() == "LimitExceededException" {
				return aws.FalseTernary
			}
			return aws.UnknownTernary
		},
	}
}

// maxAnswer exceeds a page of 100 versions with 20 stages of 256 characters, and a value of
// 64 KiB in base64.
const maxAnswer = 1 << 20

func (s *Secret) refuse(reason, fix string) error {
	return &keystore.Error{URI: s.String(), Kind: keystore.ErrRefused, Reason: reason, Fix: fix}
}
