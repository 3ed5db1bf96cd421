package named

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/takumi-backup/takumi-backup/envelope/agekey"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/internal/config"
	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/keystore"
)

// TestWhoWins: what a flag names counts in place of the settings, a recipient too, and
// two settings that name different keys are a mistake.
func TestWhoWins(t *testing.T) {
	t.Parallel()
	recipient := agekey.GenerateSeed(false).Recipient().String()
	for name, c := range map[string]struct {
		keys     Keys
		settings []string
		want     string // the sources, or a part of the error
	}{
		"nothing":          {},
		"a file":           {settings: []string{"BACKUP_ENCRYPTION_KEY_FILE=/k"}, want: "file:/k"},
		"a flag":           {keys: Keys{URIs: []string{"file:/f"}}, settings: []string{"BACKUP_ENCRYPTION_KEY_FILE=/k"}, want: "file:/f"},
		"a recipient":      {keys: Keys{Recipients: []string{recipient}}, settings: []string{"BACKUP_ENCRYPTION_KEY_FILE=/k"}},
		"a list":           {settings: []string{"BACKUP_KEYS=file:/a file:/b"}, want: "file:/a file:/b"},
		"a backend":        {settings: []string{"SECRETS_BACKEND=env"}, want: "env:BACKUP_ENCRYPTION_KEY"},
		"two settings":     {settings: []string{"BACKUP_ENCRYPTION_KEY_FILE=/k", "BACKUP_KEYS=file:/a"}, want: "both set"},
		"no such scheme":   {keys: Keys{Flag: "from", URIs: []string{"nowhere:x"}}, want: "--from: "},
		"production":       {settings: []string{"SECRETS_BACKEND=env", "NODE_ENV=production"}, want: "production"},
		"no such backend":  {settings: []string{"SECRETS_BACKEND=paper"}, want: "SECRETS_BACKEND"},
		"a bad recipient":  {keys: Keys{Recipients: []string{"age1nothing"}}, want: "--recipient: "},
		"a file of nobody": {keys: Keys{URIs: []string{"age:"}}, want: "wants the path"},
	} {
		c.keys.Settings = config.Environment(c.settings)
		ring, err := c.keys.Ring()
		if err != nil {
			if c.want == "" || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v, want %q", name, err, c.want)
			}
			continue
		}
		var got []string
		for _, s := range ring.Sources() {
			got = append(got, s.String())
		}
		ring.Close()
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// TestOneKey: what works on a single key takes no more, and is given a copy of its own.
func TestOneKey(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var uris []string
	first := kek.Generate()
	for n, key := range []*kek.Key{first, kek.Generate()} {
		path := filepath.Join(dir, string(rune('a'+n)))
		if err := keystore.WriteFile(path, key); err != nil {
			t.Fatal(err)
		}
		uris = append(uris, "file:"+path)
	}
	one := Keys{URIs: uris[:1], Settings: config.Environment(nil)}
	secret, err := one.Secret(t.Context())
	if err != nil || secret.ID() != first.ID() {
		t.Fatalf("%v, %v", secret, err)
	}
	secret.Wipe()
	both := Keys{URIs: uris, Settings: config.Environment(nil)}
	if _, err := both.Secret(t.Context()); err == nil {
		t.Error("one of two keys was taken")
	} else if class, _ := fail.Of(err); class != fail.Usage {
		t.Errorf("%v is of class %v", err, class)
	}
	none := Keys{URIs: []string{"file:" + filepath.Join(dir, "missing")}, Settings: config.Environment(nil)}
	if _, _, err := none.Required(context.Background()); !errors.Is(err, keystore.ErrNotFound) {
		t.Errorf("%v", err)
	}
}
