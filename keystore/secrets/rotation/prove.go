package rotation

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"time"

	"github.com/takumi-backup/takumi-backup/internal/netsafe"
	"github.com/takumi-backup/takumi-backup/keystore/secrets"
)

// ProofConfig says how it is proved which values a component accepts.
type ProofConfig struct {
	// URL answers 2xx to a request with a value that it accepts, and 401 or 403 else.
	URL string `json:"url"`
	// Header carries the value; "" is Authorization, with Bearer before it.
	Header string `json:"header"`
	// Name is the secret that is used; "" is the first of the set. That of a set of kind
	// jwt signs a token of one minute (HS256), with Claims in it; others go as they are.
	Name   string         `json:"name"`
	Claims map[string]any `json:"claims"`
	// Tries are requests for each value, on a connection each, for several replicas.
	Tries int `json:"tries"`
	// Command proves instead: it reads {"accepted":[{NAME:VALUE…}…],"rejected":[…]} from
	// its standard input, and ends with 0 when it is so.
	Command []string `json:"command"`
}

// String says what proves.
func (c ProofConfig) String() string {
	if len(c.Command) > 0 {
		return c.Command[0]
	}
	if c.URL == "" {
		return "a login by each"
	}
	return shown(c.URL)
}

func newProver(s *Set, production bool) Prover {
	switch c := s.Proof; {
	case len(c.Command) > 0:
		return commandProver(c.Command)
	case c.URL != "":
		return &httpProver{config: c, name: cmp.Or(c.Name, s.Names[0]), jwt: s.Kind == secrets.JWT, client: plainClient(production && s.Kind != secrets.JWT)}
	case s.Kind == Postgres:
		return newAlternating(s, production)
	}
	return nil
}

type commandProver []string

func (p commandProver) Prove(ctx context.Context, accepted, rejected []map[string]string) error {
	in, err := json.Marshal(map[string]any{"accepted": accepted, "rejected": rejected})
	if err != nil {
		return err
	}
	defer clear(in)
	_, err = runHook(ctx, p, commandTime, in)
	return err
}

// plainClient makes requests on a connection each, and follows no redirect, which
// would carry a value elsewhere.
func plainClient(tlsOnly bool) *http.Client {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.DisableKeepAlives = true
	c := &http.Client{Timeout: 10 * time.Second, Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	if tlsOnly {
		c.Transport = netsafe.Transport(t)
	}
	return c
}

type httpProver struct {
	config ProofConfig
	name   string
	jwt    bool
	client *http.Client
}

const usualTries = 6

// Prove asks for each value, several times, and once with one that nobody can know: a
// component that accepts that one proves nothing.
func (p *httpProver) Prove(ctx context.Context, accepted, rejected []map[string]string) error {
	unknown := make([]byte, 64)
	rand.Read(unknown)
	rejected = append(rejected, map[string]string{p.name: base64.StdEncoding.EncodeToString(unknown)})
	if err := p.all(ctx, accepted, true); err != nil {
		return err
	}
	return p.all(ctx, rejected, false)
}

func (p *httpProver) all(ctx context.Context, values []map[string]string, want bool) error {
	for i, v := range values {
		for range cmp.Or(p.config.Tries, usualTries) {
			got, err := p.ask(ctx, v[p.name])
			if err != nil {
				return err
			}
			if got != want {
				return p.wrong(want, i, len(values))
			}
		}
	}
	return nil
}

func (p *httpProver) wrong(want bool, i, n int) error {
	switch {
	case want && i == 0:
		return fmt.Errorf("%s refuses the current %s", shown(p.config.URL), p.name)
	case want:
		return fmt.Errorf("%s refuses the former %s", shown(p.config.URL), p.name)
	case i < n-1:
		return fmt.Errorf("%s still accepts the %s that was taken away", shown(p.config.URL), p.name)
	}
	return fmt.Errorf("%s accepts a random %s, and so proves nothing", shown(p.config.URL), p.name)
}

func (p *httpProver) ask(ctx context.Context, value string) (accepted bool, err error) {
	if p.jwt {
		if value, err = signJWT(value, p.config.Claims, time.Now()); err != nil {
			return false, err
		}
	}
	status, err := get(ctx, p.client, p.config.URL, func(r *http.Request) {
		if p.config.Header == "" {
			r.Header.Set("Authorization", "Bearer "+value)
		} else {
			r.Header.Set(p.config.Header, value)
		}
	})
	switch {
	case err != nil:
		return false, err
	case status >= 200 && status < 300:
		return true, nil
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return false, nil
	}
	return false, fmt.Errorf("%s answers %d, neither 2xx nor 401", shown(p.config.URL), status)
}

const getTries = 3

// get makes a request, up to three times while nothing or a 5xx comes back.
func get(ctx context.Context, c *http.Client, address string, prepare func(*http.Request)) (int, error) {
	for try := 1; ; try++ {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
		if err != nil {
			return 0, errors.New("the URL cannot be used")
		}
		prepare(req)
		resp, err := c.Do(req)
		if err == nil {
			_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<20))
			resp.Body.Close()
			if resp.StatusCode < 500 || try == getTries {
				return resp.StatusCode, nil
			}
		} else if try == getTries || ctx.Err() != nil {
			var u *url.Error
			if errors.As(err, &u) {
				err = u.Err
			}
			return 0, fmt.Errorf("asking %s: %w", shown(address), err)
		}
		select {
		case <-time.After(time.Duration(try) * 300 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

// signJWT makes a token of one minute (RFC 7519, HS256 of RFC 7518). The key is the
// text of the secret, as jsonwebtoken takes it.
func signJWT(secret string, claims map[string]any, now time.Time) (string, error) {
	all := map[string]any{"sub": "takumi-secrets"}
	maps.Copy(all, claims)
	all["iat"], all["exp"] = now.Unix(), now.Add(time.Minute).Unix()
	body, err := json.Marshal(all)
	if err != nil {
		return "", errors.New("the claims of the proof cannot be written as JSON")
	}
	b64 := base64.RawURLEncoding.EncodeToString
	text := b64([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + b64(body)
	h := hmac.New(sha256.New, []byte(secret))
	h.Write([]byte(text))
	return text + "." + b64(h.Sum(nil)), nil
}

func (h *held) healthy(ctx context.Context) error {
	if h.Set.Health == "" {
		return nil
	}
	status, err := get(ctx, plainClient(false), h.Set.Health, func(*http.Request) {})
	if err == nil && (status < 200 || status > 299) {
		err = fmt.Errorf("%s answers %d", shown(h.Set.Health), status)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errHealth, err)
	}
	h.log(Info, "healthy: %s answers %d", shown(h.Set.Health), status)
	return nil
}
