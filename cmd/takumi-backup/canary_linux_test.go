package main

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/takumi-backup/takumi-backup/envelope/agekey"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/keystore/paper"
)

// canary is a key, and every form in which it must not turn up.
type canary struct {
	digits string
	raw    []byte
	lines  []string // of its written form
}

func newCanary(t *testing.T, digits string) canary {
	t.Helper()
	raw, err := hex.DecodeString(digits)
	if err != nil {
		t.Fatal(err)
	}
	key, err := kek.New(raw)
	if err != nil {
		t.Fatal(err)
	}
	return canaryOf(t, key)
}

func canaryOf(t *testing.T, secret paper.Secret) canary {
	t.Helper()
	c := canary{digits: hex.EncodeToString(secret.Bytes()), raw: bytes.Clone(secret.Bytes())}
	if seed, ok := secret.(*agekey.Seed); ok {
		_, data, _ := strings.Cut(seed.Line(), "-1")
		c.lines = append(c.lines, data[:20], data[20:40], strings.ToLower(data[:20]))
	}
	for _, line := range strings.Split(string(paper.NewKey(secret).Text()), "\n")[2:] { // after the title and the id
		if len(line) > 20 {
			c.lines = append(c.lines, line)
		}
	}
	if len(c.lines) < 3 {
		t.Fatalf("%d lines of the written form", len(c.lines))
	}
	return c
}

// in says in which form the key, or half of it, is in text; "" if it is not.
func (c canary) in(text string) string {
	lower := strings.ToLower(text)
	if slices.ContainsFunc(windows(c.digits, 16), func(w string) bool { return strings.Contains(lower, w) }) {
		return "hex"
	}
	for _, line := range c.lines {
		if strings.Contains(text, line) {
			return "writing"
		}
	}
	for i := 0; i+8 <= len(c.raw); i++ {
		if strings.Contains(text, string(c.raw[i:i+8])) {
			return "raw"
		}
	}
	for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding} {
		for skip := range 3 { // base64 looks different at each offset in a group of three bytes
			if word := enc.EncodeToString(c.raw[skip:])[:20]; strings.Contains(text, word) {
				return "base64"
			}
		}
	}
	return ""
}

// signingCanary returns an OpenSSH private key, and its seed as a canary.
func signingCanary(t *testing.T) (canary, string) {
	t.Helper()
	key := kek.Generate()
	block, err := ssh.MarshalPrivateKey(ed25519.NewKeyFromSeed(key.Bytes()), "")
	if err != nil {
		t.Fatal(err)
	}
	return canaryOf(t, key), string(pem.EncodeToMemory(block))
}

// keyServers are a Vault and a Secrets Manager that hold the canary, and
// nothing more than the canary test asks of them.
func keyServers(t *testing.T, digits string) (vault, aws string) {
	t.Helper()
	answer := func(value any) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/x-amz-json-1.1")
			json.NewEncoder(w).Encode(value)
		}
	}
	serve := func(h http.Handler) string {
		s := httptest.NewServer(h)
		t.Cleanup(s.Close)
		return s.URL
	}
	return serve(answer(map[string]any{"data": map[string]any{
			"data":     map[string]any{"key": digits, "half": digits[:40]},
			"metadata": map[string]any{"version": 1, "created_time": "2026-11-23T02:00:00Z", "deletion_time": "", "destroyed": false},
		}})), serve(answer(map[string]any{
			"Name": "backup", "ARN": "arn:aws:secretsmanager:eu-central-1:123456789012:secret:backup", "SecretString": digits,
			"VersionId": "11111111-1111-1111-1111-111111111111", "VersionStages": []string{"AWSCURRENT"},
		}))
}

// TestCanary runs the commands that handle keys with a key from every place, with
// all the logging that the libraries have turned on, with wrong inputs, and with a panic
// in the middle, and looks for the key in what is printed, in the temporary
// folder, in what is written, and in the arguments that other processes see.
func TestCanary(t *testing.T) {
	t.Parallel()
	c := newCanary(t, mainKey)
	vault, aws := keyServers(t, mainKey)
	b := newSandbox(t)
	keys := t.TempDir() // the one place where keys may be
	put := func(name, content string) string {
		path := filepath.Join(keys, name)
		writeFile(t, path, []byte(content))
		return path
	}
	key := put("key", mainKey+"\n")
	put("passphrase", "battery staple correct horse\n")
	b.env = append(b.env,
		"VAULT_ADDR="+vault, "VAULT_TOKEN=t", "VAULT_LOG_LEVEL=trace", "AWS_ENDPOINT_URL="+aws, "AWS_REGION=eu-central-1",
		"AWS_ACCESS_KEY_ID=a", "AWS_SECRET_ACCESS_KEY=b", "BACKUP_ENCRYPTION_KEY="+mainKey, "HALF_A_KEY="+mainKey[:60],
		"GODEBUG=http2debug=2", "GOTRACEBACK=system", "TAKUMI_PASSPHRASE_FILE="+keys+"/passphrase",
		"XDG_STATE_HOME="+b.path("state"), "HOME="+b.dir,
	)
	seed := agekey.GenerateSeed(true)
	identity := put("identity", string(seed.Text(time.Now())))
	signing, signer := signingCanary(t)
	signKey := put("signing", signer)
	canaries := []canary{c, canaryOf(t, seed), signing}
	look := func(what, text string) {
		t.Helper()
		for i, c := range canaries {
			if form := c.in(text); form != "" {
				t.Errorf("%s: %s is there, in %s:\n%s", what, []string{"the key", "the identity", "the signing key"}[i], form, text)
			}
		}
	}
	// run wants an exit code: a row that is no more than a mistake on the command
	// line would look at nothing.
	run := func(want int, args ...string) string {
		t.Helper()
		cmd := b.program(args...)
		cmd.Stdin = strings.NewReader("content")
		out, _ := cmd.CombinedOutput()
		if got := cmd.ProcessState.ExitCode(); got != want {
			t.Errorf("%s: exit code %d, want %d: %s", strings.Join(args, " "), got, want, out)
		}
		look(strings.Join(args, " "), string(out))
		return string(out)
	}
	at := func(name string) string { return filepath.Join(keys, name) }
	if c.in(c.digits[3:40]) != "hex" || c.in("x"+base64.StdEncoding.EncodeToString(append([]byte("k"), c.raw...))) != "base64" ||
		c.in(string(c.raw)) != "raw" || c.in(c.lines[1]) != "writing" || c.in(c.digits[:12]) != "" {
		t.Fatal("the canary would not be seen")
	}
	run(exitOK, "key", "export", "--key", "file:"+key, "--passphrase", "-o", at("locked"))

	// What goes well, with a key from each place.
	for i, uri := range []string{
		"file:" + key, "env:BACKUP_ENCRYPTION_KEY", "passfile:" + at("locked"), "vault:secret/backup", "awssm:backup",
	} {
		if out := run(exitOK, "key", "id", "--key", uri); !strings.Contains(out, keyID(t, mainKey)) {
			t.Errorf("%s gave no key: %s", uri, out)
		}
		if strings.HasPrefix(uri, "passfile:") {
			continue // each time takes seconds
		}
		backup := strconv.Itoa(i) + ".enc"
		run(exitOK, "seal", "-o", backup, "--key", uri)
		run(exitOK, "open", backup, "-o", "-", "--key", uri)
		name := func(ending string) string { return at(strconv.Itoa(i) + ending) }
		run(exitOK, "key", "check", "--json", "--key", uri)
		run(exitOK, "key", "store", "--key", uri, "--to", "file:"+name(""))
		run(exitOK, "key", "split", "--shares", "3", "--threshold", "2", "--key", uri, "-o", name(".shares"))
		run(exitOK, "key", "paper", "--key", uri, "-o", name(".png"))
		run(exitFailed, "open", "missing.enc", "--key", uri)
		run(exitUsage, "seal", "--codec", "rar", "--key", uri)
	}
	shares, err := filepath.Glob(at("0.shares/*"))
	if err != nil || len(shares) != 3 {
		t.Fatalf("%d shares, %v", len(shares), err)
	}
	run(exitOK, "key", "generate", "-o", at("new"))
	run(exitOK, append([]string{"key", "combine", "-o", at("combined")}, shares...)...)
	run(exitOK, "key", "paper", "--shares-of", at("0.shares"), "-o", at("shares.html"))
	run(exitOK, "key", "scan", at("0.png"), "-o", at("scanned"))
	run(exitOK, "key", "import", at("locked"), "-o", at("imported"))
	run(exitOK, "key", "rotate", "--key", "file:"+at("0"))
	run(exitOK, "key", "history", "--json")
	run(exitOK, "inspect", "--json", "0.enc")
	run(exitOK, "list", "--json", b.dir)
	run(exitOK, "audit", "show")
	run(exitOK, "audit", "checkpoint", "--checkpoint-key", "file:"+key)

	// An identity, and a key that signs.
	run(exitOK, "seal", "-o", "age.enc", "-r", seed.Recipient().String(), "--sign-key", signKey)
	run(exitOK, "open", "age.enc", "-o", "-", "-i", identity)
	run(exitOK, "verify", "-i", identity, "--json", "age.enc")
	run(exitOK, "list", "--json", "-i", identity, b.dir)
	run(exitOK, "sign", "--sign-key", signKey, "-i", identity, "age.enc")
	run(exitOK, "rewrap", "-i", identity, "--to", "age:"+identity, "age.enc")
	run(exitOK, "reencrypt", "-i", identity, "--to", "age:"+identity, "--sign-key", signKey, "age.enc")
	run(exitOK, "key", "check", "-i", identity, "--root", b.path("nothing"))
	run(exitOK, "key", "split", "--shares", "3", "--threshold", "2", "--key", "age:"+identity, "-o", at("identity.shares"))
	run(exitOK, "key", "paper", "--key", "age:"+identity, "-o", at("identity.pdf"))
	run(exitOK, "key", "import", identity, "-o", at("identity.again"))
	run(exitUsage, "seal", "-o", "x.enc", "-r", seed.Line())
	run(exitUsage, "seal", "-o", "x.enc", "-R", identity)
	run(exitKey, "open", "0.enc", "-o", "-", "-i", identity)
	run(exitFailed, "open", seed.Line())
	run(exitKey, "open", "age.enc", "-o", "-", "-i", put("cut", seed.Line()[:60]+"\n"))
	run(exitFailed, "seal", "-o", "x.enc", "--key", "file:"+key, "--sign-key", put("half", signer[:len(signer)/2]))
	run(exitUsage, "open", "age.enc", "-o", "-", "-i", identity, "--signers", signKey)

	// What goes wrong.
	for _, uri := range []string{"env:HALF_A_KEY", "vault:secret/backup#half", "awssm:backup#field", "passfile:" + key} {
		run(exitKey, "key", "id", "--key", uri)
	}
	run(exitOK, "key", "import", key, "-o", at("from-digits"))
	run(exitKey, "key", "combine", key, "-o", at("y"))
	run(exitKey, "key", "combine", shares[0], "-o", at("y"))
	run(exitKey, "key", "scan", key, "-o", at("y"))
	run(exitKey, "key", "paper", "--shares-of", key, "-o", at("y.html"))
	run(exitDamaged, "inspect", key)
	run(exitDamaged, "open", key)
	run(exitFailed, "open", mainKey)
	run(exitFailed, "inspect", mainKey)
	run(exitUsage, "key", "export", "--passphrase", "-o", "/nowhere/"+mainKey+"/x")
	run(exitStore, "seal", "-o", "/nowhere/"+mainKey+"/x")

	// A child sees the arguments of its parent.
	if out := run(exitOK, "seal", "-o", "child.enc", "--key", "file:"+key, "--", "sh", "-c", "tr '\\0' ' ' </proc/self/cmdline >&2; tr '\\0' ' ' </proc/$PPID/cmdline >&2; echo x"); !strings.Contains(out, "takumi-backup") {
		t.Errorf("the child saw nothing: %s", out)
	}

	// A panic while the key is in memory, and the dump of all goroutines.
	for _, uri := range []string{"file:" + key, "vault:secret/backup", "awssm:backup"} {
		cmd := b.command(panicking, "seal", "-o", "panic.enc", "--key", uri)
		stdin, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, _ := cmd.CombinedOutput()
		stdin.Close()
		if !strings.Contains(string(out), "panic: injected") || !strings.Contains(string(out), "goroutine ") {
			t.Errorf("no panic: %s", out)
		}
		look("panic with "+uri, string(out))
	}

	for _, dir := range []string{b.dir, b.tmp, b.log} {
		err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if err != nil || !e.Type().IsRegular() {
				return err
			}
			text, err := os.ReadFile(path)
			look(path, string(text))
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
}

// panicking is the program, with a panic some time after its start.
const panicking = program + "-panicking"

func panicLater() {
	go func() {
		time.Sleep(500 * time.Millisecond)
		panic("injected")
	}()
	main()
}
