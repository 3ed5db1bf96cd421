package config

import (
	"cmp"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/secretenv"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/internal/values"
)

const systemRoot = "/var/backups/takumi"

// DefaultRoot is the store where no setting names one: /var/backups/takumi for root and
// who may write there, and for other users takumi-backup in $XDG_DATA_HOME, else in
// ~/.local/share. A service without HOME has the former.
func (s *Settings) DefaultRoot() string {
	home, err := os.UserHomeDir()
	if os.Geteuid() == 0 || err != nil || unix.Access(systemRoot, unix.W_OK) == nil {
		return systemRoot
	}
	data := s.Get("XDG_DATA_HOME")
	if !filepath.IsAbs(data) {
		data = filepath.Join(home, ".local", "share")
	}
	return filepath.Join(data, "takumi-backup")
}

// CheckCopies refuses CLOUD_BACKUP=true where a backup, which is to be put into root,
// would have no copy elsewhere.
func (s *Settings) CheckCopies(root string, also []string) error {
	text := s.Get("CLOUD_BACKUP")
	if text == "" {
		return nil
	}
	on, err := strconv.ParseBool(text)
	if err != nil {
		return fail.Usagef("CLOUD_BACKUP is %q, neither true nor false", text)
	}
	if on && len(also) == 0 && !store.IsRemote(root) {
		return fail.Usagef("CLOUD_BACKUP is true, and there is no place to copy to: set BACKUP_ALSO=s3://BUCKET/PREFIX, or give --also")
	}
	return nil
}

// Folder returns where backups of a kind go: BACKUP_ROOT/KIND, or
// BACKUP_DIR, Takumi's old name for the folder of one kind.
func (s *Settings) Folder(kind string) string {
	if root := s.Get("BACKUP_ROOT"); root != "" {
		return store.Join(root, kind)
	}
	if dir := s.Get("BACKUP_DIR"); dir != "" {
		return dir
	}
	return filepath.Join(s.DefaultRoot(), kind)
}

// Root returns the root of the store, and whether it is BACKUP_DIR, which is
// the folder of one kind itself.
func (s *Settings) Root() (root string, flat bool) {
	root = s.StoreFolder()
	return root, s.Get("BACKUP_ROOT") == "" && s.Get("BACKUP_DIR") != ""
}

// Also returns the further stores that a backup goes to.
func (s *Settings) Also() []string { return List(s.Get("BACKUP_ALSO")) }

// StoreFolder returns the folder that must not hold a key: all of BACKUP_ROOT.
func (s *Settings) StoreFolder() string {
	for _, name := range []string{"BACKUP_ROOT", "BACKUP_DIR"} {
		if dir := s.Get(name); dir != "" {
			return dir
		}
	}
	return s.DefaultRoot()
}

// Bool is the value of a setting, or def when it is not set.
func (s *Settings) Bool(name string, def bool) (bool, error) {
	value := s.Get(name)
	if value == "" {
		return def, nil
	}
	on, err := strconv.ParseBool(value)
	if err != nil {
		return false, fail.Usagef("%s is %q, neither true nor false", name, value)
	}
	return on, nil
}

// StoreOf returns what the file of settings says of the stores at a server. Buckets of
// one server are written in one way.
func (s *Settings) StoreOf(server store.Server) (own Store, err error) {
	if s.File == nil {
		return own, nil
	}
	first := ""
	for _, one := range s.File.Stores {
		_, at, err := store.SplitURL(one.Path())
		if err != nil {
			return own, fail.Usagef("%w", err)
		}
		if !store.IsRemote(one.URL) || at != server {
			continue
		}
		one.Name, one.URL = "", ""
		if first != "" && one != own {
			return own, fail.Usagef("%s: two stores at one server differ in lock, retention, class, encryption or part size: give them the same, or profiles of their own", s.Path)
		}
		own, first = one, "one"
	}
	return own, nil
}

// RetentionDays reads RETENTION_DAYS; 0 when it is not set.
func (s *Settings) RetentionDays() (time.Duration, error) {
	text := s.Get("RETENTION_DAYS")
	if text == "" {
		return 0, nil
	}
	days, err := strconv.ParseUint(text, 10, 32)
	if err != nil || days == 0 || days > 100*365 {
		return 0, fail.Usagef("RETENTION_DAYS is %q, not a number of days from 1 to 36500", text)
	}
	return time.Duration(days) * values.Day, nil
}

// Pace is what a backup may use.
type Pace struct {
	Bandwidth int64 // bytes a second to buckets; 0: all
	Nice      int
	IONice    string // idle, best-effort or ""
}

// Pace reads TAKUMI_BANDWIDTH, TAKUMI_NICE and TAKUMI_IONICE.
func (s *Settings) Pace() (l Pace, err error) {
	if text := s.Get("TAKUMI_BANDWIDTH"); text != "" {
		if err := (*values.Size)(&l.Bandwidth).Set(text); err != nil {
			return l, fail.Usagef("TAKUMI_BANDWIDTH is %q: %w", text, err)
		}
	}
	if text := s.Get("TAKUMI_NICE"); text != "" {
		if l.Nice, err = strconv.Atoi(text); err != nil || l.Nice < 0 || l.Nice > 19 {
			return l, fail.Usagef("TAKUMI_NICE is %q, not a number from 0 to 19", text)
		}
	}
	l.IONice = s.Get("TAKUMI_IONICE")
	if !slices.Contains([]string{"", "idle", "best-effort"}, l.IONice) {
		return l, fail.Usagef("TAKUMI_IONICE is %q, neither idle nor best-effort", l.IONice)
	}
	return l, nil
}

// syslogSocket is where the syslog of this host listens, or its journal.
const syslogSocket = "/dev/log"

// Syslog returns the socket that TAKUMI_AUDIT_SYSLOG asks for: a boolean,
// or the path of another one. "" is none.
func (s *Settings) Syslog() (string, error) {
	value := s.Get("TAKUMI_AUDIT_SYSLOG")
	if value == "" || filepath.IsAbs(value) {
		return value, nil
	}
	on, err := strconv.ParseBool(value)
	if err != nil {
		return "", fail.Usagef("TAKUMI_AUDIT_SYSLOG is %q, neither true nor false nor the path of a socket", value)
	}
	if on {
		return syslogSocket, nil
	}
	return "", nil
}

// Production says whether either of TAKUMI_ENV and NODE_ENV says so.
func (s *Settings) Production() bool { return s.EnvironmentName() == "production" }

// environments are what TAKUMI_ENV and NODE_ENV can be.
var environments = []string{"development", "test", "staging", "production"}

// Encrypts reads BACKUP_ENCRYPTION_ENABLED.
func (s *Settings) Encrypts() (bool, error) { return s.Bool("BACKUP_ENCRYPTION_ENABLED", true) }

// EnvironmentName is the name of where we are, as Takumi's secrets have it in their
// names.
func (s *Settings) EnvironmentName() string {
	first := ""
	for _, name := range []string{"TAKUMI_ENV", "NODE_ENV"} {
		value := s.environmentOf(name)
		if value == "production" {
			return value
		}
		first = cmp.Or(first, value)
	}
	return cmp.Or(first, "development")
}

func (s *Settings) environmentOf(name string) string {
	return strings.ToLower(strings.TrimSpace(s.Get(name)))
}

// CheckEnvironment refuses a misspelt name of an environment, which would count as
// none that is protected, and in production secrets that are examples.
func (s *Settings) CheckEnvironment() error {
	for _, name := range []string{"TAKUMI_ENV", "NODE_ENV"} {
		if value := s.environmentOf(name); value != "" && !slices.Contains(environments, value) {
			return fail.Usagef("%s is %q: it can be %s", name, s.Get(name), strings.Join(environments, ", "))
		}
	}
	if found := secretenv.Placeholders(); s.Production() && len(found) > 0 {
		return fail.Usagef("in production %s holds an example or a word in place of a secret: set one that is random, as openssl rand -base64 24 makes it", strings.Join(found, ", "))
	}
	return nil
}

// keyName is the last part of the path of the key in Vault, next to the
// application's secrets and apart from them.
const keyName = "backup-encryption"

// KeyBackend turns SECRETS_BACKEND into the key URI that it stands for, or "".
func (s *Settings) KeyBackend() (string, error) {
	backend, env := s.Get("SECRETS_BACKEND"), s.EnvironmentName()
	switch backend {
	case "":
		return "", nil
	case "aws-secrets-manager":
		return "awssm:takumi/" + env + "/BACKUP_ENCRYPTION_KEY", nil
	case "vault":
		path := cmp.Or(VaultPath(s.Get("VAULT_PATH")), "secret/takumi/"+env)
		if !strings.HasSuffix(path, "/"+keyName) {
			path += "/" + keyName
		}
		return "vault:" + path + "#key", nil
	case "env":
		return "env:BACKUP_ENCRYPTION_KEY", nil
	}
	return "", fail.Usagef("SECRETS_BACKEND is %q: it can be aws-secrets-manager, vault or env", backend)
}

// VaultPath makes MOUNT/PATH, as the URI of a key has it, of the forms in which VAULT_PATH is
// written: with the v1/ and the data/ or metadata/ of the HTTP API, and with blanks and
// slashes around it. A mount of several parts ends in two slashes, as in a URI.
func VaultPath(text string) string {
	text = strings.TrimPrefix(strings.Trim(strings.TrimSpace(text), "/"), "v1/")
	mount, path, double := strings.Cut(text, "//")
	parted := "//"
	if !double {
		mount, path, _ = strings.Cut(text, "/")
		parted = "/"
	}
	for _, part := range []string{"data", "metadata"} {
		if path == part {
			return mount
		}
		if rest, found := strings.CutPrefix(path, part+"/"); found {
			return mount + parted + rest
		}
	}
	return text
}
