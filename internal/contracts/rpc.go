package contracts

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/takumi-backup/takumi-backup/internal/netsafe"
)

const (
	maxAnswer  = 16 << 20
	maxTries   = 5
	tryTime    = 30 * time.Second
	maxPause   = 30 * time.Second
	secretWord = 8 // a part of a URL this long may be an API key
)

// ErrURL is returned for an RPC URL that cannot be one. It does not show it.
var ErrURL = errors.New("not an http:// or https:// URL")

// Node asks an Ethereum node over JSON-RPC. Make one with Dial. It is safe for
// concurrent use.
type Node struct {
	url     *url.URL
	secrets []string
	client  *http.Client
	pause   time.Duration // before the second try; doubled before each further one
}

// Options say how to reach a node.
type Options struct {
	// RequireTLS refuses plain http to another machine: the URL may hold a key.
	RequireTLS bool
	// FirstPause is how long to wait before asking a busy node again; half a
	// second when it is 0. It doubles each time.
	FirstPause time.Duration
}

// Dial returns the node at an http or https URL. Nothing is sent yet. The error
// wraps ErrURL or [netsafe.ErrPlain], and shows no more of the URL than String.
func Dial(rawURL string, o Options) (*Node, error) {
	u, err := url.Parse(rawURL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, ErrURL // the parser's own words quote the URL
	}
	n := &Node{url: u, secrets: secretsIn(u), pause: o.FirstPause}
	if n.pause == 0 {
		n.pause = 500 * time.Millisecond
	}
	if o.RequireTLS && netsafe.Check(u) != nil {
		return nil, fmt.Errorf("%w: %s", netsafe.ErrPlain, n)
	}
	n.client = &http.Client{
		Timeout: tryTime,
		// A node has no reason to send a request elsewhere, with the key or not.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return n, nil
}

// String returns the scheme and host of the node's URL: the rest may hold an
// API key.
func (n *Node) String() string { return n.url.Scheme + "://" + n.url.Host }

// Close ends idle connections.
func (n *Node) Close() { n.client.CloseIdleConnections() }

// secretsIn returns the parts of u that must not be shown.
func secretsIn(u *url.URL) []string {
	words := strings.Split(u.Path, "/")
	words = append(words, strings.Split(u.EscapedPath(), "/")...)
	for _, values := range u.Query() {
		words = append(words, values...)
	}
	var secrets []string
	for _, w := range words {
		if len(w) >= secretWord {
			secrets = append(secrets, w)
		}
	}
	if u.User != nil {
		password, _ := u.User.Password()
		for _, w := range []string{u.User.Username(), password} {
			if w != "" {
				secrets = append(secrets, w)
			}
		}
	}
	return secrets
}

// redact takes the secrets out of words that came from the node.
func (n *Node) redact(text string) string {
	for _, s := range n.secrets {
		text = strings.ReplaceAll(text, s, "[redacted]")
	}
	return clip(text)
}

// RPCError is a node's refusal of a request.
type RPCError struct {
	Method  string
	Code    int
	Message string // the node's own, made safe to print
}

func (e *RPCError) Error() string {
	return fmt.Sprintf("%s: the node answers with error %d: %q", e.Method, e.Code, e.Message)
}

// retryError wraps a failure that may pass, and how long the node asks to wait.
type retryError struct {
	error
	after time.Duration
}

func (e *retryError) Unwrap() error { return e.error }

// call asks for method and reads the result into result. A node that is busy,
// or that cannot be reached, is asked again.
func (n *Node) call(ctx context.Context, result any, method string, params ...any) error {
	request, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
	if err != nil {
		return err
	}
	pause := n.pause
	for try := 1; ; try++ {
		err := n.once(ctx, result, method, request)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		retry, passing := errors.AsType[*retryError](err)
		if !passing {
			return err
		}
		if try == maxTries {
			return fmt.Errorf("%w (asked %d times)", retry.error, try)
		}
		timer := time.NewTimer(min(max(pause, retry.after), maxPause))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		}
		pause *= 2
	}
}

func (n *Node) once(ctx context.Context, result any, method string, request []byte) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, n.url.String(), bytes.NewReader(request))
	if err != nil {
		return ErrURL
	}
	r.Header.Set("Content-Type", "application/json")
	answer, err := n.client.Do(r)
	if err != nil {
		// The client's error quotes the URL.
		if wrapped := (*url.Error)(nil); errors.As(err, &wrapped) {
			err = wrapped.Err
		}
		return &retryError{error: fmt.Errorf("%s: asking %s: %w", method, n, err)}
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer+1))
	switch status := answer.StatusCode; {
	case status == http.StatusTooManyRequests || status >= 500:
		seconds, _ := strconv.Atoi(answer.Header.Get("Retry-After"))
		after := time.Duration(min(max(seconds, 0), int(maxPause/time.Second))) * time.Second
		return &retryError{fmt.Errorf("%s: %s answers with HTTP status %d", method, n, status), after}
	case status != http.StatusOK:
		return fmt.Errorf("%s: %s answers with HTTP status %d: %q", method, n, status, n.redact(string(body)))
	case err != nil:
		return &retryError{error: fmt.Errorf("%s: reading the answer of %s: %w", method, n, err)}
	case len(body) > maxAnswer:
		return fmt.Errorf("%s: the answer of %s is longer than %d bytes", method, n, maxAnswer)
	}
	return n.decode(result, method, body)
}

// busy is the code with which many providers refuse requests beyond a rate.
const busy = -32005

func (n *Node) decode(result any, method string, body []byte) error {
	var answer struct {
		Result json.RawMessage `json:"result"`
		Error  *struct {
			Code    int    `json:"code"`
			Message string `json:"message"`
		} `json:"error"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return fmt.Errorf("%s: %s does not answer in JSON-RPC: %q", method, n, n.redact(string(body)))
	}
	if answer.Error != nil {
		refused := &RPCError{method, answer.Error.Code, n.redact(answer.Error.Message)}
		if refused.Code == busy {
			return &retryError{error: refused}
		}
		return refused
	}
	if len(answer.Result) == 0 || string(answer.Result) == "null" {
		return fmt.Errorf("%s: %w", method, errNothing)
	}
	if err := json.Unmarshal(answer.Result, result); err != nil {
		return fmt.Errorf("%s: %s gives an unfit answer: %s", method, n, n.redact(err.Error()))
	}
	return nil
}

// errNothing is a node's answer when it has not what was asked for.
var errNothing = errors.New("the node answers that there is nothing")
