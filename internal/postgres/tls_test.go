package postgres_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/internal/postgres"
)

// eavesdropper is a server without TLS that asks for the password in clear, and
// sends what it gets.
func eavesdropper(t *testing.T) (port string, heard chan string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	heard = make(chan string, 8)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go listen(conn, heard)
		}
	}()
	_, port, _ = net.SplitHostPort(listener.Addr().String())
	return port, heard
}

func listen(conn net.Conn, heard chan string) {
	defer conn.Close()
	r := bufio.NewReader(conn)
	for {
		var size, code uint32
		if binary.Read(r, binary.BigEndian, &size) != nil || binary.Read(r, binary.BigEndian, &code) != nil || size < 8 || size > 1<<16 {
			return
		}
		if _, err := io.CopyN(io.Discard, r, int64(size-8)); err != nil {
			return
		}
		if code == 80877103 { // SSLRequest
			conn.Write([]byte("N"))
			continue
		}
		conn.Write([]byte{'R', 0, 0, 0, 8, 0, 0, 0, 3})
		if _, err := r.Discard(5); err != nil { // the message's type and length
			return
		}
		text, _ := r.ReadString(0)
		heard <- text
		return
	}
}

// clean takes away what the tests' own environment says of databases.
func clean(t *testing.T) {
	t.Helper()
	for _, name := range []string{"PGSSLMODE", "PGSSLROOTCERT", "PGHOST", "PGHOSTADDR", "DB_HOST", "DB_PORT", "DB_SSL", "DB_SSL_REJECT_UNAUTHORIZED"} {
		t.Setenv(name, "")
	}
}

// TestPasswordNotInClear: with DB_SSL a server without TLS gets no password, and in
// production it is not even asked.
func TestPasswordNotInClear(t *testing.T) {
	for _, reject := range []string{"", "true", "false"} {
		clean(t)
		port, heard := eavesdropper(t)
		for name, value := range map[string]string{"DB_HOST": "127.0.0.1", "DB_PORT": port, "DB_USER": "u", "DB_PASSWORD": "hush", "DB_SSL": "true", "DB_SSL_REJECT_UNAUTHORIZED": reject} {
			t.Setenv(name, value)
		}
		for _, from := range []func() (*postgres.Settings, error){postgres.FromEnv, func() (*postgres.Settings, error) {
			return postgres.FromURI("postgresql://u:hush@127.0.0.1:" + port + "/db")
		}} {
			s, err := from()
			if err != nil {
				t.Fatal(err)
			}
			if err := s.CheckProduction(); (err == nil) != (reject != "false") {
				t.Errorf("DB_SSL_REJECT_UNAUTHORIZED=%s in production: %v", reject, err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
			conn, err := s.Connect(ctx)
			cancel()
			if err == nil {
				conn.Close(t.Context())
				t.Error("it connected")
			}
		}
		select {
		case text := <-heard:
			t.Errorf("the server was sent %q", text)
		default:
		}
	}
}

func TestTLSOfSettings(t *testing.T) {
	for _, tc := range []struct {
		env        map[string]string
		uri        string
		child      string // what a child gets of PGSSLMODE
		production bool
		says       string // why it is refused
	}{
		{env: map[string]string{"DB_HOST": "h"}},
		{env: map[string]string{"DB_HOST": "localhost"}},
		{env: map[string]string{"DB_HOST": "/run/postgresql"}, production: true},
		{env: map[string]string{"DB_HOST": "h", "DB_SSL": "true"}, child: "verify-full", production: true},
		{env: map[string]string{"DB_HOST": "h", "DB_SSL": "TRUE", "DB_SSL_REJECT_UNAUTHORIZED": "true"}, child: "verify-full", production: true},
		{env: map[string]string{"DB_HOST": "h", "DB_SSL": "true", "DB_SSL_REJECT_UNAUTHORIZED": "false"}, child: "require"},
		{env: map[string]string{"DB_HOST": "h", "DB_SSL": "false"}, child: "disable"},
		{env: map[string]string{"DB_HOST": "/run/postgresql", "DB_SSL": "true"}, child: "verify-full", production: true},
		{env: map[string]string{"DB_HOST": "h", "PGSSLMODE": "verify-full"}, production: true},
		{env: map[string]string{"DB_HOST": "h", "PGSSLMODE": "prefer"}},
		{env: map[string]string{"DB_HOST": "h", "DB_SSL": "true", "PGSSLMODE": "verify-ca"}, production: true},
		{env: map[string]string{"DB_HOST": "h", "DB_SSL": "true", "PGSSLMODE": "prefer"}, says: "DB_SSL is true, and sslmode is prefer"},
		{env: map[string]string{"DB_HOST": "h", "DB_SSL": "true", "DB_SSL_REJECT_UNAUTHORIZED": "true", "PGSSLMODE": "require"}, says: "verifies nothing"},
		{env: map[string]string{"DB_HOST": "h", "DB_SSL": "on"}, says: `DB_SSL is "on"`},
		{env: map[string]string{"DB_HOST": "h", "DB_SSL_REJECT_UNAUTHORIZED": "maybe"}, says: "DB_SSL_REJECT_UNAUTHORIZED is"},
		{uri: "postgresql://h/db"},
		{uri: "postgresql://h/db?sslmode=verify-full", child: "verify-full", production: true},
		{uri: "postgresql://h,/run/x/db?sslmode=require", child: "require"},
		{env: map[string]string{"DB_SSL": "true"}, uri: "postgresql://h/db", child: "verify-full", production: true},
		{env: map[string]string{"DB_SSL": "true"}, uri: "postgresql://h/db?sslmode=disable", says: "DB_SSL is true"},
	} {
		clean(t)
		for name, value := range tc.env {
			t.Setenv(name, value)
		}
		from := postgres.FromEnv
		if tc.uri != "" {
			from = func() (*postgres.Settings, error) { return postgres.FromURI(tc.uri) }
		}
		s, err := from()
		if tc.says != "" {
			if !errors.Is(err, postgres.ErrSettings) || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("%v %s: got %v, want %q", tc.env, tc.uri, err, tc.says)
			}
			continue
		}
		if err != nil {
			t.Errorf("%v %s: %v", tc.env, tc.uri, err)
			continue
		}
		if tc.child != "" != slices.Contains(s.Environ(), "PGSSLMODE="+tc.child) {
			t.Errorf("%v %s: a child gets %q, want %q", tc.env, tc.uri, s.Environ(), tc.child)
		}
		if err := s.CheckProduction(); (err == nil) != tc.production {
			t.Errorf("%v %s: in production: %v", tc.env, tc.uri, err)
		}
	}
}

// TestParameters: a URI has what libpq takes, and what this program cannot follow is
// refused and not passed over.
func TestParameters(t *testing.T) {
	clean(t)
	s, err := postgres.FromURI("postgresql://u@name.example/db?hostaddr=127.0.0.1&channel_binding=prefer&keepalives=1&keepalives_idle=30&tcp_user_timeout=9&client_encoding=LATIN1&gssencmode=disable&ssl_min_protocol_version=TLSv1.3&fallback_application_name=it%27s&load_balance_hosts=random&sslmode=require")
	if err != nil {
		t.Fatal(err)
	}
	for _, pair := range []string{"PGHOST=name.example", "PGHOSTADDR=127.0.0.1", "PGCHANNELBINDING=prefer", "PGCLIENTENCODING=LATIN1", "PGGSSENCMODE=disable", "PGSSLMINPROTOCOLVERSION=TLSv1.3", "PGLOADBALANCEHOSTS=random"} {
		if !slices.Contains(s.Environ(), pair) {
			t.Errorf("a child lacks %s: %q", pair, s.Environ())
		}
	}
	if want := `--dbname=dbname='db' keepalives='1' keepalives_idle='30' tcp_user_timeout='9' fallback_application_name='it\'s'`; s.Target() != want {
		t.Errorf("a child is given %s, want %s", s.Target(), want)
	}
	for query, says := range map[string]string{
		"sslcrl=/x": "revocation", "requirepeer=postgres": "requirepeer", "sslpassword=geheim": "sslpassword", "service=x": "PGSERVICE", "gssencmode=require": "GSSAPI",
		"hostaddr=example.com": "not an IP address", "hostaddr=127.0.0.1,127.0.0.2": "1 hosts and 2 addresses", "ssl_min_protocol_version=3": "not a version of TLS", "nonsense=1": "nonsense",
	} {
		_, err := postgres.FromURI("postgresql://h/db?" + query)
		if !errors.Is(err, postgres.ErrSettings) || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "geheim") {
			t.Errorf("%s: %v, want %q", query, err, says)
		}
	}
	// The address is where connections go, whatever the host is called.
	port, heard := eavesdropper(t)
	if s, err = postgres.FromURI("postgresql://u:clear@name.invalid:" + port + "/db?hostaddr=127.0.0.1&sslmode=disable&client_encoding=auto"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	if conn, err := s.Connect(ctx); err == nil {
		conn.Close(ctx)
	}
	select {
	case text := <-heard:
		if !strings.Contains(text, "clear") {
			t.Errorf("heard %q", text)
		}
	case <-ctx.Done():
		t.Error("nobody came to the address")
	}
}
