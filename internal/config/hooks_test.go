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
