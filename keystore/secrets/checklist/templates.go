package checklist

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/takumi-backup/takumi-backup/internal/config"
	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/fsutil"
	"github.com/takumi-backup/takumi-backup/internal/secretenv"
	"github.com/takumi-backup/takumi-backup/keystore/secrets"
)

// Template is an example of an .env file, which holds no value of a secret.
type Template struct {
	Path        string // below the work tree
	Environment string
	Components  []string
}

// Templates are the handbook's.
var Templates = []Template{
	{".env.example", "development", []string{"database", "redis", "grafana", "alerts"}},
	{"contracts/.env.example", "development", []string{"contracts"}},
	{"backend/.env.development.example", "development", backend},
	{"backend/.env.test.example", "test", backend},
	{"backend/.env.production.example", "production", backend},
}

var backend = []string{"database", "jwt", "redis", "admin", "email", "storage"}

// usual are values of settings that are not secrets.
var usual = map[string]string{"DB_HOST": "localhost", "DB_PORT": "5432", "DB_NAME": "takumi", "DB_USER": "takumi", "REDIS_HOST": "localhost", "REDIS_PORT": "6379", "SMTP_PORT": "587", "GRAFANA_ADMIN_USER": "admin"}

// Text is the template.
func (t Template) Text() string {
	var b strings.Builder
	production := t.Environment == "production"
	fmt.Fprintf(&b, "# Copy it without .example, chmod 600, and fill it in; never commit the copy.\n# takumi-secrets generate makes secrets; each environment has its own.\nNODE_ENV=%s\n", t.Environment)
	if production {
		b.WriteString("# In production no secret is in a file: they come from the vault.\nSECRETS_BACKEND=vault\nVAULT_ADDR=\nVAULT_PATH=secret/takumi/production\n")
	} else {
		fmt.Fprintf(&b, "SECRETS_BACKEND=dotenv:.env.%s\n", t.Environment)
	}
	if slices.Contains(t.Components, "email") {
		b.WriteString("EMAIL_ENABLED=false\nSTORAGE_TYPE=ipfs\n")
	}
	last := ""
	for _, s := range secrets.Catalog {
		if !slices.Contains(t.Components, s.Component) {
			continue
		}
		if s.Component != last {
			last = s.Component
			fmt.Fprintf(&b, "\n# %s\n", last)
		}
		switch {
		case production && s.Secret:
			fmt.Fprintf(&b, "# %s is in the vault\n", s.Name)
		case s.Form == "bool":
			fmt.Fprintf(&b, "%s=%v\n", s.Name, production)
		default:
			fmt.Fprintf(&b, "%s=%s\n", s.Name, usual[s.Name])
		}
	}
	return b.String()
}

// Init writes the templates that are missing, and returns their paths. What is there
// stays. Folders of components that the tree has not are left out.
func Init(root string) ([]string, error) {
	var written []string
	for _, t := range Templates {
		full := filepath.Join(root, filepath.FromSlash(t.Path))
		if _, err := os.Stat(filepath.Dir(full)); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		f, err := os.OpenFile(full, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return written, fmt.Errorf("writing a template: %w", err)
		}
		_, err = f.WriteString(t.Text())
		if err = errors.Join(err, f.Close()); err != nil {
			return written, fmt.Errorf("writing a template: %w", err)
		}
		written = append(written, t.Path)
	}
	return written, nil
}

// Lint judges one .env file: its syntax, its mode, and, against the template next to it,
// its names and values. It is of an environment.
func Lint(path, environment string) ([]Finding, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fail.Usagef("reading the .env file: %w", err)
	}
	var found []Finding
	add := func(line int, message, hint string) {
		found = append(found, Finding{Rule: "env-lint", Level: Error, Path: path, Line: line, Message: message, Hint: hint})
	}
	if info, err := os.Stat(path); err == nil && !isExample(path) {
		if reason, fix := fsutil.Private(path, fsutil.ShellWord(path), info, nil); reason != "" {
			add(0, reason, fix)
		}
	}
	_, err = config.Parse(strings.NewReader(string(text)), func(string) bool { return true })
	var syntax *config.SyntaxError
	if errors.As(err, &syntax) {
		add(syntax.Line, syntax.Reason, "")
	}
	has := make(map[string]bool)
	for _, v := range variables(string(text)) {
		has[v.name] = true
		spec, known := secrets.Known(v.name)
		switch {
		case v.value == "" || isExample(path) && !isReal(v.value):
		case isExample(path) && secrets.Sensitive(v.name):
			add(v.line, v.name+" has a real value", Rules["example-value"].Hint)
		case known && spec.Malformed(v.value) != "":
			add(v.line, v.name+" "+spec.Malformed(v.value), "")
		case secrets.Sensitive(v.name) && secretenv.Placeholder(v.value) && environment != "test":
			add(v.line, v.name+" is an example or a common word", Rules["env-value"].Hint)
		case secrets.Sensitive(v.name) && secrets.Weakness(v.value, spec.Min) != "":
			add(v.line, v.name+" "+secrets.Weakness(v.value, spec.Min), Rules["env-value"].Hint)
		}
	}
	example, err := os.ReadFile(path + ".example")
	if err != nil || isExample(path) {
		return found, nil // there is none to compare with
	}
	for _, v := range variables(string(example)) {
		if !has[v.name] {
			add(0, v.name+" is missing; "+filepath.Base(path)+".example has it", "")
		}
	}
	return found, nil
}
