// Package awskms has AWS KMS wrap and unwrap data keys. The key that does it never
// leaves KMS: a host that may Encrypt seals, and one that may Decrypt opens.
//
//	k, err := awskms.Parse("alias/takumi-backup", awskms.Options{RequireTLS: true})
//
// What is behind "awskms:" is a key's id, its ARN, or alias/NAME and its ARN; the
// key is a symmetric one for ENCRYPT_DECRYPT. A [Key] makes slots of type "awskms"
// (docs/FORMAT.md) and opens them: the encryption context "takumi-backup" = "v1",
// "id" = the backup's id binds them, and is in CloudTrail. Decrypt names the key
// that it wants, so that a slot for somebody else's key opens nothing.
//
// Credentials, endpoint (AWS_ENDPOINT_URL, AWS_ENDPOINT_URL_KMS) and certificates are
// those of the SDK's default chain; the region is the ARN's, and else AWS_REGION or the
// profile's. Redirects are not followed. A request has 5 seconds, and is made up to 5
// times when it was throttled, met a server error or did not get through; an operation
// has 30 seconds.
//
// Sources: the AWS KMS API Reference (Encrypt, Decrypt) and the Developer Guide on
// encryption context and multi-Region keys.
package awskms

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/aws/smithy-go"

	"github.com/takumi-backup/takumi-backup/envelope/slot"
	"github.com/takumi-backup/takumi-backup/internal/netsafe/awsclient"
	"github.com/takumi-backup/takumi-backup/internal/redact"
	"github.com/takumi-backup/takumi-backup/keystore"
)

// SlotType is the type of the slots.
const SlotType = "awskms"

// Options says what a program demands of its requests.
type Options struct {
	// RequireTLS refuses plain http but to this machine itself and, for credentials,
	// to the metadata services. For production.
	RequireTLS bool

	limits limits // the usual ones when zero
}

type limits struct {
	operation, attempt, credentials, pause time.Duration
	attempts                               int
}

var usual = limits{operation: 30 * time.Second, attempt: 5 * time.Second, credentials: 10 * time.Second, pause: 4 * time.Second, attempts: 5}

// Key is a key of AWS KMS, as Parse makes it. It connects at the first call that needs
// it. It is safe for concurrent use.
type Key struct {
	id   string // as the API's KeyId
	opts Options

	mu      sync.Mutex
	session *client // nil before the first success
}

var (
	keyID  = `(?:mrk-[0-9a-f]{32}|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})`
	alias  = `alias/[A-Za-z0-9/_-]{1,250}`
	naming = regexp.MustCompile(`^(?:arn:aws[a-z-]*:kms:([a-z0-9-]+):[0-9]{12}:(?:key/(` + keyID + `)|` + alias + `)|(` + keyID + `)|` + alias + `)$`)
)

// Parse reads what is behind "awskms:". It uses no network, and its errors do not
// repeat what it was given.
func Parse(id string, opts Options) (*Key, error) {
	if !naming.MatchString(id) {
		return nil, errors.New("want awskms:KEY-ID, awskms:alias/NAME, or the ARN of one, arn:aws:kms:REGION:ACCOUNT:key/KEY-ID")
	}
	if opts.limits == (limits{}) {
		opts.limits = usual
	}
	return &Key{id: id, opts: opts}, nil
}

// parts are an identifier's region and key id, as far as it says them.
func parts(id string) (region, key string) {
	m := naming.FindStringSubmatch(id)
	if m == nil {
		return "", ""
	}
	return m[1], m[2] + m[3]
}

// String is the URI.
func (k *Key) String() string { return "awskms:" + k.id }

// Identity returns the key as one that opens its slots. With the ARN of a key of one
// region it is [slot.Named]; an alias, an id or a multi-Region key has other names.
func (k *Key) Identity() slot.Identity {
	if k.isNamed() {
		return named{k}
	}
	return k
}

// Recipient returns the key as one that only seals, for hosts that may not decrypt.
func (k *Key) Recipient() slot.Recipient {
	if k.isNamed() {
		return namedRecipient{recipient{k}}
	}
	return recipient{k}
}

func (k *Key) isNamed() bool {
	region, id := parts(k.id)
	return region != "" && id != "" && !strings.HasPrefix(id, "mrk-")
}

type named struct{ *Key }

// Holder names the key's slots.
func (n named) Holder() slot.Holder { return slot.Holder{Type: SlotType, Name: n.id} }

type recipient struct{ k *Key }

func (r recipient) Wrap(ctx context.Context, id slot.ID, dataKey []byte) (slot.Slot, error) {
	return r.k.Wrap(ctx, id, dataKey)
}

type namedRecipient struct{ recipient }

// Holder names the key's slots.
func (r namedRecipient) Holder() slot.Holder { return named{r.k}.Holder() }

type message struct {
	KeyId             string            `json:",omitempty"`
	Plaintext         []byte            `json:",omitempty"`
	CiphertextBlob    []byte            `json:",omitempty"`
	EncryptionContext map[string]string `json:",omitempty"`
}

func bound(id slot.ID) map[string]string {
	return map[string]string{"takumi-backup": "v1", "id": id.String()}
}

// Wrap implements slot.Recipient by Encrypt. The slot names the key by its ARN, as KMS
// answers. The errors are *keystore.Error, or ctx's own.
func (k *Key) Wrap(ctx context.Context, id slot.ID, dataKey []byte) (s slot.Slot, err error) {
	err = k.within(ctx, "Encrypt", func(ctx context.Context, c *client) error {
		var out message
		if err := c.call(ctx, "Encrypt", message{KeyId: k.id, Plaintext: dataKey, EncryptionContext: bound(id)}, &out); err != nil {
			return err
		}
		arn := out.KeyId
		if _, key := parts(arn); key == "" || !strings.HasPrefix(arn, "arn:") || len(out.CiphertextBlob) == 0 {
			return k.refuse("the answer to Encrypt is not one of KMS", "check AWS_ENDPOINT_URL")
		}
		s = slot.Slot{Type: SlotType, Args: []string{arn, base64.StdEncoding.EncodeToString(out.CiphertextBlob)}}
		return nil
	})
	return s, err
}

// Unwrap implements slot.Identity by Decrypt. Besides slot.ErrNotMine and
// slot.ErrDamaged the errors are those of Wrap.
func (k *Key) Unwrap(ctx context.Context, id slot.ID, s slot.Slot) (dataKey []byte, err error) {
	if s.Type != SlotType || len(s.Args) != 2 {
		return nil, slot.ErrNotMine
	}
	region, key := parts(s.Args[0])
	ourRegion, ours := parts(k.id)
	if ours != "" && ours != key || ourRegion != "" && ourRegion != region && !strings.HasPrefix(key, "mrk-") {
		return nil, slot.ErrNotMine
	}
	blob, err := base64.StdEncoding.Strict().DecodeString(s.Args[1])
	if err != nil || key == "" || base64.StdEncoding.EncodeToString(blob) != s.Args[1] {
		return nil, slot.ErrDamaged
	}
	var verdict error // on the slot, which is not a failure of KMS's
	err = k.within(ctx, "Decrypt", func(ctx context.Context, c *client) error {
		if c.region != region && !strings.HasPrefix(key, "mrk-") {
			return k.refuse("the backup's key is in the region "+region+", and this one is looked for in "+c.region, "name it by its ARN: awskms:"+s.Args[0])
		}
		var out message
		err := c.call(ctx, "Decrypt", message{KeyId: k.id, CiphertextBlob: blob, EncryptionContext: bound(id)}, &out)
		var api smithy.APIError
		switch {
		case errors.As(err, &api) && api.ErrorCode() == "IncorrectKeyException":
			verdict = slot.ErrNotMine
			return nil
		case errors.As(err, &api) && api.ErrorCode() == "InvalidCiphertextException":
			verdict = slot.ErrDamaged
			return nil
		case err != nil:
			return err
		}
		dataKey = out.Plaintext
		return nil
	})
	if err == nil {
		err = verdict
	}
	return dataKey, err
}

// within runs f, connected, in the time that an operation has, and explains its error.
func (k *Key) within(ctx context.Context, action string, f func(context.Context, *client) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	bounded, cancel := context.WithTimeout(ctx, k.opts.limits.operation)
	defer cancel()
	c, err := k.open(bounded)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return err
	}
	if err = f(bounded, c); err == nil || errors.As(err, new(*keystore.Error)) {
		return err
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return k.fault(bounded, c.region, action, err)
}

// open makes the client if there is none, and sees that there are credentials: the SDK
// would look for missing ones anew at every attempt.
func (k *Key) open(ctx context.Context) (*client, error) {
	c, err := k.connect(ctx)
	if err != nil {
		return nil, err
	}
	bounded, cancel := context.WithTimeout(ctx, k.opts.limits.credentials)
	defer cancel()
	if _, err := c.credentials.Retrieve(bounded); err != nil {
		return nil, k.refuse("no AWS credentials can be had: "+redact.Line(awsclient.SendText(err), 400), awsclient.FixCredentials)
	}
	return c, nil
}

func (k *Key) connect(ctx context.Context) (*client, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.session != nil {
		return k.session, nil
	}
	region, _ := parts(k.id)
	l := k.opts.limits
	way := awsclient.Options{RequireTLS: k.opts.RequireTLS, Region: region, Timeout: l.attempt, Attempts: l.attempts, Pause: l.pause}
	cfg, err := way.Load(ctx)
	switch {
	case err != nil:
		return nil, k.refuse("the AWS configuration cannot be used: "+redact.Line(err.Error(), 400), awsclient.FixConfig)
	case region != "":
		cfg.Region = region // wherever this host is
	case cfg.Region == "":
		return nil, k.refuse("no AWS region is set", "export AWS_REGION=… (the region that the key is in), or name the key by its ARN")
	}
	endpoint, err := endpointOf(ctx, cfg)
	if err != nil {
		return nil, k.refuse("the region "+redact.Line(cfg.Region, 100)+" has no endpoint of KMS", "check AWS_REGION")
	}
	k.session = &client{
		http:        way.Client(cfg, func(base http.RoundTripper) http.RoundTripper { return awsclient.Bounded(base, maxAnswer) }),
		credentials: cfg.Credentials, region: cfg.Region, endpoint: endpoint, retry: way.Retryer(l.attempts),
	}
	return k.session, nil
}

// maxAnswer is more than any answer of KMS to Encrypt and Decrypt, of 6 KiB each.
const maxAnswer = 64 << 10

func (k *Key) refuse(reason, fix string) *keystore.Error {
	return &keystore.Error{URI: k.String(), Kind: keystore.ErrRefused, Reason: reason, Fix: fix}
}
