package replicate_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/backup/replicate"
	"github.com/takumi-backup/takumi-backup/envelope/sign"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/internal/store/local"
	"github.com/takumi-backup/takumi-backup/keystore"
)

func newSigner(t *testing.T) ssh.Signer {
	t.Helper()
	_, secret, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

// signed signs a backup of sealed, and returns the signature.
func signed(t *testing.T, path string, signer ssh.Signer) []byte {
	t.Helper()
	ring := keystore.NewRing(material32(bytes.Repeat([]byte("0123456789abcdef"), 2)))
	defer ring.Close()
	if _, _, err := backup.Sign(t.Context(), local.Folder{}, path, signer, backup.Options{Keys: ring}); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path + sign.Suffix)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestSignatures: a signature comes along when it is of the backup and, where signers are
// asked for, by one of them; what is there stays, but for that of another backup.
func TestSignatures(t *testing.T) {
	mine, other := sealed(t, 10_000), sealed(t, 10_000)
	host, stranger := newSigner(t), newSigner(t)
	signers, err := sign.ParseSigners(strings.NewReader("host " + string(ssh.MarshalAuthorizedKey(host.PublicKey()))))
	if err != nil {
		t.Fatal(err)
	}
	of := func(content []byte, by ssh.Signer) []byte {
		path := filepath.Join(t.TempDir(), "x.enc")
		write(t, path, content)
		return signed(t, path, by)
	}
	good, strange, others := of(mine, host), of(mine, stranger), of(other, host)
	damaged := bytes.Clone(mine)
	damaged[len(damaged)-1] ^= 1
	malformed := []byte("-----BEGIN SSH SIGNATURE-----\n")
	for name, tc := range map[string]struct {
		from, to     []byte // nil: there is no copy
		here, there  []byte // signatures
		signers, any bool   // by signers alone; in the place of another backup
		action       replicate.Action
		err          error
		copied       bool
		want         []byte
	}{
		"new":                                    {from: mine, here: good, action: replicate.Copy, copied: true, want: good},
		"new, of another":                        {from: mine, here: others, action: replicate.Copy, err: sign.ErrOtherBackup, copied: true},
		"new, malformed":                         {from: mine, here: malformed, action: replicate.Copy, err: sign.ErrMalformed, copied: true},
		"later":                                  {from: mine, to: mine, here: good, action: replicate.Signature, copied: true, want: good},
		"the same":                               {from: mine, to: mine, here: good, there: good, action: replicate.Nothing, copied: true, want: good},
		"by another":                             {from: mine, to: mine, here: good, there: strange, action: replicate.Signature, copied: true, want: good},
		"only there":                             {from: mine, to: mine, there: good, action: replicate.Nothing, copied: true, want: good},
		"of another":                             {from: mine, to: mine, here: others, action: replicate.Signature, err: sign.ErrOtherBackup, copied: true},
		"of another, over a good one":            {from: mine, to: mine, here: others, there: good, action: replicate.Signature, err: sign.ErrOtherBackup, copied: true, want: good},
		"malformed, over a good one":             {from: mine, to: mine, here: malformed, there: good, action: replicate.Signature, err: sign.ErrMalformed, copied: true, want: good},
		"malformed, over a malformed one":        {from: mine, to: mine, here: others, there: malformed, action: replicate.Signature, err: sign.ErrOtherBackup, copied: true},
		"that of what was replaced":              {from: mine, to: other, there: others, any: true, action: replicate.Replace, copied: true},
		"by one who is trusted":                  {from: mine, here: good, signers: true, action: replicate.Copy, copied: true, want: good},
		"by nobody":                              {from: mine, signers: true, action: replicate.Copy, err: backup.ErrUnsigned},
		"by a stranger":                          {from: mine, here: strange, signers: true, action: replicate.Copy, err: errAny},
		"by one who is trusted, of other bytes":  {from: damaged, here: good, signers: true, action: replicate.Copy, err: sign.ErrPayload},
		"later, by one who is trusted":           {from: mine, to: mine, here: good, signers: true, action: replicate.Signature, copied: true, want: good},
		"by a stranger, over that of the signer": {from: mine, to: mine, here: strange, there: good, signers: true, action: replicate.Signature, err: errAny, copied: true, want: good},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			from, to := filepath.Join(dir, "from", "x.enc"), filepath.Join(dir, "to", "x.enc")
			keep(t, from, tc.from)
			if tc.to != nil {
				keep(t, to, tc.to)
			}
			for path, text := range map[string][]byte{from: tc.here, to: tc.there} {
				if text != nil {
					write(t, path+sign.Suffix, text)
				}
			}
			o := replicate.Options{Place: local.Folder{}, ReplaceOthers: tc.any}
			if tc.signers {
				o.Signers = signers
			}
			items, err := replicate.Plan(t.Context(), filepath.Dir(from), filepath.Dir(to), o)
			if err != nil || len(items) != 1 || items[0].Action != tc.action {
				t.Fatalf("%+v, %v", items, err)
			}
			_, err = replicate.One(context.WithoutCancel(t.Context()), items[0], o, func(int) {})
			if !errors.Is(err, tc.err) && (tc.err != errAny || err == nil) {
				t.Errorf("got %v, want %v", err, tc.err)
			}
			if got, _ := os.ReadFile(to); bytes.Equal(got, tc.from) != tc.copied {
				t.Errorf("copied are %d bytes", len(got))
			}
			if got, _ := os.ReadFile(to + sign.Suffix); !bytes.Equal(got, tc.want) {
				t.Errorf("the signature there is %q", got)
			}
		})
	}
}

var errAny = errors.New("any")

// TestBadSignatureOfAChain: a useless signature is reported, and keeps neither its backup
// nor what depends on that from the copy; and any form of sha256sum is a sidecar.
func TestBadSignatureOfAChain(t *testing.T) {
	dir := t.TempDir()
	first, second := "u_20261101_020000.0123456789abcdef-0.tar.enc", "u_20261101_020001.0123456789abcdef-1.tar.enc"
	mine := sealed(t, 100)
	for _, name := range []string{first, second} {
		path := filepath.Join(dir, "from", name)
		keep(t, path, mine)
		write(t, path+store.SidecarSuffix, fmt.Appendf(nil, "%x *%s", sha256.Sum256(mine), name))
	}
	write(t, filepath.Join(dir, "from", first+sign.Suffix), []byte("-----BEGIN SSH SIGNATURE-----\n"))
	c := replicate.Batch{Options: replicate.Options{Place: local.Folder{}}, From: filepath.Join(dir, "from"), To: filepath.Join(dir, "to"), Workers: 1, Meter: new(backup.Meter)}
	tally, err := c.Run(t.Context(), replicate.Observer{Planned: func(int64) {}, Copied: func(replicate.Item, error) {},
		Done: func(*replicate.Tally, replicate.Item, store.Result, error) error { return nil }})
	if err != nil || tally.Failed != 1 || tally.Copied != 1 || !errors.Is(tally.First, sign.ErrMalformed) {
		t.Errorf("%+v, %v", tally, err)
	}
	for _, name := range []string{first, second} {
		got, err := os.ReadFile(filepath.Join(dir, "to", name+store.SidecarSuffix))
		if want := store.FormatSidecar(sha256.Sum256(mine), name); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}
