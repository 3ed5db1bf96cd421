package awskms

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/smithy-go"

	"github.com/takumi-backup/takumi-backup/internal/netsafe"
	"github.com/takumi-backup/takumi-backup/internal/netsafe/awsclient"
	"github.com/takumi-backup/takumi-backup/internal/redact"
	"github.com/takumi-backup/takumi-backup/keystore"
)

// fault makes of the SDK's error one that says what to do. It does not wrap that
// error, which may hold a part of the answer.
func (k *Key) fault(ctx context.Context, region, action string, err error) error {
	e := &keystore.Error{URI: k.String(), Kind: keystore.ErrUnreachable, Fix: "try again later"}
	status := awsclient.Status(err)
	var api smithy.APIError
	switch {
	case ctx.Err() != nil:
		e.Reason = fmt.Sprintf("KMS in %s gave no answer to %s in the %v that an operation has", region, action, k.opts.limits.operation)
	case errors.Is(err, netsafe.ErrPlain):
		e.Kind, e.Err = keystore.ErrRefused, netsafe.ErrPlain
		e.Reason = "in production nothing goes to AWS over plain http: " + redact.Line(awsclient.SendText(err), 400)
		e.Fix = "give AWS_ENDPOINT_URL (or AWS_ENDPOINT_URL_KMS) an https address, or unset it"
	case errors.As(err, new(*tls.CertificateVerificationError)):
		e.Kind = keystore.ErrRefused
		e.Reason = "the certificate of the endpoint was not accepted: " + redact.Line(awsclient.SendText(err), 400)
		e.Fix = "for an endpoint with a certificate of your own, export AWS_CA_BUNDLE=FILE with its authority"
	case errors.As(err, &api):
		k.answered(e, region, action, api)
	case status >= 500 || status == http.StatusTooManyRequests:
		e.Reason = fmt.Sprintf("KMS in %s answered %s with status %d", region, action, status)
	case status != 0:
		e.Kind = keystore.ErrRefused
		e.Reason = fmt.Sprintf("the answer to %s (status %d) is not one of KMS", action, status)
		e.Fix = "check AWS_ENDPOINT_URL"
	default:
		e.Reason = fmt.Sprintf("KMS in %s cannot be reached: %s", region, redact.Line(awsclient.SendText(err), 400))
		e.Fix = "check the network, the region and AWS_ENDPOINT_URL"
	}
	return e
}

func (k *Key) answered(e *keystore.Error, region, action string, api smithy.APIError) {
	code := redact.Line(api.ErrorCode(), 100)
	e.Reason = fmt.Sprintf("%s in %s was answered with %s", action, region, code)
	if message := redact.Line(api.ErrorMessage(), 400); message != "" {
		e.Reason += ": " + message
	}
	if _, throttled := retry.DefaultThrottleErrorCodes[code]; throttled || api.ErrorFault() == smithy.FaultServer {
		return // another try may succeed
	}
	aws := func(command string) string {
		return fmt.Sprintf("aws kms %s --region %s --key-id %s", command, region, k.id)
	}
	e.Kind, e.Fix = keystore.ErrRefused, "see "+aws("describe-key")
	switch code {
	case "NotFoundException":
		e.Kind = keystore.ErrNotFound
		e.Fix = "check the key and the region: aws kms list-aliases --region " + region
	case "AccessDeniedException", "AccessDenied":
		e.Fix = fmt.Sprintf("allow kms:%s on this key in the IAM policy and in the key's own policy", action)
	case "DisabledException":
		e.Fix = aws("enable-key")
	case "KMSInvalidStateException":
		e.Fix = "see " + aws("describe-key") + "; a key that is to be deleted is saved by " + aws("cancel-key-deletion")
	case "InvalidKeyUsageException":
		e.Fix = "use a symmetric key for ENCRYPT_DECRYPT: aws kms create-key --region " + region
	case "UnrecognizedClientException", "InvalidClientTokenId", "InvalidSignatureException", "SignatureDoesNotMatch",
		"IncompleteSignature", "MissingAuthenticationToken", "MissingAuthenticationTokenException", "InvalidAccessKeyId":
		e.Fix = "check the credentials (aws sts get-caller-identity), the region (AWS_REGION) and the clock"
	case "ExpiredTokenException", "ExpiredToken", "RequestExpired":
		e.Fix = "renew the credentials: log in again, or get a new session token"
	}
}
