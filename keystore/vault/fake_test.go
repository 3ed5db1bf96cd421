package vault

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// fake is a Vault of our own, written from Vault's HTTP API documentation: KV
// v2 and v1, policies, tokens, AppRole and Kubernetes logins, as far as the
// suite and this package use them.
type fake struct {
	*httptest.Server

	// before, if there is one, sees every request first, with its number from
	// 1 on, and returns true when it answered.
	before func(n int, w http.ResponseWriter, r *http.Request) bool
	// after runs when a request was carried out, before its answer is sent.
	after func(n int)

	mu       sync.Mutex
	requests []*http.Request
	ahead    time.Duration // how far the clock was put forward
	mounts   map[string]*mount
	transit  map[string]*transitMount
	policies map[string]map[string][]string // name, path, capabilities
	tokens   map[string]*token
	roles    map[string]map[string]any // of AppRole
	secretID map[string]string         // and the role it is for
	jwt      string                    // that Kubernetes would vouch for
	serial   int
}

type token struct {
	policies  []string
	ttl       time.Duration // 0 for ever
	ends      time.Time
	renewable bool
	renewed   time.Time
}

type answer map[string]any

func newFake(t *testing.T) *fake {
	f := &fake{
		mounts:   map[string]*mount{"secret/": newMount("2")},
		transit:  map[string]*transitMount{},
		policies: map[string]map[string][]string{},
		tokens:   map[string]*token{"root": {policies: []string{"root"}}},
		roles:    map[string]map[string]any{},
		secretID: map[string]string{},
	}
	f.Server = httptest.NewServer(f)
	t.Cleanup(f.Close)
	return f
}

// intercept sets before and after.
func (f *fake) intercept(before func(n int, w http.ResponseWriter, r *http.Request) bool, after func(n int)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.before, f.after = before, after
}

// vouch sets the token of the service account that may log in.
func (f *fake) vouch(jwt string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.jwt = jwt
}

func (f *fake) now() time.Time { return time.Now().Add(f.ahead) }

// counted returns how many requests there were whose method and path match.
func (f *fake) counted(pattern string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, r := range f.requests {
		if regexp.MustCompile(pattern).MatchString(r.Method + " " + r.URL.Path) {
			n++
		}
	}
	return n
}

func reply(w http.ResponseWriter, status int, a answer) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if status != http.StatusNoContent {
		json.NewEncoder(w).Encode(a)
	}
}

func problem(w http.ResponseWriter, status int, words ...string) {
	reply(w, status, answer{"errors": append([]string{}, words...)})
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.requests = append(f.requests, r)
	n := len(f.requests)
	before, after := f.before, f.after
	f.mu.Unlock()
	if before != nil && before(n, w, r) {
		return
	}
	var body map[string]any
	in := json.NewDecoder(r.Body)
	in.UseNumber()
	in.Decode(&body)
	recorder := httptest.NewRecorder()
	func() {
		f.mu.Lock()
		defer f.mu.Unlock() // net/http goes on after a panic
		f.handle(recorder, r, strings.TrimPrefix(r.URL.Path, "/v1/"), body)
	}()
	if after != nil {
		after(n)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(recorder.Code)
	w.Write(recorder.Body.Bytes())
}

func (f *fake) handle(w http.ResponseWriter, r *http.Request, path string, body map[string]any) {
	if strings.HasPrefix(path, "auth/") && strings.HasSuffix(path, "/login") {
		f.login(w, path, body)
		return
	}
	id := r.Header.Get("X-Vault-Token")
	tok := f.tokens[id]
	if tok == nil || !tok.ends.IsZero() && f.now().After(tok.ends) {
		problem(w, http.StatusForbidden, "2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n")
		return
	}
	if rest, found := strings.CutPrefix(path, "sys/internal/ui/mounts/"); found {
		f.mountOf(w, tok, rest)
		return
	}
	wants := map[string]string{"GET": "read", "PUT": "update", "DELETE": "delete"}[r.Method]
	prefix, m := f.mountAt(path)
	if m != nil && r.Method == "PUT" && !m.has(strings.TrimPrefix(path, prefix)) {
		wants = "create"
	}
	if !f.may(tok, path, wants) {
		problem(w, http.StatusForbidden, "1 error occurred:\n\t* permission denied\n\n")
		return
	}
	for prefix, m := range f.transit {
		if rest, found := strings.CutPrefix(path, prefix); found {
			m.serve(w, rest, body)
			return
		}
	}
	switch {
	case m != nil:
		m.serve(w, r, strings.TrimPrefix(path, prefix), body, f.now())
	case strings.HasPrefix(path, "auth/token/"):
		f.token(w, strings.TrimPrefix(path, "auth/token/"), tok, body)
	case strings.HasPrefix(path, "sys/") || strings.HasPrefix(path, "auth/"):
		f.admin(w, r, path, body)
	default:
		problem(w, http.StatusNotFound, fmt.Sprintf("no handler for route %q. route entry not found.", path))
	}
}

func (f *fake) mountAt(path string) (string, *mount) {
	for prefix, m := range f.mounts {
		if strings.HasPrefix(path, prefix) {
			return prefix, m
		}
	}
	return "", nil
}

func (f *fake) may(tok *token, path, capability string) bool {
	own := []string{"auth/token/lookup-self", "auth/token/renew-self"} // by the policy "default"
	if slices.Contains(tok.policies, "root") || slices.Contains(own, path) {
		return true
	}
	for _, name := range tok.policies {
		if slices.Contains(f.policies[name][path], capability) {
			return true
		}
	}
	return false
}

// mountOf answers who may do something below the mount.
func (f *fake) mountOf(w http.ResponseWriter, tok *token, path string) {
	prefix, m := f.mountAt(path)
	access := slices.Contains(tok.policies, "root")
	for _, name := range tok.policies {
		for allowed := range f.policies[name] {
			access = access || strings.HasPrefix(allowed, prefix)
		}
	}
	if m == nil || !access {
		problem(w, http.StatusForbidden, fmt.Sprintf("preflight capability check returned 403, please ensure client's policies grant access to path %q", path))
		return
	}
	reply(w, http.StatusOK, answer{"data": answer{"type": "kv", "path": prefix, "options": answer{"version": m.version}}})
}

var rule = regexp.MustCompile(`path "([^"]+)" \{\s*capabilities = \[([^\]]*)\]`)

// admin is what only the suite's own preparations ask for.
func (f *fake) admin(w http.ResponseWriter, r *http.Request, path string, body map[string]any) {
	parts := strings.Split(path, "/")
	name := parts[len(parts)-1]
	switch {
	case strings.HasPrefix(path, "sys/mounts/") && body["type"] == "transit":
		f.transit[strings.TrimPrefix(path, "sys/mounts/")+"/"] = &transitMount{keys: map[string]*transitKey{}}
	case strings.HasPrefix(path, "sys/mounts/") && r.Method == "PUT":
		version := "1"
		if options, ok := body["options"].(map[string]any); ok {
			version = options["version"].(string)
		}
		f.mounts[strings.TrimPrefix(path, "sys/mounts/")+"/"] = newMount(version)
	case strings.HasPrefix(path, "sys/mounts/") && r.Method == "DELETE":
		delete(f.mounts, strings.TrimPrefix(path, "sys/mounts/")+"/")
	case strings.HasPrefix(path, "sys/policies/acl/") && r.Method == "DELETE":
		delete(f.policies, name)
	case strings.HasPrefix(path, "sys/policies/acl/"):
		policy := map[string][]string{}
		for _, m := range rule.FindAllStringSubmatch(body["policy"].(string), -1) {
			policy[m[1]] = strings.FieldsFunc(m[2], func(r rune) bool { return strings.ContainsRune(`", `, r) })
		}
		f.policies[name] = policy
	case strings.HasPrefix(path, "sys/auth/"):
	case strings.HasSuffix(path, "/role-id"):
		reply(w, http.StatusOK, answer{"data": answer{"role_id": "role-" + parts[len(parts)-2]}})
		return
	case strings.HasSuffix(path, "/secret-id"):
		f.serial++
		id := fmt.Sprintf("secret-%d", f.serial)
		f.secretID[id] = "role-" + parts[len(parts)-2]
		reply(w, http.StatusOK, answer{"data": answer{"secret_id": id}})
		return
	case strings.Contains(path, "/role/"):
		f.roles["role-"+name] = body
	default:
		problem(w, http.StatusNotFound)
		return
	}
	reply(w, http.StatusNoContent, nil)
}

func (f *fake) issue(policies []string, ttl time.Duration) answer {
	f.serial++
	id := fmt.Sprintf("hvs.%d", f.serial)
	t := &token{policies: policies, ttl: ttl, renewable: ttl > 0}
	if ttl > 0 {
		t.ends = f.now().Add(ttl)
	}
	f.tokens[id] = t
	return answer{"auth": answer{"client_token": id, "lease_duration": int(ttl / time.Second), "renewable": t.renewable}}
}

func (f *fake) login(w http.ResponseWriter, path string, body map[string]any) {
	switch {
	case strings.HasPrefix(path, "auth/kubernetes/"):
		if body["jwt"] != f.jwt || body["role"] != "backup" {
			problem(w, http.StatusForbidden, "permission denied")
			return
		}
		reply(w, http.StatusOK, f.issue([]string{"root"}, time.Hour))
	case f.secretID[fmt.Sprint(body["secret_id"])] != body["role_id"]:
		problem(w, http.StatusBadRequest, "invalid role or secret ID")
	default:
		role := f.roles[body["role_id"].(string)]
		ttl, _ := time.ParseDuration(fmt.Sprint(role["token_ttl"]))
		reply(w, http.StatusOK, f.issue(strings.Split(fmt.Sprint(role["token_policies"]), ","), ttl))
	}
}

func (f *fake) token(w http.ResponseWriter, what string, own *token, body map[string]any) {
	switch what {
	case "create":
		var policies []string
		for _, p := range body["policies"].([]any) {
			policies = append(policies, p.(string))
		}
		ttl, _ := time.ParseDuration(fmt.Sprint(body["ttl"]))
		reply(w, http.StatusOK, f.issue(policies, ttl))
	case "lookup", "lookup-self":
		if what == "lookup" {
			own = f.tokens[body["token"].(string)]
		}
		data := answer{"ttl": 0, "creation_ttl": int(own.ttl / time.Second), "renewable": own.renewable, "last_renewal_time": nil}
		if !own.ends.IsZero() {
			data["ttl"] = int(own.ends.Sub(f.now()) / time.Second)
		}
		if !own.renewed.IsZero() {
			data["last_renewal_time"] = own.renewed.Unix()
		}
		reply(w, http.StatusOK, answer{"data": data})
	case "renew-self":
		own.renewed, own.ends = f.now(), f.now().Add(own.ttl)
		reply(w, http.StatusOK, answer{"auth": answer{"lease_duration": int(own.ttl / time.Second), "renewable": own.renewable}})
	case "revoke":
		delete(f.tokens, body["token"].(string))
		reply(w, http.StatusNoContent, nil)
	default:
		problem(w, http.StatusNotFound)
	}
}
