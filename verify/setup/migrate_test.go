package setup

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/takumi-backup/takumi-backup/internal/config"
	"github.com/takumi-backup/takumi-backup/internal/fail"
)

// TestMigrateKeepsSecretsApart: what is migrated says the same, without a secret in it, each
// of which gets a file that only its owner may read; and no file is written over.
func TestMigrateKeepsSecretsApart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	old, out := filepath.Join(dir, "backup.conf"), filepath.Join(dir, "backup.toml")
	if err := os.WriteFile(old, []byte("DB_NAME=shop\nDB_PASSWORD=hunter2\nBACKUP_ROOT=/srv/b\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	text, err := Migrate(old, "", &said)
	if err != nil || bytes.Contains(text, []byte("hunter2")) || !strings.Contains(said.String(), "DB_PASSWORD is to be in ") {
		t.Fatalf("%s, %s, %v", text, &said, err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("without -o there are %v, %v", entries, err)
	}
	if _, err = Migrate(old, out, &said); err != nil {
		t.Fatal(err)
	}
	conf, err := config.Load(out, nil)
	if err != nil || conf.Get("DB_NAME") != "shop" || conf.Get("BACKUP_ROOT") != "/srv/b" || conf.Get("DB_PASSWORD") != "" {
		t.Errorf("%v: %v", conf, err)
	}
	if secret, err := os.ReadFile(conf.Get("DB_PASSWORD_FILE")); err != nil || string(secret) != "hunter2\n" {
		t.Errorf("%q, %v", secret, err)
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 3 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, f := range files {
		if info, err := f.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s is %v, %v", f.Name(), info.Mode(), err)
		}
	}
	if _, err := Migrate(old, out, &said); err == nil {
		t.Error("it was written over")
	}
	if err := os.WriteFile(old, []byte("no assignment\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = Migrate(old, "", &said)
	if class, _ := fail.Of(err); class != fail.Usage {
		t.Errorf("of what is not an assignment: %v", err)
	}
}
