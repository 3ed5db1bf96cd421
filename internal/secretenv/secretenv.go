// Package secretenv knows the environment variables with secrets, hides them from children,
// and recognizes placeholders.
package secretenv

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// BackendCredentials are the variables by which AWS, Vault and OpenBao are logged in to: AWS
// credentials and what leads to them without a file, and Vault's tokens.
var BackendCredentials = []string{
	"AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY", "AWS_SECRET_ACCESS_KEY", "AWS_SECRET_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN",
	"AWS_CONTAINER_AUTHORIZATION_TOKEN", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI",
	"VAULT_TOKEN", "VAULT_ROLE_ID", "VAULT_SECRET_ID", "VAULT_MFA", "VAULT_HEADERS", "BAO_TOKEN",
}

// names are the other variables with secrets that this program and its libraries read: keys,
// passwords, web hooks, and RPC nodes, whose URLs contain a key.
var names = []string{
	"BACKUP_ENCRYPTION_KEY", "DB_PASSWORD", "TAKUMI_PASSPHRASE", "AWS_BEARER_TOKEN_BEDROCK",
	"SLACK_WEBHOOK_URL", "HEALTHCHECK_URL", "ALERT_SMTP_USER", "ALERT_SMTP_PASSWORD", "ALERT_SMTP_PASS", "ALERT_WEBHOOK_URL",
}

const rpcPrefix = "RPC_URL_"

// Holds reports whether a variable holds a secret that this program uses. PGPASSWORD is
// excluded: PostgreSQL's programs, its children, get it only from there.
func Holds(name string) bool {
	return slices.Contains(BackendCredentials, name) || slices.Contains(names, name) || strings.HasPrefix(name, rpcPrefix)
}

var hidden sync.Map // the names that Hide was given

// Hide removes a variable from the environment of later children. It is safe for concurrent
// use, as Environ is.
func Hide(name string) { hidden.Store(name, true) }

// Environ is os.Environ for a child, without the variables that hold secrets.
func Environ() []string {
	return slices.DeleteFunc(os.Environ(), func(pair string) bool {
		name, _, _ := strings.Cut(pair, "=")
		_, hide := hidden.Load(name)
		return hide || Holds(name)
	})
}

// Placeholders returns the variables whose value is a [Placeholder], in order, but not
// Vault's, which Vault makes.
func Placeholders() []string {
	var found []string
	for _, pair := range os.Environ() {
		name, value, _ := strings.Cut(pair, "=")
		if (Holds(name) && !strings.HasPrefix(name, "VAULT_") || name == "PGPASSWORD") && Placeholder(value) {
			found = append(found, name)
		}
	}
	slices.Sort(found)
	return found
}

// Words are what people write where a password belongs.
var Words = []string{
	"password", "passwd", "pass", "secret", "mysecret", "supersecret", "topsecret", "notasecret", "changeme", "changeit", "letmein", "qwerty", "welcome",
	"admin", "administrator", "root", "user", "guest", "default", "none", "null", "undefined", "test", "testing", "demo", "sample", "dev", "development",
	"postgres", "postgresql", "pgpassword", "dbpassword", "database", "takumi", "takumidb", "backup", "vault", "token", "key", "apikey", "todo", "tbd", "fixme", "foobar", "foo",
	"hunter2", "correcthorsebatterystaple",
}

var (
	// Long enough not to be met in a random password.
	inside = regexp.MustCompile(`change_?(me|this|it)|replace_?(me|this|with)|placeholder|example|insert_?(your|here)|your_?(db_?|database_?|secure_?|strong_?)?(password|secret|token|key|api)|(password|secret|token|key)_?here|dont_?use|do_?not_?use|x{8}|0{8}|\*{6}`)
	frames = regexp.MustCompile(`^(<.*>|\$\{.*\}|\{\{.*\}\}|\[.*\]|%.*%)$`)
	tail   = regexp.MustCompile(`[0-9!]{0,4}$`)
)

// Placeholder reports whether a value is not a secret: a word of Words, perhaps with a few
// digits, a stand-in such as <password>, a vendor's example, a repeated letter, or letters
// in the order of the alphabet or the keyboard. An empty value is not a placeholder.
func Placeholder(value string) bool {
	if value == "" {
		return false
	}
	plain := strings.NewReplacer("-", "_", " ", "_", ".", "_").Replace(strings.ToLower(strings.TrimSpace(value)))
	word := strings.ReplaceAll(plain, "_", "")
	return frames.MatchString(plain) || inside.MatchString(plain) || slices.Contains(Words, word) || slices.Contains(Words, tail.ReplaceAllString(word, "")) ||
		isRun(word)
}

// isRun finds a repeated letter, and parts of well-known rows.
func isRun(word string) bool {
	if len(word) > 2 && strings.Trim(word, word[:1]) == "" {
		return true
	}
	for _, row := range []string{"01234567890123456789", "98765432109876543210", "abcdefghijklmnopqrstuvwxyz", "qwertyuiop", "asdfghjkl", "zxcvbnm", "0123456789abcdef0123456789abcdef"} {
		if len(word) > 2 && strings.Contains(row, word) {
			return true
		}
	}
	return false
}
