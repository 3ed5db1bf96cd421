package checklist

import (
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/takumi-backup/takumi-backup/internal/secretenv"
)

// isReal says whether a value may be a secret in use: long, mixed, and neither a
// placeholder nor a reference to where the secret is.
func isReal(v string) bool {
	v = strings.Trim(v, `"'`)
	if len(v) < 12 || secretenv.Placeholder(v) || strings.ContainsAny(v, " \t<>(){}$`\\,;") {
		return false
	}
	lower := strings.ToLower(v)
	for _, word := range []string{"example", "your", "change", "placeholder", "process.env", "secrets.", "xxxx", "dummy", "dev-", "dev_", "localhost", "/run/", "vault:", "awssm:", "arn:"} {
		if strings.Contains(lower, word) {
			return false
		}
	}
	var letters, digits int
	different := make(map[rune]bool)
	for _, r := range v {
		different[r] = true
		switch {
		case unicode.IsLetter(r):
			letters++
		case unicode.IsDigit(r):
			digits++
		}
	}
	return letters >= 3 && digits >= 2 && len(different) >= 8
}

type form struct {
	name string
	re   *regexp.Regexp
}

var forms = []form{
	{"an access key of AWS", regexp.MustCompile(`\b(?:AKIA|ASIA)[0-9A-Z]{16}\b`)},
	{"a private key", regexp.MustCompile(`-----BEGIN (?:RSA |EC |DSA |OPENSSH |ENCRYPTED |PGP )?PRIVATE KEY(?: BLOCK)?-----`)},
	{"a webhook of Slack", regexp.MustCompile(`https://hooks\.slack\.com/services/T[A-Z0-9]{6,}/B[A-Z0-9]{6,}/[A-Za-z0-9]{20,}`)},
	{"a token of Slack", regexp.MustCompile(`\bxox[abprs]-[0-9]{8,}-[0-9A-Za-z-]{20,}`)},
	{"a token of GitHub", regexp.MustCompile(`\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{60,})`)},
	{"a live key of Stripe", regexp.MustCompile(`\b[rs]k_live_[0-9A-Za-z]{20,}`)},
	{"an API key of Google", regexp.MustCompile(`\bAIza[0-9A-Za-z_-]{35}\b`)},
	{"a token of npm", regexp.MustCompile(`\bnpm_[A-Za-z0-9]{36}\b`)},
	{"a token of Vault", regexp.MustCompile(`\bhv[sbr]\.[A-Za-z0-9_-]{24,}`)},
	{"an API key of this project", regexp.MustCompile(`\btk_[0-9a-f]{8}_[0-9a-f]{64}\b`)},
	{"an identity of age", regexp.MustCompile(`AGE-SECRET-KEY-(?:PQ-)?1[0-9A-Z]{50,}`)},
}

// knownForm names the form of a credential in a line; "" when there is none. What vendors
// print in their documents is none.
func knownForm(line string) string {
	if !slices.ContainsFunc(hints, func(h string) bool { return strings.Contains(line, h) }) {
		return ""
	}
	for _, f := range forms {
		if m := f.re.FindString(line); m != "" && !strings.Contains(m, "EXAMPLE") {
			return f.name
		}
	}
	if m := databaseURL.FindStringSubmatch(line); m != nil && isReal(m[1]) && !strings.Contains(m[2], "example") {
		return "the URL of a database with a password"
	}
	if m := walletKey.FindStringSubmatch(line); m != nil && !strings.HasPrefix(strings.ToLower(m[1]), "ac0974bec39a17e3") && len(strings.Trim(m[1], "0f")) > 20 {
		return "a private key of Ethereum"
	}
	return ""
}

// hints are parts of each form: a line without one is not looked at more closely.
var hints = []string{"AKIA", "ASIA", "PRIVATE KEY", "hooks.slack", "xox", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat", "k_live", "AIza", "npm_", "hvs.", "hvb.", "hvr.", "tk_", "AGE-SECRET", "://", "rivate", "RIVATE", "ccounts"}

var (
	databaseURL = regexp.MustCompile(`\b(?:postgres(?:ql)?|mysql|rediss?|mongodb(?:\+srv)?|amqps?)://[^:@/\s"']+:([^@/\s"']+)@([A-Za-z0-9.-]+)`)
	walletKey   = regexp.MustCompile(`(?i)(?:private_?key|accounts)["']?\s*[:=(\[]+\s*\[?\s*["'` + "`" + `]?(?:0x)?([0-9a-f]{64})\b`)
)
