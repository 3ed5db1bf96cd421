package postgres

import (
	"crypto/tls"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/takumi-backup/takumi-backup/internal/fail"
)

// modes are the values of sslmode, from the weakest.
var modes = []string{"disable", "allow", "prefer", "require", "verify-ca", "verify-full"}

// bundles are the certificates of trusted authorities on Debian and Alpine, Red Hat, and
// the BSDs. libpq uses only ~/.postgresql/root.crt.
var bundles = []string{"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"}

// addTLS adds Takumi's DB_SSL and DB_SSL_REJECT_UNAUTHORIZED without sslmode: true is TLS,
// and as in the application the server's certificate is verified unless the second is
// false. A weaker sslmode contradicts.
func addTLS(vars map[string]string, get func(string) string) error {
	on, set, err := boolean(get, "DB_SSL")
	if err != nil {
		return err
	}
	verify, verifySet, err := boolean(get, "DB_SSL_REJECT_UNAUTHORIZED")
	if err != nil || !set {
		return err
	}
	want := "disable"
	switch {
	case on && (verify || !verifySet):
		want = "verify-full"
	case on:
		want = "require"
	}
	given := vars["PGSSLMODE"]
	if given == "" {
		given = os.Getenv("PGSSLMODE")
	}
	switch known := slices.Index(modes, given); {
	case given == "":
		vars["PGSSLMODE"] = want
	case on && known >= 0 && known < slices.Index(modes, "require"):
		return settingsf("DB_SSL is true, and sslmode is %s: give one of them", given)
	case want == "verify-full" && verifySet && known >= 0 && known < slices.Index(modes, "verify-ca"):
		return settingsf("DB_SSL_REJECT_UNAUTHORIZED is true, and sslmode is %s, which verifies nothing: give one of them", given)
	}
	if vars["PGSSLMODE"] == "verify-full" && vars["PGSSLROOTCERT"] == "" && os.Getenv("PGSSLROOTCERT") == "" {
		if home, err := os.UserHomeDir(); err == nil && exists(filepath.Join(home, ".postgresql", "root.crt")) {
			return nil
		}
		if at := slices.IndexFunc(bundles, exists); at >= 0 {
			vars["PGSSLROOTCERT"] = bundles[at]
		}
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func boolean(get func(string) string, name string) (value, set bool, err error) {
	text := strings.ToLower(strings.TrimSpace(get(name)))
	if text == "" {
		return false, false, nil
	}
	if value, err = strconv.ParseBool(text); err != nil {
		return false, false, settingsf("%s is %q, neither true nor false", name, get(name))
	}
	return value, true, nil
}

// versions are what ssl_min_protocol_version can be.
var versions = map[string]uint16{"TLSv1": tls.VersionTLS10, "TLSv1.1": tls.VersionTLS11, "TLSv1.2": tls.VersionTLS12, "TLSv1.3": tls.VersionTLS13}

func limitTLS(config *pgx.ConnConfig, vars map[string]string) error {
	for _, name := range []string{sslMin, sslMax} {
		version, known := versions[vars[name]]
		if vars[name] == "" {
			continue
		}
		if !known {
			return settingsf("%q is not a version of TLS: TLSv1.2 and TLSv1.3 are", vars[name])
		}
		all := []*tls.Config{config.TLSConfig}
		for _, f := range config.Fallbacks {
			all = append(all, f.TLSConfig)
		}
		for _, c := range all {
			if c == nil {
				continue
			}
			if name == sslMin {
				c.MinVersion = version
			} else {
				c.MaxVersion = version
			}
		}
	}
	return nil
}

// Checked wraps the result of [FromSettings] or [FromURI], with [Settings.CheckProduction]
// in production; invalid settings are a mistake of usage.
func Checked(s *Settings, err error, production bool) (*Settings, error) {
	if err == nil && production {
		err = s.CheckProduction()
	}
	if errors.Is(err, ErrSettings) {
		return nil, fail.Usagef("%w", err)
	}
	return s, err
}

// CheckProduction fails with ErrSettings unless every connection goes through a socket of
// this machine, or through TLS to a server with a verified certificate: an impostor would
// get the password and the database.
func (s *Settings) CheckProduction() error {
	ways := append([]*pgconn.FallbackConfig{{Host: s.config.Host, TLSConfig: s.config.TLSConfig}}, s.config.Fallbacks...)
	for _, w := range ways {
		verified := w.TLSConfig != nil && (!w.TLSConfig.InsecureSkipVerify || w.TLSConfig.VerifyPeerCertificate != nil || w.TLSConfig.VerifyConnection != nil)
		if !verified && !strings.HasPrefix(w.Host, "/") {
			return settingsf("in production a database is reached by TLS with verification, and %s would be without: set DB_SSL=true and DB_SSL_REJECT_UNAUTHORIZED=true, or sslmode=verify-full in the connection URI; PGSSLROOTCERT names the authority's certificate", w.Host)
		}
	}
	return nil
}
