package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestRunsAsTheOwnerOfTheSettings: root with the settings of another user is that user,
// whatever the settings say, and nothing of root's environment goes along.
func TestRunsAsTheOwnerOfTheSettings(t *testing.T) {
	needIntegration(t)
	const nobody = 65534
	b := newSandbox(t)
	var err error
	if b.dir, err = os.MkdirTemp("", "owner"); err != nil { // that of the test is for root alone
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(b.dir) })
	if err := os.Chmod(b.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	b.exe = b.path(program)
	if err := os.WriteFile(b.exe, readFile(t, releaseBuild(t)), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"uploads", "store", "state", "run"} {
		if err := os.Mkdir(b.path(dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	writeFile(t, b.path("uploads/open"), []byte("for all"))
	if err := os.Chmod(b.path("uploads/open"), 0o644); err != nil {
		t.Fatal(err)
	}
	writeFile(t, b.path("uploads/secret"), []byte("for root"))
	writeFile(t, b.path("key"), []byte(mainKey+"\n"))
	writeFile(t, b.path("backup.toml"), []byte(`state_home = "`+b.path("state")+`"
[[store]]
url = "`+b.path("store")+`"
[keys]
uris = ["file:`+b.path("key")+`"]
[[uploads]]
path = "`+b.path("uploads")+`"
[hooks]
after = "id -u > `+b.path("run/who")+`; env > `+b.path("run/env")+`"
`))
	for _, path := range []string{"store", "state", "run", "key", "backup.toml"} {
		if err := os.Chown(b.path(path), nobody, nobody); err != nil {
			t.Fatal(err)
		}
	}
	b.env = []string{"PATH=" + os.Getenv("PATH"), "HOME=/root", "ROOTS_OWN=1", "AWS_PROFILE=root", "TMPDIR=" + b.tmp}
	b.run(exitSome, nil, "backup", "all", "--config", b.path("backup.toml")).says("1 could not be read")
	made, err := filepath.Glob(b.path("store/uploads/*.enc"))
	if err != nil || len(made) != 1 {
		t.Fatalf("%q, %v", made, err)
	}
	for _, path := range append(made, b.path("state/takumi-backup/audit")) {
		info, err := os.Stat(path)
		if err != nil || info.Sys().(*syscall.Stat_t).Uid != nobody {
			t.Errorf("%s: %v", path, err)
		}
	}
	if who := string(readFile(t, b.path("run/who"))); who != "65534\n" {
		t.Errorf("the hook ran as %s", who)
	}
	if env := string(readFile(t, b.path("run/env"))); strings.Contains(env, "ROOTS_OWN") || strings.Contains(env, "AWS_PROFILE") || strings.Contains(env, "HOME=/root") {
		t.Errorf("root's environment went along:\n%s", env)
	}

	// What only root may do asks for settings of root's own.
	b.run(exitStore, nil, "restore", "uploads", made[0], "--to", "/root/takumi-test-restored", "--yes", "--config", b.path("backup.toml")).says("--config none")
	b.run(exitOK, nil, "inspect", made[0], "--config", "none")
}
