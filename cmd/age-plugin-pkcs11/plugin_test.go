//go:build cgo

package main

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
	"filippo.io/age/plugin"
	"filippo.io/age/tag"
)

const softHSM = "/usr/lib/softhsm/libsofthsm2.so"

// TestMain lets this program be the plugin.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "age-plugin-pkcs11" {
		main()
		return
	}
	os.Exit(m.Run())
}

// withToken makes SoftHSM's folder of tokens with one in it, and puts the plugin on
// the PATH.
func withToken(t *testing.T) {
	t.Helper()
	if os.Getenv("TAKUMI_TEST_INTEGRATION") != "1" {
		t.Skip("set TAKUMI_TEST_INTEGRATION=1 to use SoftHSM; scripts/test installs it and does")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	if err := os.Symlink(self, filepath.Join(bin, "age-plugin-pkcs11")); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	t.Setenv(moduleEnv, softHSM)
	t.Setenv(pinFileEnv, "")
	newHSM(t)
	initToken(t, "one", "4321")
	pinFile(t, "4321")
}

// newHSM makes a machine without tokens, to which SoftHSM is pointed.
func newHSM(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	conf := filepath.Join(dir, "softhsm2.conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, "directories.tokendir = %s\n", dir), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SOFTHSM2_CONF", conf)
}

func initToken(t *testing.T, label, pin string) {
	t.Helper()
	tool(t, nil, "softhsm2-util", "--init-token", "--free", "--label", label, "--so-pin", "12345678", "--pin", pin)
}

func pinFile(t *testing.T, pin string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "pin")
	if err := os.WriteFile(path, []byte(pin+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv(pinFileEnv, path)
	return path
}

func tool(t *testing.T, stdin []byte, name string, args ...string) string {
	t.Helper()
	out, err := attempt(stdin, name, args...)
	if err != nil {
		t.Fatalf("%s %v: %v: %s", name, args, err, out)
	}
	return out
}

func attempt(stdin []byte, name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Stdin = bytes.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// generate makes a key in the token, and returns the recipient and the identity.
func generate(t *testing.T, args ...string) (recipient, identity, file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "identity.txt")
	recipient = strings.TrimSpace(tool(t, nil, "age-plugin-pkcs11", append([]string{"--generate", "-o", file}, args...)...))
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), "# recipient: "+recipient+"\n") {
		t.Errorf("the identity's file does not say the recipient:\n%s", text)
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return recipient, lines[len(lines)-1], file
}

const message = "id and data key, for one"

func seal(t *testing.T, recipient string) []byte {
	t.Helper()
	r, err := tag.ParseRecipient(recipient)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w, err := age.Encrypt(&out, r)
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(w, message)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// open decrypts with the plugin. Who is asked for a PIN answers ask.
func open(identity string, sealed []byte, ask func(prompt string) (string, error)) error {
	ui := new(plugin.ClientUI)
	if ask != nil {
		ui.RequestValue = func(_, prompt string, secret bool) (string, error) {
			if !secret {
				return "", fmt.Errorf("%q is asked for as no secret", prompt)
			}
			return ask(prompt)
		}
	}
	i, err := plugin.NewIdentity(identity, ui)
	if err != nil {
		return err
	}
	r, err := age.Decrypt(bytes.NewReader(sealed), i)
	if err != nil {
		return err
	}
	got, err := io.ReadAll(r)
	if err == nil && string(got) != message {
		err = fmt.Errorf("it decrypts to %q", got)
	}
	return err
}

func wantError(t *testing.T, err error, words ...string) {
	t.Helper()
	for _, w := range words {
		if err == nil || !strings.Contains(err.Error(), w) {
			t.Errorf("the error is %v, want %q in it", err, w)
		}
	}
}

// TestOpens: sealed without the token, opened with it, by the library, by this
// system's age, and with an identity that was made anew from the token.
func TestOpens(t *testing.T) {
	withToken(t)
	for _, args := range [][]string{nil, {"--hybrid"}} {
		recipient, identity, file := generate(t, args...)
		sealed := seal(t, recipient)
		if err := open(identity, sealed, nil); err != nil {
			t.Errorf("%v: %v", args, err)
		}
		for _, program := range []string{"age", "/usr/bin/age"} {
			if got := tool(t, sealed, program, "-d", "-i", file); got != message {
				t.Errorf("%v: %s decrypts to %q", args, program, got)
			}
		}
		if args == nil {
			if list := tool(t, nil, "age-plugin-pkcs11", "--list"); !strings.Contains(list, recipient+"\n") {
				t.Errorf("the list has no %s:\n%s", recipient, list)
			}
			again := filepath.Join(t.TempDir(), "again.txt")
			tool(t, nil, "age-plugin-pkcs11", "--identity", "-o", again)
			if got := tool(t, sealed, "age", "-d", "-i", again); got != message {
				t.Errorf("the identity made anew decrypts to %q", got)
			}
		}
	}
}

// TestKeyStaysInToken: what the token says of the private key.
func TestKeyStaysInToken(t *testing.T) {
	withToken(t)
	generate(t)
	out := tool(t, nil, "pkcs11-tool", "--module", softHSM, "--login", "--pin", "4321", "--list-objects", "--type", "privkey")
	for _, w := range []string{"sensitive", "always sensitive", "never extractable", "derive"} {
		if !strings.Contains(out, w) {
			t.Errorf("the private key is not %q:\n%s", w, out)
		}
	}
}

// TestForeignStanza: nobody is asked for a PIN for a file of somebody else.
func TestForeignStanza(t *testing.T) {
	withToken(t)
	_, identity, _ := generate(t)
	other, _, _ := generate(t)
	hybrid, _, _ := generate(t, "--hybrid")
	t.Setenv(pinFileEnv, "")
	for _, recipient := range []string{other, hybrid} {
		asked := false
		err := open(identity, seal(t, recipient), func(string) (string, error) { asked = true; return "4321", nil })
		wantError(t, err, "did not match")
		if asked {
			t.Error("a PIN is asked for")
		}
	}
}

func TestPIN(t *testing.T) {
	withToken(t)
	recipient, identity, _ := generate(t)
	sealed := seal(t, recipient)

	// A wrong one in the file is tried once, so that a night does not lock the token.
	pinFile(t, "0000")
	wantError(t, open(identity, sealed, nil), "the PIN is wrong")
	path := pinFile(t, "4321")
	wantError(t, open(identity, sealed, nil), "not tried again", path)

	t.Setenv(pinFileEnv, "")
	var prompt string
	if err := open(identity, sealed, func(p string) (string, error) { prompt = p; return "4321", nil }); err != nil {
		t.Error(err)
	}
	if !strings.Contains(prompt, "PIN of the token one (serial ") {
		t.Errorf("the prompt is %q", prompt)
	}
	wantError(t, open(identity, sealed, func(string) (string, error) { return "0000", nil }), "the PIN is wrong")
	wantError(t, open(identity, sealed, nil), "asking for the PIN", "set PKCS11_PIN_FILE")
	wantError(t, open(identity, sealed, func(string) (string, error) { return "", nil }), "the PIN is empty")

	path = pinFile(t, "4321")
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	// The last PIN was wrong: a right one, by hand, sets the token's count back.
	tool(t, nil, "pkcs11-tool", "--module", softHSM, "--login", "--pin", "4321", "--list-objects")
	wantError(t, open(identity, sealed, nil), "has mode 0640", "chmod 0600")
	pinFile(t, "")
	wantError(t, open(identity, sealed, nil), "is empty")
	pinFile(t, "4321")
	if err := open(identity, sealed, nil); err != nil {
		t.Errorf("after all that, the right PIN: %v", err)
	}
}

func TestPINLocked(t *testing.T) {
	withToken(t)
	recipient, identity, _ := generate(t)
	headers := strings.TrimSpace(tool(t, nil, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/miekg/pkcs11"))
	shim := filepath.Join(t.TempDir(), "locked.so")
	tool(t, nil, "gcc", "-shared", "-fPIC", "-w", "-I", headers, "-o", shim, "testdata/locked.c", "-ldl")
	t.Setenv("REAL_MODULE", softHSM)
	t.Setenv(moduleEnv, shim)
	wantError(t, open(identity, seal(t, recipient), nil), "its PIN is locked", "--init-pin")
}

func TestTokenGone(t *testing.T) {
	withToken(t)
	recipient, identity, _ := generate(t)
	sealed := seal(t, recipient)
	newHSM(t)
	wantError(t, open(identity, sealed, nil), "no token is there", "insert it")
	initToken(t, "another", "1111")
	wantError(t, open(identity, sealed, nil), "none of the tokens has it", "another (serial ")
	t.Setenv(moduleEnv, "/nowhere/lib.so")
	wantError(t, open(identity, sealed, nil), "/nowhere/lib.so", "set PKCS11_MODULE")
	if out, err := attempt(nil, "age-plugin-pkcs11", "--list"); err == nil || !strings.Contains(out, "/nowhere/lib.so") {
		t.Errorf("--list: %v: %s", err, out)
	}
}

// TestTwoTokens: each key is found in its own, and which one is to get a new key has
// to be said.
func TestTwoTokens(t *testing.T) {
	withToken(t)
	first, firstID, _ := generate(t)
	initToken(t, "two", "9876")
	file := filepath.Join(t.TempDir(), "id")
	if out, err := attempt(nil, "age-plugin-pkcs11", "--generate", "-o", file); err == nil || !strings.Contains(out, "give --token") {
		t.Errorf("with two tokens and no --token: %v: %s", err, out)
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("a file is left of the identity that was not made")
	}
	pinFile(t, "9876")
	second, secondID, _ := generate(t, "--token", "two")
	t.Setenv(pinFileEnv, "")
	pins := map[string]string{"one": "4321", "two": "9876"}
	answer := func(prompt string) (string, error) {
		label, _, _ := strings.Cut(strings.TrimPrefix(prompt, "PIN of the token "), " ")
		return pins[label], nil
	}
	for recipient, identity := range map[string]string{first: firstID, second: secondID} {
		if err := open(identity, seal(t, recipient), answer); err != nil {
			t.Error(err)
		}
	}
	list := tool(t, nil, "age-plugin-pkcs11", "--list", "--token", "two")
	if strings.Contains(list, first) || !strings.Contains(list, second) {
		t.Errorf("the list of one token:\n%s", list)
	}
}

// TestNothingIsOverwritten: a file that is there is kept, and no key is made.
func TestNothingIsOverwritten(t *testing.T) {
	withToken(t)
	file := filepath.Join(t.TempDir(), "id")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := attempt(nil, "age-plugin-pkcs11", "--generate", "-o", file); err == nil {
		t.Errorf("it succeeds: %s", out)
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != "precious" {
		t.Errorf("the file has %q, %v", text, err)
	}
	if out, err := attempt(nil, "age-plugin-pkcs11", "--list"); err == nil || !strings.Contains(out, "no token here has a P-256 key") {
		t.Errorf("the list: %v: %s", err, out)
	}
}

// TestBackup: takumi-backup seals with the public recipient alone, and opens with the
// token. The PIN turns up nowhere but in its file.
func TestBackup(t *testing.T) {
	withToken(t)
	const canary = "55918273645"
	newHSM(t)
	initToken(t, "one", canary)
	pinFile(t, canary)
	recipient, _, file := generate(t)
	program := filepath.Join(t.TempDir(), "takumi-backup")
	build := exec.Command("go", "build", "-o", program, "./cmd/takumi-backup")
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	state := t.TempDir()
	for _, name := range []string{"XDG_STATE_HOME", "TAKUMI_AUDIT_DIR", "HOME"} {
		t.Setenv(name, state)
	}
	t.Setenv("GOTRACEBACK", "system")
	sealed := filepath.Join(state, "backup.enc")
	said := tool(t, []byte(message), program, "seal", "-r", recipient, "-o", sealed)
	out := tool(t, nil, program, "open", "-i", file, sealed)
	if !strings.HasSuffix(out, message) {
		t.Errorf("it opens to %q", out)
	}
	said += out
	pinFile(t, canary+"0")
	out, err := attempt(nil, program, "open", "-i", file, sealed)
	if err == nil || !strings.Contains(out, "the PIN is wrong") {
		t.Errorf("with a wrong PIN: %v: %s", err, out)
	}
	said += out
	out, err = attempt(nil, program, "verify", "-i", file, sealed)
	if err == nil || !strings.Contains(out, "not tried again") {
		t.Errorf("with a wrong PIN, again: %v: %s", err, out)
	}
	err = filepath.WalkDir(state, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			var text []byte
			text, err = os.ReadFile(path)
			said += string(text)
		}
		return err
	})
	identity, readErr := os.ReadFile(file)
	if err != nil || readErr != nil {
		t.Fatal(err, readErr)
	}
	if strings.Contains(said+out+string(identity), canary) {
		t.Error("the PIN is in what was printed or written")
	}
}
