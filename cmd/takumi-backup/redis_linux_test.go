package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/takumi-backup/takumi-backup/internal/testkit/postgres"
)

// TestSealRedis: what redis-cli --rdb writes to a pipe is judged, and a server
// reads it again.
func TestSealRedis(t *testing.T) {
	if os.Getenv(pgtest.Switch) != "1" {
		t.Skipf("set %s=1 to run redis-server; scripts/test installs it and does", pgtest.Switch)
	}
	dir, err := os.MkdirTemp("", "redis") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	serve := func(load string) (stop func()) {
		server := exec.Command("redis-server", "--port", "0", "--unixsocket", socket, "--dir", dir, "--save", "", "--dbfilename", load)
		if err := server.Start(); err != nil {
			t.Fatal(err)
		}
		stop = func() {
			_ = server.Process.Kill()
			_ = server.Wait()
		}
		t.Cleanup(stop)
		eventually(t, "redis answers", func() bool { return exec.Command("redis-cli", "-s", socket, "ping").Run() == nil })
		return stop
	}
	stop := serve("none.rdb")
	if err := exec.Command("redis-cli", "-s", socket, "mset", "a", "1", "b", "2").Run(); err != nil {
		t.Fatal(err)
	}
	b := newSandbox(t)
	path := b.run(exitOK, nil, "seal", "--name", "redis", "-o", b.path("redis.rdb.enc"), "--", "redis-cli", "-s", socket, "--rdb", "-")
	if found := path.stderr.String(); !strings.Contains(found, "sealed ") || strings.Contains(found, "not judged") {
		t.Errorf("seal says %q", found)
	}
	stop()
	b.run(exitOK, nil, "verify", b.path("redis.rdb.enc"))
	rdb := b.run(exitOK, nil, "open", b.path("redis.rdb.enc")).stdout.Bytes()
	if err := os.WriteFile(filepath.Join(dir, "back.rdb"), rdb, 0o600); err != nil {
		t.Fatal(err)
	}
	serve("back.rdb")
	if out, err := exec.Command("redis-cli", "-s", socket, "get", "b").Output(); err != nil || string(out) != "2\n" {
		t.Errorf("redis has %q, %v", out, err)
	}
	b.run(exitSource, bytes.NewReader(rdb[:len(rdb)-60]), "seal").says("dump of Redis")
}
