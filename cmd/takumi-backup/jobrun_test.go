package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
)

// TestNightTold: a night says when it begins and how it ended, by pings and to a web
// hook, and its metrics keep the last success when one fails; so does each other job.
func TestNightTold(t *testing.T) {
	t.Parallel()
	b := newSandbox(t)
	var mu sync.Mutex
	var pings, hooks []string
	service := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		if r.URL.Path == "/hook" {
			hooks = append(hooks, string(text))
			return
		}
		pings = append(pings, strings.TrimPrefix(r.URL.Path, "/ping")+" "+string(text))
	}))
	defer service.Close()
	told := func(wantPings, wantHook string) {
		t.Helper()
		mu.Lock()
		defer mu.Unlock()
		var paths []string
		for _, p := range pings {
			path, _, _ := strings.Cut(p, " ")
			paths = append(paths, path)
		}
		if got := strings.Join(paths, " "); got != wantPings {
			t.Errorf("pings: %q, want %q", pings, wantPings)
		}
		if got := strings.Join(hooks, "\n"); wantHook == "" && got != "" || !strings.Contains(got, wantHook) {
			t.Errorf("web hook: %s, want %s", got, wantHook)
		}
		pings, hooks = nil, nil
	}
	metric := func(file, want string) {
		t.Helper()
		if text := string(readFile(t, b.path(file))); !slices.Contains(strings.Split(text, "\n"), want) {
			t.Errorf("%s lacks %s:\n%s", file, want, text)
		}
	}
	b.env = append(b.env, "HEALTHCHECK_URL="+service.URL+"/ping", "ALERT_WEBHOOK_URL="+service.URL+"/hook", "UPLOADS_DIR="+b.path("uploads"))
	if err := os.Mkdir(b.path("uploads"), 0o755); err != nil {
		t.Fatal(err)
	}
	writeFile(t, b.path("uploads/a"), []byte("a"))
	night := []string{"backup", "all", "--prune", "--quiet", "--notify", "--metrics", b.path("night.prom")}
	good := b.run(exitOK, nil, night...)
	if out := good.stdout.String() + good.stderr.String(); out != "" {
		t.Errorf("a quiet night prints %q", out)
	}
	told("/start ", "")
	metric("night.prom", `takumi_backup_task_success{task="backup"} 1`)
	metric("night.prom", `takumi_backup_part_success{part="uploads"} 1`)
	success := line(t, b.path("night.prom"), `takumi_backup_task_last_success_timestamp_seconds{task="backup"}`)
	made := line(t, b.path("night.prom"), `takumi_backup_made_timestamp_seconds{`)

	os.Remove(b.path("uploads/a"))
	os.Remove(b.path("uploads"))
	b.run(exitSource, nil, night...)
	told("/start /fail", `"event":"backup","status":"failed"`)
	metric("night.prom", `takumi_backup_task_success{task="backup"} 0`)
	metric("night.prom", `takumi_backup_part_success{part="uploads"} 0`)
	metric("night.prom", success)
	metric("night.prom", made)

	// Also when it cannot begin.
	b.run(exitKey, nil, append(night, "--key", "file:missing")...)
	told("/start /fail", `file:missing`)

	b.run(exitOK, nil, "replicate", b.path("store"), b.path("copy"), "--notify", "--metrics", b.path("copy.prom"))
	told("/start ", "")
	metric("copy.prom", `takumi_backup_task_success{task="replicate"} 1`)
	b.run(exitOK, nil, "prune", "--apply", "--notify", "--metrics", b.path("prune.prom"))
	told("/start ", "")
	b.run(exitOK, nil, "drill", "--report", b.path("drill.md"), "--scratch-dir", b.tmp, "--notify", "--metrics", b.path("drill.prom"))
	told("/start ", "")
	metric("drill.prom", `takumi_backup_task_success{task="drill"} 1`)

	// What only shows is not a run, and the file of verify is not theirs.
	b.run(exitUsage, nil, "prune", "--notify").says("--apply")
	b.run(exitUsage, nil, "replicate", b.path("store"), b.path("copy"), "--dry-run", "--metrics", b.path("x.prom")).says("--dry-run")
	b.run(exitOK, nil, "verify", "--metrics", b.path("verify.prom"))
	verified := string(readFile(t, b.path("verify.prom")))
	b.run(exitUsage, nil, "replicate", b.path("store"), b.path("copy"), "--metrics", b.path("verify.prom")).says("a file of its own")
	if now := string(readFile(t, b.path("verify.prom"))); now != verified {
		t.Errorf("the metrics of verify were written over:\n%s", now)
	}

	// A backup is worth more than its metrics, which a full disk may not take.
	if err := os.Mkdir(b.path("uploads"), 0o755); err != nil {
		t.Fatal(err)
	}
	writeFile(t, b.path("uploads/a"), []byte("a"))
	// The notification says why prune failed.
	junk := b.path("store/uploads/junk_20200101_000000.tar.enc")
	writeFile(t, junk, []byte("junk"))
	b.run(exitSome, nil, night...)
	mu.Lock()
	if log := strings.Join(pings, "\n"); !strings.Contains(log, "junk_20200101_000000.tar.enc: ") {
		t.Errorf("pings: %q", log)
	}
	mu.Unlock()
	told("/start /fail", `"name":"prune"`)
	os.Remove(junk)
	before := len(files(t, b.path("store")))
	b.run(exitStore, nil, "backup", "all", "--quiet", "--metrics", b.path("missing/night.prom")).says("the job itself was done")
	if after := len(files(t, b.path("store"))); after <= before {
		t.Errorf("%d files in the store, and %d before the night", after, before)
	}

	var memory struct {
		Tasks map[string]json.RawMessage `json:"tasks"`
	}
	for _, name := range files(t, envOf(b.env, "XDG_STATE_HOME")) {
		if strings.HasSuffix(name, "/runs.json") {
			if err := json.Unmarshal(readFile(t, envOf(b.env, "XDG_STATE_HOME")+"/"+name), &memory); err != nil {
				t.Fatal(err)
			}
		}
	}
	if len(memory.Tasks) != 4 {
		t.Errorf("remembered: %s", memory.Tasks)
	}
}

// line returns the line of a file that begins so.
func line(t *testing.T, path, prefix string) string {
	t.Helper()
	for l := range strings.Lines(string(readFile(t, path))) {
		if strings.HasPrefix(l, prefix) {
			return strings.TrimSuffix(l, "\n")
		}
	}
	t.Fatalf("%s: no %s", path, prefix)
	return ""
}

// envOf returns the last value of a variable.
func envOf(env []string, name string) (value string) {
	for _, pair := range env {
		if v, found := strings.CutPrefix(pair, name+"="); found {
			value = v
		}
	}
	return value
}
