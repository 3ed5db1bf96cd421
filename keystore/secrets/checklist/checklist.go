// Package checklist runs the handbook's checklist over a work tree and an environment:
// where secrets lie, what would give them out, and what is set against the rules. A
// finding names a place and never repeats a value.
package checklist

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"slices"

	"github.com/takumi-backup/takumi-backup/internal/fail"
)

// Level says how bad a finding is.
type Level string

const (
	Error   Level = "error"
	Warning Level = "warning"
)

// Finding is one thing that is wrong.
type Finding struct {
	Rule    string `json:"rule"`
	Level   Level  `json:"level"`
	Path    string `json:"path,omitempty"` // below the tree, with slashes
	Line    int    `json:"line,omitempty"` // from 1; 0 is the whole file
	Commit  string `json:"commit,omitempty"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
	// Fingerprint is what a baseline accepts. It does not change with the line's number,
	// and is of no value.
	Fingerprint string `json:"fingerprint"`
}

// Place is where it was found, for people.
func (f Finding) Place() string {
	place := cmp.Or(f.Path, "environment")
	if f.Line > 0 {
		place += fmt.Sprintf(":%d", f.Line)
	}
	if f.Commit != "" {
		place += "@" + f.Commit[:min(12, len(f.Commit))]
	}
	return place
}

// Options say what is looked at.
type Options struct {
	Root        string              // of the work tree
	Environment string              // production is judged more strictly
	Getenv      func(string) string // of the environment; nil leaves it out
	History     bool                // look through all of git's history
	Gitleaks    bool                // run gitleaks next to it, where it is on PATH
}

// Run looks at everything, and returns what it found, in order of places. The error is
// of a tree that cannot be read.
func Run(ctx context.Context, o Options) ([]Finding, error) {
	t, err := openTree(ctx, o.Root)
	if err != nil {
		return nil, err
	}
	c := &checker{tree: t, options: o}
	c.files()
	c.envFiles(ctx)
	c.templates()
	c.environment()
	if t.git {
		if err := c.repository(ctx); err != nil {
			return nil, err
		}
	}
	slices.SortStableFunc(c.found, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Rule, b.Rule))
	})
	seen := make(map[string]int)
	for i := range c.found {
		f := &c.found[i]
		key := f.Rule + "\x00" + f.Path + "\x00" + f.Commit + "\x00" + f.Message
		sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%d", key, seen[key]))
		seen[key]++
		f.Fingerprint = hex.EncodeToString(sum[:12])
	}
	return c.found, nil
}

type checker struct {
	tree    *tree
	options Options
	found   []Finding
}

func (c *checker) add(rule string, path string, line int, message string) {
	r := Rules[rule]
	c.found = append(c.found, Finding{Rule: rule, Level: r.Level, Path: path, Line: line, Message: message, Hint: r.Hint})
}

func (c *checker) production() bool { return c.options.Environment == "production" }

// Rule is a line of the checklist.
type Rule struct {
	Level Level
	Short string // what must not be
	Hint  string // what to do about it
}

// Rules are all of them, by name.
var Rules = map[string]Rule{
	"env-not-ignored":    {Error, "an .env file that git does not ignore", "add it to .gitignore"},
	"env-tracked":        {Error, "an .env file in git", "git rm --cached it, and rotate what it held"},
	"env-in-history":     {Error, "an .env file in git's history", "rotate what it held; git filter-repo takes it out"},
	"env-mode":           {Error, "an .env file that others may read", "chmod 600 it"},
	"env-copied":         {Error, "an .env file in an image", "leave it out, and give secrets at run time"},
	"dockerignore":       {Warning, "an image that is built of everything, .env files too", "add .env* to .dockerignore"},
	"env-production":     {Error, "secrets of production in a file", "use a vault: SECRETS_BACKEND=aws-secrets-manager or vault"},
	"env-value":          {Error, "a secret that is an example, weak or shared", "takumi-secrets generate makes one"},
	"example-missing":    {Warning, "a variable that the example does not have", "add it to .env.example, without a value"},
	"example-value":      {Error, "an example with a real value", "put a placeholder there, and rotate what it held"},
	"template-missing":   {Warning, "a template that is missing", "takumi-secrets env init writes it"},
	"default-in-code":    {Error, "a default for a secret in code", "fail to start when it is missing"},
	"direct-env":         {Warning, "direct access to a secret of the environment", "get it from the secrets manager (getRequiredSecret)"},
	"literal-in-code":    {Error, "a secret in code", "keep it in the secrets manager, and rotate it"},
	"known-form":         {Error, "what has the form of a credential", "take it out, and revoke it"},
	"secret-logged":      {Error, "a secret in a log", "log that it is set, and not what it is"},
	"literal-in-config":  {Error, "a secret in configuration", "refer to the secrets manager, and rotate it"},
	"literal-in-image":   {Error, "a secret in an image", "give it at run time, and rotate it"},
	"secret-manifest":    {Error, "a Kubernetes Secret with values in a file", "make it with External Secrets or takumi-secrets, and rotate what it held"},
	"image-latest":       {Warning, "an image without a fixed version", "name a version, or a digest"},
	"tls-off":            {Error, "TLS that is off or not verified", "turn it on, and name the authority's certificate"},
	"backend-env":        {Error, "production that takes secrets from the environment", "SECRETS_BACKEND=aws-secrets-manager or vault"},
	"policy-wide":        {Error, "a policy that is wider than it needs to be", "docs/SECRETS.md has the policies of least privilege"},
	"value-in-history":   {Error, "a secret of today in git's history", "rotate it"},
	"remote-credentials": {Error, "credentials in the URL of a remote", "use a credential helper, and revoke them"},
	"key-file":           {Error, "a private key in git", "take it out, and revoke it"},
	"state-file":         {Error, "a file of state with secrets in git", "keep it in an encrypted backend"},
	"rotation-due":       {Error, "a rotation that is overdue", "takumi-secrets rotate"},
	"gitleaks":           {Error, "what gitleaks found", "take it out, and revoke it"},
}

// Baseline is a file of findings that were accepted.
type Baseline struct {
	Accepted []Accepted `json:"accepted"`
}

// Accepted is a finding that somebody has looked at.
type Accepted struct {
	Fingerprint string `json:"fingerprint"`
	Rule        string `json:"rule"`
	Place       string `json:"place"`
	Reason      string `json:"reason"`
}

// ReadBaseline reads a baseline.
func ReadBaseline(path string) (*Baseline, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fail.Usagef("reading the baseline: %w", err)
	}
	b := new(Baseline)
	if err := json.Unmarshal(text, b); err != nil {
		return nil, fail.Usagef("reading the baseline: %s is not one", path)
	}
	return b, nil
}

// Without returns the findings that are not accepted.
func (b *Baseline) Without(found []Finding) []Finding {
	return slices.DeleteFunc(slices.Clone(found), func(f Finding) bool {
		return slices.ContainsFunc(b.Accepted, func(a Accepted) bool { return a.Fingerprint == f.Fingerprint })
	})
}

// NewBaseline accepts findings.
func NewBaseline(found []Finding, reason string) *Baseline {
	b := &Baseline{Accepted: []Accepted{}}
	for _, f := range found {
		b.Accepted = append(b.Accepted, Accepted{f.Fingerprint, f.Rule, f.Place(), reason})
	}
	return b
}
