package vault

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/takumi-backup/takumi-backup/internal/netsafe"
	"github.com/takumi-backup/takumi-backup/keystore"
)

const (
	maxAnswer  = 1 << 20 // bytes; Vault's own storage takes no larger secret
	maxRetries = 3
)

// errTooLarge is the failure of reading an answer of more than maxAnswer bytes.
var errTooLarge = errors.New("the answer is larger than 1 MiB")

// connection is the client and the login that the secrets of one Scheme share.
type connection struct {
	opts Options

	// Tests change these before the first use.
	now           func() time.Time
	attempt       time.Duration // for one exchange
	total         time.Duration // for one operation
	pause, longer time.Duration // the first wait before trying again, and the longest

	// turn is held by whoever opens the client, logs in or renews the token. It
	// is a channel, so that a caller whose context ends need not wait for it.
	turn   chan struct{}
	client *api.Client // nil until it was opened
	lease  lease
}

func newConnection(opts Options) *connection {
	return &connection{
		opts:    opts,
		now:     time.Now,
		attempt: 5 * time.Second,
		total:   30 * time.Second,
		pause:   250 * time.Millisecond,
		longer:  3 * time.Second,
		turn:    make(chan struct{}, 1),
	}
}

func (c *connection) lock(ctx context.Context) error {
	select {
	case c.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *connection) unlock() { <-c.turn }

func (c *connection) open() (*api.Client, error) {
	if _, err := address(); err != nil {
		return nil, err
	}
	cfg := api.DefaultConfig()
	if cfg.Error != nil {
		return nil, &keystore.Error{
			Kind: keystore.ErrRefused, Reason: "Vault's settings in the environment are not usable: " + inner(cfg.Error),
			Fix: "correct the VAULT_ variable, or the file that it names", Err: cfg.Error,
		}
	}
	base := cfg.HttpClient.Transport.(*http.Transport) // by DefaultConfig's documentation
	if c.opts.RequireTLS && base.TLSClientConfig.InsecureSkipVerify {
		return nil, &keystore.Error{
			Kind: keystore.ErrRefused, Reason: "VAULT_SKIP_VERIFY is set, and in production Vault's certificate is verified",
			Fix: "unset VAULT_SKIP_VERIFY, and name the certificate of Vault's authority in VAULT_CACERT",
		}
	}
	cfg.MaxRetries = maxRetries
	cfg.CheckRetry = again
	cfg.Backoff = c.backoff
	cfg.Timeout = 0 // each caller brings a context with a deadline
	cfg.Limiter = nil
	cfg.ReadYourWrites = true // a read goes to a node that has seen our write
	client, err := api.NewClient(cfg)
	if err != nil {
		return nil, &keystore.Error{Kind: keystore.ErrRefused, Reason: "Vault's settings in the environment are not usable: " + inner(err), Err: err}
	}
	// VAULT_WRAP_TTL would have Vault put every answer into a wrapping.
	client.SetWrappingLookupFunc(func(string, string) string { return "" })
	// Only now, because NewClient wants the bare transport for unix:// addresses.
	var transport http.RoundTripper = base
	if c.opts.RequireTLS {
		transport = netsafe.Transport(transport)
		base.Proxy = proxyOfTLS(base.Proxy)
	}
	cfg.HttpClient.Transport = limiter{transport}
	cfg.HttpClient.Timeout = c.attempt
	return client, nil
}

// proxyOfTLS sends https through a proxy, which sees nothing of it, and plain
// http, which stays on this machine, through none.
func proxyOfTLS(proxy func(*http.Request) (*url.URL, error)) func(*http.Request) (*url.URL, error) {
	return func(req *http.Request) (*url.URL, error) {
		if req.URL.Scheme != "https" || proxy == nil {
			return nil, nil
		}
		return proxy(req)
	}
}

// address looks at VAULT_ADDR before the client, which without it would
// try its own machine, and whose errors repeat the address, where a password
// may be.
func address() (*url.URL, error) {
	name := api.EnvVaultAgentAddr
	text := os.Getenv(name)
	if text == "" {
		name = api.EnvVaultAddress
		text = os.Getenv(name)
	}
	if text == "" {
		return nil, &keystore.Error{Kind: keystore.ErrRefused, Reason: "VAULT_ADDR is not set", Fix: "export VAULT_ADDR=https://HOST:8200"}
	}
	u, err := url.Parse(text)
	if err != nil || (u.Scheme != "https" && u.Scheme != "http" || u.Host == "") && u.Scheme != "unix" {
		return nil, &keystore.Error{Kind: keystore.ErrRefused, Reason: name + " is not the URL of a server", Fix: "export " + name + "=https://HOST:8200"}
	}
	return u, nil
}

type limiter struct{ base http.RoundTripper }

func (l limiter) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := l.base.RoundTrip(req)
	if err == nil {
		resp.Body = &limitedBody{resp.Body, maxAnswer}
	}
	return resp, err
}

type limitedBody struct {
	io.ReadCloser
	left int
}

func (b *limitedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.left -= n
	if b.left < 0 {
		return 0, errTooLarge
	}
	return n, err
}

// again decides whether an exchange is tried again. Vault's own policy asks for
// that on broken connections, 412, 429 and 5xx; but a sealed Vault waits for a
// person, and a refused connection would be refused again.
func again(ctx context.Context, resp *http.Response, err error) (bool, error) {
	if errors.Is(err, netsafe.ErrPlain) || isTLSFault(err) {
		return false, nil
	}
	if resp != nil && resp.StatusCode == http.StatusServiceUnavailable && isSealed(resp) {
		return false, nil
	}
	return api.DefaultRetryPolicy(ctx, resp, err)
}

// isSealed looks at the beginning of an answer, and leaves it to be read.
func isSealed(resp *http.Response) bool {
	head, _ := io.ReadAll(io.LimitReader(resp.Body, 4096)) // what fails here fails again for the reader
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(strings.NewReader(string(head)), resp.Body), resp.Body}
	return strings.Contains(string(head), sealedText)
}

// backoff doubles the pause with each try, takes away up to half of it at
// random, and lets the server ask for another pause, within bounds.
func (c *connection) backoff(_, _ time.Duration, tries int, resp *http.Response) time.Duration {
	wait := min(c.pause<<tries, c.longer)
	wait -= rand.N(wait/2 + 1)
	if resp != nil {
		if seconds, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && seconds > 0 {
			wait = max(wait, min(time.Duration(seconds)*time.Second, c.longer))
		}
	}
	return wait
}
