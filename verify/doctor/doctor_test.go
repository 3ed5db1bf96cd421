package doctor

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/takumi-backup/takumi-backup/backup/store"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/internal/config"
	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/keystore"
)

// TestExamineFinds: of a store, a key and a folder that are as they should be only jobs
// that never ran are found; and each thing that is wrong is found, with what helps.
func TestExamineFinds(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("XDG_STATE_HOME", filepath.Join(dir, "state"))
	root, uploads, keyFile := filepath.Join(dir, "store"), filepath.Join(dir, "uploads"), filepath.Join(dir, "key")
	for _, folder := range []string{root, uploads, filepath.Join(dir, "state"), filepath.Join(dir, "empty")} {
		if err := os.Mkdir(folder, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	err := errors.Join(keystore.WriteFile(keyFile, kek.Generate()), os.WriteFile(filepath.Join(uploads, "a"), nil, 0o600))
	if err != nil {
		t.Fatal(err)
	}
	good := []string{"BACKUP_ROOT=" + root, "UPLOADS_DIR=" + uploads}
	for name, tc := range map[string]struct {
		environ []string
		key     string
		audit   error
		want    string // check, class, subject and cure of the finding
	}{
		"good":          {good, keyFile, nil, ""},
		"no sources":    {good[:1], keyFile, nil, "settings error  takumi-backup init"},
		"mistake":       {append(good, "RETENTION_DAYS=soon"), keyFile, nil, "settings error  takumi-backup config show"},
		"misspelt kind": {append(good, "TAKUMI_MAX_AGE=26h upload=8d"), keyFile, nil, "settings warning upload takumi-backup config show"},
		"other kind":    {append(good, "TAKUMI_MAX_AGE=26h wiki=8d"), keyFile, nil, ""},
		"key not there": {good, keyFile + "2", nil, "keys error file:" + keyFile + "2 "},
		"empty folder":  {[]string{good[0], "UPLOADS_DIR=" + filepath.Join(dir, "empty")}, keyFile, nil, "uploads error " + filepath.Join(dir, "empty") + " mount "},
		"no folder":     {[]string{good[0], "UPLOADS_DIR=" + filepath.Join(dir, "none")}, keyFile, nil, "uploads error " + filepath.Join(dir, "none") + " mount it"},
		"no audit log":  {good, keyFile, fail.Usagef("the folder is not known"), "settings error  takumi-backup config show"},
	} {
		t.Run(name, func(t *testing.T) {
			place, err := store.Open(root, store.S3Options{})
			if err != nil {
				t.Fatal(err)
			}
			found, err := Examine(t.Context(), config.Environment(append([]string{"HEALTHCHECK_URL=https://health.example/1"}, tc.environ...)), Examined{
				Ring:  func() (*keystore.Ring, error) { return keystore.NewRing(keystore.File{Path: tc.key}), nil },
				Store: place, AuditDir: filepath.Join(dir, "state"), AuditFault: tc.audit, Warn: t.Logf,
			})
			if err != nil {
				t.Fatal(err)
			}
			seen := false
			for _, f := range found {
				text := strings.Join([]string{f.Check, f.Class, f.Subject, f.Cure}, " ")
				switch {
				case tc.want != "" && strings.HasPrefix(text, tc.want):
					seen = true
				case f.Check != "jobs":
					t.Errorf("found: %+v", f)
				}
			}
			if !seen && tc.want != "" {
				t.Errorf("found %+v, and not %q", found, tc.want)
			}
		})
	}
}
