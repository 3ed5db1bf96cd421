package awssm_test

import (
	"encoding/pem"
	"errors"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/internal/netsafe"
	"github.com/takumi-backup/takumi-backup/keystore"
	"github.com/takumi-backup/takumi-backup/keystore/awssm"
)

func TestConfiguration(t *testing.T) {
	server := newServer(t)
	environment(t, server.URL)
	name := newName(t)
	load := func(rest string) error {
		_, err := openWith(t, awssm.Quick(awssm.Options{RequireTLS: true}), rest).Load(t.Context())
		return err
	}
	t.Run("another region's ARN", func(t *testing.T) {
		wants(t, load(anARN), keystore.ErrNotFound, "eu-west-1") // asked there, whatever AWS_REGION says
	})
	t.Run("no region", func(t *testing.T) {
		t.Setenv("AWS_REGION", "")
		wants(t, load(name), keystore.ErrRefused, "export AWS_REGION=")
	})
	t.Run("AWS_DEFAULT_REGION", func(t *testing.T) {
		t.Setenv("AWS_REGION", "")
		t.Setenv("AWS_DEFAULT_REGION", "us-east-2")
		wants(t, load(name), keystore.ErrNotFound, "us-east-2")
	})
	t.Run("no such profile", func(t *testing.T) {
		t.Setenv("AWS_PROFILE", "nobody")
		wants(t, load(name), keystore.ErrRefused, "AWS_PROFILE")
	})
	t.Run("no credentials", func(t *testing.T) {
		t.Setenv("AWS_ACCESS_KEY_ID", "")
		t.Setenv("AWS_SECRET_ACCESS_KEY", "")
		from := len(server.asked())
		wants(t, load(name), keystore.ErrRefused, "no AWS credentials")
		if len(server.asked()) != from {
			t.Error("a request was made without")
		}
	})
	t.Run("not read before Load", func(t *testing.T) {
		t.Setenv("AWS_REGION", "")
		s := open(t, name)
		t.Setenv("AWS_REGION", testRegion)
		key := kek.Generate()
		stores(t, s, "", key)
	})
	t.Run("found at the second try", func(t *testing.T) {
		t.Setenv("AWS_REGION", "")
		s := open(t, newName(t))
		_, err := s.Load(t.Context())
		wants(t, err, keystore.ErrRefused, "no AWS region")
		t.Setenv("AWS_REGION", testRegion)
		_, err = s.Load(t.Context())
		wants(t, err, keystore.ErrNotFound, testRegion)
	})
	t.Run("pinned", func(t *testing.T) {
		key := kek.Generate()
		wants(t, open(t, name+"@AWSPREVIOUS").Store(t.Context(), key, ""), keystore.ErrRefused, "leave the version out", key)
	})
}

// In production a key does not travel, and credentials are not asked for, over
// plain http, but on this machine.
func TestRequireTLS(t *testing.T) {
	server := newServer(t)
	environment(t, server.URL)
	key := kek.Generate()
	production := awssm.Quick(awssm.Options{RequireTLS: true})
	stores(t, openWith(t, production, newName(t)), "", key) // loopback

	t.Run("plain", func(t *testing.T) {
		t.Setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", "http://secrets.example")
		err := openWith(t, production, "KEY").Store(t.Context(), key, "")
		wants(t, err, keystore.ErrRefused, "https", key)
		if !errors.Is(err, netsafe.ErrPlain) {
			t.Errorf("got %v, want netsafe.ErrPlain", err)
		}
	})
	t.Run("plain, to a metadata service", func(t *testing.T) {
		t.Setenv("AWS_ENDPOINT_URL", "http://169.254.169.254")
		err := openWith(t, production, "KEY").Store(t.Context(), key, "")
		wants(t, err, keystore.ErrRefused, "https", key)
		for host, want := range map[string]bool{
			"169.254.169.254": true, "169.254.170.2": true, "169.254.170.23": true, "fd00:ec2::254": true, "fd00:ec2::23": true,
			"169.255.169.254": false, "fd00:ec3::254": false, "192.0.2.1": false, "metadata.example": false, "": false,
		} {
			if netsafe.IsMetadata(host) != want {
				t.Errorf("%s: want %v", host, want)
			}
		}
	})
	t.Run("plain, for credentials", func(t *testing.T) {
		token := filepath.Join(t.TempDir(), "token")
		if err := os.WriteFile(token, []byte("token"), 0o600); err != nil {
			t.Fatal(err)
		}
		t.Setenv("AWS_ACCESS_KEY_ID", "")
		t.Setenv("AWS_SECRET_ACCESS_KEY", "")
		t.Setenv("AWS_WEB_IDENTITY_TOKEN_FILE", token)
		t.Setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/x")
		t.Setenv("AWS_ENDPOINT_URL_STS", "http://sts.example")
		_, err := openWith(t, production, "KEY").Load(t.Context())
		wants(t, err, keystore.ErrRefused, "sts.example")
		if !errors.Is(err, netsafe.ErrPlain) {
			t.Errorf("got %v, want netsafe.ErrPlain", err)
		}
	})
	t.Run("own authority", func(t *testing.T) {
		secure := httptest.NewUnstartedServer(server)
		secure.Config.ErrorLog = log.New(io.Discard, "", 0) // it tells of the handshake that is refused
		secure.StartTLS()
		defer secure.Close()
		t.Setenv("AWS_ENDPOINT_URL", secure.URL)
		_, err := openWith(t, production, "KEY").Load(t.Context())
		wants(t, err, keystore.ErrRefused, "AWS_CA_BUNDLE")
		bundle := filepath.Join(t.TempDir(), "ca.pem")
		if err := os.WriteFile(bundle, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw}), 0o600); err != nil {
			t.Fatal(err)
		}
		t.Setenv("AWS_CA_BUNDLE", bundle)
		name := newName(t)
		s := openWith(t, production, name)
		stores(t, s, "", key)
		if got, err := s.Load(t.Context()); err != nil || got.ID() != key.ID() {
			t.Error(err)
		}
	})
}

// Nothing that is set outside makes the SDK print requests or answers.
func TestNoLogging(t *testing.T) {
	server := newServer(t)
	environment(t, server.URL)
	for _, name := range []string{"AWS_DEBUG", "AWS_SDK_LOG_MODE", "AWS_LOG_LEVEL", "AWS_CLIENT_LOG_MODE", "DEBUG"} {
		t.Setenv(name, "true")
	}
	configFile := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(configFile, []byte("[default]\nclient_log_mode = request_with_body|response_with_body\nlog_level = debug\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_CONFIG_FILE", configFile)
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	stdout, stderr := os.Stdout, os.Stderr
	defer func() { os.Stdout, os.Stderr = stdout, stderr }()
	os.Stdout, os.Stderr = out, out
	keys := generate(2)
	s := openWith(t, awssm.Quick(awssm.Options{}), newName(t))
	stores(t, s, "", keys...)
	server.answer(2, 500, "")
	if _, err := s.Load(t.Context()); err != nil {
		t.Error(err)
	}
	os.Stdout, os.Stderr = stdout, stderr
	if text, err := os.ReadFile(out.Name()); err != nil || len(text) != 0 {
		t.Errorf("printed: %q, %v", text, err)
	}
	if mode := awssm.ClientOptions(s).ClientLogMode; mode != 0 {
		t.Errorf("the client's log mode is %b", mode)
	}
}
