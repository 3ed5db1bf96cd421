package checklist

import (
	"encoding/json"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/takumi-backup/takumi-backup/keystore/secrets"
)

type lineRule struct {
	name  string
	files func(string) bool
	re    *regexp.Regexp
	// found says what a match means, or "" when it is none.
	found func(m []string) string
}

const name = `([A-Z][A-Z0-9_]{2,})`

func sensitive(words string) func([]string) string {
	return func(m []string) string {
		if !secrets.Sensitive(m[1]) {
			return ""
		}
		return m[1] + " " + words
	}
}

func literal(words string) func([]string) string {
	return func(m []string) string {
		if !secrets.Sensitive(strings.ToUpper(m[1])) || !isReal(m[2]) {
			return ""
		}
		return m[1] + " " + words
	}
}

func says(words string) func([]string) string { return func([]string) string { return words } }

func anyOf(tests ...func(string) bool) func(string) bool {
	return func(p string) bool {
		return slices.ContainsFunc(tests, func(t func(string) bool) bool { return t(p) })
	}
}

func isConfig(p string) bool {
	return (isYAML(p) || hasExt(p, ".tf", ".tfvars", ".ini", ".toml", ".properties", ".conf") && !isTest(p)) && path.Base(p) != "package-lock.json"
}

// isDeployed is what is run somewhere: compose files, manifests, workflows.
func isDeployed(p string) bool { return isYAML(p) || isDockerfile(p) && !isTest(p) }

func inCode(p string) bool { return isCode(p) && !isManager(p) }

var lineRules = []lineRule{
	{"default-in-code", isCode, regexp.MustCompile(`process\.env(?:\.|\[['"])` + name + `(?:['"]\])?\s*(?:\|\||\?\?)=?\s*['"` + "`" + `][^'"` + "`" + `]`), sensitive("has a default in code")},
	{"default-in-code", isCode, regexp.MustCompile(`(?:os\.environ\.get|os\.getenv|getenv|ENV\.fetch)\(\s*['"]` + name + `['"]\s*,\s*['"][^'"]`), sensitive("has a default in code")},
	{"default-in-code", anyOf(isDeployed, func(p string) bool { return hasExt(p, ".sh") && !isTest(p) }), regexp.MustCompile(`\$\{` + name + `:?-([^}$]+)\}`), sensitive("has a default in its expansion")},
	{"direct-env", inCode, regexp.MustCompile(`process\.env(?:\.|\[['"])` + name), sensitive("is read from the environment directly")},
	{"direct-env", inCode, regexp.MustCompile(`os\.environ(?:\.get\(|\[)\s*['"]` + name + `['"]`), sensitive("is read from the environment directly")},
	{"literal-in-code", isCode, regexp.MustCompile(`(?i)\b([a-z][a-z0-9_]*(?:secret|password|token|api_?key|private_?key)[a-z0-9_]*)["']?\s*(?::=|[:=])\s*["'` + "`" + `]([^"'` + "`" + `\s]{12,})["'` + "`" + `]`), func(m []string) string {
		if !isReal(m[2]) || strings.Contains(m[2], "/") && strings.Contains(m[2], ".") {
			return ""
		}
		return m[1] + " is written in code"
	}},
	{"secret-logged", isCode, regexp.MustCompile(`(?:console\.(?:log|error|warn|info|debug)|log(?:ger)?\.\w+|print(?:f|ln)?)\(.*(?:process\.env(?:\.|\[['"])|\$\{?)` + name), sensitive("is logged")},
	{"secret-logged", isDeployed, regexp.MustCompile(`\becho\b.*\$\{\{\s*secrets\.` + name), func(m []string) string { return m[1] + " is printed in a workflow" }},
	{"literal-in-config", isConfig, regexp.MustCompile(`^\s*-?\s*["']?` + name + `["']?\s*[:=]\s*["']?([^"'\s#]{8,})["']?`), literal("is written in configuration")},
	{"literal-in-config", func(p string) bool { return hasExt(p, ".tf", ".tfvars") && !isTest(p) }, regexp.MustCompile(`^\s*(\w*(?:password|secret|token)\w*)\s*=\s*"([^"$]{8,})"`), literal("is written in configuration")},
	{"literal-in-config", func(p string) bool { return path.Base(p) == ".npmrc" }, regexp.MustCompile(`(_authToken|_password)\s*=\s*([^\s$]{12,})`), func(m []string) string { return m[1] + " is written in .npmrc" }},
	{"literal-in-image", isDockerfile, regexp.MustCompile(`^\s*(?:ENV|ARG)\s+` + name + `[= ]\s*["']?([^\s"'$]+)`), sensitive("is written in the image")},
	{"env-copied", isDockerfile, regexp.MustCompile(`^\s*(?:COPY|ADD)\s+(?:--\S+\s+)*(?:\S+\s+)*?(?:\./)?(\.env(?:\.\w+)?)\s`), func(m []string) string {
		if isExample(m[1]) {
			return ""
		}
		return m[1] + " is copied into the image"
	}},
	{"image-latest", isYAML, regexp.MustCompile(`^\s*-?\s*image:\s*["']?([\w./-]+:latest)\b`), func(m []string) string { return "the image " + m[1] + " has no fixed version" }},
	{"image-latest", isYAML, regexp.MustCompile(`^\s*-?\s*image:\s*["']?([a-z0-9][\w./-]*[\w-])["']?\s*(?:#.*)?$`), func(m []string) string { return "the image " + m[1] + " has no version" }},
	{"image-latest", isDockerfile, regexp.MustCompile(`(?i)^FROM\s+(?:--\S+\s+)*([\w./-]+:latest)\b`), func(m []string) string { return "the image " + m[1] + " has no fixed version" }},
	{"tls-off", isCode, regexp.MustCompile(`rejectUnauthorized['"]?\s*:\s*false`), says("certificates are not verified (rejectUnauthorized: false)")},
	{"tls-off", anyOf(isCode, isDeployed, isEnvFile), regexp.MustCompile(`NODE_TLS_REJECT_UNAUTHORIZED['"]?\s*[:=]\s*['"]?0`), says("certificates are not verified (NODE_TLS_REJECT_UNAUTHORIZED=0)")},
	{"tls-off", func(p string) bool {
		return strings.Contains(p, "prod") && (isConfig(p) || strings.Contains(path.Base(p), ".env"))
	}, regexp.MustCompile(`\b(DB_SSL|DB_SSL_REJECT_UNAUTHORIZED)["']?\s*[:=]\s*["']?false`), func(m []string) string { return m[1] + " is false in production" }},
	{"tls-off", func(p string) bool { return strings.Contains(p, "prod") && !isTest(p) }, regexp.MustCompile(`sslmode=(disable|allow|prefer)\b`), func(m []string) string { return "sslmode is " + m[1] + " in production" }},
	{"tls-off", func(p string) bool { return hasExt(p, ".sh") && !isTest(p) }, regexp.MustCompile(`\bcurl\s+(?:\S+\s+)*(?:-k|--insecure)\s`), says("curl does not verify certificates")},
}

// files looks at each line of each file, and at some files as a whole.
func (c *checker) files() {
	for _, p := range c.tree.paths {
		text := c.tree.read(p)
		if text == "" || strings.HasSuffix(p, ".min.js") || strings.HasSuffix(p, ".lock") || path.Base(p) == "package-lock.json" {
			continue
		}
		c.lines(p, text)
		c.policies(p, text)
		c.manifest(p, text)
		if strings.Contains(p, "prod") || strings.Contains(text, "NODE_ENV") {
			c.backend(p, text)
		}
	}
	c.images()
}

func (c *checker) lines(p, text string) {
	rules := slices.DeleteFunc(slices.Clone(lineRules), func(r lineRule) bool { return !r.files(p) })
	forms := !isTest(p) && !isEnvFile(p)
	n := 0
	for line := range strings.Lines(text) {
		n++
		if len(line) > 4000 {
			continue
		}
		trimmed := strings.TrimSpace(line)
		if strings.HasPrefix(trimmed, "//") && path.Base(p) != ".npmrc" || strings.HasPrefix(trimmed, "#") || strings.HasPrefix(trimmed, "*") {
			trimmed = ""
		}
		reported := false
		for _, r := range rules {
			if trimmed == "" || reported && r.name == "direct-env" {
				continue
			}
			if m := r.re.FindStringSubmatch(line); m != nil {
				if words := r.found(m); words != "" {
					c.add(r.name, p, n, words)
					reported = true
				}
			}
		}
		if !forms || reported {
			continue
		}
		if f := knownForm(line); f != "" {
			rule := "known-form"
			if isExample(p) {
				rule = "example-value"
			}
			c.add(rule, p, n, "there is "+f)
		}
	}
}

func (c *checker) backend(p, text string) {
	if isTest(p) || !isConfig(p) && !strings.Contains(path.Base(p), ".env") && !isDockerfile(p) {
		return
	}
	isProduction := strings.Contains(path.Base(p), "prod") || nodeProduction.MatchString(text)
	if m := backendEnv.FindStringIndex(text); m != nil && isProduction {
		c.add("backend-env", p, strings.Count(text[:m[0]], "\n")+1, "SECRETS_BACKEND is env in production")
	}
}

var (
	nodeProduction = regexp.MustCompile(`(?m)\bNODE_ENV["']?\s*[:=]\s*["']?production\b`)
	backendEnv     = regexp.MustCompile(`(?m)\bSECRETS_BACKEND["']?\s*[:=]\s*["']?(?:env|dotenv\S*)["']?\s*$`)
	copyAll        = regexp.MustCompile(`(?m)^\s*(?:COPY|ADD)\s+(?:--\S+\s+)*\.\s`)
	secretKind     = regexp.MustCompile(`(?m)^kind:\s*Secret\s*$`)
	secretData     = regexp.MustCompile(`^\s{2,}["']?([A-Za-z0-9_.-]+)["']?:\s*["']?([^"'\s#]+)`)
)

func (c *checker) images() {
	ignore := c.tree.read(".dockerignore")
	for _, p := range c.tree.paths {
		if isDockerfile(p) && !isTest(p) && copyAll.MatchString(c.tree.read(p)) && !strings.Contains(ignore+c.tree.read(path.Join(path.Dir(p), ".dockerignore")), ".env") {
			c.add("dockerignore", p, 0, "everything is copied into the image, and .dockerignore does not name .env files")
		}
	}
}

func (c *checker) manifest(p, text string) {
	if !isYAML(p) || !secretKind.MatchString(text) {
		return
	}
	inData := false
	n := 0
	for line := range strings.Lines(text) {
		n++
		switch {
		case strings.HasPrefix(line, "data:") || strings.HasPrefix(line, "stringData:"):
			inData = true
		case line != "\n" && !strings.HasPrefix(line, " "):
			inData = false
		case inData:
			if m := secretData.FindStringSubmatch(line); m != nil && isReal(m[2]) {
				c.add("secret-manifest", p, n, m[1]+" has a value")
			}
		}
	}
}

func (c *checker) policies(p, text string) {
	switch {
	case isTest(p):
	case hasExt(p, ".json") && strings.Contains(text, `"Statement"`) && strings.Contains(text, "secretsmanager:"):
		for _, words := range iamFaults(text) {
			c.add("policy-wide", p, 0, words)
		}
	case hasExt(p, ".hcl"):
		for _, m := range vaultPath.FindAllStringSubmatch(text, -1) {
			wide := m[1] == "*" || strings.HasPrefix(m[1], "sys/") || regexp.MustCompile(`^[\w-]+/(?:data/|metadata/)?\*$`).MatchString(m[1])
			if wide || strings.Contains(m[2], `"sudo"`) || strings.Contains(m[2], `"root"`) {
				c.add("policy-wide", p, strings.Count(text[:strings.Index(text, m[0])], "\n")+1, "the policy allows "+m[1])
			}
		}
	}
}

var vaultPath = regexp.MustCompile(`(?s)path\s+"([^"]+)"\s*\{(.*?)\}`)

// many is a JSON text or a list of texts, as IAM has both.
type many []string

func (m *many) UnmarshalJSON(text []byte) error {
	var one string
	if json.Unmarshal(text, &one) == nil {
		*m = many{one}
		return nil
	}
	return json.Unmarshal(text, (*[]string)(m))
}

// readers are the actions that the handbook gives a component; writers are what the
// rotation needs besides.
var allowed = []string{"GetSecretValue", "DescribeSecret", "BatchGetSecretValue", "PutSecretValue", "UpdateSecretVersionStage", "ListSecretVersionIds", "CreateSecret"}

func iamFaults(text string) []string {
	var policy struct {
		Statement []struct {
			Effect   string
			Action   many
			Resource many
		}
	}
	if json.Unmarshal([]byte(text), &policy) != nil {
		return nil
	}
	var faults []string
	for _, s := range policy.Statement {
		if s.Effect != "Allow" {
			continue
		}
		concerns := false
		for _, a := range s.Action {
			action, ours := strings.CutPrefix(a, "secretsmanager:")
			concerns = concerns || ours || a == "*"
			if a == "*" || ours && !slices.Contains(allowed, action) {
				faults = append(faults, "the policy allows "+a)
			}
		}
		for _, r := range s.Resource {
			if concerns && (r == "*" || strings.HasSuffix(r, ":secret:*")) {
				faults = append(faults, "the policy allows it on "+r)
			}
		}
	}
	return faults
}
