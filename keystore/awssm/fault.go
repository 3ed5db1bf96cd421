package awssm

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/smithy-go"

	"github.com/takumi-backup/takumi-backup/internal/netsafe"
	"github.com/takumi-backup/takumi-backup/internal/netsafe/awsclient"
	"github.com/takumi-backup/takumi-backup/internal/redact"
	"github.com/takumi-backup/takumi-backup/keystore"
)

// fault adds advice to the SDK's error, without wrapping it, since it may hold a part of
// the answer.
func (s *Secret) fault(ctx context.Context, c *session, action string, err error) error {
	e := &keystore.Error{URI: s.String(), Kind: keystore.ErrRefused}
	status := awsclient.Status(err)
	var api smithy.APIError
	switch {
	case ctx.Err() != nil:
		e.Kind = keystore.ErrUnreachable
		e.Reason = fmt.Sprintf("Secrets Manager in %s gave no answer to %s in the %v that an operation has", c.region, action, s.conn.opts.limits.operation)
		e.Fix = "try again"
	case errors.Is(err, netsafe.ErrPlain):
		s.plain(e, err)
	case errors.As(err, new(*tls.CertificateVerificationError)):
		e.Reason = "the certificate of the endpoint was not accepted: " + clean(awsclient.SendText(err))
		e.Fix = "for an endpoint with a certificate of your own, export AWS_CA_BUNDLE=FILE with its authority"
	case errors.Is(err, awsclient.ErrTooLarge):
		e.Reason = fmt.Sprintf("the answer to %s has more than %d bytes, which Secrets Manager never sends", action, maxAnswer)
		e.Fix = "check AWS_ENDPOINT_URL"
	case status >= 500 || status == http.StatusTooManyRequests:
		e.Kind = keystore.ErrUnreachable
		e.Reason = fmt.Sprintf("Secrets Manager in %s answered %s with status %d", c.region, action, status)
		e.Fix = "try again later"
	case 300 <= status && status < 400:
		e.Reason = fmt.Sprintf("the endpoint answered %s with a redirect (status %d), which is not followed because the request may hold a key", action, status)
		e.Fix = "check AWS_ENDPOINT_URL"
	case errors.As(err, &api):
		s.answered(e, c, action, api)
	case errors.As(err, new(*url.Error)), cutOff(err):
		e.Kind = keystore.ErrUnreachable
		e.Reason = fmt.Sprintf("Secrets Manager in %s cannot be reached: %s", c.region, clean(awsclient.SendText(err)))
		e.Fix = "check the network, the region and AWS_ENDPOINT_URL"
	case status != 0, errors.As(err, new(*smithy.DeserializationError)):
		e.Reason = fmt.Sprintf("the answer to %s is not one of Secrets Manager", action)
		e.Fix = "check AWS_ENDPOINT_URL"
	default:
		e.Reason = fmt.Sprintf("%s could not be asked: %s", action, clean(err.Error()))
		e.Fix = "check AWS_REGION and AWS_ENDPOINT_URL"
	}
	return e
}

func (s *Secret) answered(e *keystore.Error, c *session, action string, api smithy.APIError) {
	code := clean(api.ErrorCode())
	e.Reason = fmt.Sprintf("%s in %s was answered with %s", action, c.region, code)
	if message := clean(api.ErrorMessage()); message != "" {
		e.Reason += ": " + message
	}
	switch code {
	case "ResourceNotFoundException":
		e.Kind = keystore.ErrNotFound
		e.Fix = s.missing(c.region, strings.Contains(e.Reason, "secret value"))
	case "AccessDeniedException", "AccessDenied":
		e.Fix = fmt.Sprintf("allow secretsmanager:%s on this secret in the IAM policy, and where the secret has a KMS key of its own %s", action, kmsActions)
	case "DecryptionFailure", "EncryptionFailure":
		e.Fix = "see that the secret's KMS key is enabled, and allow " + kmsActions
	case "UnrecognizedClientException", "InvalidClientTokenId", "InvalidSignatureException", "SignatureDoesNotMatch",
		"IncompleteSignature", "IncompleteSignatureException", "MissingAuthenticationToken", "MissingAuthenticationTokenException", "InvalidAccessKeyId":
		e.Fix = "check the credentials (aws sts get-caller-identity), the region (AWS_REGION) and the clock"
	case "ExpiredTokenException", "ExpiredToken", "RequestExpired":
		e.Fix = "renew the credentials: log in again, or get a new session token"
	case "InvalidRequestException":
		e.Fix = fmt.Sprintf("if it is marked for deletion: aws secretsmanager restore-secret --region %s --secret-id %s", c.region, s.id)
	case "LimitExceededException":
		e.Fix = fmt.Sprintf("take the stage away from the oldest former key that no backup needs: aws secretsmanager update-secret-version-stage --region %s --secret-id %s --version-stage %sKEYID --remove-from-version-id VERSION (list-secret-version-ids shows them)", c.region, s.id, stageOf)
	default:
		if _, throttled := retry.DefaultThrottleErrorCodes[code]; throttled {
			e.Kind = keystore.ErrUnreachable
			e.Fix = "try again later"
		}
	}
}

// missing is the advice when the secret or, if there, the version is missing.
func (s *Secret) missing(region string, there bool) string {
	switch {
	case s.version != "" && s.version != stageCurrent:
		return fmt.Sprintf("see which versions there are: aws secretsmanager list-secret-version-ids --region %s --secret-id %s", region, s.id)
	case arnRegion(s.id) != "" && !there:
		return "check the ARN: aws secretsmanager list-secrets --region " + region
	}
	content := "openssl rand -hex 32"
	if s.field != "" {
		content = fmt.Sprintf(`printf '{"%%s":"%%s"}' '%s' "$(openssl rand -hex 32)"`, strings.ReplaceAll(s.field, "'", `'\''`))
	}
	action := "create-secret --name"
	if there {
		action = "put-secret-value --secret-id"
	}
	return fmt.Sprintf("check the name and the region, or put a key there: %s | aws secretsmanager %s %s --region %s --secret-string file:///dev/stdin", content, action, s.id, region)
}

const kmsActions = "kms:Decrypt (and kms:GenerateDataKey to store keys) on it"

func (s *Secret) noCredentials(region string, err error) error {
	e := &keystore.Error{
		URI: s.String(), Kind: keystore.ErrRefused, Reason: "no AWS credentials were found",
		Fix: awsclient.FixCredentials + "; aws sts get-caller-identity shows what is in force",
	}
	var op *smithy.OperationError
	var api smithy.APIError
	status := awsclient.Status(err)
	switch {
	case errors.Is(err, netsafe.ErrPlain):
		s.plain(e, err)
	case errors.As(err, &op) && op.ServiceID == "ec2imds":
		// The last of the chain: nothing else is configured.
	case errors.As(err, &api) && status < 500:
		e.Reason = fmt.Sprintf("no AWS credentials were given (region %s): %s: %s", region, clean(api.ErrorCode()), clean(api.ErrorMessage()))
	case status >= 500, errors.As(err, new(*url.Error)), errors.Is(err, context.DeadlineExceeded):
		e.Kind = keystore.ErrUnreachable
		e.Reason = "where AWS credentials should come from cannot be reached: " + clean(awsclient.SendText(err))
	default:
		e.Reason = "no AWS credentials can be had: " + clean(err.Error())
	}
	return e
}

func (s *Secret) plain(e *keystore.Error, err error) {
	e.Err = netsafe.ErrPlain
	e.Reason = "in production nothing goes to AWS over plain http: " + clean(awsclient.SendText(err))
	e.Fix = "give AWS_ENDPOINT_URL (or AWS_ENDPOINT_URL_SECRETS_MANAGER) an https address, or unset it; plain http is for this machine alone, as 127.0.0.1"
}

func cutOff(err error) bool {
	var slow interface{ Timeout() bool }
	return errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, new(*net.OpError)) || errors.As(err, &slow) && slow.Timeout()
}

func clean(text string) string { return redact.Line(text, 400) }
