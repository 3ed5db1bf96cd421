package vectors

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/envelope/sign"
	"github.com/takumi-backup/takumi-backup/internal/store/local"
	"github.com/takumi-backup/takumi-backup/keystore"
)

// signatures is the folder of the vectors of signatures, in folder.
const signatures = "signatures"

// signed is one of them: whose backup it is of, and what comes of it.
type signed struct {
	name, of, expect, comment string
	signers                   string
	file                      []byte
}

func (s signed) encode() []byte {
	return fmt.Appendf(nil, "comment: %s\nexpect: %s\nof: %s\nsigners: %s\n\n%s", s.comment, s.expect, s.of, s.signers, s.file)
}

// statement has what is signed, by its parts.
type statement struct {
	first, id, head, payload, date string
	end                            string // of each line
}

func (s statement) text() string {
	return strings.Join([]string{s.first, "id " + s.id, "head " + s.head, "payload " + s.payload, "signed " + s.date, ""}, s.end)
}

func statementOf(of string) statement {
	f := newFile(of)
	all := recipes()
	if r := all[slices.IndexFunc(all, func(r recipe) bool { return r.name == of })]; r.make != nil {
		r.make(f)
	}
	sealed := f.seal()
	preamble, _, _ := bytes.Cut(sealed.envelope, []byte("slot "))
	sum := func(payload []byte) string { return fmt.Sprintf("%x", sha256.Sum256(slices.Concat(preamble, payload))) }
	return statement{"takumi-backup/v1 signature", f.id, sum(sealed.payload[:headSize]), sum(sealed.payload), "2026-11-23T02:00:07Z", "\n"}
}

// sshsig signs a text as OpenSSH does (PROTOCOL.sshsig).
func sshsig(signer ed25519.PrivateKey, namespace, hash, text string) string {
	str := func(b []byte) []byte { return append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...) }
	sum := sha512.Sum512([]byte(text))
	digest := sum[:]
	if hash == "sha256" {
		short := sha256.Sum256([]byte(text))
		digest = short[:]
	}
	named := slices.Concat(str([]byte(namespace)), str(nil), str([]byte(hash)))
	made := ed25519.Sign(signer, slices.Concat([]byte("SSHSIG"), named, str(digest)))
	public := slices.Concat(str([]byte("ssh-ed25519")), str(signer.Public().(ed25519.PublicKey)))
	blob := slices.Concat([]byte("SSHSIG\x00\x00\x00\x01"), str(public), named, str(slices.Concat(str([]byte("ssh-ed25519")), str(made))))
	out := "-----BEGIN SSH SIGNATURE-----\n"
	for line := range slices.Chunk([]byte(base64.StdEncoding.EncodeToString(blob)), 70) {
		out += string(line) + "\n"
	}
	return out + "-----END SSH SIGNATURE-----\n"
}

func signingKey(name string) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(random("signatures", name, ed25519.SeedSize))
}

// allowed is the line of an allowed_signers file.
func allowed(signer ed25519.PrivateKey, options string) string {
	public := must(ssh.NewPublicKey(signer.Public()))
	return "host@example " + options + strings.TrimSpace(string(ssh.MarshalAuthorizedKey(public)))
}

func signedOnes() []signed {
	host, stranger := signingKey("host"), signingKey("stranger")
	const of = "payload-three-chunks"
	const ns = "takumi-backup"
	made := func(change func(*statement)) []byte {
		s := statementOf(of)
		if change != nil {
			change(&s)
		}
		return []byte(s.text() + sshsig(host, ns, "sha512", s.text()))
	}
	text := statementOf(of).text()
	later := strings.Replace(text, "07Z", "08Z", 1)
	line := allowed(host, "")
	return []signed{
		{"good", of, "good", "signed by a trusted key", line, made(nil)},
		{"good-namespace", of, "good", "the signers name the namespace", allowed(host, `namespaces="git,takumi-*" `), made(nil)},
		{"good-valid", of, "good", "signed while the key was valid", allowed(host, `valid-after="20261101Z",valid-before="20261201Z" `), made(nil)},
		{"untrusted", of, "untrusted", "signed by a key that nobody trusts", line, []byte(text + sshsig(stranger, ns, "sha512", text))},
		{"untrusted-namespace", of, "untrusted", "the signers trust the key in another namespace alone", allowed(host, `namespaces="git" `), made(nil)},
		{"untrusted-expired", of, "untrusted", "signed after the key had run out", allowed(host, `valid-before="20261101Z" `), made(nil)},
		{"other-id", of, "other-backup", "the id of another backup", line, made(func(s *statement) { s.id = strings.Repeat("5a", 16) })},
		{"other-head", of, "other-backup", "the head of another backup", line, made(func(s *statement) { s.head = statementOf("payload-empty").head })},
		{"payload", of, "payload", "another payload under the same data key", line, made(func(s *statement) { s.payload = statementOf("payload-empty").payload })},
		{"statement-changed", of, "invalid", "the statement was changed after it was signed", line, []byte(later + sshsig(host, ns, "sha512", text))},
		{"namespace", of, "invalid", "signed as a file, in the namespace of ssh-keygen's examples", line, []byte(text + sshsig(host, "file", "sha512", text))},
		{"hash", of, "malformed", "signed over SHA-256", line, []byte(text + sshsig(host, ns, "sha256", text))},
		{"crlf", of, "malformed", "lines that end in CR LF", line, made(func(s *statement) { s.end = "\r\n" })},
		{"upper-case", of, "malformed", "hex digits in upper case", line, made(func(s *statement) { s.head = strings.ToUpper(s.head) })},
		{"version", of, "malformed", "version 2", line, made(func(s *statement) { s.first = "takumi-backup/v2 signature" })},
		{"date", of, "malformed", "a day that does not exist", line, made(func(s *statement) { s.date = "2026-02-30T02:00:00Z" })},
		{"unsigned", of, "malformed", "a statement alone", line, []byte(text)},
		{"trailing", of, "malformed", "something behind the signature", line, append(made(nil), "x\n"...)},
	}
}

// TestSignatures holds the published signatures against their recipes, and this program,
// and ssh-keygen where it may run, against what is to come of them.
func TestSignatures(t *testing.T) {
	dir := filepath.Join(folder, signatures)
	seen := make(map[string]bool)
	for _, s := range signedOnes() {
		seen[s.name] = true
		path := filepath.Join(dir, s.name)
		if *update {
			if err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(path, s.encode(), 0o644)); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, s.encode()) {
			t.Errorf("%s is not what its recipe makes (%v)", s.name, err)
		}
		t.Run(s.name, func(t *testing.T) {
			if got := s.outcome(t); got != s.expect {
				t.Errorf("it is %s, want %s", got, s.expect)
			}
			s.keygen(t)
		})
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !seen[e.Name()] {
			t.Errorf("%s has no recipe", e.Name())
		}
	}
}

// given is a key that is at hand.
type given key

func (g given) String() string                         { return "test:key" }
func (g given) Load(context.Context) (*kek.Key, error) { return kek.New(g) }

// outcome opens the backup as a file with its signature.
func (s signed) outcome(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(folder, s.of))
	if err != nil {
		t.Fatal(err)
	}
	v, err := decode(s.of, text)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "x.enc")
	if err := errors.Join(os.WriteFile(path, v.file, 0o600), os.WriteFile(path+sign.Suffix, s.file, 0o600)); err != nil {
		t.Fatal(err)
	}
	signers, err := sign.ParseSigners(strings.NewReader(s.signers + "\n"))
	if err != nil {
		t.Fatal(err)
	}
	ring := keystore.NewRing(given(keyA))
	defer ring.Close()
	f, err := backup.Open(t.Context(), local.Folder{}, path, backup.Options{Keys: ring, Signers: signers})
	if err == nil {
		defer f.Close()
		_, err = f.WriteTo(io.Discard)
	}
	for _, class := range []struct {
		name string
		is   bool
	}{
		{"good", err == nil}, {"malformed", errors.Is(err, sign.ErrMalformed)}, {"invalid", errors.Is(err, sign.ErrInvalid)},
		{"other-backup", errors.Is(err, sign.ErrOtherBackup)}, {"payload", errors.Is(err, sign.ErrPayload)}, {"untrusted", errors.As(err, new(*sign.UntrustedError))},
	} {
		if class.is {
			return class.name
		}
	}
	return err.Error()
}

// keygen has OpenSSH judge signature and signer, of what has the form of a signature.
// Whether the statement is about the backup it cannot know.
func (s signed) keygen(t *testing.T) {
	statement, armor, found := bytes.Cut(s.file, []byte("-----BEGIN"))
	if os.Getenv("TAKUMI_TEST_INTEGRATION") != "1" || s.expect == "malformed" || !found {
		return
	}
	dir := t.TempDir()
	sig, signers := filepath.Join(dir, "sig"), filepath.Join(dir, "signers")
	if err := errors.Join(os.WriteFile(sig, append([]byte("-----BEGIN"), armor...), 0o600), os.WriteFile(signers, []byte(s.signers+"\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	args := []string{"-Y", "verify", "-f", signers, "-I", "host@example", "-n", "takumi-backup", "-s", sig}
	if strings.Contains(s.signers, "valid-") { // OpenSSH judges by now, and is told when
		args = append(args, "-O", "verify-time=20261123020007Z")
	}
	cmd := exec.Command("ssh-keygen", args...)
	cmd.Stdin = bytes.NewReader(statement)
	out, err := cmd.CombinedOutput()
	if want := s.expect == "good" || s.expect == "payload" || s.expect == "other-backup"; (err == nil) != want {
		t.Errorf("ssh-keygen says %v: %s", err, out)
	}
}
