package rotation

import (
	"encoding/json"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/keystore/secrets"
)

// A proof, a rollout or a command that prints what it knows: no value is in an error, a line
// of the log, the history, or the state.
func TestWhatProgramsPrintIsHidden(t *testing.T) {
	b := newBench(t, "dotenv:"+filepath.Join(t.TempDir(), ".env"), nil)
	b.set.Kind = secrets.Password // 32 characters, which redact takes for a word
	env := strings.TrimPrefix(b.backend.String(), "dotenv:")
	for name, change := range map[string]func(r *Rotator){
		"proof": func(r *Rotator) { r.Prover = commandProver{"/bin/sh", "-c", "tr , ' ' >&2; exit 1"} },
		"rollout": func(r *Rotator) {
			r.Roller = commandRoller{RolloutConfig{Command: []string{"/bin/sh", "-c", "cat " + env + " >&2; exit 1"}, Timeout: DefaultTimeout}}
		},
	} {
		b.again()
		var values []string
		collect := func() {
			for _, suffix := range []string{"", previous} {
				for _, v := range b.rotator().values(b.document(), suffix) {
					values = append(values, v)
				}
			}
		}
		collect()
		r := b.rotator()
		change(r)
		r.fault = func(string) { collect() }
		_, err := r.Rotate(t.Context(), Options{})
		if err == nil || !strings.Contains(err.Error(), "failed: exit status 1") {
			t.Fatalf("%s: %v", name, err)
		}
		collect()
		history, _ := json.Marshal(b.history())
		text := err.Error() + strings.Join(b.lines, "\n") + string(history) + b.document().State
		for _, v := range values {
			for i := 0; i+12 <= len(v); i++ {
				if strings.Contains(text, v[i:i+12]) {
					t.Fatalf("%s: a value is in %s", name, text)
				}
			}
		}
	}
}

func TestTailCutsNoWord(t *testing.T) {
	for in, want := range map[string]string{"short": "short", "secret-secret and more": "and more", "one\nsecret-secret\nmore words": "more words", "secretsecretsecretsecret": ""} {
		if got := tail(in, 14); got != want {
			t.Errorf("%q: %q", in, got)
		}
	}
}

// URLs in errors and in the log are without the keys that some have.
func TestURLsAreShownWithoutKeys(t *testing.T) {
	b := newBench(t, "dotenv:"+filepath.Join(t.TempDir(), ".env"), nil)
	with := func(path string) string {
		return strings.Replace(b.service.URL, "http://", "http://user:canary@", 1) + path + "?key=canary"
	}
	b.set.Health, b.set.Proof.URL = with("/health"), with("/me")
	res := b.must(b.rotator().Rotate(t.Context(), Options{}))
	b.set.Proof.URL = with("/health") // which accepts everything
	_, err := b.rotator().Rotate(t.Context(), Options{Force: true, EvenInGrace: true})
	if err == nil || !strings.Contains(err.Error(), "proves nothing") {
		t.Errorf("got %v", err)
	}
	plan, planErr := b.rotator().Rotate(t.Context(), Options{Force: true, EvenInGrace: true, DryRun: true})
	b.set.Health = "http://user:canary@127.0.0.1:1/?key=canary"
	_, unhealthy := b.rotator().Rotate(t.Context(), Options{Force: true, EvenInGrace: true})
	history, _ := json.Marshal(b.history())
	text, _ := json.Marshal([]any{res, plan, b.lines, err.Error(), unhealthy.Error()})
	if planErr != nil || strings.Contains(string(text)+string(history), "canary") {
		t.Errorf("%v %s %s", planErr, text, history)
	}
}

func TestHideKeepsTheClass(t *testing.T) {
	r := &Rotator{Set: JWTSet()}
	r.learn(map[string]string{"JWT_SECRET": "canary-canary", "JWT_REFRESH_SECRET": "is"})
	err := r.hide(ErrBusy)
	if err.Error() != ErrBusy.Error() || hintOf(err) != hintOf(ErrBusy) {
		t.Errorf("%v (%s)", err, hintOf(err))
	}
	if r.hide(nil) != nil {
		t.Error("nothing became an error")
	}
}

// TestLeftRunning: a program that ends well and leaves something running has done its work.
func TestLeftRunning(t *testing.T) {
	out, err := runHook(t.Context(), []string{"sh", "-c", "sleep 60 & echo $!"}, time.Minute, nil)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(out)))
	if err != nil {
		t.Fatal(err)
	}
	syscall.Kill(pid, syscall.SIGKILL)
}
