package vault

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// mount is a KV secrets engine of the fake. A secret of version 1 is held as
// the only version.
type mount struct {
	version string
	config  map[string]any
	secrets map[string]*stored
}

type stored struct {
	settings map[string]any
	current  int
	versions map[int]*storedVersion
}

type storedVersion struct {
	data      map[string]any
	created   time.Time
	deletion  time.Time
	destroyed bool
}

func newMount(version string) *mount {
	return &mount{version: version, config: map[string]any{}, secrets: map[string]*stored{}}
}

func (m *mount) has(path string) bool {
	_, name, _ := strings.Cut(path, "/")
	return m.secrets[name] != nil || path == "config"
}

func (v *storedVersion) stamps(number int) answer {
	deletion := ""
	if !v.deletion.IsZero() {
		deletion = v.deletion.UTC().Format(time.RFC3339Nano)
	}
	return answer{"version": number, "created_time": v.created.UTC().Format(time.RFC3339Nano), "deletion_time": deletion, "destroyed": v.destroyed, "custom_metadata": nil}
}

func number(v any) int {
	n, _ := strconv.ParseFloat(fmt.Sprint(v), 64)
	return int(n)
}

func (m *mount) serve(w http.ResponseWriter, r *http.Request, path string, body map[string]any, now time.Time) {
	if m.version != "2" {
		m.unversioned(w, r, path, body)
		return
	}
	if path == "config" {
		if r.Method == "GET" {
			reply(w, http.StatusOK, answer{"data": answer{"max_versions": number(m.config["max_versions"]), "cas_required": false, "delete_version_after": "0s"}})
			return
		}
		m.config = body
		reply(w, http.StatusNoContent, nil)
		return
	}
	kind, name, _ := strings.Cut(path, "/")
	s := m.secrets[name]
	switch {
	case kind == "data" && r.Method == "GET":
		s.read(w, r, now)
	case kind == "data" && r.Method == "PUT":
		if s == nil {
			s = m.add(name)
		}
		s.write(w, body, m.config, now)
	case kind == "data" && r.Method == "DELETE":
		s.versions[s.current].deletion = now
		reply(w, http.StatusNoContent, nil)
	case kind == "metadata" && r.Method == "PUT":
		if s == nil {
			s = m.add(name)
		}
		for k, v := range body {
			s.settings[k] = v
		}
		reply(w, http.StatusNoContent, nil)
	case kind == "metadata" && s != nil:
		versions := answer{}
		for n, v := range s.versions {
			versions[strconv.Itoa(n)] = v.stamps(n)
		}
		reply(w, http.StatusOK, answer{"data": answer{"current_version": s.current, "max_versions": number(s.settings["max_versions"]), "versions": versions}})
	case kind == "destroy" || kind == "undelete":
		for _, n := range body["versions"].([]any) {
			if v := s.versions[number(n)]; kind == "destroy" {
				v.destroyed, v.data = true, nil
			} else {
				v.deletion = time.Time{}
			}
		}
		reply(w, http.StatusNoContent, nil)
	default:
		problem(w, http.StatusNotFound)
	}
}

func (m *mount) add(name string) *stored {
	m.secrets[name] = &stored{settings: map[string]any{}, versions: map[int]*storedVersion{}}
	return m.secrets[name]
}

func (s *stored) read(w http.ResponseWriter, r *http.Request, now time.Time) {
	if s == nil {
		problem(w, http.StatusNotFound)
		return
	}
	n := s.current
	if asked := number(r.URL.Query().Get("version")); asked > 0 {
		n = asked
	}
	v := s.versions[n]
	switch {
	case v == nil:
		problem(w, http.StatusNotFound)
	case v.destroyed || !v.deletion.IsZero() && v.deletion.Before(now):
		reply(w, http.StatusNotFound, answer{"data": answer{"data": nil, "metadata": v.stamps(n)}})
	default:
		reply(w, http.StatusOK, answer{"data": answer{"data": v.data, "metadata": v.stamps(n)}})
	}
}

func (s *stored) write(w http.ResponseWriter, body, config map[string]any, now time.Time) {
	options, _ := body["options"].(map[string]any)
	if cas, given := options["cas"]; given && number(cas) != s.current {
		problem(w, http.StatusBadRequest, "check-and-set parameter did not match the current version")
		return
	}
	v := &storedVersion{data: body["data"].(map[string]any), created: now}
	if after, _ := time.ParseDuration(fmt.Sprint(s.settings["delete_version_after"])); after > 0 {
		v.deletion = now.Add(after)
	}
	s.current++
	s.versions[s.current] = v
	limit := max(number(s.settings["max_versions"]), number(config["max_versions"]))
	if limit == 0 {
		limit = 10
	}
	for n := range s.versions {
		if n <= s.current-limit {
			delete(s.versions, n)
		}
	}
	reply(w, http.StatusOK, answer{"data": v.stamps(s.current)})
}

func (m *mount) unversioned(w http.ResponseWriter, r *http.Request, path string, body map[string]any) {
	switch s := m.secrets[path]; {
	case r.Method == "PUT":
		m.add(path).versions[1] = &storedVersion{data: body}
		reply(w, http.StatusNoContent, nil)
	case s == nil:
		problem(w, http.StatusNotFound)
	default:
		reply(w, http.StatusOK, answer{"data": s.versions[1].data})
	}
}
