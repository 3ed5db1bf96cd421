// Package postgres finds a PostgreSQL server, its version and programs, and surveys a
// database.
//
// [Settings], by [FromEnv] or [FromURI], lead this program, by [Settings.Connect], and
// PostgreSQL's own programs, by [Settings.Environ], to the same place. Passwords travel in
// a child's environment, never on its command line or in errors.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/takumi-backup/takumi-backup/internal/fsutil"
)

// ErrSettings marks settings that cannot be right.
var ErrSettings = errors.New("the connection settings cannot be right")

func settingsf(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrSettings}, args...)...)
}

// connectTimeout is the default for the server's answer.
const connectTimeout = 30 * time.Second

// Settings name a database, a server and a user. They are constant and safe for concurrent
// use.
type Settings struct {
	vars   map[string]string // libpq's variables that the environment lacks
	config *pgx.ConnConfig
}

// takumi are Takumi's own variables and libpq's, in their order of reading.
var takumi = [][2]string{
	{"DB_HOST", "PGHOST"}, {"DB_PORT", "PGPORT"}, {"DB_NAME", "PGDATABASE"},
	{"DB_USER", "PGUSER"}, {"DB_PASSWORD", "PGPASSWORD"},
}

// FromEnv reads DB_HOST, which may be the folder of a socket, DB_PORT, DB_NAME, DB_USER,
// DB_PASSWORD, DB_SSL and DB_SSL_REJECT_UNAUTHORIZED, and for the rest libpq's variables
// and files. Invalid settings are ErrSettings.
func FromEnv() (*Settings, error) { return FromSettings(os.Getenv) }

// FromSettings is FromEnv for settings from get, and reads a missing password from the file
// DB_PASSWORD_FILE. libpq's variables are still the process's.
func FromSettings(get func(name string) string) (*Settings, error) {
	vars := make(map[string]string)
	for _, pair := range takumi {
		if value := get(pair[0]); value != "" {
			vars[pair[1]] = value
		}
	}
	if path := get("DB_PASSWORD_FILE"); path != "" && vars["PGPASSWORD"] == "" {
		password, err := fsutil.ReadPrivate(path, 4096)
		if err != nil {
			return nil, fmt.Errorf("reading DB_PASSWORD_FILE: %w", err)
		}
		vars["PGPASSWORD"] = strings.TrimRight(string(password), "\r\n")
	}
	if port, ok := vars["PGPORT"]; ok {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return nil, settingsf("DB_PORT is %q, not a port", port)
		}
	}
	return newSettings(vars, get)
}

func newSettings(vars map[string]string, get func(string) string) (*Settings, error) {
	// libpq prefers a service to the variables, and PGHOSTADDR to PGHOST: both would lead
	// elsewhere unseen.
	if os.Getenv(hostaddr) != "" && vars[hostaddr] == "" {
		return nil, settingsf("PGHOSTADDR is set, which this program does not follow: use PGHOST, or hostaddr in a connection URI")
	}
	if os.Getenv("PGSERVICE") != "" && len(vars) > 0 {
		return nil, settingsf("PGSERVICE is set next to DB_* variables or a connection URI: give one of them")
	}
	for name, value := range vars {
		if strings.ContainsRune(value, 0) {
			return nil, settingsf("the value for %s has a NUL byte", name)
		}
	}
	if vars["PGGSSENCMODE"] == "require" {
		return nil, settingsf("gssencmode is require, and this program cannot encrypt by GSSAPI: use TLS")
	}
	if err := addTLS(vars, get); err != nil {
		return nil, err
	}
	var words []string
	for _, p := range parameters {
		if value, ok := vars[p.name()]; ok && p.ours && p.keyword != "password" { // an error would show what was parsed
			words = append(words, p.keyword+"="+quoteWord(value))
		}
	}
	if vars["PGHOST"] == "" && vars[hostaddr] != "" {
		words = append(words, "host="+quoteWord(vars[hostaddr]))
	}
	config, err := pgx.ParseConfig(strings.Join(words, " "))
	if err != nil {
		return nil, settingsf("%w", err)
	}
	if password, ok := vars["PGPASSWORD"]; ok {
		config.Password = password
	}
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = connectTimeout
	}
	if config.Database == "" {
		config.Database = config.User
	}
	if err := firstError(followAddresses(config, vars), limitTLS(config, vars)); err != nil {
		return nil, err
	}
	return &Settings{vars, config}, nil
}

// followAddresses connects to the addresses of hostaddr, one for each host, whose names are
// then only for certificates and password files.
func followAddresses(config *pgx.ConnConfig, vars map[string]string) error {
	if vars[hostaddr] == "" {
		return nil
	}
	addresses := strings.Split(vars[hostaddr], ",")
	for _, address := range addresses {
		if _, err := netip.ParseAddr(address); err != nil {
			return settingsf("hostaddr has %q, which is not an IP address", address)
		}
	}
	hosts := addresses
	if vars["PGHOST"] != "" {
		hosts = strings.Split(vars["PGHOST"], ",")
	}
	if len(hosts) != len(addresses) {
		return settingsf("there are %d hosts and %d addresses in hostaddr", len(hosts), len(addresses))
	}
	of := make(map[string][]string)
	for i, host := range hosts {
		of[host] = append(of[host], addresses[i])
	}
	config.LookupFunc = func(_ context.Context, host string) ([]string, error) { return of[host], nil }
	return nil
}

func quoteWord(value string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(value) + "'"
}

// Database returns the name of the database.
func (s *Settings) Database() string { return s.config.Database }

// User returns the name of the role that connects.
func (s *Settings) User() string { return s.config.User }

// Server returns where the server is, for people.
func (s *Settings) Server() string {
	if strings.HasPrefix(s.config.Host, "/") {
		return s.config.Host
	}
	return fmt.Sprintf("%s:%d", s.config.Host, s.config.Port)
}

// Address is like Server, and distinguishes servers with sockets in one folder.
func (s *Settings) Address() string { return fmt.Sprintf("%s:%d", s.config.Host, s.config.Port) }

// On returns the settings for another database of the same server.
func (s *Settings) On(database string) *Settings {
	other := &Settings{maps.Clone(s.vars), s.config.Copy()}
	other.config.Database = database
	return other
}

// As returns the settings for another role of the same server.
func (s *Settings) As(user, password string) *Settings {
	other := &Settings{maps.Clone(s.vars), s.config.Copy()}
	other.config.User, other.config.Password = user, password
	other.vars["PGUSER"], other.vars["PGPASSWORD"] = user, password
	return other
}

// Environ returns libpq's variables for a child, in addition to this process's environment:
// those that lead to the server, with the password. [Settings.Target] names the database.
func (s *Settings) Environ() []string {
	vars := maps.Clone(s.vars)
	delete(vars, "PGDATABASE")
	// A password file may have it for one database only.
	if s.config.Password != "" {
		vars["PGPASSWORD"] = s.config.Password
	}
	var env []string
	for _, p := range parameters {
		if value, ok := vars[p.variable]; ok && p.variable != "" {
			env = append(env, p.variable+"="+value)
		}
	}
	slices.Sort(env)
	return env
}

// Target returns the argument that names the database to a program of PostgreSQL. A bare
// name could be read as a connection string, and PGDATABASE loses against a service file.
// It includes parameters for which libpq has no variable; none is secret.
func (s *Settings) Target() string {
	target := "--dbname=dbname=" + quoteWord(s.config.Database)
	for _, p := range parameters {
		if value, ok := s.vars[p.keyword]; ok && p.variable == "" {
			target += " " + p.keyword + "=" + quoteWord(value)
		}
	}
	return target
}
