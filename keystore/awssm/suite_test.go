package awssm_test

import (
	"bytes"
	"encoding/hex"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/keystore"
	"github.com/takumi-backup/takumi-backup/keystore/awssm"
)

// TestSecretsManager runs one suite against every endpoint that there is: our
// own server always, and under TAKUMI_TEST_INTEGRATION=1 moto_server when it is
// installed and TEST_AWS_ENDPOINT when it is set.
func TestSecretsManager(t *testing.T) {
	t.Run("own server", func(t *testing.T) { suite(t, newServer(t).URL) })
	ran := []string{"our own server"}
	defer func() { t.Log("the suite ran against: " + strings.Join(ran, ", ")) }()
	if os.Getenv("TAKUMI_TEST_INTEGRATION") != "1" {
		t.Log("set TAKUMI_TEST_INTEGRATION=1, as scripts/test does, for moto_server and TEST_AWS_ENDPOINT")
		return
	}
	if moto := startMoto(t); moto != "" {
		t.Run("moto_server", func(t *testing.T) { suite(t, moto) })
		ran = append(ran, "moto_server")
	} else {
		t.Log("moto_server is not on PATH, so it was left out (pip install 'moto[server]' has it)")
	}
	if other := os.Getenv("TEST_AWS_ENDPOINT"); other != "" {
		t.Run("TEST_AWS_ENDPOINT", func(t *testing.T) { suite(t, other) })
		ran = append(ran, "TEST_AWS_ENDPOINT "+other)
	}
}

func suite(t *testing.T, endpoint string) {
	environment(t, endpoint)
	for name, test := range map[string]func(*testing.T, string){
		"first, get, rotate, previous": testRotate, "all versions": testVersions, "former key again": testAgain,
		"conflict": testConflict, "two at once": testRace, "missing": testMissing, "wrong region": testRegions,
		"JSON field": testField, "binary": testBinary, "marked for deletion": testDeleted, "by ARN": testARN,
	} {
		t.Run(name, func(t *testing.T) {
			secret := newName(t)
			discard(t, secret)
			test(t, secret)
		})
	}
}

func testRotate(t *testing.T, name string) {
	keys := generate(2)
	s := open(t, name)
	stores(t, s, "", keys[0])
	loads(t, name, keys[0])
	stores(t, s, "", keys[0]) // again: nothing to do
	stores(t, s, keys[0].ID(), keys[1])
	loads(t, name, keys[1])
	loads(t, name+"@AWSCURRENT", keys[1])
	loads(t, name+"@AWSPREVIOUS", keys[0])
	loads(t, name+"@takumi-"+string(keys[0].ID()), keys[0])
	stores(t, s, keys[0].ID(), keys[1]) // again, as after a lost answer
}

func testVersions(t *testing.T, name string) {
	keys := generate(4)
	s := open(t, name)
	stores(t, s, "", keys...)
	got := ids(t, s)
	if len(got) != 4 || got[0] != keys[3].ID() || got[1] != keys[2].ID() || !slices.Contains(got, keys[0].ID()) || !slices.Contains(got, keys[1].ID()) {
		t.Fatalf("versions %v", got)
	}
	versions, _ := s.Versions(t.Context())
	for i, v := range versions { // what a version is called can be typed
		again, err := keystore.Parse(v.Source.String(), awssm.Scheme(awssm.Options{}))
		if err != nil {
			t.Fatal(err)
		}
		key, err := again.Load(t.Context())
		if err != nil || key.ID() != got[i] {
			t.Errorf("%s: %v", again, err)
		}
	}
}

// A former key that was taken back into use has its stage on an older version.
func testAgain(t *testing.T, name string) {
	keys := generate(3)
	s := open(t, name)
	stores(t, s, "", keys[0], keys[1], keys[0], keys[2])
	loads(t, name, keys[2])
	got := ids(t, s)
	for _, key := range keys {
		if !slices.Contains(got, key.ID()) {
			t.Errorf("key %s is lost: %v", key.ID(), got)
		}
	}
}

func testConflict(t *testing.T, name string) {
	keys := generate(3)
	s := open(t, name)
	wants(t, s.Store(t.Context(), keys[1], keys[0].ID()), keystore.ErrConflict, "no key", keys...)
	stores(t, s, "", keys[0])
	wants(t, s.Store(t.Context(), keys[2], ""), keystore.ErrConflict, string(keys[0].ID()), keys...)
	wants(t, s.Store(t.Context(), keys[2], keys[1].ID()), keystore.ErrConflict, string(keys[0].ID()), keys...)
	loads(t, name, keys[0])
	if got := ids(t, s); len(got) != 1 {
		t.Errorf("versions %v", got)
	}
}

// Of several that store at once, one wins, and the others hear of it.
func testRace(t *testing.T, name string) {
	keys := generate(5)
	stores(t, open(t, name), "", keys[0])
	results := make([]error, 4)
	var wg sync.WaitGroup
	shared := open(t, name)
	for i := range results {
		wg.Go(func() { results[i] = shared.Store(t.Context(), keys[i+1], keys[0].ID()) })
	}
	wg.Wait()
	winner := 0
	for i, err := range results {
		if err == nil {
			winner = i + 1
			continue
		}
		wants(t, err, keystore.ErrConflict, "", keys...)
	}
	if n := len(slices.DeleteFunc(slices.Clone(results), func(err error) bool { return err != nil })); n != 1 {
		t.Fatalf("%d of them stored their key: %v", n, results)
	}
	loads(t, name, keys[winner])
	loads(t, name+"@AWSPREVIOUS", keys[0])
}

func testMissing(t *testing.T, name string) {
	key := kek.Generate()
	_, err := open(t, name).Load(t.Context())
	wants(t, err, keystore.ErrNotFound, "openssl rand -hex 32 | aws secretsmanager create-secret --name "+name+" --region "+testRegion)
	stores(t, open(t, name), "", key)
	_, err = open(t, name+"@AWSPREVIOUS").Load(t.Context())
	wants(t, err, keystore.ErrNotFound, "list-secret-version-ids", key)
	_, err = open(t, name+"@00000000-0000-4000-8000-000000000000").Load(t.Context())
	wants(t, err, keystore.ErrNotFound, "list-secret-version-ids", key)
}

func testRegions(t *testing.T, name string) {
	key := kek.Generate()
	s := open(t, name)
	stores(t, s, "", key)
	t.Setenv("AWS_REGION", "ap-southeast-2")
	_, err := open(t, name).Load(t.Context())
	wants(t, err, keystore.ErrNotFound, "ap-southeast-2", key)
	if got, err := s.Load(t.Context()); err != nil || got.ID() != key.ID() { // it has its client already
		t.Error(err)
	}
}

func testField(t *testing.T, name string) {
	keys := generate(2)
	const others = `{ "user":"takumi", "n":1.50,` + "\n" + ` "list":[{"key":"inner"}], "key":"OLD", "é":null }`
	first := strings.Replace(others, "OLD", hex.EncodeToString(keys[0].Bytes()), 1)
	create(t, name, &first, nil)
	s := open(t, name+"#key")
	loads(t, name+"#key", keys[0])
	stores(t, s, keys[0].ID(), keys[1])
	loads(t, name+"#key", keys[1])
	loads(t, name+"#key@AWSPREVIOUS", keys[0])
	out, err := raw(t).GetSecretValue(t.Context(), current(name))
	if err != nil {
		t.Fatal(err)
	}
	if want := strings.Replace(others, "OLD", hex.EncodeToString(keys[1].Bytes()), 1); *out.SecretString != want {
		t.Error("the other fields were not kept as they were")
	}
	_, err = open(t, name+"#user").Load(t.Context())
	wants(t, err, keystore.ErrRefused, "does not hold a key", keys...)
	_, err = open(t, name+"#other").Load(t.Context())
	wants(t, err, keystore.ErrNotFound, "no field of that name", keys...)
	_, err = open(t, name).Load(t.Context())
	wants(t, err, keystore.ErrRefused, "#field", keys...)

	// A second key next to the first, and a secret that starts with a field.
	stores(t, open(t, name+"#other"), "", keys[0])
	loads(t, name+"#other", keys[0])
	loads(t, name+"#key", keys[1])
	fresh := newName(t)
	discard(t, fresh)
	stores(t, open(t, fresh+"#key"), "", keys...)
	loads(t, fresh+"#key", keys[1])
}

func testBinary(t *testing.T, name string) {
	keys := generate(2)
	create(t, name, nil, keys[0].Bytes())
	loads(t, name, keys[0])
	stores(t, open(t, name), keys[0].ID(), keys[1])
	loads(t, name, keys[1])
	loads(t, name+"@AWSPREVIOUS", keys[0])
	out, err := raw(t).GetSecretValue(t.Context(), current(name))
	if err != nil || !bytes.Equal(out.SecretBinary, keys[1].Bytes()) {
		t.Error("the new value is not of the old one's form")
	}
	text := newName(t)
	discard(t, text)
	create(t, text, nil, []byte(hex.EncodeToString(keys[0].Bytes())+"\n"))
	loads(t, text, keys[0])
}

func testDeleted(t *testing.T, name string) {
	keys := generate(2)
	stores(t, open(t, name), "", keys[0])
	if _, err := raw(t).DeleteSecret(t.Context(), &secretsmanager.DeleteSecretInput{SecretId: &name, RecoveryWindowInDays: aws.Int64(7)}); err != nil {
		t.Fatal(err)
	}
	_, err := open(t, name).Load(t.Context())
	wants(t, err, keystore.ErrRefused, "aws secretsmanager restore-secret --region "+testRegion+" --secret-id "+name, keys...)
	wants(t, open(t, name).Store(t.Context(), keys[1], keys[0].ID()), keystore.ErrRefused, "restore-secret", keys...)
}

func testARN(t *testing.T, name string) {
	keys := generate(2)
	stores(t, open(t, name), "", keys[0])
	out, err := raw(t).GetSecretValue(t.Context(), current(name))
	if err != nil {
		t.Fatal(err)
	}
	os.Unsetenv("AWS_REGION") // it is in the ARN; environment puts it back
	defer os.Setenv("AWS_REGION", testRegion)
	loads(t, *out.ARN, keys[0])
	stores(t, open(t, *out.ARN), keys[0].ID(), keys[1])
	loads(t, *out.ARN+"@AWSPREVIOUS", keys[0])
	missing := strings.Replace(*out.ARN, "test", "none", 1)
	wants(t, open(t, missing).Store(t.Context(), keys[1], ""), keystore.ErrNotFound, "list-secrets", keys...)
}
