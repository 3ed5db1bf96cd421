// Package secretkit has servers with the wire contracts of Secrets Manager, Vault's KV
// version 2 and Kubernetes' Secrets and Deployments, in memory, for tests of what reads
// and rotates secrets. They are strict about what they are asked, and each write is
// checked against the version that it names. Only tests import it.
//
// Sources: AWS Secrets Manager API Reference; Vault HTTP API, KV secrets engine v2;
// Kubernetes API Concepts and the reference of Secret v1 and Deployment apps/v1.
package secretkit

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Server is one of the servers.
type Server struct {
	*httptest.Server
	t      testing.TB
	mu     sync.Mutex
	before func(r *http.Request) bool
	after  func(r *http.Request) bool
	asked  []string
	handle func(r *http.Request, body []byte) (status int, answer any)
	show   func() map[string]string
}

// Hook sets what is asked at each request, before it is carried out and after: when one
// returns true, no answer is sent.
func (s *Server) Hook(before, after func(r *http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before, s.after = before, after
}

// Asked are the requests so far, as METHOD PATH or the action of AWS.
func (s *Server) Asked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.asked)
}

// Fields is what the secret holds now, with all that is next to its fields.
func (s *Server) Fields() map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.show()
}

func start(t testing.TB, s *Server) *Server {
	s.t = t
	s.Server = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(s.Close)
	return s
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	before, after := s.before, s.after
	s.mu.Unlock()
	if before != nil && before(r) {
		panic(http.ErrAbortHandler)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client was killed
	}
	s.mu.Lock()
	s.asked = append(s.asked, r.Method+" "+r.URL.Path+strings.TrimPrefix(r.Header.Get("X-Amz-Target"), "secretsmanager"))
	status, answer := s.handle(r, body)
	text, err := json.Marshal(answer)
	s.mu.Unlock()
	if err != nil {
		s.t.Error(err)
	}
	if after != nil && after(r) {
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	w.WriteHeader(status)
	w.Write(text)
}

type object = map[string]any

// AWS is Secrets Manager with the secret id, and sets the environment that leads there.
func AWS(t testing.TB, id string) *Server {
	type version struct {
		id, text string
		stages   []string
	}
	secrets := make(map[string][]*version)
	find := func(name string, has func(*version) bool) *version {
		for _, v := range secrets[name] {
			if has(v) {
				return v
			}
		}
		return nil
	}
	staged := func(stage string) func(*version) bool {
		return func(v *version) bool { return slices.Contains(v.stages, stage) }
	}
	move := func(name, stage string, to *version) {
		for _, v := range secrets[name] {
			v.stages = slices.DeleteFunc(v.stages, func(s string) bool { return s == stage })
		}
		to.stages = append(to.stages, stage)
	}
	no := func(code string) (int, any) { return http.StatusBadRequest, object{"__type": code, "Message": code} }
	s := &Server{show: func() map[string]string {
		fields := make(map[string]string)
		if v := find(id, staged("AWSCURRENT")); v != nil {
			_ = json.Unmarshal([]byte(v.text), &fields)
		}
		return fields
	}}
	s.handle = func(r *http.Request, body []byte) (int, any) {
		var in struct {
			SecretId, Name, ClientRequestToken, VersionId, VersionStage, SecretString, MoveToVersionId, RemoveFromVersionId string
			VersionStages                                                                                                   []string
		}
		if err := json.Unmarshal(body, &in); err != nil || !strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 ") {
			s.t.Errorf("not a request of the protocol: %s", body)
		}
		name := in.SecretId
		switch strings.TrimPrefix(r.Header.Get("X-Amz-Target"), "secretsmanager.") {
		case "GetSecretValue":
			v := find(name, staged(in.VersionStage))
			if in.VersionId != "" {
				v = find(name, func(v *version) bool { return v.id == in.VersionId })
			}
			if v == nil {
				return no("ResourceNotFoundException")
			}
			arn := "arn:aws:secretsmanager:eu-central-1:123456789012:secret:" + name + "-AbCdEf"
			return http.StatusOK, object{"Name": name, "ARN": arn, "VersionId": v.id, "VersionStages": v.stages, "SecretString": v.text}
		case "ListSecretVersionIds":
			var all []object
			for _, v := range secrets[name] {
				if len(v.stages) > 0 {
					all = append(all, object{"VersionId": v.id, "VersionStages": v.stages})
				}
			}
			return http.StatusOK, object{"Name": name, "Versions": all}
		case "CreateSecret":
			if len(secrets[in.Name]) > 0 {
				return no("ResourceExistsException")
			}
			secrets[in.Name] = []*version{{in.ClientRequestToken, in.SecretString, []string{"AWSCURRENT"}}}
			return http.StatusOK, object{"Name": in.Name, "VersionId": in.ClientRequestToken}
		case "PutSecretValue":
			if len(secrets[name]) == 0 {
				return no("ResourceNotFoundException")
			}
			v := find(name, func(v *version) bool { return v.id == in.ClientRequestToken })
			if v == nil {
				v = &version{id: in.ClientRequestToken, text: in.SecretString}
				secrets[name] = append(secrets[name], v)
			}
			for _, stage := range in.VersionStages {
				move(name, stage, v)
			}
			return http.StatusOK, object{"Name": name, "VersionId": v.id}
		case "UpdateSecretVersionStage":
			to := find(name, func(v *version) bool { return v.id == in.MoveToVersionId })
			from := find(name, staged(in.VersionStage))
			if to == nil || from != nil && from != to && from.id != in.RemoveFromVersionId {
				return no("InvalidParameterException")
			}
			if in.VersionStage == "AWSCURRENT" && from != nil && from != to {
				move(name, "AWSPREVIOUS", from)
			}
			move(name, in.VersionStage, to)
			return http.StatusOK, object{"Name": name}
		}
		return no("UnknownOperationException")
	}
	start(t, s)
	setenv(t, "AWS_ENDPOINT_URL", s.URL, "AWS_REGION", "eu-central-1", "AWS_ACCESS_KEY_ID", "a", "AWS_SECRET_ACCESS_KEY", "b", "AWS_CONFIG_FILE", "/dev/null", "AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
	return s
}

// Vault is a KV engine, version 2, mounted at secret, with the secret at path, and sets
// the environment that leads there.
func Vault(t testing.TB, path string) *Server {
	versions := make(map[string][]map[string]json.RawMessage)
	s := &Server{show: func() map[string]string {
		fields := make(map[string]string)
		if all := versions[path]; len(all) > 0 {
			for name, value := range all[len(all)-1] {
				if value[0] == '"' {
					var text string
					_ = json.Unmarshal(value, &text)
					fields[name] = text
				}
			}
		}
		return fields
	}}
	stamps := func(n int) object {
		return object{"version": n, "created_time": time.Now().UTC().Format(time.RFC3339Nano), "deletion_time": "", "destroyed": false}
	}
	s.handle = func(r *http.Request, body []byte) (int, any) {
		if r.Header.Get("X-Vault-Token") != "t" {
			return http.StatusForbidden, object{"errors": []string{"permission denied"}}
		}
		place := strings.TrimPrefix(r.URL.Path, "/v1/")
		if at, ok := strings.CutPrefix(place, "sys/internal/ui/mounts/"); ok && strings.HasPrefix(at, "secret/") {
			return http.StatusOK, object{"data": object{"type": "kv", "path": "secret/", "options": object{"version": "2"}}}
		}
		if place == "auth/token/lookup-self" {
			return http.StatusOK, object{"data": object{"ttl": 0, "renewable": false}}
		}
		at, ok := strings.CutPrefix(place, "secret/data/")
		if !ok {
			return http.StatusNotFound, object{"errors": []string{}}
		}
		all := versions[at]
		switch r.Method {
		case http.MethodGet:
			if len(all) == 0 {
				return http.StatusNotFound, object{"errors": []string{}}
			}
			n := len(all)
			if text := r.URL.Query().Get("version"); text != "" {
				if which, err := strconv.Atoi(text); err == nil && which > 0 && which <= n {
					n = which
				} else if which != 0 {
					return http.StatusNotFound, object{"errors": []string{}}
				}
			}
			return http.StatusOK, object{"data": object{"data": all[n-1], "metadata": stamps(n)}}
		case http.MethodPut, http.MethodPost:
			var in struct {
				Options struct{ CAS *int }         `json:"options"`
				Data    map[string]json.RawMessage `json:"data"`
			}
			if err := json.Unmarshal(body, &in); err != nil || in.Options.CAS == nil {
				s.t.Errorf("a write without check-and-set: %v", err)
				return http.StatusBadRequest, object{"errors": []string{"check-and-set parameter required"}}
			}
			if *in.Options.CAS != len(all) {
				return http.StatusBadRequest, object{"errors": []string{"check-and-set parameter did not match the current version"}}
			}
			versions[at] = append(all, in.Data)
			return http.StatusOK, object{"data": stamps(len(all) + 1)}
		}
		return http.StatusMethodNotAllowed, object{"errors": []string{"unsupported operation"}}
	}
	start(t, s)
	setenv(t, "VAULT_ADDR", s.URL, "VAULT_TOKEN", "t", "VAULT_NAMESPACE", "", "VAULT_AGENT_ADDR", "")
	return s
}

// Deployment is one of the cluster's.
type Deployment struct {
	Generation, Observed, Replicas, Updated, Available int
	Annotations                                        map[string]string // of the pods' template
}

// Cluster is Kubernetes with one Secret, and deployments.
type Cluster struct {
	*Server
	Deployments map[string]*Deployment
	// Rolled is called, with the lock held, when a pods' template changed; it is to move
	// the deployment on, at once or later by Move.
	Rolled func(name string, d *Deployment)
}

// Move changes a deployment.
func (c *Cluster) Move(name string, change func(*Deployment)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change(c.Deployments[name])
}

// Kubernetes is an API server with the Secret of that name in the namespace takumi,
// and writes a kubeconfig that leads there and that KUBECONFIG names.
func Kubernetes(t testing.TB, name, kubeconfig string, write func(path, text string)) *Cluster {
	c := &Cluster{Deployments: make(map[string]*Deployment)}
	var annotations map[string]string
	var data map[string]string // base64
	revision := 0
	c.Server = &Server{show: func() map[string]string {
		fields := make(map[string]string)
		for k, v := range data {
			text, _ := base64.StdEncoding.DecodeString(v)
			fields[k] = string(text)
		}
		for k, v := range annotations {
			fields[k] = v
		}
		return fields
	}}
	secret := func() object {
		return object{"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "data": data,
			"metadata": object{"name": name, "resourceVersion": strconv.Itoa(revision), "annotations": annotations}}
	}
	status := func(code int, reason string) (int, any) {
		return code, object{"kind": "Status", "status": "Failure", "reason": reason, "code": code}
	}
	type patch struct {
		Metadata struct {
			Name, ResourceVersion string
			Annotations           map[string]*string
		}
		Data map[string]*string
		Spec struct {
			Template struct {
				Metadata struct{ Annotations map[string]string }
			}
		}
	}
	merge := func(into map[string]string, from map[string]*string) map[string]string {
		if into == nil {
			into = make(map[string]string)
		}
		for k, v := range from {
			if v == nil {
				delete(into, k)
			} else {
				into[k] = *v
			}
		}
		return into
	}
	c.handle = func(r *http.Request, body []byte) (int, any) {
		if r.Header.Get("Authorization") != "Bearer kube" {
			return status(http.StatusUnauthorized, "Unauthorized")
		}
		if r.Method == http.MethodPatch && r.Header.Get("Content-Type") != "application/strategic-merge-patch+json" {
			return status(http.StatusUnsupportedMediaType, "UnsupportedMediaType")
		}
		var in patch
		if r.Method != http.MethodGet {
			if err := json.Unmarshal(body, &in); err != nil {
				return status(http.StatusBadRequest, "BadRequest")
			}
		}
		const secrets, deployments = "/api/v1/namespaces/takumi/secrets", "/apis/apps/v1/namespaces/takumi/deployments/"
		if which, ok := strings.CutPrefix(r.URL.Path, deployments); ok {
			d := c.Deployments[which]
			if d == nil {
				return status(http.StatusNotFound, "NotFound")
			}
			if r.Method == http.MethodPatch {
				changed := false
				for k, v := range in.Spec.Template.Metadata.Annotations {
					changed = changed || d.Annotations[k] != v
					if d.Annotations == nil {
						d.Annotations = make(map[string]string)
					}
					d.Annotations[k] = v
				}
				if changed {
					d.Generation++
					d.Updated = 0
					c.Rolled(which, d)
				}
			}
			return http.StatusOK, object{"metadata": object{"name": which, "generation": d.Generation},
				"spec":   object{"replicas": d.Replicas, "template": object{"metadata": object{"annotations": d.Annotations}}},
				"status": object{"observedGeneration": d.Observed, "replicas": d.Replicas, "updatedReplicas": d.Updated, "availableReplicas": d.Available}}
		}
		switch {
		case r.URL.Path == secrets+"/"+name && revision == 0 && r.Method != http.MethodPost:
			return status(http.StatusNotFound, "NotFound")
		case r.URL.Path == secrets+"/"+name && r.Method == http.MethodGet:
			return http.StatusOK, secret()
		case r.URL.Path == secrets && r.Method == http.MethodPost:
			if revision > 0 {
				return status(http.StatusConflict, "AlreadyExists")
			}
		case r.URL.Path == secrets+"/"+name && r.Method == http.MethodPatch:
			if in.Metadata.ResourceVersion != "" && in.Metadata.ResourceVersion != strconv.Itoa(revision) {
				return status(http.StatusConflict, "Conflict")
			}
		default:
			return status(http.StatusNotFound, "NotFound")
		}
		data, annotations = merge(data, in.Data), merge(annotations, in.Metadata.Annotations)
		revision++
		return http.StatusOK, secret()
	}
	start(t, c.Server)
	write(kubeconfig, fmt.Sprintf(`{"current-context":"c","contexts":[{"name":"c","context":{"cluster":"k","user":"u","namespace":"takumi"}}],
"clusters":[{"name":"k","cluster":{"server":%q}}],"users":[{"name":"u","user":{"token":"kube"}}]}`, c.URL))
	setenv(t, "KUBECONFIG", kubeconfig)
	return c
}

func setenv(t testing.TB, pairs ...string) {
	for i := 0; i < len(pairs); i += 2 {
		t.Setenv(pairs[i], pairs[i+1])
	}
}
