package contracts

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/netsafe"
)

const (
	maxAnswer  = 16 << 20
	maxTries   = 5
	tryTime    = 30 * time.Second
	maxPause   = 30 * time.Second
	secretWord = 8 // a part of a URL this long may be an API key
)

// ErrURL is returned for an invalid RPC URL, without showing it.
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

// secretsIn returns the parts of u that must not be shown, the longest first: also as
// they are sent in a header or a query.
func secretsIn(u *url.URL) []string {
	words := strings.Split(u.Path, "/")
	words = append(words, strings.Split(u.EscapedPath(), "/")...)
	for _, values := range u.Query() {
		for _, w := range values {
			words = append(words, w, url.QueryEscape(w))
		}
	}
	var secrets []string
	for _, w := range words {
		if len(w) >= secretWord {
			secrets = append(secrets, w)
		}
	}
	if u.User != nil {
		password, _ := u.User.Password()
		pair := u.User.Username() + ":" + password
		for _, w := range []string{
			u.User.Username(), password, pair, u.User.String(),
			base64.RawStdEncoding.EncodeToString([]byte(pair)), base64.RawURLEncoding.EncodeToString([]byte(pair)),
			base64.RawStdEncoding.EncodeToString([]byte(password)), base64.RawURLEncoding.EncodeToString([]byte(password)),
		} {
			secrets = append(secrets, w, url.QueryEscape(w), url.PathEscape(w))
		}
	}
	secrets = slices.DeleteFunc(secrets, func(w string) bool { return w == "" })
	slices.SortFunc(secrets, func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	return slices.Compact(secrets)
}

// credentials matches what a header of HTTP says who asks with.
var credentials = regexp.MustCompile(`(?i)\b(basic|bearer|digest)[ \t:"]+[A-Za-z0-9+/_.~=-]{4,}`)

func (n *Node) redact(text string) string {
	for _, s := range n.secrets {
		text = strings.ReplaceAll(text, s, "[redacted]")
	}
	text = credentials.ReplaceAllString(text, "$1 [redacted]")
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

// The words of nodes and providers, of which there is no list.
var (
	noMethod = regexp.MustCompile(`(?i)method .*(not (found|exist|supported|available|allowed|whitelisted|implemented)|disabled|unknown)|(unsupported|unknown|unrecognized|invalid) method|not (supported|available) (on|for|in|by|method)`)
	noState  = regexp.MustCompile(`(?i)missing trie node|state .*(not available|unavailable|pruned|not found|missing)|pruned|historical state|archive|proof window|distance to target block|header not found|block .*(too old|out of range)|no state`)
	tooOften = regexp.MustCompile(`(?i)rate.?limit|limit.{0,20}(exceeded|reached)|exceeded.{0,30}(limit|quota|capacity|rate)|too many (requests|calls)|throttl|compute units|requests? per (second|minute)|try again (later|in)|capacity`)
)

// Fail is the class and the hint of the error.
func (e *RPCError) Fail() (fail.Class, string) {
	switch {
	case e.isBusy():
		return fail.Source, "the node refuses so many requests: run it again later, or ask another node"
	case e.Code == methodMissing || noMethod.MatchString(e.Message):
		return fail.Source, "the node has no " + e.Method + ", which the proofs need: ask another node, or give --offline"
	case noState.MatchString(e.Message):
		return fail.Source, "the node no longer has the state of that block: give --block latest, ask an archive node, or give --offline"
	}
	return fail.Source, "ask another node, or give --offline"
}

const methodMissing = -32601 // JSON-RPC 2.0

// isBusy reports whether a node refuses for a rate, by the codes of providers or by
// its words.
func (e *RPCError) isBusy() bool {
	switch e.Code {
	case -32005, -32007, -32016, -32029, -32097, 429, 4029:
		return true
	case methodMissing:
		return false
	}
	return tooOften.MatchString(e.Message) && !noState.MatchString(e.Message)
}

// retryError wraps a failure that may pass, and how long the node asks to wait.
type retryError struct {
	error
	after time.Duration
}

func (e *retryError) Unwrap() error { return e.error }

// call requests method and decodes into result. It repeats requests to a busy or
// unreachable node.
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
		// Some say in JSON what they mean.
		if refused, ok := errors.AsType[*retryError](n.decode(new(json.RawMessage), method, body)); ok {
			return refused
		}
		return fmt.Errorf("%s: %s answers with HTTP status %d: %q", method, n, status, n.redact(string(body)))
	case err != nil:
		return &retryError{error: fmt.Errorf("%s: reading the answer of %s: %w", method, n, err)}
	case len(body) > maxAnswer:
		return fmt.Errorf("%s: the answer of %s is longer than %d bytes", method, n, maxAnswer)
	}
	return n.decode(result, method, body)
}

func (n *Node) decode(result any, method string, body []byte) error {
	var answer struct {
		Result json.RawMessage `json:"result"`
		Error  json.RawMessage `json:"error"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return fmt.Errorf("%s: %s does not answer in JSON-RPC: %q", method, n, n.redact(string(body)))
	}
	refusal := answer.Error
	if len(refusal) == 0 && len(answer.Result) == 0 {
		refusal = body // some gateways leave the envelope out
	}
	if code, message, ok := parseRefusal(refusal); ok {
		refused := &RPCError{method, code, n.redact(message)}
		if refused.isBusy() {
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

// parseRefusal reads an error object of JSON-RPC 2.0, and what gateways send instead: words
// alone, or a code as text.
func parseRefusal(data []byte) (code int, message string, ok bool) {
	if len(data) == 0 || string(data) == "null" {
		return 0, "", false
	}
	if json.Unmarshal(data, &message) == nil {
		return 0, message, true
	}
	var object struct {
		Code    any    `json:"code"`
		Message string `json:"message"`
		Error   string `json:"error"`
	}
	if json.Unmarshal(data, &object) != nil {
		return 0, string(data), true
	}
	switch c := object.Code.(type) {
	case float64:
		code = int(c)
	case string:
		code, _ = strconv.Atoi(c)
	}
	message = cmp.Or(object.Message, object.Error)
	return code, message, code != 0 || message != ""
}

// errNothing is a node's answer when it has not what was asked for.
var errNothing = errors.New("the node answers that there is nothing")
