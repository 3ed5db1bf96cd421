package keystore_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/takumi-backup/takumi-backup/keystore"
)

func wide(text string, bigEndian bool) string {
	var out []byte
	for _, unit := range utf16.Encode([]rune("\ufeff" + text)) {
		pair := []byte{byte(unit), byte(unit >> 8)}
		if bigEndian {
			pair[0], pair[1] = pair[1], pair[0]
		}
		out = append(out, pair...)
	}
	return string(out)
}

// TestOtherForms: what other tools write is no key file, and the refusal names the
// command that makes one of it.
func TestOtherForms(t *testing.T) {
	std := base64.StdEncoding.EncodeToString
	for name, text := range map[string]string{
		"base64":            std(canary) + "\n",
		"base64, unpadded":  base64.RawStdEncoding.EncodeToString(canary),
		"base64url":         base64.URLEncoding.EncodeToString(canary),
		"base64 of digits":  std([]byte(canaryHex)),
		"of digits and \\n": std([]byte(canaryHex + "\n")),
		"raw":               string(canary),
		"0x":                "0x" + canaryHex + "\n",
		"xxd -p":            canaryHex[:60] + "\n" + canaryHex[60:] + "\n",
		"colons":            strings.Join(pairs(canaryHex), ":"),
		"od":                " " + strings.Join(pairs(canaryHex)[:16], " ") + "\n " + strings.Join(pairs(canaryHex)[16:], " ") + "\n",
		"groups":            canaryHex[:32] + " " + canaryHex[32:],
		"quoted":            `"` + canaryHex + `"`,
		"single quotes":     `'` + canaryHex + `'`,
		"a line of .env":    "BACKUP_ENCRYPTION_KEY=" + canaryHex + "\n",
		"exported, quoted":  `export BACKUP_ENCRYPTION_KEY="` + canaryHex + "\"\n",
		"yaml":              "key: " + canaryHex + "\n",
		"openssl enc -P":    "key=" + strings.ToUpper(canaryHex) + "\n",
		"base64 in .env":    "KEY=" + std(canary),
		"UTF-16, Windows":   wide(canaryHex+"\r\n", false),
		"UTF-16, big end":   wide(canaryHex+"\r\n", true),
		"base64 over lines": std(canary)[:20] + "\n" + std(canary)[20:] + "\n",
		"64 characters":     "BACKUP_AES256_KEY_1=" + std(canary),
	} {
		t.Run(name, func(t *testing.T) {
			path := put(t, t.TempDir(), "key", text, 0o600)
			refused(t, path, keystore.ErrRefused, "64 hex digits", "to fix: takumi-backup key import -o KEYFILE "+path)
			key, err := keystore.Import(path, []byte(text))
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(key.Bytes(), canary) {
				t.Error("another key was imported")
			}
		})
	}
}

func pairs(text string) (all []string) {
	for ; len(text) > 0; text = text[2:] {
		all = append(all, text[:2])
	}
	return all
}

// TestForeignForms: what another program has to open first is named, with the
// command that does.
func TestForeignForms(t *testing.T) {
	share := strings.Repeat("7f", 32)
	for name, tc := range map[string]struct{ text, want string }{
		"gpg":              {"\x8c\x0d\x04\x09\x03\x02/\xa4\x19", "gpg --decrypt k | takumi-backup key import -o KEYFILE -"},
		"gpg, armored":     {"-----BEGIN PGP MESSAGE-----\n\njA0ECQMC\n", "gpg --decrypt k | takumi-backup key import -o KEYFILE -"},
		"openssl":          {"Salted__12345678\x01\x02", "openssl enc -d -aes-256-cbc -pbkdf2 -in k | takumi-backup key import -o KEYFILE -"},
		"openssl, base64":  {"U2FsdGVkX1+abc", "openssl enc -d"},
		"age":              {"age-encryption.org/v1\n-> scrypt", "age --decrypt k | "},
		"ssss":             {"1-" + share + share + "\n", "ssss-combine -q -t 3 2>&1 | takumi-backup key import -o KEYFILE -"},
		"ssss, token":      {"Generating shares\ntakumi-2-" + share + share + "\n", "ssss-combine -q -t 3 2>&1 | "},
		"ssss -x":          {"1-" + share + "\n2-" + share + "\n", "ssss-combine -x -q -t 3 2>&1 | "},
		"other text":       {"hello\n", "not a hex digit"},
		"a short password": {strings.Repeat("correct ", 4), "32 bytes of text"},
	} {
		key, err := keystore.Import("k", []byte(tc.text))
		var e *keystore.Error
		if key != nil || !errors.As(err, &e) || !errors.Is(err, keystore.ErrRefused) || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got %v, want %q", name, err, tc.want)
		}
	}
}

// TestForeignCommands runs the commands that Import names: what they write is taken.
func TestForeignCommands(t *testing.T) {
	for _, tc := range []struct{ tool, make, want, answer string }{
		{"ssss-split", "ssss-split -q -t 3 -n 5 <key >made", "ssss-combine", "head -3 made |"},
		{"ssss-split", "ssss-split -x -q -t 3 -n 5 <key >made", "ssss-combine", "head -3 made |"},
		{"gpg", "mkdir -m 700 gnupg && GNUPGHOME=$PWD/gnupg gpg -q --batch --pinentry-mode loopback --passphrase test -c -o made key", "gpg --decrypt", ""},
	} {
		t.Run(tc.tool, func(t *testing.T) {
			if _, err := exec.LookPath(tc.tool); err != nil {
				if os.Getenv("TAKUMI_TEST_INTEGRATION") != "" {
					t.Fatal(err)
				}
				t.Skipf("%v: scripts/test installs it", err)
			}
			dir := t.TempDir()
			put(t, dir, "key", canaryHex+"\n", 0o600)
			run := func(script string) []byte {
				cmd := exec.Command("sh", "-c", script)
				cmd.Dir = dir
				out, err := cmd.Output()
				if err != nil {
					t.Fatalf("%s: %v", script, err)
				}
				return out
			}
			run(tc.make)
			made := run("cat made")
			_, err := keystore.Import("made", made)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("%s: %v", tc.make, err)
			}
			_, fix, _ := strings.Cut(err.Error(), "to fix: ")
			command, _, _ := strings.Cut(fix, " | takumi-backup")
			if tc.tool == "gpg" {
				command = "GNUPGHOME=$PWD/gnupg " + strings.Replace(command, "gpg ", "gpg -q --batch --pinentry-mode loopback --passphrase test ", 1)
			}
			key, err := keystore.Import("-", run(tc.answer+command))
			if err != nil || !bytes.Equal(key.Bytes(), canary) {
				t.Errorf("%s: %v", command, err)
			}
		})
	}
}
