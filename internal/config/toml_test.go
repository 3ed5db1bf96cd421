package config_test

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/takumi-backup/takumi-backup/internal/config"
)

const everything = `environment = "production"
[[store]]
name = "here"
url = "/var/backups/takumi"
[[store]]
name = "offsite"
url = "s3://bucket/db1"
endpoint = "https://s3.example"
profile = "backup"
path_style = true
object_lock = "governance"
retain = "30d"
[keys]
uris = ["file:/etc/takumi-backup/backup.key"]
recipients = ["age1xyz", "ssh-ed25519 AAAA a comment"]
[[database]]
name = "takumi"
host = "/run/postgresql"
user = "backup"
[[database]]
names = ["shop_*"]
host = "db2"
[[uploads]]
name = "avatars"
path = "/srv/avatars"
exclude = ["/My Cache", "*.tmp"]
strict = true
[[uploads]]
name = "papers"
path = "/srv/papers"
[[contracts]]
path = "/srv/contracts"
network = "main-net"
rpc_url_file = "/etc/rpc"
[retention]
days = 14
weekly = 8
[retention.kind.uploads]
days = 90
[max_age]
default = "26h"
contracts = "8d"
[notify]
slack_url_file = "/etc/slack"
smtp_port = 587
[limits]
bandwidth = "20MB"
nice = 10
[hooks]
before = "/bin/true"
[schedule]
backup = "03:30"
[settings]
PGCONNECT_TIMEOUT = "7"
`

func loaded(t *testing.T, name, text string, environ ...string) *config.Settings {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := config.Load(path, environ)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestTOML: the tables become the settings that every command reads, and lists become
// what backup all works through.
func TestTOML(t *testing.T) {
	s := loaded(t, "backup.toml", everything, "DB_USER=me", "PATH=/bin")
	for name, want := range map[string]string{
		"TAKUMI_ENV": "production", "BACKUP_ROOT": "/var/backups/takumi",
		"BACKUP_ALSO": "s3://bucket/db1?profile=backup&endpoint=https://s3.example&path_style=true",
		"BACKUP_KEYS": "file:/etc/takumi-backup/backup.key", "RETENTION_DAYS": "14", "TAKUMI_MAX_AGE": "26h contracts=8d",
		"SLACK_WEBHOOK_URL_FILE": "/etc/slack", "ALERT_SMTP_PORT": "587", "TAKUMI_BANDWIDTH": "20MB", "TAKUMI_NICE": "10",
		"PGCONNECT_TIMEOUT": "7", "CONTRACTS_DIR": "/srv/contracts", "RPC_URL_MAIN_NET_FILE": "/etc/rpc",
		// More than one: a command for a single one has to be told which.
		"DB_NAME": "", "DB_HOST": "", "UPLOADS_DIR": "", "DB_USER": "me",
	} {
		if got := s.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if got := config.List(s.Get("BACKUP_RECIPIENTS")); len(got) != 2 || got[1] != "ssh-ed25519 AAAA a comment" {
		t.Errorf("recipients: %q", got)
	}
	databases, uploads := s.Targets("database"), s.Targets("uploads")
	if len(databases) != 2 || databases[0].Settings.Get("DB_HOST") != "/run/postgresql" || databases[1].Settings.Get("DB_HOST") != "db2" || !databases[1].Database.Several() {
		t.Errorf("databases: %+v", databases)
	}
	if got := databases[0].Settings.Get("DB_USER"); got != "me" {
		t.Errorf("the file won over the environment: %q", got)
	}
	if len(uploads) != 2 || uploads[1].Settings.Get("UPLOADS_DIR") != "/srv/papers" || uploads[1].Settings.Get("UPLOADS_EXCLUDE") != "" ||
		!slices.Equal(config.List(uploads[0].Settings.Get("UPLOADS_EXCLUDE")), []string{"/My Cache", "*.tmp"}) {
		t.Errorf("uploads: %+v", uploads)
	}
	if s.File.Retention.Kind["uploads"].Days != 90 || s.File.Retention.Weekly != 8 {
		t.Errorf("retention: %+v", s.File.Retention)
	}
	if v := s.All()["RETENTION_DAYS"]; !strings.HasSuffix(v.Source, "backup.toml: retention.days") {
		t.Errorf("source: %q", v.Source)
	}

	// What the environment names takes the place of the list.
	s = loaded(t, "backup.toml", everything, "DB_NAME=takumi", "BACKUP_DIR=/elsewhere", "UPLOADS_DIR=/srv/one")
	if got := s.Targets("database"); len(got) != 1 || s.Get("DB_HOST") != "/run/postgresql" || s.Get("BACKUP_ROOT") != "" {
		t.Errorf("%+v, DB_HOST=%q, BACKUP_ROOT=%q", got, s.Get("DB_HOST"), s.Get("BACKUP_ROOT"))
	}
	if got := s.Targets("uploads"); len(got) != 1 || got[0].Settings.Get("UPLOADS_DIR") != "/srv/one" {
		t.Errorf("%+v", got)
	}
}

// TestTOMLRefused: what cannot be right is refused with its line, the name that was
// meant, and no value.
func TestTOMLRefused(t *testing.T) {
	for text, want := range map[string]string{
		"[[store]]\nurl = \"/a\"\nendpont = \"x\"\n":                                     "line 3: store.endpont is not a setting of this program: did you mean endpoint?",
		"enviroment = \"test\"\n":                                                        "line 1: enviroment is not a setting of this program: did you mean environment?",
		"[retention.kind.uploads]\ndayly = 3\n":                                          "did you mean daily?",
		"[[database]]\nname = \"a\"\npassword = \"hunter2\"\n":                           "password_file names the file that has it",
		"[limits]\nnice = \"hunter2\"\n":                                                 "line 2: limits.nice: it has the type string, and is to be a whole number",
		"[keys]\nuris = \"hunter2\"\n":                                                   "keys.uris: it has the type string, and is to be a list of texts",
		"store = \"/x\"\n":                                                               "is to be a list of tables: [[NAME]] begins each",
		"retention = 3\n":                                                                "is to be a table: [NAME] begins it",
		"[[store]]\nurl = \"/a\"\n[[store]]\nurl = \"/a/\"\n":                            "store[1] has the url /a, as another one has",
		"[[store]]\nname = \"x\"\nurl = \"/a\"\n[[store]]\nname = \"x\"\nurl = \"/b\"\n": "store[1] has the name x, as another one has",
		"[[uploads]]\npath = \"~/a\"\n":                                                  "uploads[0].path: ~ is not expanded",
		"[[database]]\nname = \"a\"\nall = true\n":                                       "database[0]: give one of name, names and all",
		"[[database]]\nhost = \"a\"\n":                                                   "give one of name, names and all",
		"[[database]]\nnames = [\"[\"]\n":                                                "not a pattern",
		"[[uploads]]\npath = \"/a\"\n[[uploads]]\npath = \"/b\"\n":                       "uploads[1]: give each folder a name of its own",
		"[[store]]\nname = \"a\"\n":                                                      "store[0] has no url",
		"[[store]]\nurl = \"/a\"\npart_size = \"16M\"\n":                                 "only a bucket has further settings",
		"[[store]]\nurl = \"s3://a\"\nregion = \"a&b\"\n":                                "cannot be part of an S3 URL",
		"[[store]]\nurl = \"/a b\"\n":                                                    "two stores",
		"[settings]\nPGPORTT = \"1\"\nLD_PRELOAD = \"hunter2\"":                          "is not a setting of this program",
		"[settings]\nDB_PASSWORD = \"hunter2\"\n":                                        "settings.DB_PASSWORD is a secret",
		"environment = hunter2\n":                                                        "line 1: ",
		"#" + strings.Repeat("x", config.MaxSize):                                        "longer than",
	} {
		file, err := config.ParseTOML([]byte(text))
		if err == nil {
			err = file.Check()
		}
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%.60q: %v, want %q", text, err, want)
		}
	}
	path := filepath.Join(t.TempDir(), "backup.toml")
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := config.Load(path, nil); err == nil || !strings.Contains(err.Error(), "not private") {
		t.Errorf("a file that others can read: %v", err)
	}
	if _, err := config.ParseTOML([]byte("\uFEFF[retention]\r\ndays = 3\r\n")); err != nil {
		t.Errorf("a file from Windows: %v", err)
	}
}

// TestRelative: a job of the clock starts in any folder, so that the file of the host names
// whole paths; one that is named on the command line may name those next to it.
func TestRelative(t *testing.T) {
	path := filepath.Join(t.TempDir(), "backup.toml")
	if err := os.WriteFile(path, []byte("[[store]]\nurl = \"s3://bucket\"\n[[uploads]]\npath = \"here\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := config.Load(path, nil); err != nil {
		t.Error(err)
	}
	t.Setenv("XDG_CONFIG_HOME", t.TempDir()) // of whoever runs the tests
	was := config.Places
	config.Places = []string{path}
	t.Cleanup(func() { config.Places = was })
	for _, named := range []string{"", path} { // as config validate names the default one
		if _, err := config.Load(named, nil); err == nil || !strings.Contains(err.Error(), "uploads[0].path is relative") {
			t.Errorf("%q: %v", named, err)
		}
	}
}

// TestMigrate: the backup.toml says what the NAME=VALUE lines said, and holds no
// secret.
func TestMigrate(t *testing.T) {
	const lines = `BACKUP_ENCRYPTION_KEY_FILE=/etc/takumi-backup/backup.key
BACKUP_ROOT=/var/backups/takumi
BACKUP_ALSO='s3://bucket/a /mnt/usb'
RETENTION_DAYS=30
DB_HOST=/var/run/postgresql
DB_NAME=takumi
DB_PASSWORD=hunter2
DB_SSL=true
CONTRACTS_DIR=/srv/takumi/contracts
RPC_URL_SEPOLIA='https://node.example/hunter2'
UPLOADS_DIR=/srv/takumi/uploads
UPLOADS_EXCLUDE='/cache *.tmp'
SLACK_WEBHOOK_URL='https://hooks.example/hunter2'
PGCONNECT_TIMEOUT=5
NODE_ENV=production
`
	before := loaded(t, "backup.conf", lines)
	text, secrets, err := config.Migrate(before.Environ(), "/etc/takumi-backup")
	if err != nil || len(secrets) != 3 || strings.Contains(string(text), "hunter2") {
		t.Fatalf("%s, %+v, %v", text, secrets, err)
	}
	after := loaded(t, "backup.toml", string(text)).All()
	want := before.All()
	for _, secret := range secrets {
		delete(want, secret.Name)
		want[secret.Name+"_FILE"] = config.Value{Text: secret.File}
	}
	delete(want, "BACKUP_ENCRYPTION_KEY_FILE")
	want["BACKUP_KEYS"] = config.Value{Text: "file:/etc/takumi-backup/backup.key"}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if after[name].Text != want[name].Text {
			t.Errorf("%s is %q, want %q", name, after[name].Text, want[name].Text)
		}
		delete(after, name)
	}
	if len(after) > 0 {
		t.Errorf("besides: %v", after)
	}
	for _, name := range []string{"AWS_SECRET_ACCESS_KEY", "VAULT_TOKEN", "BACKUP_ENCRYPTION_KEY", "PGPASSWORD", "BACKUP_DIR"} {
		if text, _, err := config.Migrate([]config.Variable{{Name: name, Value: "hunter2"}}, "/etc"); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %s, %v", name, text, err)
		}
	}
}

// TestPublishedSchema: the schema for editors is the one that the program has, and
// knows every key of a file that uses all tables.
func TestPublishedSchema(t *testing.T) {
	want, err := config.Schema()
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../../docs/backup.schema.json")
	if err != nil || string(got) != string(want) {
		t.Errorf("docs/backup.schema.json is not what takumi-backup config schema prints: %v", err)
	}
	var s struct {
		Properties map[string]json.RawMessage
	}
	if err := json.Unmarshal(want, &s); err != nil || len(s.Properties) < 12 {
		t.Errorf("%d properties, %v", len(s.Properties), err)
	}
}

// TestMarshal: what is written is read as the same, whatever is in it.
func TestMarshal(t *testing.T) {
	want, err := config.ParseTOML([]byte(everything))
	if err != nil {
		t.Fatal(err)
	}
	want.Uploads[0].Path = "/a \"quoted\" \\ back\tslash\u0001 <é>&\n"
	text, err := want.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	got, err := config.ParseTOML(text)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v\n%s\n%+v\n%+v", err, text, got, want)
	}
}
