package awssm_test

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/keystore"
	"github.com/takumi-backup/takumi-backup/keystore/awssm"
)

const (
	anARN = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:takumi/KEY-AbCdEf"
	anID  = "EXAMPLE1-90ab-cdef-fedc-ba987EXAMPLE"
)

func TestParse(t *testing.T) {
	for _, rest := range []string{
		"KEY", "takumi/production/BACKUP_ENCRYPTION_KEY", "KEY#key", "KEY@AWSPREVIOUS", "KEY@" + anID, "KEY#key@AWSPREVIOUS",
		"backup@takumi@AWSCURRENT", "a=b+c.d", anARN, anARN + "#key@" + anID, "KEY#with@at@AWSCURRENT", "KEY#a#b", "KEY@takumi-0123456789abcdef",
	} {
		src, err := keystore.Parse("awssm:"+rest, awssm.Scheme(awssm.Options{}))
		if err != nil || src.String() != "awssm:"+rest {
			t.Errorf("%s: got %v, %v", rest, src, err)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	key := kek.Generate()
	digits := hex.EncodeToString(key.Bytes())
	for rest, want := range map[string]string{
		"":                            "nothing is after",
		"a b":                         "letters, digits",
		"#key":                        "letters, digits",
		"@AWSCURRENT":                 "letters, digits",
		"KEY#":                        "JSON field",
		"KEY#@AWSCURRENT":             "JSON field",
		"KEY#a\x1bb":                  "JSON field",
		"KEY@":                        "no stage",
		"KEY@\n":                      "no stage",
		"KEY#key@":                    "no stage",
		"arn:aws:s3:::bucket":         "an ARN of a secret reads",
		"arn:aws:secretsmanager:x":    "an ARN of a secret reads",
		"schlüssel":                   "letters, digits",
		strings.Repeat("abc-", 1000):  "letters, digits",
		digits:                        "looks like a key",
		"KEY@" + digits:               "looks like a key",
		"KEY#" + digits:               "looks like a key",
		"KEY#key@" + digits[:50]:      "looks like a key",
		"x/" + digits + "#key":        "looks like a key",
		"KEY#" + base64Key(key) + "@": "looks like a key",
	} {
		src, err := keystore.Parse("awssm:"+rest, awssm.Scheme(awssm.Options{}))
		if src != nil || !errors.Is(err, keystore.ErrURI) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, %v; want an error with %q", rest, src, err, want)
		}
		quiet(t, err, key)
	}
}

func base64Key(key *kek.Key) string { return base64.StdEncoding.EncodeToString(key.Bytes()) }

func TestValues(t *testing.T) {
	key := kek.Generate()
	digits := hex.EncodeToString(key.Bytes())
	for name, tc := range map[string]struct {
		text   string
		binary bool
		field  string
		want   string // of the error; "" for none
	}{
		"digits":            {digits, false, "", ""},
		"newline":           {digits + "\n", false, "", ""},
		"upper case":        {strings.ToUpper(digits), false, "", ""},
		"binary digits":     {digits, true, "", ""},
		"raw":               {string(key.Bytes()), true, "", ""},
		"field":             {`{"key":"` + digits + `"}`, false, "key", ""},
		"escaped name":      {`{"\u006bey":"` + digits + `"}`, false, "key", ""},
		"field in binary":   {" {\"a\":[1,{}],\n\"key\" : \"" + digits + "\"}\n", true, "key", ""},
		"raw as text":       {strings.Repeat("k", 32), false, "", "32 bytes"},
		"empty":             {"", false, "", "empty"},
		"empty, field":      {"", false, "key", "empty"},
		"cut off":           {digits[:63], false, "", "63 hex digits"},
		"no hex":            {digits[:63] + "g", false, "", "not a hex digit"},
		"unnamed field":     {`{"key":"` + digits + `"}`, false, "", "name the field"},
		"no JSON":           {digits, false, "key", "not a JSON object"},
		"array":             {`["` + digits + `"]`, false, "key", "not a JSON object"},
		"cut-off object":    {`{"key":"` + digits + `"`, false, "key", "not a JSON object"},
		"two objects":       {`{"key":"` + digits + `"}{}`, false, "key", "not a JSON object"},
		"broken object":     {`{"key":"` + digits + `","a"}`, false, "key", "not a JSON object"},
		"missing":           {`{"KEY":"` + digits + `"}`, false, "key", "no field of that name"},
		"inner":             {`{"a":{"key":"` + digits + `"}}`, false, "key", "no field of that name"},
		"twice":             {`{"key":"` + digits + `","key":"` + digits + `"}`, false, "key", "twice"},
		"twice, disguised":  {`{"key":"` + digits + `","\u006bey":""}`, false, "key", "twice"},
		"number":            {`{"key":1` + strings.Repeat("0", 63) + `}`, false, "key", "not a string"},
		"null":              {`{"key":null}`, false, "key", "not a string"},
		"object":            {`{"key":{"key":"` + digits + `"}}`, false, "key", "not a string"},
		"base64 in a field": {`{"key":"` + base64Key(key) + `"}`, false, "key", "does not hold a key"},
		"all equal":         {strings.Repeat("0", 64), false, "", "never random"},
		"too large":         {`{"a":"` + strings.Repeat("a", 64<<10) + `","key":"` + digits + `"}`, false, "key", "more than 65536 bytes"},
	} {
		got, err := awssm.KeyIn(tc.text, tc.binary, tc.field)
		switch {
		case tc.want == "" && (err != nil || got.ID() != key.ID()):
			t.Errorf("%s: %v", name, err)
		case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)):
			t.Errorf("%s: got %v; want an error with %q", name, err, tc.want)
		}
		quiet(t, err, key)
	}
}

func TestPutIn(t *testing.T) {
	keys := generate(2)
	was, is := hex.EncodeToString(keys[0].Bytes()), hex.EncodeToString(keys[1].Bytes())
	for name, tc := range map[string]struct {
		text   string
		binary bool
		field  string
		want   string
	}{
		"new":            {"", false, "", is},
		"new field":      {"", false, "key", `{"key":"` + is + `"}`},
		"odd name":       {"", false, `a"<b`, `{"a\"\u003cb":"` + is + `"}`},
		"digits":         {was, false, "", is},
		"raw":            {string(keys[0].Bytes()), true, "", string(keys[1].Bytes())},
		"binary digits":  {was, true, "", is},
		"empty object":   {" { } ", false, "key", ` { "key":"` + is + `"} `},
		"further field":  {`{"a":1 }`, false, "key", `{"a":1 ,"key":"` + is + `"}`},
		"in the middle":  {`{"a":1e400, "key" : "` + was + `" , "b":"\u00e9é"}`, false, "key", `{"a":1e400, "key" : "` + is + `" , "b":"\u00e9é"}`},
		"other of twice": {`{"a":1,"a":2,"key":""}`, false, "key", `{"a":1,"a":2,"key":"` + is + `"}`},
	} {
		if got, err := awssm.PutIn(tc.text, tc.binary, tc.field, keys[1]); err != nil || got != tc.want {
			t.Errorf("%s: got %q, %v; want %q", name, got, err, tc.want)
		}
	}
	full := `{"a":"` + strings.Repeat("a", 65500) + `"}`
	if _, err := awssm.PutIn(full, false, "key", keys[1]); err == nil || !strings.Contains(err.Error(), "more than 65536 bytes") {
		t.Errorf("a value that grows too large: %v", err)
	}
}

func TestDestroyCommand(t *testing.T) {
	for rest, want := range map[string]string{
		"KEY": "",
		"KEY#key@" + anID: "aws secretsmanager update-secret-version-stage --secret-id KEY --version-stage takumi-0123456789abcdef " +
			"--remove-from-version-id " + anID + "  # and AWSPREVIOUS likewise, where that version has it",
	} {
		src, err := keystore.Parse("awssm:"+rest, awssm.Scheme(awssm.Options{}))
		if err != nil {
			t.Fatal(err)
		}
		if got := src.(keystore.Destroyable).DestroyCommand("0123456789abcdef"); got != want {
			t.Errorf("%s: %q, want %q", rest, got, want)
		}
	}
}
