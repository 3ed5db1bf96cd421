package s3store

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/smithy-go"

	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/netsafe"
	"github.com/takumi-backup/takumi-backup/internal/netsafe/awsclient"
	"github.com/takumi-backup/takumi-backup/internal/redact"
	"github.com/takumi-backup/takumi-backup/internal/store"
)

// The kinds of [Fault].
var (
	ErrUnreachable = errors.New("the S3 server cannot be reached")
	ErrThrottled   = errors.New("the S3 server asks for fewer requests")
	ErrDenied      = errors.New("access denied")
	ErrCredentials = errors.New("the credentials are not accepted")
	ErrClock       = errors.New("this machine's clock is wrong")
	ErrNoBucket    = errors.New("no such bucket")
	ErrRegion      = errors.New("the bucket is in another region")
	ErrUnsupported = errors.New("the S3 server cannot do this")
	ErrForeign     = errors.New("the endpoint is not an S3 server")
	ErrAltered     = errors.New("what was sent arrived altered")
	ErrUncertain   = errors.New("whether the S3 server did it is not known")
)

// Fault is a refusal by S3 or on the way to it. It comes inside a *store.Error.
type Fault struct {
	Kind   error // one of the above, or nil
	Reason string
	Fix    string // what to do; may be empty
}

func (f *Fault) Error() string { return f.Reason }

func (f *Fault) Unwrap() error { return f.Kind }

const foreignFix = "check AWS_ENDPOINT_URL, and whether a proxy answers in the place of the server"

// ErrTooLarge is returned for a stream longer than the server, or Options.MaxObject,
// allows. Nothing of it is kept.
var ErrTooLarge = fail.New(fail.Store, "set TAKUMI_S3_PART_SIZE=64M, or give --part-size 64M where the command has it: 10,000 parts are one backup, and two are kept in memory; or use another store", "larger than an object of this store may be")

// LockedError is returned when S3 refuses a deletion because of a lock.
type LockedError struct {
	Path    string
	Version string    // id; "" when it is the only one
	Mode    string    // GOVERNANCE, COMPLIANCE, LEGAL HOLD, or "" if unknown
	Until   time.Time // zero if unknown, and for a legal hold
}

// Fail is the class and the hint of the error.
func (e *Fault) Fail() (fail.Class, string) {
	return fail.Store, cmp.Or(e.Fix, fail.StoreHint)
}

func (e *LockedError) Error() string {
	text := "delete " + e.Path + ": "
	switch {
	case e.Mode == "":
		text += "it is locked"
	case e.Until.IsZero():
		text += "it is under " + strings.ToLower(e.Mode)
	default:
		text += fmt.Sprintf("object lock (%s) keeps it until %s", strings.ToLower(e.Mode), e.Until.UTC().Format("2006-01-02 15:04 MST"))
	}
	if e.Version != "" {
		text += " (version " + redact.Line(e.Version, 80) + ")"
	}
	return text
}

// Fail is the class and the hint of the error.
func (*LockedError) Fail() (fail.Class, string) {
	return fail.Store, "delete it after its lock has ended"
}

// fault converts an error to what callers branch on: the context's cause, a missing file,
// another's file, or a *store.Error.
func (s *Store) fault(ctx context.Context, op, path string, err error) error {
	var known *store.Error
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.As(err, &known), errors.As(err, new(*LockedError)), errors.As(err, new(*OtherBackupError)), isAny(err, store.ErrExists, store.ErrChanged, store.ErrBusy, store.ErrName, ErrTooLarge):
		return err
	case isMissing(err):
		return fmt.Errorf("%s %s: %w", op, path, fs.ErrNotExist)
	case codeOf(err) == "InvalidObjectState" || errors.Is(err, store.ErrArchived):
		return fmt.Errorf("%s %s: %w", op, path, store.ErrArchived)
	}
	return &store.Error{Op: op, Path: path, Err: reason(err)}
}

func reason(err error) error {
	if own, ok := errors.AsType[*Fault](err); ok {
		if own.Error() != err.Error() {
			return err // which says more
		}
		return own
	}
	code, status := codeOf(err), awsclient.Status(err)
	f := &Fault{Reason: fmt.Sprintf("S3 answered %s (status %d)", clean(code), status)}
	var api smithy.APIError
	if errors.As(err, &api) && api.ErrorMessage() != "" && status != 0 {
		f.Reason += ": " + clean(api.ErrorMessage())
	}
	_, throttle := retry.DefaultThrottleErrorCodes[code]
	switch {
	case errors.Is(err, netsafe.ErrPlain):
		f.Kind, f.Reason = netsafe.ErrPlain, "in production nothing goes to S3 over plain http"
		f.Fix = "give AWS_ENDPOINT_URL an https address, or unset it; plain http is for this machine alone, as 127.0.0.1"
	case errors.As(err, new(*tls.CertificateVerificationError)):
		f.Kind, f.Reason = ErrUnreachable, "the certificate of the endpoint was not accepted: "+clean(awsclient.SendText(err))
		f.Fix = "for an endpoint with a certificate of your own, export AWS_CA_BUNDLE=FILE with its authority"
	case errors.Is(err, errForeign):
		f.Kind, f.Reason, f.Fix = ErrForeign, "the answer is not one of an S3 server", foreignFix
	case code == "NoSuchBucket":
		f.Kind, f.Reason = ErrNoBucket, "there is no such bucket"
		f.Fix = "check the bucket's name, and AWS_ENDPOINT_URL and AWS_REGION; a bucket is not made by this program"
	case oneOf(code, "RequestTimeTooSkewed", "RequestExpired", "RequestInTheFuture"):
		f.Kind, f.Reason = ErrClock, "S3 refuses the request because this machine's clock is wrong by more than 15 minutes"
		f.Fix = "set the clock (timedatectl), and keep it right with NTP"
	case oneOf(code, "SignatureDoesNotMatch", "InvalidAccessKeyId", "InvalidToken", "ExpiredToken", "TokenRefreshRequired", "InvalidSecurity", "MissingSecurityHeader", "UnrecognizedClientException"):
		f.Kind = ErrCredentials
		f.Reason = "S3 does not accept the credentials (" + clean(code) + ")"
		f.Fix = "check AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; aws sts get-caller-identity shows what is in force"
	case oneOf(code, "PermanentRedirect", "TemporaryRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "MovedPermanently"), 300 <= status && status < 400 && status != http.StatusNotModified:
		f.Kind = ErrRegion
		f.Fix = "export AWS_REGION=… (the region that the bucket is in)"
	case throttle, code == "SlowDown", status == http.StatusTooManyRequests, status == http.StatusServiceUnavailable:
		f.Kind, f.Reason = ErrThrottled, fmt.Sprintf("S3 is still busy, or asks for fewer requests (%s), after many attempts", clean(code))
		f.Fix = "try again later, with fewer programs at once"
	case status >= 500:
		f.Kind = ErrUnreachable
		if status == http.StatusNotImplemented {
			f.Kind = ErrUnsupported
		}
	case status == http.StatusForbidden:
		f.Kind = ErrDenied
		f.Fix = "allow it in the IAM policy and the bucket's policy; docs/OFFSITE.md has both"
	case status == http.StatusMethodNotAllowed:
		f.Kind = ErrUnsupported
	case status == 0, errors.As(err, new(*url.Error)), isAny(err, errStalled, errShort):
		f.Kind, f.Reason = ErrUnreachable, "S3 cannot be reached: "+clean(awsclient.SendText(err))
		f.Fix = "check the network, AWS_REGION and AWS_ENDPOINT_URL"
	}
	return f
}

func isAny(err error, targets ...error) bool {
	return slices.ContainsFunc(targets, func(target error) bool { return errors.Is(err, target) })
}

func oneOf[T comparable](value T, values ...T) bool { return slices.Contains(values, value) }

func codeOf(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
}

// isMissing: the key does not exist. Without a body, as for HEAD, S3 does not say whether
// the bucket does.
func isMissing(err error) bool {
	code := codeOf(err)
	return oneOf(code, "NoSuchKey", "NoSuchVersion", "NotFound", "404") ||
		awsclient.Status(err) == http.StatusNotFound && !oneOf(code, "NoSuchBucket", "NoSuchUpload")
}

// isLost: a condition of the request did not hold.
func isLost(err error) bool {
	return codeOf(err) == "PreconditionFailed" || awsclient.Status(err) == http.StatusPreconditionFailed
}

// isRace: another request for the key was under way.
func isRace(err error) bool {
	return oneOf(codeOf(err), "ConditionalRequestConflict", "OperationAborted")
}

func isDenied(err error) bool { return awsclient.Status(err) == http.StatusForbidden }

// isUnsupported: a server other than AWS does not know this request.
func isUnsupported(err error) bool {
	return oneOf(awsclient.Status(err), http.StatusNotImplemented, http.StatusMethodNotAllowed) || codeOf(err) == "NotImplemented"
}

func clean(text string) string { return redact.Line(text, 300) }
