package report

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/takumi-backup/takumi-backup/internal/fsutil"
	"github.com/takumi-backup/takumi-backup/internal/netsafe"
	"github.com/takumi-backup/takumi-backup/verify"
)

var (
	// ErrNobody: the environment names nobody to notify.
	ErrNobody = errors.New("nobody to notify: set SLACK_WEBHOOK_URL, ALERT_EMAIL_TO, ALERT_WEBHOOK_URL or HEALTHCHECK_URL")
	// ErrSetting: a variable of the environment that cannot be right. It is not
	// repeated, for it may be a secret.
	ErrSetting = errors.New("cannot be used")
)

// A try to reach somebody takes at most patience, and there are two of them.
const patience = 10 * time.Second

var pause = 2 * time.Second // between the two

// Notifier notifies of a run of verify, or of another job. It is not safe for concurrent use.
type Notifier struct {
	channels []channel
	ping     func(ctx context.Context, event, log string) error // nil: none
}

type channel struct {
	name string
	send func(context.Context, *message) error
}

// New returns a Notifier for everybody whom the environment names and who can be
// told, which getenv reads:
//
//	SLACK_WEBHOOK_URL   a message in Slack
//	ALERT_EMAIL_TO      mail, with ALERT_EMAIL_FROM and ALERT_SMTP_*
//	ALERT_WEBHOOK_URL   a small JSON, by POST
//	HEALTHCHECK_URL     pings as healthchecks.io takes them
//
// An address is a secret, and so each of the URLs and ALERT_SMTP_PASSWORD can
// also are in a file that a variable NAME_FILE names. In production no mail
// leaves without TLS. The error says who cannot be told: it is ErrNobody, or wraps
// ErrSetting or what reading such a file failed with. The Notifier is never nil, and
// tells the others.
func New(getenv func(string) string, production bool) (*Notifier, error) {
	n, e := new(Notifier), environment{get: getenv, production: production}
	if u := e.url("SLACK_WEBHOOK_URL"); u != "" {
		n.channels = append(n.channels, channel{"Slack", slackTo(u)})
	}
	if e.get("ALERT_EMAIL_TO") != "" {
		if send := e.mail(); send != nil {
			n.channels = append(n.channels, channel{"mail", send})
		}
	}
	if u := e.url("ALERT_WEBHOOK_URL"); u != "" {
		n.channels = append(n.channels, channel{"the webhook", webhookTo(u)})
	}
	if u := e.url("HEALTHCHECK_URL"); u != "" {
		n.ping = pingTo(u)
	}
	if e.err == nil && n.ping == nil && n.channels == nil {
		e.err = ErrNobody
	}
	return n, e.err
}

// Start says that verify begins, which only pings do. Neither this nor Done
// takes longer than 25 seconds, or repeats an address in its error.
func (n *Notifier) Start(ctx context.Context) error {
	if n == nil || n.ping == nil {
		return nil
	}
	return channelError("the health check", n.ping(ctx, "start", ""))
}

// Done says how verify ended: r is its report, nil when there is none; fault is
// why it failed, nil when it did not; log is what it printed, of which pings of a
// failure get the end. The error names each of those who could not be told, and
// changes nothing about what verify found. For Done to tell of a run that was
// stopped, ctx has to outlive it.
func (n *Notifier) Done(ctx context.Context, r *verify.Report, fault error, log string) error {
	return n.send(ctx, newMessage(r, fault), log)
}

func (n *Notifier) send(ctx context.Context, m *message, log string) error {
	var errs []error
	var mu sync.Mutex
	var wg sync.WaitGroup
	send := func(name string, send func() error) {
		wg.Go(func() {
			err := channelError(name, send())
			mu.Lock()
			defer mu.Unlock()
			errs = append(errs, err)
		})
	}
	if n.ping != nil {
		event := ""
		if m.Status == failed {
			event = "fail"
		}
		send("the health check", func() error { return n.ping(ctx, event, log) })
	}
	for _, c := range n.channels {
		if m.Status != good {
			send(c.name, func() error { return c.send(ctx, m) })
		}
	}
	wg.Wait()
	return errors.Join(errs...)
}

func channelError(name string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s could not be notified: %w", name, err)
}

// environment reads settings; err has those that cannot be right.
type environment struct {
	get        func(string) string
	production bool
	roots      *x509.CertPool // of mail servers; nil: those of the system
	err        error
}

func (e *environment) fail(format string, args ...any) {
	e.err = errors.Join(e.err, fmt.Errorf(format, args...))
}

func (e *environment) secret(name string) string {
	path := e.get(name + "_FILE")
	if value := e.get(name); value != "" || path == "" {
		return value
	}
	text, err := readSmall(path)
	if err != nil {
		e.fail("reading %s_FILE: %w", name, err)
	}
	return strings.TrimSpace(text)
}

func readSmall(path string) (string, error) {
	file, err := fsutil.OpenRegular(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, 64<<10))
	return string(text), err
}

// url reads the secret address of a service; "" when there is none that is right.
func (e *environment) url(name string) string {
	value := e.secret(name)
	if value == "" {
		return ""
	}
	u, err := url.Parse(value)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		e.fail("%s %w: it is not an https URL", name, ErrSetting)
	case netsafe.Check(u) != nil:
		e.fail("%s %w: plain http to another machine shows it to everybody on the way", name, ErrSetting)
	default:
		return value
	}
	return ""
}

// client keeps no connection, and follows no redirect: who was given an address
// gets the message, and nobody else.
var client = &http.Client{
	Transport: func() http.RoundTripper {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.DisableKeepAlives = true
		return t
	}(),
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// errPermanent: a second try would end as the first did.
var errPermanent = errors.New("refused")

func retryOnce(ctx context.Context, try func(context.Context) error) error {
	for tries := 1; ; tries++ {
		limited, cancel := context.WithTimeout(ctx, patience)
		err := try(limited)
		cancel()
		if err == nil || tries == 2 || errors.Is(err, errPermanent) {
			return withoutURL(err)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// withoutURL takes the address out of an error of net/http. What remains names
// the host at most.
func withoutURL(err error) error {
	if fault, ok := errors.AsType[*url.Error](err); ok {
		err = fault.Err
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("no answer within %v", patience)
	}
	return err
}

// post sends a request by POST. Any answer but 2xx is an error.
func post(ctx context.Context, address, contentType, body string) error {
	return retryOnce(ctx, func(ctx context.Context) error {
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, address, strings.NewReader(body))
		if err != nil {
			return err
		}
		r.Header.Set("Content-Type", contentType)
		r.Header.Set("User-Agent", "takumi-backup")
		answer, err := client.Do(r)
		if err != nil {
			return err
		}
		answer.Body.Close()
		return status(answer.StatusCode)
	})
}

func status(code int) error {
	switch {
	case code/100 == 2:
		return nil
	case code/100 == 5 || code == http.StatusTooManyRequests || code == http.StatusRequestTimeout:
		return fmt.Errorf("the answer is %d %s", code, http.StatusText(code))
	}
	return fmt.Errorf("%w: the answer is %d %s", errPermanent, code, http.StatusText(code))
}
