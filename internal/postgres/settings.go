// Package postgres finds a PostgreSQL server, its version and the programs that
// fit it, and surveys what a database holds.
//
// A caller first gets [Settings], by [FromEnv] or [FromURI]. They lead this
// program, by [Settings.Connect], and PostgreSQL's own programs, by
// [Settings.Environ], to the same place. Passwords travel in the environment of
// a child and never on its command line, and no error of this package holds one.
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

// connectTimeout is how long a server may take to answer when no setting says.
const connectTimeout = 30 * time.Second

// Settings say which database is meant, on which server, and as whom. They do
// not change; any number of goroutines may use them.
type Settings struct {
	vars   map[string]string // libpq's variables that the environment lacks
	config *pgx.ConnConfig
}

// takumi are Takumi's own variables and libpq's, in their order of reading.
var takumi = [][2]string{
	{"DB_HOST", "PGHOST"}, {"DB_PORT", "PGPORT"}, {"DB_NAME", "PGDATABASE"},
	{"DB_USER", "PGUSER"}, {"DB_PASSWORD", "PGPASSWORD"},
}

// FromEnv reads DB_HOST, which may be the folder of a socket, DB_PORT, DB_NAME,
// DB_USER, DB_PASSWORD, DB_SSL and DB_SSL_REJECT_UNAUTHORIZED, and for what they
// leave open libpq's variables and files. What cannot be right is ErrSettings.
func FromEnv() (*Settings, error) { return FromSettings(os.Getenv) }

// FromSettings is FromEnv for settings that get returns, and reads a password that
// they lack from the file that DB_PASSWORD_FILE names. libpq's variables are those of
// the process all the same.
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
	// Both lead elsewhere behind the back of this program: libpq puts a service
	// before the variables, and connects to PGHOSTADDR in place of PGHOST.
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

// followAddresses lets connections go to the addresses of hostaddr, one for each
// host, whose names then count for certificates and password files alone.
func followAddresses(config *pgx.ConnConfig, vars map[string]string) error {
	if vars[hostaddr] == "" {
		return nil
	}
	addresses := strings.Split(vars[hostaddr], ",")
	for _, address := range addresses {
		if _, err := netip.ParseAddr(address); err != nil {
			return settingsf("hostaddr has %q, which is no IP address", address)
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

// Address is like Server, and also tells servers with sockets in one folder apart.
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

// Environ returns libpq's variables for a child, to be added to the environment
// of this process: those that lead to the server, the password among them. The
// database is not there; [Settings.Target] names it.
func (s *Settings) Environ() []string {
	vars := maps.Clone(s.vars)
	delete(vars, "PGDATABASE")
	// Found in a password file it may have was there for one database only.
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

// Target returns the argument that names the database to a program of
// PostgreSQL. A bare name would be read as a connection string when it looks
// like one, and PGDATABASE loses against a service file. Parameters that libpq has no
// variable for are there too; none of them is secret.
func (s *Settings) Target() string {
	target := "--dbname=dbname=" + quoteWord(s.config.Database)
	for _, p := range parameters {
		if value, ok := s.vars[p.keyword]; ok && p.variable == "" {
			target += " " + p.keyword + "=" + quoteWord(value)
		}
	}
	return target
}
