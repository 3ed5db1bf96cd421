package sign_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/envelope/sign"
	"github.com/takumi-backup/takumi-backup/envelope/slot"
)

var (
	label = envelope.Label{Created: time.Date(2026, 11, 23, 2, 0, 0, 0, time.UTC), Kind: "stream", Name: "x", Codec: "none"}
	when  = time.Date(2026, 11, 23, 2, 0, 7, 0, time.UTC)
	key   = kek.Generate()
)

func edKey(t testing.TB) ed25519.PrivateKey {
	t.Helper()
	_, secret, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return secret
}

func signerOf(t testing.TB, secret any) ssh.Signer {
	t.Helper()
	s, err := ssh.NewSignerFromKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func public(s ssh.Signer) string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(s.PublicKey())))
}

// seal makes a backup and sums it up as it is written.
func seal(t testing.TB, message []byte) ([]byte, sign.Statement) {
	t.Helper()
	var out bytes.Buffer
	sums := new(sign.Sums)
	w, err := envelope.NewWriter(t.Context(), io.MultiWriter(&out, sums), label, key)
	if err != nil {
		t.Fatal(err)
	}
	sums.Begin(w.Envelope(), int64(len(w.Envelope().Bytes())))
	if _, err := w.Write(message); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes(), sums.Statement(when)
}

// read opens a backup as a whole read does, and holds it to a statement.
func read(t testing.TB, sealed []byte, s sign.Statement) error {
	t.Helper()
	sums := new(sign.Sums)
	r, err := envelope.Open(t.Context(), io.TeeReader(bytes.NewReader(sealed), sums), envelope.Options{Rescue: true}, key)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.CheckHead(r.Envelope, r.Header()); err != nil {
		return err
	}
	sums.Begin(r.Envelope, r.Start)
	if _, err := io.Copy(io.Discard, r); err != nil {
		t.Fatal(err)
	}
	return s.CheckPayload(sums.Payload())
}

func TestSumsOfWriterAndReaders(t *testing.T) {
	message := make([]byte, 100_000)
	rand.Read(message)
	for _, n := range []int{0, 1, 16384, 100_000} {
		sealed, s := seal(t, message[:n])
		if err := read(t, sealed, s); err != nil {
			t.Errorf("%d bytes: %v", n, err)
		}
		at, err := envelope.OpenAt(t.Context(), bytes.NewReader(sealed), int64(len(sealed)), envelope.Options{}, key)
		if err != nil || s.CheckHead(at.Envelope, at.Header()) != nil {
			t.Errorf("%d bytes, at random: %v", n, err)
		}
	}
	sealed, s := seal(t, message)
	find := func(context.Context, []slot.Holder) ([]envelope.Identity, error) {
		return []envelope.Identity{key}, nil
	}
	w, err := envelope.Rewrap(t.Context(), bytes.NewReader(sealed), int64(len(sealed)), envelope.Options{Find: find}, envelope.RewrapOptions{Grow: true, KeepOld: true}, keysOf(40)...)
	if err == nil {
		t.Fatal("40 slots fit")
	}
	w, err = envelope.Rewrap(t.Context(), bytes.NewReader(sealed), int64(len(sealed)), envelope.Options{Find: find}, envelope.RewrapOptions{Grow: true, KeepOld: true}, keysOf(25)...)
	if err != nil {
		t.Fatal(err)
	}
	if err := read(t, append(bytes.Clone(w.New.Bytes()), sealed[w.Start:]...), s); err != nil || len(w.New.Bytes()) == int(w.Start) {
		t.Errorf("after a rewrap: %v", err)
	}
	other, _ := seal(t, message)
	if err := read(t, other, s); !errors.Is(err, sign.ErrOtherBackup) {
		t.Errorf("another backup of the same bytes: %v", err)
	}
}

func keysOf(n int) []envelope.Recipient {
	all := make([]envelope.Recipient, n)
	for i := range all {
		all[i] = kek.Generate()
	}
	return all
}

func TestPayloadOfWhoKnowsTheKey(t *testing.T) {
	_, s := seal(t, []byte("message"))
	if err := s.CheckPayload(sign.Sum{1}); !errors.Is(err, sign.ErrPayload) {
		t.Error(err)
	}
	if err := s.CheckPayload(s.Payload); err != nil {
		t.Error(err)
	}
	if _, err := new(sign.Sums).Write(make([]byte, 1<<20)); err == nil {
		t.Error("a payload is held in memory for want of Begin")
	}
}

func TestSignAndVerify(t *testing.T) {
	_, s := seal(t, []byte("message"))
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for name, secret := range map[string]any{"ed25519": edKey(t), "rsa": rsaKey} {
		signer := signerOf(t, secret)
		file, err := sign.Sign(s, signer)
		if err != nil {
			t.Fatal(err)
		}
		sig, err := sign.Parse(file)
		if err != nil || sig.Statement != s {
			t.Fatalf("%s: %+v, %v", name, sig, err)
		}
		signers, err := sign.ParseSigners(strings.NewReader("# ours\n\nhost@example " + public(signer) + " a comment\n"))
		if err != nil {
			t.Fatal(err)
		}
		if who, err := signers.Verify(sig); err != nil || who.Principals != "host@example" || who.Fingerprint != ssh.FingerprintSHA256(signer.PublicKey()) {
			t.Errorf("%s: %v, %v", name, who, err)
		}
		for i := range file {
			bad := bytes.Clone(file)
			bad[i] ^= 1
			if sig, err := sign.Parse(bad); err == nil && (sig.Statement != s || !bytes.Equal(sig.Key.Marshal(), signer.PublicKey().Marshal())) {
				t.Fatalf("%s: byte %d of the file may be changed", name, i)
			}
		}
		for n := range file {
			if _, err := sign.Parse(file[:n]); err == nil && n < len(file)-1 {
				t.Fatalf("%s: cut at %d it is good", name, n)
			}
		}
	}
}

func TestParseRefuses(t *testing.T) {
	_, s := seal(t, []byte("message"))
	signer := signerOf(t, edKey(t))
	good, err := sign.Sign(s, signer)
	if err != nil {
		t.Fatal(err)
	}
	other := s
	other.ID[0]++
	foreign, err := sign.Sign(other, signer)
	if err != nil {
		t.Fatal(err)
	}
	armor := func(b []byte) string { return string(b[bytes.Index(b, []byte("-----BEGIN")):]) }
	for name, tc := range map[string]struct {
		file string
		want error
	}{
		"nothing":               {"", sign.ErrMalformed},
		"no signature":          {string(s.Text()), sign.ErrMalformed},
		"another's signature":   {string(s.Text()) + armor(foreign), sign.ErrInvalid},
		"a line more":           {string(s.Text()) + "more\n" + armor(good), sign.ErrMalformed},
		"CRLF":                  {strings.ReplaceAll(string(good), "\n", "\r\n"), sign.ErrMalformed},
		"upper-case hex":        {strings.Replace(string(good), "head ", "head A", 1), sign.ErrMalformed},
		"no such day":           {strings.Replace(string(good), "2026-11-23", "2026-11-31", 1), sign.ErrMalformed},
		"something after it":    {string(good) + "x", sign.ErrMalformed},
		"twice":                 {string(good) + armor(good), sign.ErrMalformed},
		"something before it":   {"x\n" + string(good), sign.ErrMalformed},
		"another PEM":           {string(s.Text()) + string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")})), sign.ErrMalformed},
		"a newer version":       {strings.Replace(string(good), "/v1 ", "/v2 ", 1), sign.ErrMalformed},
		"endless":               {string(good) + strings.Repeat("\n", 1<<17), sign.ErrMalformed},
		"a time of another day": {strings.Replace(string(good), "2026-11-23", "2026-11-24", 1), sign.ErrInvalid},
	} {
		if sig, err := sign.Parse([]byte(tc.file)); !errors.Is(err, tc.want) || sig != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSigners(t *testing.T) {
	_, s := seal(t, []byte("message"))
	signer, stranger := signerOf(t, edKey(t)), signerOf(t, edKey(t))
	file, err := sign.Sign(s, signer)
	if err != nil {
		t.Fatal(err)
	}
	sig, err := sign.Parse(file)
	if err != nil {
		t.Fatal(err)
	}
	k, other := public(signer), public(stranger)
	for name, tc := range map[string]struct {
		text string
		why  string // "" when it is trusted
	}{
		"the key":                   {"a " + k, ""},
		"quoted principals":         {`"a b,c" ` + k, ""},
		"tabs":                      {"a\t" + strings.ReplaceAll(k, " ", "\t"), ""},
		"another":                   {"a " + other, "not among"},
		"the namespace":             {`a namespaces="git,takumi-backup" ` + k, ""},
		"a pattern":                 {`a namespaces="takumi-*" ` + k, ""},
		"excluded":                  {`a namespaces="*,!takumi-backup" ` + k, "namespace"},
		"another namespace":         {`a namespaces="git" ` + k, "namespace"},
		"valid":                     {`a valid-after="20261101",valid-before="20261201Z" ` + k, ""},
		"not yet":                   {`a valid-after="20261124Z" ` + k, "not valid yet"},
		"not any more":              {`a valid-before="20261123020007Z" ` + k, "not valid any more"},
		"just still":                {`a valid-before="20261123020008Z" ` + k, ""},
		"a later line counts":       {`a valid-before="20200101Z" ` + k + "\nb " + k, ""},
		"an authority alone":        {"b " + other + "\n* cert-authority " + k, "not among"},
		"options in capital letter": {`a Namespaces="git" ` + k, "namespace"},
	} {
		signers, err := sign.ParseSigners(strings.NewReader(tc.text + "\n"))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		_, err = signers.Verify(sig)
		if untrusted := new(sign.UntrustedError); (tc.why == "") != (err == nil) || err != nil && (!errors.As(err, &untrusted) || !strings.Contains(untrusted.Why, tc.why)) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, text := range map[string]string{
		"nothing":               "# none\n",
		"an authority alone":    "* cert-authority " + k,
		"no principal":          k,
		"an unknown option":     `a no-such-thing ` + k,
		"a bad time":            `a valid-after="tomorrow" ` + k,
		"an empty namespace":    `a namespaces="" ` + k,
		"half a key":            "a " + k[:len(k)-5],
		"a key of another sort": "a ssh-rsa " + strings.Fields(k)[1],
		"too long":              strings.Repeat("# x\n", 1<<19),
	} {
		if _, err := sign.ParseSigners(strings.NewReader(text)); err == nil {
			t.Errorf("%s is taken for allowed signers", name)
		}
	}
}

func TestKeys(t *testing.T) {
	secret := edKey(t)
	block, err := ssh.MarshalPrivateKey(secret, "")
	if err != nil {
		t.Fatal(err)
	}
	locked, err := ssh.MarshalPrivateKeyWithPassphrase(secret, "", []byte("sesame"))
	if err != nil {
		t.Fatal(err)
	}
	say := func(words string) func(context.Context) ([]byte, error) {
		return func(context.Context) ([]byte, error) { return []byte(words), nil }
	}
	for name, tc := range map[string]struct {
		text string
		ask  func(context.Context) ([]byte, error)
		good bool
	}{
		"open":                 {string(pem.EncodeToMemory(block)), nil, true},
		"locked":               {string(pem.EncodeToMemory(locked)), say("sesame"), true},
		"a wrong passphrase":   {string(pem.EncodeToMemory(locked)), say("open"), false},
		"nobody to ask":        {string(pem.EncodeToMemory(locked)), nil, false},
		"a public key":         {public(signerOf(t, secret)), nil, false},
		"nothing":              {"", nil, false},
		"longer than any is":   {strings.Repeat("x", 1<<20), nil, false},
		"locked, and given up": {string(pem.EncodeToMemory(locked)), func(context.Context) ([]byte, error) { return nil, context.Canceled }, false},
	} {
		s, err := sign.ParseKey(t.Context(), strings.NewReader(tc.text), tc.ask)
		if tc.good != (err == nil) || err == nil && public(s) != public(signerOf(t, secret)) {
			t.Errorf("%s: %v", name, err)
		}
	}

	ring := agent.NewKeyring()
	socket := filepath.Join(t.TempDir(), "agent")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go agent.ServeAgent(ring, conn)
		}
	}()
	ask := func(fingerprint string) (ssh.Signer, error) {
		s, conn, err := sign.Agent(t.Context(), socket, fingerprint)
		if err == nil {
			t.Cleanup(func() { conn.Close() })
		}
		return s, err
	}
	if _, err := ask(""); err == nil {
		t.Error("an agent without keys signs")
	}
	ring.Add(agent.AddedKey{PrivateKey: secret})
	if s, err := ask(""); err != nil || public(s) != public(signerOf(t, secret)) {
		t.Errorf("the only key: %v", err)
	}
	ring.Add(agent.AddedKey{PrivateKey: edKey(t)})
	if _, err := ask(""); err == nil {
		t.Error("one of two keys is chosen")
	}
	s, err := ask(ssh.FingerprintSHA256(signerOf(t, secret).PublicKey()))
	if err != nil {
		t.Fatal(err)
	}
	_, statement := seal(t, nil)
	file, err := sign.Sign(statement, s)
	if err == nil {
		_, err = sign.Parse(file)
	}
	if err != nil {
		t.Errorf("the agent's signature: %v", err)
	}
	if _, _, err := sign.Agent(t.Context(), "", ""); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without an agent: %v", err)
	}
}

// TestOpenSSH: ssh-keygen checks what this program signs, and this program what
// ssh-keygen signs.
func TestOpenSSH(t *testing.T) {
	if os.Getenv("TAKUMI_TEST_INTEGRATION") != "1" {
		t.Skip("set TAKUMI_TEST_INTEGRATION=1 to run ssh-keygen")
	}
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	run := func(stdin []byte, args ...string) (string, error) {
		cmd := exec.Command("ssh-keygen", args...)
		cmd.Stdin = bytes.NewReader(stdin)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	for _, kind := range []string{"ed25519", "rsa", "ecdsa"} {
		path := in(kind)
		if out, err := run(nil, "-q", "-t", kind, "-N", "", "-f", path); err != nil {
			t.Fatal(out)
		}
		secret, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		pub, err := os.ReadFile(path + ".pub")
		if err != nil {
			t.Fatal(err)
		}
		allowed := fmt.Sprintf("host namespaces=\"takumi-backup\" %s", pub)
		if err := os.WriteFile(in("allowed"), []byte(allowed), 0o600); err != nil {
			t.Fatal(err)
		}
		signer, err := sign.ParseKey(t.Context(), bytes.NewReader(secret), nil)
		if err != nil {
			t.Fatal(err)
		}
		_, s := seal(t, []byte("message"))
		file, err := sign.Sign(s, signer)
		if err != nil {
			t.Fatal(err)
		}
		armor := file[len(s.Text()):]
		if err := os.WriteFile(in("sig"), armor, 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := run(s.Text(), "-Y", "verify", "-f", in("allowed"), "-I", "host", "-n", "takumi-backup", "-s", in("sig")); err != nil {
			t.Errorf("%s: ssh-keygen does not verify it: %s", kind, out)
		}
		if out, err := run(append(s.Text(), '\n'), "-Y", "verify", "-f", in("allowed"), "-I", "host", "-n", "takumi-backup", "-s", in("sig")); err == nil {
			t.Errorf("%s: ssh-keygen verifies another statement: %s", kind, out)
		}
		statement := in("statement")
		if err := os.WriteFile(statement, s.Text(), 0o600); err != nil {
			t.Fatal(err)
		}
		os.Remove(statement + ".sig")
		if out, err := run(nil, "-Y", "sign", "-f", path, "-n", "takumi-backup", statement); err != nil {
			t.Fatal(out)
		}
		made, err := os.ReadFile(statement + ".sig")
		if err != nil {
			t.Fatal(err)
		}
		sig, err := sign.Parse(append(s.Text(), made...))
		if err != nil || sig.Statement != s {
			t.Fatalf("%s: what ssh-keygen signed: %v", kind, err)
		}
		signers, err := sign.ParseSigners(strings.NewReader(allowed))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := signers.Verify(sig); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
		os.Remove(statement + ".sig")
		if out, err := run(nil, "-Y", "sign", "-f", path, "-n", "git", statement); err != nil {
			t.Fatal(out)
		}
		if made, err = os.ReadFile(statement + ".sig"); err != nil {
			t.Fatal(err)
		}
		if _, err := sign.Parse(append(s.Text(), made...)); err == nil {
			t.Errorf("%s: a signature made for git counts", kind)
		}
	}
}
