package awssm_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// server behaves as Secrets Manager does by its API Reference: the AWS JSON 1.1
// protocol and the actions that are used here. It is strict about what it is
// asked, and can be made to fail.
type server struct {
	*httptest.Server
	t *testing.T

	mu      sync.Mutex
	secrets map[string]*secret // by region and name
	calls   []string           // the actions that were asked for
	clock   time.Time
	page    int // versions to a page

	// Before is asked at every request, the first of which is 1. When it
	// returns true it has answered.
	before func(n int, action string, w http.ResponseWriter, r *http.Request) bool
	// After is asked when a request was carried out; when it returns an answer,
	// that one is sent.
	after func(n int, action string, body string) *failure
}

type secret struct {
	name, arn string
	versions  []*version
	deleted   bool
}

type version struct {
	id      string
	text    *string
	binary  []byte
	created time.Time
	stages  []string
}

// failure is an error of the API.
type failure struct {
	status        int
	code, message string
}

func refused(code, message string) *failure {
	return &failure{http.StatusBadRequest, code, message}
}

// request has the fields of every action that is answered here.
type request struct {
	SecretId, Name, ClientRequestToken, VersionId, VersionStage string
	MoveToVersionId, RemoveFromVersionId, NextToken             string
	SecretString                                                *string
	SecretBinary                                                []byte
	VersionStages                                               []string
	MaxResults, RecoveryWindowInDays                            int
	ForceDeleteWithoutRecovery                                  bool
}

func newServer(t *testing.T) *server {
	s := &server{t: t, secrets: make(map[string]*secret), clock: time.Unix(1_700_000_000, 0), page: 2}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

// asked are the actions so far.
func (s *server) asked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls)
}

var authorization = regexp.MustCompile(`^AWS4-HMAC-SHA256 Credential=[^/ ]+/[0-9]{8}/([a-z0-9-]+)/secretsmanager/aws4_request, SignedHeaders=[a-z0-9;-]*host[a-z0-9;-]*, Signature=[0-9a-f]{64}$`)

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	scope := authorization.FindStringSubmatch(r.Header.Get("Authorization"))
	action, known := strings.CutPrefix(r.Header.Get("X-Amz-Target"), "secretsmanager.")
	if err != nil || scope == nil || !known || r.Method != http.MethodPost || r.URL.Path != "/" ||
		r.Header.Get("Content-Type") != "application/x-amz-json-1.1" || r.Header.Get("X-Amz-Date") == "" {
		s.t.Errorf("not a request of the protocol: %s %s %v", r.Method, r.URL, r.Header)
		http.Error(w, "?", http.StatusTeapot)
		return
	}
	s.mu.Lock()
	s.calls = append(s.calls, action)
	n, before, after := len(s.calls), s.before, s.after
	s.mu.Unlock()
	if before != nil && before(n, action, w, r) {
		return
	}
	s.mu.Lock()
	content, fault := s.act(scope[1], action, body)
	answer, err := json.Marshal(content)
	s.mu.Unlock()
	if err != nil {
		s.t.Error(err)
	}
	if after != nil {
		if f := after(n, action, string(body)); f != nil {
			fault = f
		}
	}
	if fault != nil {
		fault.send(w)
		return
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	w.Write(answer)
}

func (f *failure) send(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	w.WriteHeader(f.status)
	json.NewEncoder(w).Encode(map[string]string{"__type": f.code, "Message": f.message})
}
