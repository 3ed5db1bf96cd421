package main

import (
	"encoding/base64"
	"encoding/hex"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	secretkit "github.com/takumi-backup/takumi-backup/internal/testkit/secrets"
	"github.com/takumi-backup/takumi-backup/keystore/secrets"
)

// canaries are secrets that must turn up nowhere but where they belong.
type canaries struct{ values []string }

func (c *canaries) in(text string) bool {
	for _, v := range c.values {
		raw, err := base64.StdEncoding.DecodeString(v)
		if err != nil {
			raw, _ = hex.DecodeString(v)
		}
		for _, form := range []string{v, hex.EncodeToString([]byte(v)), base64.StdEncoding.EncodeToString([]byte(v)), hex.EncodeToString(raw)} {
			for i := 0; i+16 <= len(form); i += 8 {
				if strings.Contains(text, form[i:i+16]) {
					return true
				}
			}
		}
	}
	return false
}

// TestCanary runs every command that handles secrets, on every backend that is rotated,
// with all the logging that libraries have turned on, with faults, and looks for each
// value in what is printed, in the logs, and in the arguments of every process.
func TestCanary(t *testing.T) {
	t.Setenv("VAULT_LOG_LEVEL", "trace")
	t.Setenv("AWS_SDK_LOG_MODE", "all")
	t.Setenv("GODEBUG", "http2debug=2")
	for name, start := range map[string]func(t *testing.T) (string, *secretkit.Server){
		"aws": func(t *testing.T) (string, *secretkit.Server) {
			return "aws-secrets-manager:takumi/staging/jwt", secretkit.AWS(t, "takumi/staging/jwt")
		},
		"vault": func(t *testing.T) (string, *secretkit.Server) {
			return "vault:secret/takumi/staging", secretkit.Vault(t, "takumi/staging")
		},
		"kubernetes": func(t *testing.T) (string, *secretkit.Server) {
			c := secretkit.Kubernetes(t, "jwt", filepath.Join(t.TempDir(), "kubeconfig"), func(path, text string) {
				if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			})
			return "kubernetes:takumi/jwt", c.Server
		},
		"dotenv": func(t *testing.T) (string, *secretkit.Server) {
			return "dotenv:" + filepath.Join(t.TempDir(), ".env"), nil
		},
	} {
		if os.Getenv("TAKUMI_TEST_LONG") == "" && name != "vault" {
			continue // each takes some seconds
		}
		t.Run(name, func(t *testing.T) {
			spec, server := start(t)
			canary(t, newSite(t, spec, server))
		})
	}
}

func canary(t *testing.T, s *site) {
	password, err := secrets.Generate(secrets.Password, 0)
	if err != nil {
		t.Fatal(err)
	}
	d, err := s.store.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	d.Fields["DB_PASSWORD"] = password.Reveal()
	if err := s.store.Write(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	tree := t.TempDir()
	if err := os.WriteFile(filepath.Join(tree, ".env.production"), []byte("DB_PASSWORD="+password.Reveal()+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	c := new(canaries)
	collect := func() {
		for name, v := range s.fields() {
			if name != secrets.StateField {
				c.values = append(c.values, v)
			}
		}
	}
	collect()
	seen := watchArguments(t)
	fail := "case $TAKUMI_ROTATION_ID in *-rotate) echo oops >&2; exit 3;; esac"
	var out strings.Builder
	for _, args := range [][]string{
		{"check"}, {"check", "--component", "database", "--json"}, {"check", "--name", "DB_PASSWORD", "--against", "development=" + s.store.String()},
		{"run", "--name", "DB_PASSWORD", "--", "true"}, {"get", "NONE"},
		{"rotate", "jwt", "--dry-run", "--force"}, {"rotate", "jwt", "--force", "--rollout", "true", "--test-url", s.service.URL + "/health", "--json"},
		{"rotate", "jwt", "--finish", "--even-in-grace"}, {"rotate", "jwt", "--force", "--rollout", fail},
		{"rotate", "jwt", "--force", "--even-in-grace"}, {"rotate", "jwt", "--compromised", "--json"},
		{"status"}, {"status", "--json"}, {"history"}, {"report"}, {"report", "--format", "html"}, {"report", "--format", "json"},
		{"audit", tree}, {"audit", tree, "--format", "sarif"}, {"env", "lint", filepath.Join(tree, ".env.production")}, {"rotate", password.Reveal()}, {"get", password.Reveal()}, {"status", password.Reveal()},
	} {
		b, _ := s.program(args...).CombinedOutput() // some are refused, as they should be
		collect()
		out.Write(b)
		if c.in(string(b)) {
			t.Errorf("%v prints a secret", args[:1])
		}
	}
	if !strings.Contains(out.String(), "is completed") || !strings.Contains(out.String(), "the former secrets are current again") {
		t.Errorf("the commands did not do what is looked at: %s", out.String())
	}
	err = filepath.WalkDir(s.dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if err == nil && c.in(string(text)) {
			t.Errorf("%s holds a secret", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range seen() {
		// Those that were pasted as a name are the test's own.
		if words := strings.Split(strings.TrimSuffix(line, "\x00"), "\x00"); words[len(words)-1] != password.Reveal() && c.in(line) {
			t.Error("the arguments of a process hold a secret")
		}
	}
}

// watchArguments collects the arguments of this program's descendants while a test runs.
func watchArguments(t *testing.T) func() []string {
	stop, done := make(chan struct{}), make(chan struct{})
	var mu sync.Mutex
	lines := make(map[string]bool)
	go func() {
		defer close(done)
		for {
			entries, _ := os.ReadDir("/proc") // processes come and go
			for _, e := range entries {
				if _, err := strconv.Atoi(e.Name()); err == nil {
					if text, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline")); err == nil {
						mu.Lock()
						lines[string(text)] = true
						mu.Unlock()
					}
				}
			}
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	}()
	return func() []string {
		close(stop)
		<-done
		var all []string
		for line := range lines {
			all = append(all, line)
		}
		return all
	}
}
