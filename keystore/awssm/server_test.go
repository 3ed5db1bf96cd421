package awssm_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
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

var notFound = refused("ResourceNotFoundException", "Secrets Manager can't find the specified secret.")

func (s *server) act(region, action string, body []byte) (any, *failure) {
	var in request
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(&in); err != nil {
		s.t.Errorf("%s: %v", action, err)
		return nil, refused("SerializationException", "")
	}
	if action == "CreateSecret" {
		return s.create(region, in)
	}
	name := in.SecretId
	if parts := strings.SplitN(name, ":", 7); len(parts) == 7 {
		name = parts[6][:len(parts[6])-7]
	}
	sec := s.secrets[region+" "+name]
	if sec == nil {
		return nil, notFound
	}
	if sec.deleted {
		return nil, refused("InvalidRequestException", "You can't perform this operation on the secret because it was marked for deletion.")
	}
	switch action {
	case "GetSecretValue":
		return sec.get(in)
	case "PutSecretValue":
		return s.put(sec, in)
	case "UpdateSecretVersionStage":
		return sec.move(in)
	case "ListSecretVersionIds":
		return s.list(sec, in)
	case "DeleteSecret":
		sec.deleted = true
		return map[string]any{"ARN": sec.arn, "Name": sec.name, "DeletionDate": seconds(s.clock)}, nil
	}
	s.t.Errorf("unexpected action %s", action)
	return nil, refused("InvalidAction", "")
}

func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

func (s *server) create(region string, in request) (any, *failure) {
	if !regexp.MustCompile(`^[A-Za-z0-9/_+=.@-]{1,512}$`).MatchString(in.Name) {
		return nil, refused("ValidationException", "Invalid name.")
	}
	sec := s.secrets[region+" "+in.Name]
	if sec != nil {
		if v := sec.byID(in.ClientRequestToken); v != nil && same(v, in) {
			return map[string]any{"ARN": sec.arn, "Name": sec.name, "VersionId": v.id}, nil
		}
		return nil, refused("ResourceExistsException", "The operation failed because the secret "+in.Name+" already exists.")
	}
	sec = &secret{name: in.Name, arn: "arn:aws:secretsmanager:" + region + ":123456789012:secret:" + in.Name + "-AbCdEf"}
	s.secrets[region+" "+in.Name] = sec
	if in.SecretString == nil && in.SecretBinary == nil {
		return map[string]any{"ARN": sec.arn, "Name": sec.name}, nil
	}
	return s.put(sec, in)
}

func same(v *version, in request) bool {
	return bytes.Equal(v.binary, in.SecretBinary) && (v.text == nil) == (in.SecretString == nil) && (v.text == nil || *v.text == *in.SecretString)
}

func (sec *secret) byID(id string) *version {
	i := slices.IndexFunc(sec.versions, func(v *version) bool { return v.id == id })
	if i < 0 {
		return nil
	}
	return sec.versions[i]
}

func (sec *secret) holder(stage string) *version {
	i := slices.IndexFunc(sec.versions, func(v *version) bool { return slices.Contains(v.stages, stage) })
	if i < 0 {
		return nil
	}
	return sec.versions[i]
}

// attach moves a stage to v, which may be nil, and AWSPREVIOUS with AWSCURRENT.
func (sec *secret) attach(stage string, v *version) {
	old := sec.holder(stage)
	if old == v {
		return
	}
	if old != nil {
		old.stages = slices.DeleteFunc(old.stages, func(s string) bool { return s == stage })
	}
	if v != nil {
		v.stages = append(v.stages, stage)
	}
	if stage == "AWSCURRENT" && old != nil {
		sec.attach("AWSPREVIOUS", old)
	}
}

// full reports whether n more stages would be too many.
func (sec *secret) full(n int) bool {
	for _, v := range sec.versions {
		n += len(v.stages)
	}
	return n > 20
}

var limitExceeded = refused("LimitExceededException", "Too many staging labels.")

func (s *server) put(sec *secret, in request) (any, *failure) {
	size := len(in.SecretBinary)
	if in.SecretString != nil {
		size = len(*in.SecretString)
	}
	switch {
	case len(in.ClientRequestToken) < 32 || len(in.ClientRequestToken) > 64:
		return nil, refused("InvalidParameterException", "ClientRequestToken must be 32-64 characters long.")
	case (in.SecretString == nil) == (in.SecretBinary == nil):
		return nil, refused("InvalidRequestException", "You must provide either SecretString or SecretBinary.")
	case size > 65536:
		return nil, refused("ValidationException", "Member must have length less than or equal to 65536")
	}
	v := sec.byID(in.ClientRequestToken)
	if v != nil && !same(v, in) {
		return nil, refused("ResourceExistsException", "You can't use ClientRequestToken because that value is already in use.")
	}
	if v == nil {
		stages := in.VersionStages
		if len(stages) == 0 || len(sec.versions) == 0 {
			stages = append(stages, "AWSCURRENT")
		}
		fresh := slices.DeleteFunc(slices.Clone(stages), func(stage string) bool { return sec.holder(stage) != nil })
		if sec.full(len(fresh)) {
			return nil, limitExceeded
		}
		s.clock = s.clock.Add(1500 * time.Millisecond)
		v = &version{id: in.ClientRequestToken, text: in.SecretString, binary: in.SecretBinary, created: s.clock}
		sec.versions = append(sec.versions, v)
		for _, stage := range stages {
			sec.attach(stage, v)
		}
	}
	return map[string]any{"ARN": sec.arn, "Name": sec.name, "VersionId": v.id, "VersionStages": v.stages}, nil
}

func (sec *secret) get(in request) (any, *failure) {
	if in.VersionId == "" && in.VersionStage == "" {
		in.VersionStage = "AWSCURRENT"
	}
	v := sec.byID(in.VersionId)
	if in.VersionId == "" {
		v = sec.holder(in.VersionStage)
	}
	if v == nil {
		return nil, refused("ResourceNotFoundException", "Secrets Manager can't find the specified secret value for staging label: "+in.VersionStage)
	}
	answer := map[string]any{"ARN": sec.arn, "Name": sec.name, "VersionId": v.id, "VersionStages": v.stages, "CreatedDate": seconds(v.created)}
	if v.text != nil {
		answer["SecretString"] = *v.text
	} else {
		answer["SecretBinary"] = v.binary
	}
	return answer, nil
}

func (sec *secret) move(in request) (any, *failure) {
	holder, to := sec.holder(in.VersionStage), sec.byID(in.MoveToVersionId)
	switch {
	case in.MoveToVersionId != "" && to == nil:
		return nil, refused("ResourceNotFoundException", "Secrets Manager can't find the specified secret version.")
	case holder != nil && holder.id != in.RemoveFromVersionId:
		return nil, refused("InvalidParameterException", fmt.Sprintf("Staging label %s is currently attached to version %s, so you must explicitly reference that version in RemoveFromVersionId.", in.VersionStage, holder.id))
	case holder == nil && in.RemoveFromVersionId != "":
		return nil, refused("InvalidParameterException", "The staging label is not attached to that version.")
	case holder == nil && sec.full(1):
		return nil, limitExceeded
	}
	sec.attach(in.VersionStage, to)
	return map[string]any{"ARN": sec.arn, "Name": sec.name}, nil
}

func (s *server) list(sec *secret, in request) (any, *failure) {
	from := 0
	if in.NextToken != "" {
		var err error
		if from, err = strconv.Atoi(in.NextToken); err != nil {
			return nil, refused("InvalidNextTokenException", "")
		}
	}
	labelled := slices.DeleteFunc(slices.Clone(sec.versions), func(v *version) bool { return len(v.stages) == 0 })
	to := min(from+min(s.page, in.MaxResults), len(labelled))
	answer := map[string]any{"ARN": sec.arn, "Name": sec.name}
	var versions []any
	for _, v := range labelled[from:to] {
		versions = append(versions, map[string]any{"VersionId": v.id, "VersionStages": v.stages, "CreatedDate": seconds(v.created)})
	}
	answer["Versions"] = versions
	if to < len(labelled) {
		answer["NextToken"] = strconv.Itoa(to)
	}
	return answer, nil
}
