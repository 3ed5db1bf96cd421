package awssm_test

import (
	"testing"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/keystore"
)

// TestPlace: the same place has one name, and no two places share one.
func TestPlace(t *testing.T) {
	environment(t, newServer(t).URL)
	key := kek.Generate()
	name := newName(t)
	place := func(rest string) string {
		t.Helper()
		got, err := open(t, rest).Place(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		silent(t, got, key)
		return got
	}
	stores(t, open(t, name), "", key)
	want := "arn:aws:secretsmanager:" + testRegion + ":123456789012:secret:" + name
	for _, rest := range []string{name, name + "@AWSCURRENT", want + "-AbCdEf", want + "-AbCdEf@AWSCURRENT"} {
		if got := place(rest); got != want {
			t.Errorf("%s: got %s, want %s", rest, got, want)
		}
	}
	stores(t, open(t, name+"/other#field"), "", key)
	if got := place(name + "/other#field"); got != want+"/other#field" {
		t.Errorf("a field: got %s", got)
	}
	t.Setenv("AWS_REGION", "us-east-1")
	stores(t, open(t, name), "", key)
	if got := place(name); got == want {
		t.Errorf("in another region: got %s", got)
	}
	_, err := open(t, newName(t)).Place(t.Context())
	wants(t, err, keystore.ErrNotFound, "", key)
}
