package config

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestStopped: after a stop a slow on_error, and what it has started, gives way to the hook
// that comes last, which undoes what the first one did.
func TestStopped(t *testing.T) {
	stopPatience = time.Second
	dir := t.TempDir()
	s := &Settings{File: &File{Hooks: Hooks{
		OnError: "sleep 600 & echo $! > " + filepath.Join(dir, "pid") + "; wait",
		After:   "echo $TAKUMI_OUTCOME > " + filepath.Join(dir, "after"),
	}}}
	why := errors.New("stopped")
	ctx, stop := context.WithCancelCause(t.Context())
	var out bytes.Buffer
	var warned []string
	err := s.Hooked(ctx, &out, func(format string, _ ...any) { warned = append(warned, format) }, func() error { stop(why); return why })
	if !errors.Is(err, why) || len(warned) != 1 {
		t.Errorf("%v, %q", err, warned)
	}
	if text, err := os.ReadFile(filepath.Join(dir, "after")); err != nil || string(text) != "failed\n" {
		t.Errorf("%q, %v", text, err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "pid"))
	if err != nil || len(text) == 0 {
		return // a very busy machine stopped on_error before it began
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	for syscall.Kill(pid, 0) == nil {
		if state, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status"); bytes.Contains(state, []byte("State:\tZ")) {
			break // dead, and nobody has asked
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// TestLeftRunning: a hook that ends well and leaves something running, as a tunnel, has
// done its work.
func TestLeftRunning(t *testing.T) {
	s := &Settings{File: &File{Hooks: Hooks{Before: "sleep 600 & echo $!"}}}
	var out bytes.Buffer
	worked := false
	err := s.Hooked(t.Context(), &out, t.Errorf, func() error { worked = true; return nil })
	if err != nil || !worked {
		t.Errorf("%v, and it worked: %v", err, worked)
	}
	if pid, err := strconv.Atoi(strings.TrimSpace(out.String())); err == nil {
		syscall.Kill(pid, syscall.SIGKILL)
	}
}

// TestEmptyVariables: what the environment has without a value is not set, and hides
// nothing of the file.
func TestEmptyVariables(t *testing.T) {
	path := filepath.Join(t.TempDir(), "backup.toml")
	if err := os.WriteFile(path, []byte("[[store]]\nurl = \"s3://b/p\"\n[[database]]\nname = \"takumi\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := Load(path, []string{"DB_NAME=", "BACKUP_ROOT=", "PGDATABASE=", "BACKUP_DIR="})
	if err != nil {
		t.Fatal(err)
	}
	if targets := s.Targets("database"); len(targets) != 1 || s.Get("BACKUP_ROOT") != "s3://b/p" {
		t.Errorf("%d databases, to %q", len(targets), s.Get("BACKUP_ROOT"))
	}
}

// TestShownURL: the password in a URL is not shown.
func TestShownURL(t *testing.T) {
	for _, v := range Environment([]string{
		"VAULT_ADDR=https://ops:S3cret@vault.example:8200",
		"BACKUP_ALSO=s3://a/b?endpoint=https://u:S3cret@one.example/ s3://c/d?endpoint=https://S3cret@two.example/",
	}).Shown() {
		if strings.Contains(v.Value, "S3cret") || v.Name == "VAULT_ADDR" && v.Value != "https://[redacted]@vault.example:8200" || v.Name == "BACKUP_ALSO" && !strings.Contains(v.Value, "two.example") {
			t.Errorf("%+v", v)
		}
	}
}
