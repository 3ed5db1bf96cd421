package checklist

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/takumi-backup/takumi-backup/internal/secretenv"
	"github.com/takumi-backup/takumi-backup/keystore/secrets"
)

var assignment = regexp.MustCompile(`^\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*?)\s*$`)

type variable struct {
	name, value string
	line        int
}

func variables(text string) []variable {
	var all []variable
	n := 0
	for line := range strings.Lines(text) {
		n++
		if m := assignment.FindStringSubmatch(strings.TrimRight(line, "\r\n")); m != nil {
			all = append(all, variable{m[1], strings.Trim(m[2], `"'`), n})
		}
	}
	return all
}

func (c *checker) envFiles(context.Context) {
	values := make(map[string]string) // of secrets, to the file that has them
	for _, p := range c.tree.paths {
		switch {
		case isExample(p) && strings.Contains(path.Base(p), "env"):
			for _, v := range variables(c.tree.read(p)) {
				if secrets.Sensitive(v.name) && isReal(v.value) {
					c.add("example-value", p, v.line, v.name+" has a real value")
				}
			}
		case isEnvFile(p) && !isTest(p):
			c.envFile(p, values)
		}
	}
	c.examples()
}

func (c *checker) envFile(p string, values map[string]string) {
	info, err := os.Stat(filepath.Join(c.tree.root, filepath.FromSlash(p)))
	if err == nil && info.Mode().Perm()&0o077 != 0 {
		c.add("env-mode", p, 0, fmt.Sprintf("it has mode %04o", info.Mode().Perm()))
	}
	if c.tree.git && c.tree.tracked[p] {
		c.add("env-tracked", p, 0, "it is in git")
	} else if c.tree.git && !c.tree.ignored[p] {
		c.add("env-not-ignored", p, 0, "git does not ignore it")
	}
	production := strings.Contains(path.Base(p), "prod")
	all := variables(c.tree.read(p))
	for _, v := range all {
		spec, _ := secrets.Known(v.name)
		weak := secrets.Weakness(v.value, spec.Min)
		switch {
		case !secrets.Sensitive(v.name) || v.value == "" || strings.HasPrefix(v.value, "$"):
		case production && secretenv.Placeholder(v.value):
			c.add("env-value", p, v.line, v.name+" is an example or a common word")
		case production && weak != "":
			c.add("env-value", p, v.line, v.name+" "+weak)
		case values[v.value] != "" && len(v.value) >= 8 && values[v.value] != p:
			c.add("env-value", p, v.line, v.name+" is the same in "+values[v.value])
		}
		if secrets.Sensitive(v.name) && values[v.value] == "" {
			values[v.value] = p
		}
	}
	if production && slices.ContainsFunc(all, func(v variable) bool { return secrets.Sensitive(v.name) && isReal(v.value) }) {
		c.add("env-production", p, 0, "secrets of production are in a file")
	}
}

var used = regexp.MustCompile(`process\.env(?:\.|\[['"])` + name)

func (c *checker) examples() {
	known, places := make(map[string]bool), make(map[string]bool)
	for _, p := range c.tree.paths {
		if isExample(p) && strings.Contains(path.Base(p), "env") {
			places[path.Dir(p)] = true
			for line := range strings.Lines(c.tree.read(p)) {
				if m := assignment.FindStringSubmatch(strings.TrimLeft(line, "# ")); m != nil {
					known[m[1]] = true
				}
			}
		}
	}
	if len(places) == 0 {
		return
	}
	for _, p := range c.tree.paths {
		if !isCode(p) {
			continue
		}
		text := c.tree.read(p)
		for _, m := range used.FindAllStringSubmatchIndex(text, -1) {
			variable := text[m[2]:m[3]]
			if !known[variable] && !slices.Contains([]string{"NODE_ENV", "CI", "HOME", "PATH", "DEBUG", "TZ"}, variable) {
				known[variable] = true // once
				c.add("example-missing", p, strings.Count(text[:m[0]], "\n")+1, variable+" is in no .env example")
			}
		}
	}
}

// templates finds those of the handbook that are missing where their component is.
func (c *checker) templates() {
	for _, t := range Templates {
		if dir := path.Dir(t.Path); (dir == "." || c.tree.hasDir(dir)) && (c.tree.hasDir("backend") || c.tree.hasDir("contracts")) && !c.tree.has(t.Path) {
			c.add("template-missing", t.Path, 0, "the template is missing")
		}
	}
}

func (c *checker) environment() {
	get := c.options.Getenv
	if get == nil || !c.production() {
		return
	}
	if b := get("SECRETS_BACKEND"); b == "" || b == "env" || strings.HasPrefix(b, "dotenv") {
		c.add("backend-env", "", 0, "SECRETS_BACKEND is not a vault in production")
	}
	for _, n := range []string{"DB_SSL", "DB_SSL_REJECT_UNAUTHORIZED"} {
		if get(n) != "true" {
			c.add("tls-off", "", 0, n+" is not true in production")
		}
	}
	if get("NODE_TLS_REJECT_UNAUTHORIZED") == "0" {
		c.add("tls-off", "", 0, "NODE_TLS_REJECT_UNAUTHORIZED is 0")
	}
}

func (c *checker) repository(ctx context.Context) error {
	for p := range c.tree.tracked {
		base := path.Base(p)
		switch {
		case isTest(p):
		case hasExt(p, ".tfstate") || strings.HasSuffix(p, ".tfstate.backup"):
			c.add("state-file", p, 0, "it is in git")
		case slices.Contains([]string{"id_rsa", "id_ed25519", "id_ecdsa"}, base) || hasExt(p, ".p12", ".pfx", ".jks", ".keystore"),
			hasExt(p, ".key", ".pem") && strings.Contains(c.tree.read(p), "PRIVATE KEY"), hasExt(p, ".key") && hexKey.MatchString(c.tree.read(p)):
			c.add("key-file", p, 0, "it is in git")
		}
	}
	out, err := c.tree.run(ctx, "config", "--local", "--list")
	if err == nil && remoteCredentials.Match(out) {
		c.add("remote-credentials", ".git/config", 0, "the URL of a remote has a password")
	}
	if c.options.Gitleaks {
		c.gitleaks(ctx)
	}
	if !c.options.History {
		return nil
	}
	return c.history(ctx)
}

var (
	hexKey            = regexp.MustCompile(`^[0-9a-fA-F]{64}\s*$`)
	remoteCredentials = regexp.MustCompile(`(?m)^remote\..*\.(?:push)?url=https?://[^/@:\s]+:[^/@\s]+@`)
)

func (c *checker) history(ctx context.Context) error {
	values := make(map[string]string) // of today, to their names
	for _, p := range c.tree.paths {
		if isEnvFile(p) {
			for _, v := range variables(c.tree.read(p)) {
				if secrets.Sensitive(v.name) && isReal(v.value) {
					values[v.value] = v.name
				}
			}
		}
	}
	cmd := c.tree.command(ctx, "log", "--all", "-p", "--unified=0", "--no-color", "--no-ext-diff", "--no-textconv", "--no-renames", "--format=commit %H")
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("asking git: %w", err)
	}
	var commit, p string
	seen := make(map[string]bool)
	note := func(rule, message string) {
		if key := rule + p + message; !seen[key] {
			seen[key] = true
			c.add(rule, p, 0, message)
			c.found[len(c.found)-1].Commit = commit
		}
	}
	lines := bufio.NewScanner(out)
	lines.Buffer(make([]byte, 64<<10), 8<<20)
	for lines.Scan() {
		line := lines.Text()
		switch {
		case strings.HasPrefix(line, "commit ") && len(line) == 47:
			commit = line[7:]
		case strings.HasPrefix(line, "+++ "):
			p = strings.TrimPrefix(strings.Trim(line[4:], `"`), "b/")
			if isEnvFile(p) && !isTest(p) && p != "/dev/null" && !c.tree.tracked[p] {
				note("env-in-history", "it was in git")
			}
		case strings.HasPrefix(line, "+"):
			for value, name := range values {
				if strings.Contains(line, value) {
					note("value-in-history", "the value of "+name+" was in git")
				}
			}
			// What is in the tree still is found there.
			if f := knownForm(line); f != "" && !isTest(p) && !c.tree.has(p) {
				note("known-form", "there was "+f)
			}
		}
	}
	if err := lines.Err(); err != nil {
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()
		return fmt.Errorf("reading git's history: %w", err)
	}
	if err := cmd.Wait(); err != nil {
		if out, probe := c.tree.run(ctx, "rev-list", "--all", "-n", "1"); probe == nil && len(out) == 0 {
			return nil // nothing was committed yet
		}
		return fmt.Errorf("reading git's history: %w", err)
	}
	return nil
}

func (c *checker) gitleaks(ctx context.Context) {
	program, err := exec.LookPath("gitleaks")
	if err != nil {
		return
	}
	cmd := exec.CommandContext(ctx, program, "detect", "--source", c.tree.root, "--redact", "--no-banner", "--exit-code", "0", "--report-format", "json", "--report-path", "/dev/stdout")
	cmd.Env = secretenv.Environ()
	out, err := cmd.Output()
	var found []struct {
		RuleID, File, Commit string
		StartLine            int
	}
	if err != nil || json.Unmarshal(out, &found) != nil {
		c.add("gitleaks", "", 0, "gitleaks could not be run")
		return
	}
	for _, f := range found {
		c.add("gitleaks", f.File, f.StartLine, "gitleaks finds "+f.RuleID)
		c.found[len(c.found)-1].Commit = f.Commit
	}
}
