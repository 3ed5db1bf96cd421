// Package kube speaks the few words of Kubernetes' REST API that secrets and their
// rotation need: one object read, written under its resourceVersion, or patched. It
// is a fiftieth of client-go, which would weigh 20 MB in the program.
//
// Sources: Kubernetes API Concepts (resourceVersion, patch, errors), Accessing the
// API from a Pod, Organizing Cluster Access Using kubeconfig Files.
package kube

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/netsafe"
	"github.com/takumi-backup/takumi-backup/internal/redact"
)

const (
	accountDir = "/var/run/secrets/kubernetes.io/serviceaccount"
	maxAnswer  = 8 << 20
	attempts   = 4
)

// Errors that callers tell apart.
var (
	ErrNotFound = errors.New("there is no such object")
	ErrConflict = errors.New("somebody else changed the object meanwhile")
)

// Client is a connection to one API server. It is safe for concurrent use.
type Client struct {
	base      string
	namespace string
	token     func() (string, error)
	http      *http.Client
	pause     time.Duration
}

// New finds the API server: that of the pod that the program runs in, or the current
// context of the files that KUBECONFIG lists (or ~/.kube/config). Users whose credentials
// another program makes (exec, auth-provider) are refused: give such a host a service
// account's token. In production the server is https.
func New(production bool) (*Client, error) {
	c, err := find()
	if err != nil {
		class, hint := fail.Inner(err, fail.Usage, "run in a pod with a service account, or set KUBECONFIG")
		return nil, fail.As(class, hint, fmt.Errorf("finding the Kubernetes API: %w", err))
	}
	if u, err := url.Parse(c.base); err != nil || production && netsafe.Check(u) != nil {
		return nil, fail.Usagef("the Kubernetes API server is not an https URL")
	}
	c.pause = 300 * time.Millisecond
	return c, nil
}

func find() (*Client, error) {
	host, port := os.Getenv("KUBERNETES_SERVICE_HOST"), os.Getenv("KUBERNETES_SERVICE_PORT")
	if os.Getenv("KUBECONFIG") == "" && host != "" {
		return inCluster(host, cmp.Or(port, "443"))
	}
	list, err := paths()
	if err != nil {
		return nil, err
	}
	return fromFiles(list)
}

func inCluster(host, port string) (*Client, error) {
	ca, err := os.ReadFile(filepath.Join(accountDir, "ca.crt"))
	if err != nil {
		return nil, err
	}
	namespace, _ := os.ReadFile(filepath.Join(accountDir, "namespace")) // the default one without
	c := &Client{base: "https://" + net.JoinHostPort(host, port), namespace: strings.TrimSpace(string(namespace))}
	// Read anew each time, for the kubelet renews it.
	c.token = tokenFile(filepath.Join(accountDir, "token"))
	return c, c.connect(ca, tls.Certificate{})
}

func tokenFile(path string) func() (string, error) {
	return func() (string, error) {
		token, err := os.ReadFile(path)
		return strings.TrimSpace(string(token)), fail.As(fail.Key, "look at the token's file", err)
	}
}

func (c *Client) connect(ca []byte, pair tls.Certificate) error {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	if len(ca) > 0 {
		t.TLSClientConfig.RootCAs = x509.NewCertPool()
		if !t.TLSClientConfig.RootCAs.AppendCertsFromPEM(ca) {
			return errors.New("the authority's certificate is not PEM")
		}
	}
	if pair.PrivateKey != nil {
		t.TLSClientConfig.Certificates = []tls.Certificate{pair}
	}
	c.http = &http.Client{
		Transport: t, Timeout: 15 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return nil
}

// Namespace returns ns, or the one that the connection names, or default.
func (c *Client) Namespace(ns string) string { return cmp.Or(ns, c.namespace, "default") }

// Do makes one request of the API, with in as its JSON body and out as what the answer
// is decoded into; both may be nil. A PATCH is a strategic merge patch. What was not
// answered, or with a status of 429 or 5xx, is repeated; a write that came through
// before is then answered with ErrConflict, and the caller looks. Errors are
// ErrNotFound, ErrConflict, of class fail.Key (refused) or fail.Store (unreachable);
// none repeats a value.
func (c *Client) Do(ctx context.Context, method, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return errors.New("the request cannot be written as JSON")
	}
	for try := 1; ; try++ {
		status, answer, err := c.once(ctx, method, path, body)
		passing := err != nil || status == http.StatusTooManyRequests || status >= 500
		if passing && try < attempts && ctx.Err() == nil {
			select {
			case <-time.After(c.pause << try):
				continue
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return c.judge(method, path, status, answer, err, out)
	}
}

func (c *Client) once(ctx context.Context, method, path string, body []byte) (int, []byte, error) {
	token, err := c.token()
	if err != nil {
		return 0, nil, err
	}
	var content io.Reader
	if method != http.MethodGet {
		content = bytes.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, content)
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("Content-Type", "application/json")
	if method == http.MethodPatch {
		req.Header.Set("Content-Type", "application/strategic-merge-patch+json")
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	return resp.StatusCode, answer, err
}

func (c *Client) judge(method, path string, status int, answer []byte, err error, out any) error {
	doing := fmt.Sprintf("asking Kubernetes (%s %s)", method, path)
	switch {
	case err != nil:
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err
		}
		class, hint := fail.Inner(err, fail.Store, "check the network, the API server and its certificate")
		return fail.As(class, hint, fmt.Errorf("%s: %w", doing, err))
	case status == http.StatusNotFound:
		return fmt.Errorf("%s: %w", doing, ErrNotFound)
	case status == http.StatusConflict:
		return fmt.Errorf("%s: %w", doing, ErrConflict)
	case status == http.StatusUnauthorized:
		return fail.As(fail.Key, "check the token or the client certificate: it may have expired", fmt.Errorf("%s: the API server refuses the credentials (%d)", doing, status))
	case status == http.StatusForbidden:
		return fail.As(fail.Key, "allow it in a Role: docs/SECRETS.md has the one that is needed", fmt.Errorf("%s: the API server denies it (%d)", doing, status))
	case status == http.StatusTooManyRequests, status >= 500:
		return fail.As(fail.Store, "try again later", fmt.Errorf("%s: the API server answers %d", doing, status))
	case status >= 300:
		var words struct{ Reason string }
		_ = json.Unmarshal(answer, &words)
		return fmt.Errorf("%s: the API server answers %d %s", doing, status, redact.Line(words.Reason, 80))
	case out == nil:
		return nil
	case json.Unmarshal(answer, out) != nil:
		return fmt.Errorf("%s: the answer is not JSON", doing)
	}
	return nil
}
