package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	secretkit "github.com/takumi-backup/takumi-backup/internal/testkit/secrets"
	"github.com/takumi-backup/takumi-backup/keystore/secrets"
	"github.com/takumi-backup/takumi-backup/keystore/secrets/rotation"
)

// site is a service, and the program as a process of its own.
type site struct {
	t       *testing.T
	store   secrets.Store
	service *secretkit.Service
	env     []string
	dir     string
}

func newSite(t *testing.T, spec string, server *secretkit.Server) *site {
	b, err := secrets.Open(spec, secrets.Options{Environment: "staging"})
	if err != nil {
		t.Fatal(err)
	}
	s := &site{t: t, store: b.(secrets.Store), dir: t.TempDir()}
	s.env = append(os.Environ(), "TAKUMI_TEST_AS=program", "TAKUMI_ENV=staging", "SECRETS_BACKEND="+spec, "XDG_STATE_HOME="+s.dir)
	if out, err := s.program("rotate", "jwt", "--first").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	load := func() map[string]string { return s.fields() }
	if server != nil {
		load = server.Fields
	}
	s.service = secretkit.NewService(t, 3, load)
	return s
}

func (s *site) program(args ...string) *exec.Cmd {
	cmd := exec.CommandContext(s.t.Context(), os.Args[0], args...)
	cmd.Env = s.env
	return cmd
}

// rotate is the command that is killed.
func (s *site) rotate() *exec.Cmd {
	restart := fmt.Sprintf("TAKUMI_TEST_AS=restart exec %s %s/restart", os.Args[0], s.service.URL)
	return s.program("rotate", "jwt", "--force", "--health-url", s.service.URL+"/health", "--test-url", s.service.URL+"/me", "--rollout", restart)
}

func (s *site) fields() map[string]string {
	d, err := s.store.Read(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	return d.Fields
}

func (s *site) accepts(secret string) bool {
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"exp": time.Now().Add(time.Minute).Unix()}).SignedString([]byte(secret))
	if err != nil {
		s.t.Fatal(err)
	}
	for i := range 3 {
		if !s.service.Accepts(i, token) {
			return false
		}
	}
	return true
}

func (s *site) history() []rotation.Entry {
	h, err := rotation.ReadHistory(filepath.Join(s.dir, "takumi-backup", "rotation"))
	if err != nil {
		s.t.Fatal(err)
	}
	return h.Rotations
}

// TestKillAtAnyMoment kills the program at random moments of a rotation, and runs the
// same command again: the service accepts the current and the former secret, exactly
// one is current, and the history has one rotation more.
func TestKillAtAnyMoment(t *testing.T) {
	moments := 1 // for each of two backends; 50 for each of four in the long run
	if os.Getenv("TAKUMI_TEST_LONG") != "" {
		moments = 50
	}
	for name, start := range map[string]func(*testing.T) *site{
		"aws": func(t *testing.T) *site {
			return newSite(t, "aws-secrets-manager:takumi/staging/jwt", secretkit.AWS(t, "takumi/staging/jwt"))
		},
		"vault": func(t *testing.T) *site {
			return newSite(t, "vault:secret/takumi/staging", secretkit.Vault(t, "takumi/staging"))
		},
		"kubernetes": func(t *testing.T) *site {
			c := secretkit.Kubernetes(t, "jwt", filepath.Join(t.TempDir(), "kubeconfig"), func(path, text string) {
				if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			})
			return newSite(t, "kubernetes:takumi/jwt", c.Server)
		},
		"dotenv": func(t *testing.T) *site { return newSite(t, "dotenv:"+filepath.Join(t.TempDir(), ".env"), nil) },
	} {
		if moments < 50 && name != "dotenv" && name != "aws" {
			continue // each takes some seconds
		}
		t.Run(name, func(t *testing.T) {
			s := start(t)
			begin := time.Now()
			if out, err := s.rotate().CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			takes := time.Since(begin)
			killed := 0
			for range moments {
				if out, err := s.program("rotate", "jwt", "--finish", "--even-in-grace").CombinedOutput(); err != nil {
					t.Fatalf("%v: %s", err, out)
				}
				s.service.Roll()
				if s.killOnce(takes) {
					killed++
				}
			}
			t.Logf("killed %d of %d runs before their end", killed, moments)
		})
	}
}

func (s *site) killOnce(takes time.Duration) (killed bool) {
	before, runs := s.fields(), len(s.history())
	cmd := s.rotate()
	var first bytes.Buffer
	cmd.Stdout, cmd.Stderr = &first, &first
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	time.Sleep(time.Duration(rand.Int64N(int64(takes))))
	_ = cmd.Process.Kill() // it may have ended
	killed = cmd.Wait() != nil
	if !s.accepts(before["JWT_SECRET"]) {
		s.t.Errorf("after the kill the service refuses what was current:\n%s", &first)
	}
	var second bytes.Buffer
	again := s.rotate()
	again.Stdout, again.Stderr = &second, &second
	// A run that had ended by itself leaves a grace period, in which another is refused.
	if err := again.Run(); err != nil && !strings.Contains(second.String(), "grace period of the last rotation") {
		s.t.Fatalf("again: %v\n%s--\n%s", err, &first, &second)
	}
	now, h := s.fields(), s.history()
	if now["JWT_SECRET"] == before["JWT_SECRET"] || now["JWT_SECRET_PREVIOUS"] != before["JWT_SECRET"] || now["JWT_REFRESH_SECRET_PREVIOUS"] != before["JWT_REFRESH_SECRET"] {
		s.t.Errorf("not rotated exactly once\n%s--\n%s", &first, &second)
	}
	if !s.accepts(now["JWT_SECRET"]) || !s.accepts(before["JWT_SECRET"]) {
		s.t.Errorf("the service does not accept both\n%s--\n%s", &first, &second)
	}
	if len(h) != runs+1 || !h[runs].Success || h[runs].Action != "rotate" {
		text, _ := json.Marshal(h[runs:])
		s.t.Errorf("the history has %s\n%s--\n%s", text, &first, &second)
	}
	return killed
}
