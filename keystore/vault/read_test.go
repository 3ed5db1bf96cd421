package vault

import (
	"fmt"
	"strings"
	"testing"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/keystore"
)

func testFields(t *testing.T, v *site) {
	key := kek.Generate()
	digits := hexOf(key)
	v.put(t, "fields", `{"key":"`+digits+`\n","upper":"`+strings.ToUpper(digits)+`","number":17,"short":"ab\t","escaped":"`+fmt.Sprintf(`\u%04x`, digits[0])+digits[1:]+`","`+digits+`":"x"}`)
	at := func(field string) Secret { return source(t, v.mount+"/fields#"+field) }
	loads(t, at("key"), key)
	loads(t, at("upper"), key)
	loads(t, at("escaped"), key)
	loadRefused(t, at("number"), keystore.ErrRefused, `"number" is not text`)
	loadRefused(t, at("short"), keystore.ErrRefused, `"short": it holds`)
	loadRefused(t, at("none"), keystore.ErrNotFound, `no field "none"`, `"[redacted]"`, `"escaped"`, `"key"`, "key store")
}

func testOddNames(t *testing.T, v *site) {
	s := source(t, v.mount+"/odd/a name/wörd %41?b=c&d'e#a \"field\"")
	key := stores(t, s, "")
	loads(t, s, key)
	if got := names(t, s); got != "1*" {
		t.Errorf("versions %q", got)
	}
	loads(t, s.at(1), key)
	loadRefused(t, source(t, v.mount+"/odd/a name/wörd A"), keystore.ErrNotFound, "-mount="+v.mount+" 'odd/a name/wörd A' key=@KEYFILE")
}

func testAbsent(t *testing.T, v *site) {
	loadRefused(t, source(t, v.mount+"/nothing"), keystore.ErrNotFound, "no secret nothing in "+v.mount)
	loadRefused(t, source(t, v.mount+"/nothing@3"), keystore.ErrNotFound, "no version 3")
	loadRefused(t, source(t, v.mount+"/data/nothing"), keystore.ErrNotFound, "leave out data/")
	loadRefused(t, source(t, "no-such-mount/nothing"), keystore.ErrNotFound, "perhaps no such mount", "vault secrets list")
	_, err := source(t, v.mount+"/nothing").Versions(t.Context())
	refused(t, err, keystore.ErrNotFound, "no secret nothing")
	refused(t, source(t, "no-such-mount/nothing").Store(t.Context(), kek.Generate(), ""), keystore.ErrNotFound, "perhaps no such mount")
	// Settings without a version are no key, and no hindrance.
	v.write(t, v.mount+"/metadata/settings", `{"max_versions":5}`)
	s := source(t, v.mount+"/settings")
	loadRefused(t, s, keystore.ErrNotFound, "no secret settings")
	loads(t, s, stores(t, s, ""))
}

func testVersion1(t *testing.T, v *site) {
	mount := unique("v1")
	v.enable(t, mount, "1")
	v.write(t, mount+"/data/there", `{"key":"x"}`)
	for _, path := range []string{"/there", "/absent"} {
		s := source(t, mount+path)
		loadRefused(t, s, keystore.ErrRefused, "not version 2", "vault kv enable-versioning "+mount)
		refused(t, s.Store(t.Context(), kek.Generate(), ""), keystore.ErrRefused, "not version 2")
	}
	if secret, err := v.admin.Read(mount + "/data/absent"); err != nil || secret != nil {
		t.Errorf("something was written: %v, %v", secret, err)
	}
}

func testSlashedMount(t *testing.T, v *site) {
	mount := unique("team") + "/kv"
	v.enable(t, mount, "2")
	s := source(t, mount+"//takumi/key")
	loads(t, s, stores(t, s, ""))
	loadRefused(t, source(t, mount+"/takumi/key"), keystore.ErrNotFound, "the mount is called "+mount, "write vault:"+mount+"//takumi/key")
}
