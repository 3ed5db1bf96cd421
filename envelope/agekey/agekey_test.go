package agekey_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"filippo.io/age/armor"
	"filippo.io/age/plugin"
	"golang.org/x/crypto/ssh"

	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/envelope/agekey"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/envelope/slot"
)

// TestMain lets this program be the age plugins of the tests: its name says which.
func TestMain(m *testing.M) {
	if name, ok := strings.CutPrefix(filepath.Base(os.Args[0]), "age-plugin-"); ok {
		os.Exit(pluginMain(name))
	}
	os.Exit(m.Run())
}

// withPlugins puts this program on the PATH under the names of plugins.
func withPlugins(t *testing.T, names ...string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, name := range names {
		if err := os.Symlink(self, filepath.Join(dir, "age-plugin-"+name)); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
}

// pair is an identity's file and the recipient.
type pair struct{ identity, recipient string }

func x25519(t testing.TB) pair {
	t.Helper()
	i, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return pair{"# created: today\n" + i.String() + "\n", i.Recipient().String()}
}

func hybrid(t testing.TB) pair {
	t.Helper()
	i, err := age.GenerateHybridIdentity()
	if err != nil {
		t.Fatal(err)
	}
	return pair{i.String() + "\n", i.Recipient().String()}
}

func sshKey(t testing.TB, secret any, passphrase string) pair {
	t.Helper()
	signer, err := ssh.NewSignerFromKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(secret, "who@where")
	if passphrase != "" {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(secret, "who@where", []byte(passphrase))
	}
	if err != nil {
		t.Fatal(err)
	}
	return pair{string(pem.EncodeToMemory(block)), strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey()))) + " who@where"}
}

func ed25519Key(t testing.TB, passphrase string) pair {
	t.Helper()
	_, secret, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return sshKey(t, secret, passphrase)
}

func rsaKey(t testing.TB) pair {
	t.Helper()
	secret, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return sshKey(t, secret, "")
}

// plugged is a pair for a plugin of this name.
func plugged(t testing.TB, name string) pair {
	t.Helper()
	i, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return pair{plugin.EncodeIdentity(name, []byte(i.String())) + "\n", plugin.EncodeRecipient(name, []byte(i.Recipient().String()))}
}

// lock encrypts an identity file with a passphrase.
func lock(t testing.TB, identity, passphrase string, armored bool) string {
	t.Helper()
	r, err := age.NewScryptRecipient(passphrase)
	if err != nil {
		t.Fatal(err)
	}
	r.SetWorkFactor(10)
	var out bytes.Buffer
	var dst io.WriteCloser = struct {
		io.Writer
		io.Closer
	}{&out, io.NopCloser(nil)}
	if armored {
		dst = armor.NewWriter(&out)
	}
	w, err := age.Encrypt(dst, r)
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(w, identity)
	if err := errors.Join(w.Close(), dst.Close()); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func recipient(t testing.TB, text string, o agekey.Options) *agekey.Recipient {
	t.Helper()
	r, err := agekey.ParseRecipient(text, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func identity(t testing.TB, text string, o agekey.Options) slot.Identity {
	t.Helper()
	all, err := agekey.ParseIdentities(strings.NewReader(text), "the file", o)
	if err != nil || len(all) != 1 {
		t.Fatalf("%d identities, %v", len(all), err)
	}
	return all[0].Named()
}

func passphrase(text string) agekey.Options {
	return agekey.Options{Passphrase: func(context.Context, string) ([]byte, error) { return []byte(text), nil }}
}

var label = envelope.Label{Created: time.Unix(1795399200, 0), Kind: "stream", Name: "x", Codec: "none"}

func seal(t testing.TB, to ...envelope.Recipient) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := envelope.NewWriter(context.Background(), &out, label, to...)
	if err != nil {
		t.Fatal(err)
	}
	w.Write([]byte("message"))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func open(sealed []byte, with ...envelope.Identity) (string, *envelope.Reader, error) {
	r, err := envelope.Open(context.Background(), bytes.NewReader(sealed), envelope.Options{}, with...)
	if err != nil {
		return "", nil, err
	}
	message, err := io.ReadAll(r)
	return string(message), r, err
}

func TestEveryKindOfHolder(t *testing.T) {
	withPlugins(t, "good")
	locked := x25519(t)
	for name, tc := range map[string]struct {
		pair
		o agekey.Options
	}{
		"X25519":                      {x25519(t), agekey.Options{}},
		"hybrid":                      {hybrid(t), agekey.Options{}},
		"ssh-ed25519":                 {ed25519Key(t, ""), agekey.Options{}},
		"ssh-ed25519, locked":         {ed25519Key(t, "sesame"), passphrase("sesame")},
		"ssh-rsa":                     {rsaKey(t), agekey.Options{}},
		"a plugin":                    {plugged(t, "good"), agekey.Options{}},
		"a file that is locked":       {pair{lock(t, locked.identity, "sesame", false), locked.recipient}, passphrase("sesame")},
		"the same in armor":           {pair{lock(t, locked.identity, "sesame", true), locked.recipient}, passphrase("sesame")},
		"lines that end in CR and LF": {pair{strings.ReplaceAll(locked.identity, "\n", "\r\n"), locked.recipient}, agekey.Options{}},
	} {
		t.Run(name, func(t *testing.T) {
			r, i := recipient(t, tc.recipient, tc.o), identity(t, tc.identity, tc.o)
			other := kek.Generate()
			sealed := seal(t, other, r)
			got, in, err := open(sealed, i)
			if err != nil || got != "message" || in.Holder != r.Holder() || in.Altered != nil {
				t.Fatalf("%q, %v", got, err)
			}
			text := strings.TrimSuffix(tc.recipient, " who@where")
			if r.String() != text || in.Holder.Name != agekey.Hint(text) || len(in.Holder.Name) != 16 {
				t.Errorf("slot %v of %s", in.Holder, r)
			}
			if named, ok := i.(slot.Named); ok && named.Holder() != r.Holder() {
				t.Errorf("the identity takes itself for %v", named.Holder())
			}
			if got, _, err := open(sealed, other); err != nil || got != "message" {
				t.Errorf("the key next to it: %q, %v", got, err)
			}
			if _, _, err := open(sealed, kek.Generate(), identity(t, x25519(t).identity, tc.o)); !errors.As(err, new(*envelope.WrongKeyError)) {
				t.Errorf("another identity: %v", err)
			}
			if _, _, err := open(seal(t, recipient(t, x25519(t).recipient, tc.o)), i); !errors.As(err, new(*envelope.WrongKeyError)) {
				t.Errorf("it is not for this identity, which says %v", err)
			}
		})
	}
}

// TestTaggedRecipients: a token's recipient seals without its plugin.
func TestTaggedRecipients(t *testing.T) {
	const tagged = "age1tag1qt8lw0ual6avlwmwatk888yqnmdamm7xfd0wak53ut6elz5c4swx2yqdj4e" // of age's own tests
	t.Setenv("PATH", t.TempDir())
	r := recipient(t, tagged, agekey.Options{})
	sealed := seal(t, r, kek.Generate())
	e, err := envelope.Parse(bytes.NewReader(sealed))
	if err != nil || e.Holders()[0] != r.Holder() {
		t.Errorf("%v, %v", e.Holders(), err)
	}
}

func TestSlotsThatDoNotOpen(t *testing.T) {
	p := x25519(t)
	r, i := recipient(t, p.recipient, agekey.Options{}), identity(t, p.identity, agekey.Options{})
	id, dataKey := slot.ID{1}, bytes.Repeat([]byte{7}, slot.DataKeySize)
	good, err := r.Wrap(t.Context(), id, dataKey)
	if err != nil {
		t.Fatal(err)
	}
	ageFile := func(plain string) string {
		var out bytes.Buffer
		to, _ := age.ParseX25519Recipient(p.recipient)
		w, err := age.Encrypt(&out, to)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(w, plain)
		w.Close()
		return base64.StdEncoding.EncodeToString(out.Bytes())
	}
	hint := good.Args[0]
	whole := string(id[:]) + string(dataKey)
	for name, tc := range map[string]struct {
		id   slot.ID
		args []string
		want error
	}{
		"good":                      {id, good.Args, nil},
		"another hint":              {id, []string{"0123456789abcdef", good.Args[1]}, nil},
		"of another backup":         {slot.ID{2}, good.Args, slot.ErrDamaged},
		"a data key alone":          {id, []string{hint, ageFile(string(dataKey))}, slot.ErrDamaged},
		"a byte more":               {id, []string{hint, ageFile(whole + "x")}, slot.ErrDamaged},
		"a byte less":               {id, []string{hint, ageFile(whole[:47])}, slot.ErrDamaged},
		"nothing":                   {id, []string{hint, ageFile("")}, slot.ErrDamaged},
		"cut":                       {id, []string{hint, good.Args[1][:len(good.Args[1])-8]}, slot.ErrDamaged},
		"no base64":                 {id, []string{hint, "!"}, slot.ErrDamaged},
		"no base64, another's name": {id, []string{"0123456789abcdef", "!"}, slot.ErrNotMine},
		"one argument":              {id, []string{hint}, slot.ErrNotMine},
		"three arguments":           {id, []string{hint, good.Args[1], "x"}, slot.ErrNotMine},
	} {
		got, err := i.Unwrap(t.Context(), tc.id, slot.Slot{Type: "age", Args: tc.args})
		if !errors.Is(err, tc.want) || (err == nil) != bytes.Equal(got, dataKey) {
			t.Errorf("%s: %x, %v", name, got, err)
		}
	}
	if _, err := r.Wrap(t.Context(), id, dataKey[:31]); err == nil {
		t.Error("31 bytes are wrapped")
	}
	if _, err := i.Unwrap(t.Context(), id, slot.Slot{Type: "key", Args: good.Args}); !errors.Is(err, slot.ErrNotMine) {
		t.Errorf("a slot of another type: %v", err)
	}
}

// TestWhatCannotBeAsked: it is not a wrong key when a plugin or a passphrase is
// missing, and a key next to it opens all the same.
func TestWhatCannotBeAsked(t *testing.T) {
	withPlugins(t, "failing", "silent")
	locked := x25519(t)
	lockedSSH := ed25519Key(t, "sesame")
	for name, tc := range map[string]struct {
		identity  string
		recipient string
		o         agekey.Options
		want      string
	}{
		"no such plugin":     {plugged(t, "absent").identity, locked.recipient, agekey.Options{}, "age-plugin-absent"},
		"a plugin fails":     {plugged(t, "failing").identity, locked.recipient, agekey.Options{}, "the token is not there"},
		"a plugin is silent": {plugged(t, "silent").identity, locked.recipient, agekey.Options{PluginTimeout: 50 * time.Millisecond}, "did not answer in time"},
		"nobody to ask":      {lock(t, locked.identity, "sesame", true), locked.recipient, agekey.Options{}, "nobody to ask"},
		"a wrong passphrase": {lock(t, locked.identity, "sesame", true), locked.recipient, passphrase("open"), "the passphrase is wrong"},
		"an ssh key, locked": {lockedSSH.identity, lockedSSH.recipient, agekey.Options{}, "nobody to ask"},
		"an ssh passphrase":  {lockedSSH.identity, lockedSSH.recipient, passphrase("open"), "decrypt"},
	} {
		key := kek.Generate()
		sealed := seal(t, recipient(t, tc.recipient, tc.o), key)
		i := identity(t, tc.identity, tc.o)
		if _, _, err := open(sealed, i); err == nil || !strings.Contains(err.Error(), tc.want) || errors.As(err, new(*envelope.WrongKeyError)) {
			t.Errorf("%s: %v", name, err)
		}
		if got, _, err := open(sealed, i, key); err != nil || got != "message" {
			t.Errorf("%s, and a key: %q, %v", name, got, err)
		}
	}
	withdrawn, stop := context.WithCancel(t.Context())
	stop()
	r := recipient(t, plugged(t, "silent").recipient, agekey.Options{})
	if _, err := r.Wrap(withdrawn, slot.ID{}, make([]byte, 32)); !errors.Is(err, context.Canceled) {
		t.Errorf("sealing with a plugin that is silent: %v", err)
	}
}

func TestFilesAreRefused(t *testing.T) {
	p, secret := x25519(t), "AGE-SECRET-KEY-1QQQQ"
	for name, tc := range map[string]struct{ text, want string }{
		"nothing":           {"# none\n\n", "no recipients"},
		"a word":            {p.recipient + "\nhello-secret\n", "line 2"},
		"a secret":          {p.identity, "secret identity"},
		"a plugin's secret": {plugged(t, "x").identity, "secret identity"},
		"a changed letter":  {strings.Replace(p.recipient, p.recipient[10:11], "b", 1)[:60] + "\n", "line 1"},
		"an ssh key type":   {"ssh-dss AAAAB3NzaC1kc3MAAACBA\n", "line 1"},
		"not UTF-8":         {"age1\xff\n", "line 1"},
		"a long line":       {strings.Repeat("a", 9000), "line 1"},
		"too long":          {strings.Repeat("#\n", 1<<20), "longer"},
	} {
		if _, err := agekey.ParseRecipients(strings.NewReader(tc.text), agekey.Options{}); err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "hello-secret") {
			t.Errorf("recipients, %s: %v", name, err)
		}
	}
	for name, tc := range map[string]struct{ text, want string }{
		"nothing":      {"\n", "no identities"},
		"a recipient":  {p.recipient, "public recipient"},
		"a bad secret": {secret, "line 1"},
		"a PEM":        {"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "ssh key"},
		"too long":     {strings.Repeat("#\n", 1<<20), "longer"},
	} {
		if _, err := agekey.ParseIdentities(strings.NewReader(tc.text), "f", agekey.Options{}); err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), secret) {
			t.Errorf("identities, %s: %v", name, err)
		}
	}
	several, err := agekey.ParseRecipients(strings.NewReader("# two\n"+p.recipient+"\n\n"+hybrid(t).recipient+"\n"), agekey.Options{})
	if err != nil || len(several) != 2 {
		t.Errorf("%d recipients, %v", len(several), err)
	}
}

func TestIdentityNeverPrints(t *testing.T) {
	p := x25519(t)
	i := identity(t, p.identity, agekey.Options{})
	text, err := json.Marshal(map[string]any{"i": i})
	out := fmt.Sprintf("%v %+v %#v %s %q %x %d %s %v", i, i, i, i, i, i, i, text, err)
	if secret := strings.TrimSpace(strings.Split(p.identity, "\n")[1]); strings.Contains(out, secret[20:40]) || !strings.Contains(out, "[redacted]") {
		t.Errorf("%s", out)
	}
}

// TestTools: what this program seals, age opens: that of go.mod, which is built here, and
// the system's, as Debian's 1.1.1, which knows nothing post-quantum. What age,
// age-keygen and ssh-keygen make is taken as it is.
func TestTools(t *testing.T) {
	if os.Getenv("TAKUMI_TEST_INTEGRATION") != "1" {
		t.Skip("set TAKUMI_TEST_INTEGRATION=1 to run age and ssh-keygen")
	}
	dir := t.TempDir()
	tool(t, nil, "go", "build", "-o", dir+"/", "filippo.io/age/cmd/age", "filippo.io/age/cmd/age-keygen")
	ages := []string{filepath.Join(dir, "age")}
	if _, err := os.Stat("/usr/bin/age"); err == nil {
		ages = append(ages, "/usr/bin/age")
	}
	withPlugins(t, "good")
	at := func(name string) string { return filepath.Join(dir, name) }
	tool(t, nil, ages[0]+"-keygen", "-o", at("x25519"))
	tool(t, nil, ages[0]+"-keygen", "-pq", "-o", at("hybrid"))
	tool(t, nil, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", at("ed25519"))
	tool(t, nil, "ssh-keygen", "-q", "-t", "rsa", "-b", "3072", "-N", "", "-f", at("rsa"))
	plug := plugged(t, "good")
	if err := os.WriteFile(at("plugin"), []byte(plug.identity), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"x25519", "hybrid", "ed25519", "rsa", "plugin"} {
		public := []byte(plug.recipient)
		switch name {
		case "ed25519", "rsa":
			var err error
			if public, err = os.ReadFile(at(name) + ".pub"); err != nil {
				t.Fatal(err)
			}
		case "x25519", "hybrid":
			public = tool(t, nil, ages[0]+"-keygen", "-y", at(name))
		}
		for _, age := range ages {
			version := strings.TrimPrefix(strings.TrimSpace(string(tool(t, nil, age, "--version"))), "v")
			if name == "hybrid" && (strings.HasPrefix(version, "1.0") || strings.HasPrefix(version, "1.1") || strings.HasPrefix(version, "1.2")) {
				continue
			}
			t.Run(name+" and age "+version, func(t *testing.T) { agrees(t, age, at(name), strings.TrimSpace(string(public))) })
		}
	}
}

func tool(t *testing.T, stdin []byte, name string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Stdin = bytes.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v: %s", name, args, err, out)
	}
	return out
}

// agrees exchanges slots with an age, both ways.
func agrees(t *testing.T, age, path, public string) {
	secret, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	r, i := recipient(t, public, agekey.Options{}), identity(t, string(secret), agekey.Options{})
	id, dataKey := slot.ID{1, 2}, bytes.Repeat([]byte{9}, slot.DataKeySize)
	s, err := r.Wrap(t.Context(), id, dataKey)
	if err != nil {
		t.Fatal(err)
	}
	file, err := base64.StdEncoding.DecodeString(s.Args[1])
	if err != nil {
		t.Fatal(err)
	}
	if got := tool(t, file, age, "-d", "-i", path); !bytes.Equal(got, append(id[:], dataKey...)) {
		t.Errorf("age decrypts the slot to %x", got)
	}
	if named, known := slot.HolderOf(i); known && named != s.Holder() {
		t.Errorf("the tool's recipient is called %v, the identity's %v", s.Holder(), named)
	}
	made := tool(t, append(id[:], dataKey...), age, "-e", "-r", public)
	byHand := slot.Slot{Type: "age", Args: []string{r.Holder().Name, base64.StdEncoding.EncodeToString(made)}}
	if got, err := i.Unwrap(t.Context(), id, byHand); err != nil || !bytes.Equal(got, dataKey) {
		t.Errorf("a slot that age made: %x, %v", got, err)
	}
}
