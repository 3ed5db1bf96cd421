package checklist_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/takumi-backup/takumi-backup/keystore/secrets/checklist"
)

// sample is a work tree in git, by a script.
type sample struct {
	t    *testing.T
	dir  string
	rand *rand.ChaCha8
}

// random makes values of the tree, so that no credential is here. They are the same each time:
// in one of some thousand there is a word by chance that makes it an example.
func (s *sample) random(size int) []byte {
	b := make([]byte, size)
	s.rand.Read(b)
	return b
}

func newSample(t *testing.T) *sample {
	s := &sample{t, t.TempDir(), rand.NewChaCha8([32]byte{})}
	s.git("init", "-q")
	return s
}

func (s *sample) git(args ...string) {
	s.t.Helper()
	cmd := exec.Command("git", append([]string{"-C", s.dir, "-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"}, args...)...)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null")
	if out, err := cmd.CombinedOutput(); err != nil {
		s.t.Fatalf("git %v: %v: %s", args, err, out)
	}
}

func (s *sample) put(path, text string, mode os.FileMode) {
	s.t.Helper()
	full := filepath.Join(s.dir, path)
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(full, []byte(text), mode); err != nil {
		s.t.Fatal(err)
	}
}

func (s *sample) commit(paths ...string) {
	s.t.Helper()
	s.git(append([]string{"add", "-f"}, paths...)...)
	s.git("commit", "-qm", "x")
}

func run(t *testing.T, dir string, o checklist.Options) []checklist.Finding {
	t.Helper()
	o.Root = dir
	found, err := checklist.Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// fault is one that is planted, and what finds it.
type fault struct{ rule, place, words string }

// plant makes a tree with faults, and returns them and the secrets in it.
func plant(s *sample) (faults []fault, values []string) {
	digits := func() string { v := hex.EncodeToString(s.random(32)); values = append(values, v); return v }
	b64 := func() string {
		v := strings.NewReplacer("/", "a", "+", "b", "=", "").Replace(base64.StdEncoding.EncodeToString(s.random(24))) + "a1b2"
		values = append(values, v)
		return v
	}
	want := func(rule, place, words string) { faults = append(faults, fault{rule, place, words}) }

	old, kept := b64(), digits()
	s.put(".env.old", "DB_PASSWORD="+old+"\n", 0o600)
	s.put("old.js", "const key = '"+"AKIA"+"Q3EGRIB7T5LKXZ2M"+"';\n", 0o644)
	s.put("notes.txt", "the key is "+kept+"\n", 0o644)
	s.commit(".env.old", "old.js", "notes.txt")
	s.git("rm", "-q", "--cached", ".env.old")
	s.git("rm", "-qf", "old.js", "notes.txt")
	s.git("commit", "-qm", "y")
	want("env-in-history", ".env.old", "")
	want("env-not-ignored", ".env.old", "")
	want("known-form", "old.js", "access key of AWS")
	want("value-in-history", "notes.txt", "ADMIN_API_KEY")

	s.put(".gitignore", ".env\n.env.production\n.env.staging\nnode_modules/\n", 0o644)
	s.put(".env", "ADMIN_API_KEY="+kept+"\n", 0o644)
	want("env-mode", ".env", "0644")
	shared := b64()
	s.put(".env.staging", "REDIS_PASSWORD="+shared+"\n", 0o600)
	s.put(".env.production", "NODE_ENV=production\nSECRETS_BACKEND=env\nREDIS_PASSWORD="+shared+"\nDB_PASSWORD=changeme\nJWT_SECRET=tooshort1\nDB_SSL=false\n", 0o600)
	want("env-production", ".env.production", "")
	want("env-value", ".env.staging:1", "REDIS_PASSWORD is the same in .env.production")
	want("env-value", ".env.production:4", "DB_PASSWORD is an example")
	want("env-value", ".env.production:5", "JWT_SECRET has 9 characters")
	want("backend-env", ".env.production:2", "")
	want("tls-off", ".env.production:6", "DB_SSL")
	s.put("backend/.env.ci", "X=1\n", 0o600)
	s.commit("backend/.env.ci", ".gitignore")
	want("env-tracked", "backend/.env.ci", "")
	s.put(".env.example", "DB_PASSWORD="+b64()+"\nADMIN_API_KEY=\nREDIS_PASSWORD=your_password_here\nPORT=3000\nDB_HOST=\nJWT_SECRET=\n", 0o644)
	want("example-value", ".env.example:1", "DB_PASSWORD")
	want("template-missing", "backend/.env.production.example", "")
	want("template-missing", "backend/.env.test.example", "")
	want("template-missing", "backend/.env.development.example", "")
	want("template-missing", "contracts/.env.example", "")

	s.put("backend/src/config.ts", strings.Join([]string{
		`export const a = process.env.JWT_SECRET || 'takumi';`,
		`export const b = process.env['DB_PASSWORD'] ?? "postgres";`,
		`export const c = process.env.ADMIN_API_KEY;`,
		`export const d = process.env.UNLISTED_SETTING;`,
		`const jwtSecret = "` + b64() + `";`,
		`console.log("secret", process.env.REDIS_PASSWORD);`,
		`const pool = new Pool({ ssl: { rejectUnauthorized: false } });`,
		`const db = "postgresql://app:` + b64() + `@db.internal:5432/takumi";`,
	}, "\n")+"\n", 0o644)
	want("default-in-code", "backend/src/config.ts:1", "JWT_SECRET")
	want("default-in-code", "backend/src/config.ts:2", "DB_PASSWORD")
	want("direct-env", "backend/src/config.ts:3", "ADMIN_API_KEY")
	want("example-missing", "backend/src/config.ts:4", "UNLISTED_SETTING")
	want("literal-in-code", "backend/src/config.ts:5", "jwtSecret")
	want("secret-logged", "backend/src/config.ts:6", "REDIS_PASSWORD")
	want("tls-off", "backend/src/config.ts:7", "rejectUnauthorized")
	want("known-form", "backend/src/config.ts:8", "URL of a database")
	s.put("tools/x.py", "import os\np = os.environ.get('DB_PASSWORD', 'hunter2')\nq = os.environ['JWT_SECRET']\n", 0o644)
	want("default-in-code", "tools/x.py:2", "DB_PASSWORD")
	want("direct-env", "tools/x.py:3", "JWT_SECRET")
	s.put("contracts/hardhat.config.js", "module.exports = { networks: { sepolia: { accounts: ['0x"+digits()+"'] } } };\n", 0o644)
	want("known-form", "contracts/hardhat.config.js:1", "Ethereum")

	s.put("docker-compose.yml", "services:\n  db:\n    image: postgres:latest\n    environment:\n      DB_PASSWORD: "+b64()+"\n      JWT_SECRET: ${JWT_SECRET:-secret}\n  cache:\n    image: redis\n", 0o644)
	want("image-latest", "docker-compose.yml:3", "postgres:latest")
	want("literal-in-config", "docker-compose.yml:5", "DB_PASSWORD")
	want("default-in-code", "docker-compose.yml:6", "JWT_SECRET")
	want("image-latest", "docker-compose.yml:8", "redis")
	s.put("docker-compose.prod.yml", "services:\n  api:\n    image: takumi/api:1.2.3\n    environment:\n      NODE_ENV: production\n      SECRETS_BACKEND: env\n      DATABASE: postgresql://db/takumi?sslmode=disable\n", 0o644)
	want("backend-env", "docker-compose.prod.yml:6", "")
	want("tls-off", "docker-compose.prod.yml:7", "sslmode")
	s.put("Dockerfile", "FROM node:latest\nCOPY . .\nENV ADMIN_API_KEY="+digits()+"\nCOPY .env /app/\n", 0o644)
	want("image-latest", "Dockerfile:1", "node:latest")
	want("dockerignore", "Dockerfile", "")
	want("literal-in-image", "Dockerfile:3", "ADMIN_API_KEY")
	want("env-copied", "Dockerfile:4", ".env")
	s.put(".github/workflows/deploy.yml", "jobs:\n  d:\n    steps:\n      - run: echo ${{ secrets.DB_PASSWORD }}\n", 0o644)
	want("secret-logged", ".github/workflows/deploy.yml:4", "DB_PASSWORD")
	s.put("k8s/secret.yaml", "apiVersion: v1\nkind: Secret\nmetadata:\n  name: takumi-jwt-secrets\nstringData:\n  JWT_REFRESH: "+b64()+"\n", 0o644)
	want("secret-manifest", "k8s/secret.yaml:6", "JWT_REFRESH")
	s.put("infra/policy.json", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["secretsmanager:*"],"Resource":"*"}]}`, 0o644)
	want("policy-wide", "infra/policy.json", "secretsmanager:*")
	want("policy-wide", "infra/policy.json", "on *")
	s.put("infra/app.hcl", "path \"secret/*\" {\n  capabilities = [\"read\", \"list\"]\n}\n", 0o644)
	want("policy-wide", "infra/app.hcl:1", "secret/*")
	s.put("infra/main.tf", "resource \"x\" \"y\" {\n  master_password = \""+b64()+"\"\n}\n", 0o644)
	want("literal-in-config", "infra/main.tf:2", "master_password")
	s.put("infra/terraform.tfstate", "{}\n", 0o644)
	s.put("deploy/server.key", "-----BEGIN "+"PRIVATE KEY-----\nMIIB\n", 0o600)
	s.put(".npmrc", "//registry.npmjs.org/:_authToken=npm_"+strings.Repeat("a1B2", 9)+"\n", 0o644)
	s.commit("infra/terraform.tfstate", "deploy/server.key")
	want("state-file", "infra/terraform.tfstate", "")
	want("key-file", "deploy/server.key", "")
	want("literal-in-config", ".npmrc:1", "_authToken")
	s.put("scripts/deploy.sh", "curl -k https://api.example.org/health\n", 0o755)
	want("tls-off", "scripts/deploy.sh:1", "curl")
	s.git("remote", "add", "origin", "https://bot:"+b64()+"@git.example.org/takumi.git")
	want("remote-credentials", ".git/config", "")
	return faults, values
}

func TestEveryPlantedFaultIsFound(t *testing.T) {
	s := newSample(t)
	faults, values := plant(s)
	if len(faults) < 40 {
		t.Fatalf("only %d faults are planted", len(faults))
	}
	found := run(t, s.dir, checklist.Options{History: true})
	left := slices.Clone(found)
	for _, f := range faults {
		at := slices.IndexFunc(left, func(g checklist.Finding) bool {
			place, _, _ := strings.Cut(g.Place(), "@")
			return g.Rule == f.rule && place == f.place && strings.Contains(g.Message, f.words)
		})
		if at < 0 {
			t.Errorf("not found: %+v", f)
			continue
		}
		left = slices.Delete(left, at, at+1)
	}
	t.Logf("%d faults planted, %d found, %d more findings", len(faults), len(faults), len(left))
	for _, g := range left { // what else is found must follow from a fault that was planted
		if !slices.ContainsFunc(faults, func(f fault) bool { p, _, _ := strings.Cut(f.place, ":"); return p == g.Path }) {
			t.Errorf("found too: %s %+v", g.Place(), g)
		}
	}
	var out bytes.Buffer
	if err := checklist.WriteText(&out, found); err != nil {
		t.Fatal(err)
	}
	if err := checklist.WriteSARIF(&out, found, "1"); err != nil {
		t.Fatal(err)
	}
	encoded, _ := json.Marshal(checklist.NewBaseline(found, "x"))
	for _, v := range values {
		if strings.Contains(out.String()+string(encoded), v[:12]) {
			t.Error("a finding repeats a value")
		}
	}
}

// TestNoFalseAlarm: public trees, as the Go module proxy has them, and a clean tree.
func TestNoFalseAlarm(t *testing.T) {
	modules := []string{"github.com/spf13/cobra", "github.com/spf13/pflag", "github.com/golang-jwt/jwt/v5"}
	if os.Getenv("TAKUMI_TEST_LONG") != "" {
		modules = append(modules, "github.com/jackc/pgx/v5", "github.com/hashicorp/vault/api", "github.com/slack-go/slack")
	}
	for _, module := range modules {
		out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", module).Output()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range run(t, strings.TrimSpace(string(out)), checklist.Options{History: true}) {
			t.Errorf("%s: %s %s %s", module, f.Place(), f.Rule, f.Message)
		}
	}
	s := newSample(t)
	for _, dir := range []string{"backend", "contracts"} {
		s.put(dir+"/package.json", "{}\n", 0o644)
	}
	if written, err := checklist.Init(s.dir); err != nil || len(written) != len(checklist.Templates) {
		t.Fatalf("%v, %v", written, err)
	}
	s.put(".gitignore", ".env\n.env.*\n!*.example\n", 0o644)
	s.put(".env", "DB_PASSWORD="+base64.StdEncoding.EncodeToString(s.random(24))+"\n", 0o600)
	s.put("backend/src/secrets.ts", "export const jwt = required(process.env.JWT_SECRET);\n", 0o644)
	s.put("Dockerfile", "FROM node:22.1.0\nCOPY package.json ./\n", 0o644)
	s.put("docker-compose.yml", "services:\n  db:\n    image: postgres:15.6\n    environment:\n      POSTGRES_PASSWORD_FILE: /run/secrets/db\n", 0o644)
	s.commit(".")
	s.git("rm", "-q", "--cached", ".env")
	s.git("commit", "-q", "--amend", "-m", "x")
	s.git("reflog", "expire", "--expire=now", "--all")
	for _, f := range run(t, s.dir, checklist.Options{History: true}) {
		t.Errorf("a clean tree: %s %s %s", f.Place(), f.Rule, f.Message)
	}
}

func TestEnvironmentOfProduction(t *testing.T) {
	env := map[string]string{}
	o := checklist.Options{Environment: "production", Getenv: func(n string) string { return env[n] }}
	dir := t.TempDir()
	if found := run(t, dir, o); len(found) != 3 {
		t.Errorf("%+v", found)
	}
	env = map[string]string{"SECRETS_BACKEND": "vault", "DB_SSL": "true", "DB_SSL_REJECT_UNAUTHORIZED": "true"}
	if found := run(t, dir, o); len(found) != 0 {
		t.Errorf("%+v", found)
	}
}

// An accepted finding stays accepted when lines move, and a new one is shown.
func TestBaseline(t *testing.T) {
	s := newSample(t)
	s.put("a.ts", "const x = process.env.JWT_SECRET || 'a';\n", 0o644)
	b := checklist.NewBaseline(run(t, s.dir, checklist.Options{}), "for now")
	path := filepath.Join(t.TempDir(), "baseline.json")
	text, _ := json.Marshal(b)
	if err := os.WriteFile(path, text, 0o644); err != nil {
		t.Fatal(err)
	}
	s.put("a.ts", "\n\nconst x = process.env.JWT_SECRET || 'a';\nconst y = process.env.JWT_SECRET || 'b';\n", 0o644)
	b, err := checklist.ReadBaseline(path)
	if err != nil {
		t.Fatal(err)
	}
	if left := b.Without(run(t, s.dir, checklist.Options{})); len(left) != 1 || left[0].Line != 4 {
		t.Errorf("%+v", left)
	}
}

func TestLint(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, ".env")
	put := func(p, text string, mode os.FileMode) {
		if err := os.WriteFile(p, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	put(path+".example", "DB_HOST=\nDB_PASSWORD=\n", 0o644)
	put(path, "DB_PORT=70000\nDB_PASSWORD=changeme\nA=$(date)\nA=2\n", 0o644)
	found, err := checklist.Lint(path, "staging")
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, f := range found {
		all = append(all, fmt.Sprint(f.Line, " ", f.Message))
	}
	text := strings.Join(all, "\n")
	for _, want := range []string{"1 DB_PORT is not a port", "2 DB_PASSWORD is an example", "3 put the value of A in single quotes", "0 DB_HOST is missing"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not among %s", want, text)
		}
	}
	for _, template := range checklist.Templates {
		p := filepath.Join(dir, filepath.Base(template.Path))
		put(p, template.Text(), 0o644)
		if found, err := checklist.Lint(p, template.Environment); err != nil || len(found) > 0 {
			t.Errorf("%s: %+v, %v", template.Path, found, err)
		}
	}
}

// gitleaks is run next to it, where it is on PATH: here, a program that answers as it does.
func TestGitleaks(t *testing.T) {
	s := newSample(t)
	bin := t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, "gitleaks"), []byte("#!/bin/sh\necho '[{\"RuleID\":\"generic-api-key\",\"File\":\"x.js\",\"StartLine\":3,\"Commit\":\"abc\"}]'\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	found := run(t, s.dir, checklist.Options{Gitleaks: true})
	if len(found) != 1 || found[0].Rule != "gitleaks" || found[0].Place() != "x.js:3@abc" {
		t.Errorf("%+v", found)
	}
}
