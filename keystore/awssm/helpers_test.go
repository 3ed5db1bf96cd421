package awssm_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/keystore"
	"github.com/takumi-backup/takumi-backup/keystore/awssm"
)

const testRegion = "eu-central-1"

// environment leaves no AWS setting but those for endpoint. An endpoint of the
// user's keeps the user's credentials.
func environment(t *testing.T, endpoint string) {
	t.Helper()
	set := map[string]string{
		"AWS_ENDPOINT_URL": endpoint, "AWS_REGION": testRegion, "AWS_EC2_METADATA_DISABLED": "true",
		"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull,
		"AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY": "example", "AWS_SESSION_TOKEN": "",
	}
	for _, pair := range os.Environ() {
		name, value, _ := strings.Cut(pair, "=")
		if !strings.HasPrefix(name, "AWS_") {
			continue
		}
		if _, replaced := set[name]; replaced && value != "" && endpoint == os.Getenv("TEST_AWS_ENDPOINT") {
			set[name] = value
		}
		t.Setenv(name, "") // so that it is put back
		os.Unsetenv(name)
	}
	set["AWS_ENDPOINT_URL"] = endpoint
	for name, value := range set {
		t.Setenv(name, value)
	}
}

func newName(t *testing.T) string {
	t.Helper()
	return "takumi/test/" + strings.ToLower(rand.Text()) + "/KEY"
}

func open(t *testing.T, rest string) *awssm.Secret {
	t.Helper()
	return openWith(t, awssm.Options{}, rest)
}

func openWith(t *testing.T, o awssm.Options, rest string) *awssm.Secret {
	t.Helper()
	src, err := keystore.Parse("awssm:"+rest, awssm.Scheme(o))
	if err != nil {
		t.Fatal(err)
	}
	return src.(*awssm.Secret)
}

// loads checks that rest gives key.
func loads(t *testing.T, rest string, key *kek.Key) {
	t.Helper()
	got, err := open(t, rest).Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer got.Wipe()
	if got.ID() != key.ID() || !bytes.Equal(got.Bytes(), key.Bytes()) {
		t.Fatalf("%s holds key %s, want %s", rest, got.ID(), key.ID())
	}
}

// stores puts keys in one after the other.
func stores(t *testing.T, s *awssm.Secret, before kek.ID, keys ...*kek.Key) {
	t.Helper()
	for _, key := range keys {
		if err := s.Store(t.Context(), key, before); err != nil {
			t.Fatal(err)
		}
		before = key.ID()
	}
}

// ids are those of the keys that Versions gives, each loaded.
func ids(t *testing.T, s *awssm.Secret) []kek.ID {
	t.Helper()
	versions, err := s.Versions(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var all []kek.ID
	for i, v := range versions {
		key, err := v.Source.Load(t.Context())
		if err != nil {
			t.Fatalf("version %s: %v", v.Name, err)
		}
		all = append(all, key.ID())
		key.Wipe()
		if v.Current != (i == 0) || v.Created.IsZero() || v.Name == "" {
			t.Errorf("version %d: %+v", i, v)
		}
	}
	return all
}

// generate makes n keys.
func generate(n int) []*kek.Key {
	var keys []*kek.Key
	for range n {
		keys = append(keys, kek.Generate())
	}
	return keys
}

// raw is a client to see what is really there.
func raw(t *testing.T) *secretsmanager.Client {
	t.Helper()
	cfg, err := config.LoadDefaultConfig(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return secretsmanager.NewFromConfig(cfg)
}

// current asks for the stage by name: without it moto_server gives the version
// that was current before AWSCURRENT was moved.
func current(name string) *secretsmanager.GetSecretValueInput {
	return &secretsmanager.GetSecretValueInput{SecretId: &name, VersionStage: aws.String("AWSCURRENT")}
}

// create makes a secret with a value, and takes it away in the end.
func create(t *testing.T, name string, text *string, binary []byte) {
	t.Helper()
	if _, err := raw(t).CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: &name, SecretString: text, SecretBinary: binary}); err != nil {
		t.Fatal(err)
	}
}

// discard takes away what a test made, for endpoints that stay.
func discard(t *testing.T, name string) {
	client := raw(t)
	t.Cleanup(func() {
		client.DeleteSecret(context.WithoutCancel(t.Context()), &secretsmanager.DeleteSecretInput{SecretId: &name, ForceDeleteWithoutRecovery: aws.Bool(true)})
	})
}

// wants checks an error's kind and text, and that it tells nothing of keys.
func wants(t *testing.T, err, kind error, text string, keys ...*kek.Key) {
	t.Helper()
	var e *keystore.Error
	if !errors.As(err, &e) || !errors.Is(err, kind) || !strings.Contains(err.Error(), text) {
		t.Errorf("got %v; want %v with %q", err, kind, text)
	}
	if e != nil && e.Fix == "" && !errors.Is(kind, keystore.ErrRefused) {
		t.Errorf("it does not say what to do: %v", err)
	}
	quiet(t, err, keys...)
}

// quiet fails the test when err tells anything of the keys, in any form.
func quiet(t *testing.T, err error, keys ...*kek.Key) {
	t.Helper()
	if err == nil {
		return
	}
	for _, text := range []string{err.Error(), fmt.Sprintf("%+v", err), fmt.Sprintf("%#v", err)} {
		silent(t, text, keys...)
	}
}

func silent(t *testing.T, text string, keys ...*kek.Key) {
	t.Helper()
	text = strings.ToLower(text)
	for _, key := range keys {
		digits := hex.EncodeToString(key.Bytes())
		for _, form := range []string{
			string(key.Bytes()), digits[:12], digits[52:],
			base64.StdEncoding.EncodeToString(key.Bytes())[:16], base64.URLEncoding.EncodeToString(key.Bytes())[:16],
			base64.StdEncoding.EncodeToString([]byte(digits))[:16], fmt.Sprint(key.Bytes())[1:20],
		} {
			if strings.Contains(text, strings.ToLower(form)) {
				t.Fatalf("key material is told: %q", text)
			}
		}
	}
}
