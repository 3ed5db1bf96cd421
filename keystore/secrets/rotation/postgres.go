package rotation

import (
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/postgres"
	"github.com/takumi-backup/takumi-backup/keystore/secrets"
)

// PostgresConfig names two roles with the same privileges, of which one is in use. The
// connection that changes them is that of DB_* or PG* of the environment, as a role that
// may alter both (CREATEROLE and, from PostgreSQL 16 on, ADMIN of them).
type PostgresConfig struct {
	Roles []string `json:"roles"`
}

// alternating gives the role that is not in use a new password, and makes it the one in
// use: the password of a role that somebody is logging in with never changes.
type alternating struct {
	roles          []string
	user, password string // names of the secrets
	production     bool
}

func newAlternating(s *Set, production bool) *alternating {
	return &alternating{roles: s.Postgres.Roles, user: s.Names[0], password: s.Names[1], production: production}
}

func (m *alternating) settings() (*postgres.Settings, error) {
	s, err := postgres.FromEnv()
	return postgres.Checked(s, err, m.production)
}

func (m *alternating) connect(ctx context.Context) (*pgx.Conn, error) {
	settings, err := m.settings()
	if err != nil {
		return nil, err
	}
	return settings.Connect(ctx)
}

// other is the role that is not in use.
func (m *alternating) other(current map[string]string) (string, error) {
	switch current[m.user] {
	case m.roles[0]:
		return m.roles[1], nil
	case m.roles[1]:
		return m.roles[0], nil
	case "":
		return m.roles[0], nil
	}
	return "", fail.As(fail.Usage, "name it among postgres.roles of the set", fmt.Errorf("%s is %s, neither of the set's roles", m.user, current[m.user]))
}

// Check sees that both roles are there, and members of the same roles.
func (m *alternating) Check(ctx context.Context) error {
	conn, err := m.connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	var found, kinds int
	err = conn.QueryRow(ctx, `SELECT count(*), count(DISTINCT groups) FROM (
		SELECT r.oid, coalesce((SELECT string_agg(m.roleid::text, ',' ORDER BY m.roleid) FROM pg_auth_members m WHERE m.member = r.oid), '') AS groups
		FROM pg_roles r WHERE r.rolname = ANY($1)) both_roles`, m.roles).Scan(&found, &kinds)
	switch {
	case err != nil:
		return fmt.Errorf("looking at the roles: %w", err)
	case found != 2:
		return fail.As(fail.Usage, fmt.Sprintf("CREATE ROLE %s LOGIN IN ROLE …; both own nothing, and are members of a role that owns all", postgres.Quote(m.roles[1])),
			fmt.Errorf("of the roles %s and %s only %d is there", m.roles[0], m.roles[1], found))
	case kinds != 1:
		return fail.As(fail.Usage, "GRANT both the same roles", fmt.Errorf("the roles %s and %s are members of different roles", m.roles[0], m.roles[1]))
	}
	return nil
}

func (m *alternating) Make(ctx context.Context, current map[string]string) (map[string]string, error) {
	role, err := m.other(current)
	if err != nil {
		return nil, err
	}
	password, err := secrets.Generate(secrets.Password, 0)
	if err != nil {
		return nil, err
	}
	verifier, err := scram(password.Reveal())
	if err != nil {
		return nil, err
	}
	conn, err := m.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	// A verifier, so that no log of the server's ever has the password.
	if _, err := conn.Exec(ctx, "ALTER ROLE "+postgres.Quote(role)+" LOGIN PASSWORD '"+verifier+"'"); err != nil {
		return nil, fmt.Errorf("giving the role %s a password: %w", role, err)
	}
	return map[string]string{m.user: role, m.password: password.Reveal()}, nil
}

// Retire takes the password from the role that is not in use; sessions that it has go
// on, unless its password was stolen.
func (m *alternating) Retire(ctx context.Context, current map[string]string, stolen bool) error {
	role, err := m.other(current)
	if err != nil {
		return err
	}
	conn, err := m.connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.Exec(ctx, "ALTER ROLE "+postgres.Quote(role)+" NOLOGIN PASSWORD NULL"); err != nil {
		return fmt.Errorf("ending the role %s: %w", role, err)
	}
	if stolen {
		if _, err := conn.Exec(ctx, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1", role); err != nil {
			return fmt.Errorf("ending the sessions of %s: %w", role, err)
		}
	}
	return nil
}

// scram is PostgreSQL's verifier of a password (RFC 5802 and 7677, with the server's
// usual 4096 rounds). A password of ours is ASCII, which SASLprep leaves alone.
func scram(password string) (string, error) {
	const rounds = 4096
	salt := make([]byte, 16)
	rand.Read(salt)
	salted, err := pbkdf2.Key(sha256.New, password, salt, rounds, sha256.Size)
	if err != nil {
		return "", err
	}
	mac := func(key []byte, text string) []byte {
		h := hmac.New(sha256.New, key)
		h.Write([]byte(text))
		return h.Sum(nil)
	}
	client := sha256.Sum256(mac(salted, "Client Key"))
	b64 := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("SCRAM-SHA-256$%d:%s$%s:%s", rounds, b64(salt), b64(client[:]), b64(mac(salted, "Server Key"))), nil
}

// Prove logs in: it is what proves alternating roles when the set has no other proof.
func (m *alternating) Prove(ctx context.Context, accepted, rejected []map[string]string) error {
	for _, v := range accepted {
		if err := m.login(ctx, v); err != nil {
			return fmt.Errorf("logging in as %s: %w", v[m.user], err)
		}
	}
	for _, v := range rejected {
		err := m.login(ctx, v)
		if err == nil {
			return fmt.Errorf("the former password of %s is still accepted", v[m.user])
		}
		// A server that cannot be asked refuses nobody.
		if e, ok := errors.AsType[*postgres.ConnectError](err); !ok || !e.Refused() {
			return fmt.Errorf("trying the former password of %s: %w", v[m.user], err)
		}
	}
	return nil
}

func (m *alternating) login(ctx context.Context, v map[string]string) error {
	settings, err := m.settings()
	if err != nil {
		return err
	}
	conn, err := settings.As(v[m.user], v[m.password]).Connect(ctx)
	if err != nil {
		return err
	}
	return conn.Close(ctx)
}
