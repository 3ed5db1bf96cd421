package secrets

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Spec is what is known of one name.
type Spec struct {
	Name      string
	Component string
	Secret    bool // else a setting, which may be in the environment
	// When says in which case it is needed: always, production, or NAME=VALUE[,VALUE]
	// of a setting. "" is never: it is judged when it is there.
	When string
	Min  int    // characters, at the least; of secrets that are chosen by people or machines
	Form string // "", url, port, bool, ethereum, email
}

const (
	always     = "always"
	production = "production"
	ipfs       = "STORAGE_TYPE=ipfs,both"
	arweave    = "STORAGE_TYPE=arweave,both"
	mail       = "EMAIL_ENABLED=true"
)

// Catalog is what Takumi's components read, as the handbook lists it.
var Catalog = []Spec{
	{"DB_HOST", "database", false, always, 0, ""}, {"DB_PORT", "database", false, always, 0, "port"},
	{"DB_NAME", "database", false, always, 0, ""}, {"DB_USER", "database", false, always, 0, ""},
	{"DB_PASSWORD", "database", true, always, 16, ""},
	{"DB_SSL", "database", false, production, 0, "bool"}, {"DB_SSL_REJECT_UNAUTHORIZED", "database", false, production, 0, "bool"},
	{"JWT_SECRET", "jwt", true, always, 32, ""}, {"JWT_REFRESH_SECRET", "jwt", true, always, 32, ""},
	{"JWT_SECRET_PREVIOUS", "jwt", true, "", 32, ""}, {"JWT_REFRESH_SECRET_PREVIOUS", "jwt", true, "", 32, ""},
	{"REDIS_HOST", "redis", false, always, 0, ""}, {"REDIS_PORT", "redis", false, always, 0, "port"},
	{"REDIS_PASSWORD", "redis", true, production, 16, ""},
	{"ADMIN_API_KEY", "admin", true, always, 32, ""},
	{"SMTP_HOST", "email", false, mail, 0, ""}, {"SMTP_PORT", "email", false, mail, 0, "port"},
	{"SMTP_USER", "email", false, mail, 0, ""}, {"SMTP_PASSWORD", "email", true, mail, 8, ""},
	{"IPFS_HOST", "storage", false, ipfs, 0, ""}, {"IPFS_PROJECT_ID", "storage", false, ipfs, 0, ""},
	{"IPFS_PROJECT_SECRET", "storage", true, ipfs, 16, ""},
	{"ARWEAVE_HOST", "storage", false, arweave, 0, ""}, {"ARWEAVE_WALLET_KEY", "storage", true, arweave, 32, ""},
	{"PRIVATE_KEY", "contracts", true, always, 64, "ethereum"},
	{"RPC_URL_SEPOLIA", "contracts", true, always, 0, "url"}, {"RPC_URL_MAINNET", "contracts", true, production, 0, "url"},
	{"ETHERSCAN_API_KEY", "contracts", true, always, 16, ""},
	{"GRAFANA_ADMIN_USER", "grafana", false, always, 0, ""}, {"GRAFANA_ADMIN_PASSWORD", "grafana", true, always, 16, ""},
	{"SLACK_WEBHOOK_URL", "alerts", true, always, 0, "url"}, {"ALERT_EMAIL", "alerts", false, always, 0, "email"},
	{"ALERT_SMTP_USER", "alerts", false, always, 0, ""}, {"ALERT_SMTP_PASSWORD", "alerts", true, always, 8, ""},
}

// Components are the names that --component takes.
func Components() []string {
	var names []string
	for _, s := range Catalog {
		if !slices.Contains(names, s.Component) {
			names = append(names, s.Component)
		}
	}
	return names
}

// Known returns what is known of a name: that of the catalogue, and for one of another
// pattern (…_PREVIOUS, RPC_URL_…) that of its kind.
func Known(name string) (Spec, bool) {
	i := slices.IndexFunc(Catalog, func(s Spec) bool { return s.Name == name })
	if i >= 0 {
		return Catalog[i], true
	}
	if base, ok := strings.CutSuffix(name, "_PREVIOUS"); ok {
		s, known := Known(base)
		s.Name, s.When = name, ""
		return s, known
	}
	if strings.HasPrefix(name, "RPC_URL_") {
		return Spec{Name: name, Component: "contracts", Secret: true, Form: "url"}, true
	}
	return Spec{}, false
}

// Sensitive reports whether a variable of that name holds a secret: one of the
// catalogue, or a name that says so.
func Sensitive(name string) bool {
	if s, known := Known(name); known {
		return s.Secret
	}
	for _, word := range []string{"SECRET", "PASSWORD", "PASSWD", "TOKEN", "PRIVATE_KEY", "API_KEY", "ACCESS_KEY", "WALLET_KEY", "MNEMONIC", "ENCRYPTION_KEY", "CREDENTIAL"} {
		if strings.Contains(name, word) {
			return !strings.HasSuffix(name, "_FILE") && !strings.HasSuffix(name, "_PATH") && !strings.HasSuffix(name, "_ID") && name != "SECRETS_BACKEND"
		}
	}
	return false
}

// needed reports whether the name is needed, by the environment and the other settings.
func (s Spec) needed(environment string, setting func(string) string) bool {
	switch s.When {
	case always:
		return true
	case production:
		return environment == production
	}
	name, values, conditional := strings.Cut(s.When, "=")
	return conditional && slices.Contains(strings.Split(values, ","), setting(name))
}

// Malformed says why a value is not of its form, without the value; "" when it is.
func (s Spec) Malformed(value string) string {
	switch s.Form {
	case "url":
		if u, err := url.Parse(value); err != nil || u.Host == "" {
			return "is not a URL"
		}
	case "port":
		if n, err := strconv.Atoi(value); err != nil || n < 1 || n > 65535 {
			return "is not a port"
		}
	case "bool":
		if value != "true" && value != "false" {
			return "is neither true nor false"
		}
	case "email":
		if at := strings.LastIndexByte(value, '@'); at < 1 || at == len(value)-1 {
			return "is not an address"
		}
	case "ethereum":
		if _, err := EthereumAddress(NewValue(value)); err != nil {
			return "is not a private key of Ethereum (64 hex digits)"
		}
	}
	return ""
}
