package postgres

import (
	"net/url"
	"strings"
)

// keywords are the parameters of a connection that libpq and this program both
// know, by the variable that hands each on.
var keywords = map[string]string{
	"PGHOST": "host", "PGPORT": "port", "PGDATABASE": "dbname", "PGUSER": "user", "PGPASSWORD": "password",
	"PGPASSFILE": "passfile", "PGSSLMODE": "sslmode", "PGSSLCERT": "sslcert", "PGSSLKEY": "sslkey",
	"PGSSLROOTCERT": "sslrootcert", "PGCONNECT_TIMEOUT": "connect_timeout", "PGAPPNAME": "application_name",
	"PGOPTIONS": "options", "PGTARGETSESSIONATTRS": "target_session_attrs",
}

// FromURI reads a connection URI, postgresql://USER:PASSWORD@HOST:PORT/NAME?KEY=VALUE,
// of which any part but the scheme may be missing. What is missing comes from
// libpq's variables and files, and not from Takumi's, which describe another
// place. A host that is a socket folder is written as %2Frun%2Fpostgresql, or
// as ?host=/run/postgresql. What cannot be right is ErrSettings.
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
	set := func(name, text string) error {
		value, err := url.PathUnescape(text)
		if err != nil {
			return settingsf("the connection URI has a %% in its %s that is not written as %%25", keywords[name])
		}
		if value != "" {
			vars[name] = value
		}
		return nil
	}
	rest, query, _ := strings.Cut(rest, "?")
	authority, database, _ := strings.Cut(rest, "/")
	// An error about what a password has spilt into must not show it.
	if strings.Contains(database, "@") {
		return nil, misplacedAt()
	}
	hosts := authority
	if at := strings.LastIndexByte(authority, '@'); at >= 0 {
		hosts = authority[at+1:]
		user, password, _ := strings.Cut(authority[:at], ":")
		if err := firstError(set("PGUSER", user), set("PGPASSWORD", password)); err != nil {
			return nil, err
		}
	}
	host, port, err := splitHosts(hosts)
	if err != nil {
		return nil, err
	}
	if err := firstError(set("PGHOST", host), set("PGPORT", port), set("PGDATABASE", database)); err != nil {
		return nil, err
	}
	for pair := range strings.SplitSeq(query, "&") {
		if pair == "" {
			continue
		}
		key, value, _ := strings.Cut(pair, "=")
		name := variable(key)
		switch {
		case name == "" && strings.Contains(query, "@"):
			return nil, misplacedAt()
		case name == "":
			return nil, settingsf("the connection URI has the parameter %q, which this program does not know", key)
		}
		if err := set(name, value); err != nil {
			return nil, err
		}
	}
	return newSettings(vars)
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

// variable returns the variable of a parameter, or "".
func variable(keyword string) string {
	for name, known := range keywords {
		if known == keyword {
			return name
		}
	}
	return ""
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

// HasPassword tells whether a connection URI holds a password, which whoever
// lists the processes of this machine can read on a command line.
func HasPassword(uri string) bool {
	_, rest, _ := strings.Cut(uri, "://")
	rest, query, _ := strings.Cut(rest, "?")
	authority, _, _ := strings.Cut(rest, "/")
	at := strings.LastIndexByte(authority, '@')
	return at >= 0 && strings.Contains(authority[:at], ":") || strings.Contains("&"+query, "&password=")
}
