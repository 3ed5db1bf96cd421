package postgres

import (
	"cmp"
	"net/url"
	"os"
	"strings"
)

// parameter is a connection parameter of libpq (PostgreSQL's documentation, "Parameter Key
// Words").
type parameter struct {
	keyword string
	// variable is its name for PostgreSQL's programs; "" if only a connection string has
	// it.
	variable string
	// ours marks those that this program's own connections follow too; the others do not
	// matter to them, or are handled in newSettings.
	ours bool
	// refused says why it is not taken.
	refused string
}

var parameters = []parameter{
	{"host", "PGHOST", true, ""}, {"port", "PGPORT", true, ""}, {"dbname", "PGDATABASE", true, ""}, {"user", "PGUSER", true, ""},
	{"password", "PGPASSWORD", true, ""}, {"passfile", "PGPASSFILE", true, ""}, {"hostaddr", hostaddr, false, ""},
	{"connect_timeout", "PGCONNECT_TIMEOUT", true, ""}, {"application_name", "PGAPPNAME", true, ""}, {"options", "PGOPTIONS", true, ""},
	{"target_session_attrs", "PGTARGETSESSIONATTRS", true, ""}, {"load_balance_hosts", "PGLOADBALANCEHOSTS", false, ""},
	{"sslmode", "PGSSLMODE", true, ""}, {"sslcert", "PGSSLCERT", true, ""}, {"sslkey", "PGSSLKEY", true, ""}, {"sslrootcert", "PGSSLROOTCERT", true, ""},
	{"sslcertmode", "PGSSLCERTMODE", true, ""}, {"sslsni", "PGSSLSNI", true, ""}, {"sslnegotiation", "PGSSLNEGOTIATION", true, ""},
	{"sslcompression", "PGSSLCOMPRESSION", false, ""},
	{"ssl_min_protocol_version", sslMin, false, ""}, {"ssl_max_protocol_version", sslMax, false, ""},
	{"channel_binding", "PGCHANNELBINDING", true, ""}, {"require_auth", "PGREQUIREAUTH", true, ""},
	{"min_protocol_version", "PGMINPROTOCOLVERSION", true, ""}, {"max_protocol_version", "PGMAXPROTOCOLVERSION", true, ""},
	{"krbsrvname", "PGKRBSRVNAME", true, ""}, {"gsslib", "PGGSSLIB", false, ""}, {"gssencmode", "PGGSSENCMODE", false, ""}, {"gssdelegation", "PGGSSDELEGATION", false, ""},
	{"client_encoding", "PGCLIENTENCODING", false, ""}, // ours is always UTF-8
	{"keepalives", "", false, ""}, {"keepalives_idle", "", false, ""}, {"keepalives_interval", "", false, ""}, {"keepalives_count", "", false, ""},
	{"tcp_user_timeout", "", false, ""}, {"fallback_application_name", "", false, ""},
	{keyword: "sslpassword", refused: "a key without a password, or sslmode without a client's certificate, works"},
	{keyword: "sslcrl", refused: "this program reads no revocation lists"}, {keyword: "sslcrldir", refused: "this program reads no revocation lists"},
	{keyword: "requirepeer", refused: "this program does not look whose process listens"},
	{keyword: "service", refused: "set PGSERVICE in place of the URI"}, {keyword: "servicefile", refused: "set PGSERVICEFILE and PGSERVICE in place of the URI"},
	{keyword: "requiressl", refused: "write sslmode=require"}, {keyword: "replication", refused: "backups do not use it"},
}

const (
	hostaddr = "PGHOSTADDR"
	sslMin   = "PGSSLMINPROTOCOLVERSION"
	sslMax   = "PGSSLMAXPROTOCOLVERSION"
)

func byKeyword(keyword string) (parameter, bool) {
	for _, p := range parameters {
		if p.keyword == keyword {
			return p, true
		}
	}
	return parameter{}, false
}

func (p parameter) name() string { return cmp.Or(p.variable, p.keyword) }

// FromURI reads a connection URI, postgresql://USER:PASSWORD@HOST:PORT/NAME?KEY=VALUE, in
// which only the scheme is required. The rest comes from libpq's variables and files, and
// not from Takumi's, which describe another place. A socket folder is written as
// %2Frun%2Fpostgresql, or as ?host=/run/postgresql. Invalid URIs are ErrSettings.
func FromURI(uri string) (*Settings, error) {
	rest, ok := strings.CutPrefix(uri, "postgresql://")
	if !ok {
		if rest, ok = strings.CutPrefix(uri, "postgres://"); !ok {
			return nil, settingsf("a connection URI begins with postgresql://")
		}
	}
	if strings.Contains(rest, "#") {
		return nil, settingsf("the connection URI has a # that is not written as %%23")
	}
	vars := make(map[string]string)
	set := func(keyword, text string) error {
		p, _ := byKeyword(keyword)
		value, err := url.PathUnescape(text)
		if err != nil {
			return settingsf("the connection URI has a %% in its %s that is not written as %%25", keyword)
		}
		if value != "" {
			vars[p.name()] = value
		}
		return nil
	}
	rest, query, _ := strings.Cut(rest, "?")
	authority, database, _ := strings.Cut(rest, "/")
	// A part of a password must not be in the error.
	if strings.Contains(database, "@") {
		return nil, misplacedAt()
	}
	hosts := authority
	if at := strings.LastIndexByte(authority, '@'); at >= 0 {
		hosts = authority[at+1:]
		user, password, _ := strings.Cut(authority[:at], ":")
		if err := firstError(set("user", user), set("password", password)); err != nil {
			return nil, err
		}
	}
	host, port, err := splitHosts(hosts)
	if err != nil {
		return nil, err
	}
	if err := firstError(set("host", host), set("port", port), set("dbname", database)); err != nil {
		return nil, err
	}
	for pair := range strings.SplitSeq(query, "&") {
		if pair == "" {
			continue
		}
		key, value, _ := strings.Cut(pair, "=")
		p, known := byKeyword(key)
		switch {
		case !known && strings.Contains(query, "@"):
			return nil, misplacedAt()
		case !known:
			return nil, settingsf("the connection URI has the parameter %q, which libpq does not know", key)
		case p.refused != "":
			return nil, settingsf("the connection URI has the parameter %s, which is not followed: %s", key, p.refused)
		}
		if err := set(key, value); err != nil {
			return nil, err
		}
	}
	return newSettings(vars, os.Getenv)
}

func misplacedAt() error {
	return settingsf("the connection URI has an @ that is not written as %%40, or a / or ? in its user or password that is not written as %%2F or %%3F")
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// splitHosts turns host:port,host:port into the two lists that libpq takes.
func splitHosts(text string) (hosts, ports string, err error) {
	if text == "" {
		return "", "", nil
	}
	var hostList, portList []string
	anyPort := false
	for one := range strings.SplitSeq(text, ",") {
		host, port := one, ""
		if inside, after, ok := strings.Cut(strings.TrimPrefix(one, "["), "]"); ok && strings.HasPrefix(one, "[") {
			if host = inside; after != "" && !strings.HasPrefix(after, ":") {
				return "", "", settingsf("the connection URI has something between ] and the port")
			}
			port = strings.TrimPrefix(after, ":")
		} else {
			host, port, _ = strings.Cut(one, ":")
		}
		if strings.Trim(port, "0123456789") != "" {
			return "", "", settingsf("the connection URI has a port that is not a number; a : or @ in a password is written as %%3A or %%40")
		}
		anyPort = anyPort || port != ""
		hostList, portList = append(hostList, host), append(portList, port)
	}
	if anyPort {
		ports = strings.Join(portList, ",")
	}
	return strings.Join(hostList, ","), ports, nil
}

// HasPassword reports whether a URI holds a password, which lists of processes show.
func HasPassword(uri string) bool {
	_, rest, _ := strings.Cut(uri, "://")
	rest, query, _ := strings.Cut(rest, "?")
	authority, _, _ := strings.Cut(rest, "/")
	at := strings.LastIndexByte(authority, '@')
	return at >= 0 && strings.Contains(authority[:at], ":") || strings.Contains("&"+query, "&password=")
}
