package awskms

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/smithy-go"
)

// client speaks the protocol of KMS, AWS JSON 1.1. It is that of the SDK's credentials,
// signer and retryer without its package for KMS: docs/decisions.md says why.
type client struct {
	http        *http.Client
	credentials aws.CredentialsProvider
	region      string
	endpoint    string
	retry       aws.Retryer
}

// endpointOf is where KMS answers for a region. The SDK's rules for Secrets Manager know
// the partitions and their domains, in which both services are called alike.
func endpointOf(ctx context.Context, cfg aws.Config) (string, error) {
	if own := os.Getenv("AWS_ENDPOINT_URL_KMS"); own != "" {
		return own, nil
	}
	if cfg.BaseEndpoint != nil {
		return *cfg.BaseEndpoint, nil
	}
	on := func(name string) *bool { return aws.Bool(strings.EqualFold(os.Getenv(name), "true")) }
	at, err := secretsmanager.NewDefaultEndpointResolverV2().ResolveEndpoint(ctx, secretsmanager.EndpointParameters{
		Region: &cfg.Region, UseFIPS: on("AWS_USE_FIPS_ENDPOINT"), UseDualStack: on("AWS_USE_DUALSTACK_ENDPOINT"),
	})
	if err != nil {
		return "", err
	}
	return at.URI.Scheme + "://kms" + strings.TrimPrefix(at.URI.Host, "secretsmanager"), nil
}

// call sends an action, again while that may help, and reads the answer into out.
func (c *client) call(ctx context.Context, action string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	defer clear(body)
	for attempt := 1; ; attempt++ {
		err := c.once(ctx, action, body, out)
		if err == nil || attempt >= c.retry.MaxAttempts() || ctx.Err() != nil || !c.retry.IsErrorRetryable(err) {
			return err
		}
		pause, limit := c.retry.RetryDelay(attempt, err)
		if limit != nil {
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return err
		}
	}
}

func (c *client) once(ctx context.Context, action string, body []byte, out any) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimRight(c.endpoint, "/")+"/", bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/x-amz-json-1.1")
	r.Header.Set("X-Amz-Target", "TrentService."+action)
	credentials, err := c.credentials.Retrieve(ctx)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(body)
	if err := v4.NewSigner().SignHTTP(ctx, credentials, r, hex.EncodeToString(sum[:]), "kms", c.region, time.Now()); err != nil {
		return err
	}
	resp, err := c.http.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body) // which is bounded
	defer clear(text)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return newAnswerError(resp.StatusCode, text)
	}
	if err := json.Unmarshal(text, out); err != nil {
		return &answerError{status: resp.StatusCode} // and not the text, which may be a key's
	}
	return nil
}

// answerError is an answer that is not what was asked for: an error of the API, unless
// the answer is not one of KMS.
type answerError struct {
	status int
	api    error // a *smithy.GenericAPIError, or nil
}

func newAnswerError(status int, text []byte) error {
	var said struct {
		Type    string `json:"__type"`
		Message string
	}
	e := &answerError{status: status}
	if json.Unmarshal(text, &said) == nil && said.Type != "" {
		fault := smithy.FaultClient
		if status >= 500 {
			fault = smithy.FaultServer
		}
		_, code, found := strings.Cut(said.Type, "#")
		if !found {
			code = said.Type
		}
		e.api = &smithy.GenericAPIError{Code: code, Message: said.Message, Fault: fault}
	}
	return e
}

func (e *answerError) Error() string       { return fmt.Sprintf("status %d", e.status) }
func (e *answerError) HTTPStatusCode() int { return e.status }
func (e *answerError) Unwrap() error       { return e.api }
