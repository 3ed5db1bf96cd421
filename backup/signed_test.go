package backup_test

import (
	"bytes"
	"cmp"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/envelope/sign"
	"github.com/takumi-backup/takumi-backup/internal/store/local"
)

// TestOnlyWhatIsSigned: with signers, a backup opens when one of them signed its
// head, and ends well when its payload is the one that was signed.
func TestOnlyWhatIsSigned(t *testing.T) {
	newSigner := func() ssh.Signer {
		_, secret, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		s, err := ssh.NewSignerFromKey(secret)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	host, stranger, key := newSigner(), newSigner(), kek.Generate()
	signers, err := sign.ParseSigners(strings.NewReader("host " + string(ssh.MarshalAuthorizedKey(host.PublicKey()))))
	if err != nil {
		t.Fatal(err)
	}
	seal := func() ([]byte, sign.Statement) {
		var out bytes.Buffer
		sums := new(sign.Sums)
		w, err := envelope.NewWriter(t.Context(), io.MultiWriter(&out, sums), envelope.Label{Created: time.Now(), Kind: "stream", Name: "x", Codec: "none"}, key)
		if err != nil {
			t.Fatal(err)
		}
		sums.Begin(w.Envelope(), int64(len(w.Envelope().Bytes())))
		w.Write(make([]byte, 100_000))
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return out.Bytes(), sums.Statement(time.Now())
	}
	content, statement := seal()
	_, other := seal()
	forged := statement // the head of one who knows the data key
	forged.Payload[0]++
	signed := func(s sign.Statement, by ssh.Signer) []byte {
		file, err := sign.Sign(s, by)
		if err != nil {
			t.Fatal(err)
		}
		return file
	}
	for name, tc := range map[string]struct {
		signature []byte
		opens     error
		ends      error
	}{
		"signed":              {signed(statement, host), nil, nil},
		"another payload":     {signed(forged, host), nil, sign.ErrPayload},
		"another backup's":    {signed(other, host), sign.ErrOtherBackup, nil},
		"by a stranger":       {signed(statement, stranger), new(sign.UntrustedError), nil},
		"without a signature": {nil, backup.ErrUnsigned, nil},
		"noise":               {[]byte("noise"), sign.ErrMalformed, nil},
	} {
		path := filepath.Join(t.TempDir(), "x.enc")
		put(t, path, content)
		if tc.signature != nil {
			if err := os.WriteFile(path+sign.Suffix, tc.signature, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		for _, whole := range []func(*backup.Handle) error{
			func(f *backup.Handle) error { _, err := f.WriteTo(io.Discard); return err },
			func(f *backup.Handle) error { _, err := io.Copy(io.Discard, struct{ io.Reader }{f.Reader}); return err },
		} {
			f, err := backup.Open(t.Context(), local.Folder{}, path, backup.Options{Keys: ringOf(t, key), Signers: signers})
			if tc.opens != nil {
				if !errors.Is(err, tc.opens) && !(errors.As(tc.opens, new(*sign.UntrustedError)) && errors.As(err, new(*sign.UntrustedError))) {
					t.Errorf("%s: opens with %v", name, err)
				}
				continue
			}
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			if err := whole(f); !errors.Is(err, tc.ends) {
				t.Errorf("%s: ends with %v", name, err)
			}
			f.Close()
		}

		// Nothing is released before all of it is held to the signature, and what takes
		// the place of the file afterwards is not what is read.
		f, err := backup.Open(t.Context(), local.Folder{}, path, backup.Options{Keys: ringOf(t, key), Signers: signers, SignedWhole: true})
		if want := cmp.Or(tc.opens, tc.ends); want != nil {
			if err == nil || want == tc.ends && !errors.Is(err, want) {
				t.Errorf("%s: opens whole with %v", name, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		put(t, path+".other", content[:len(content)/2])
		if err := os.Rename(path+".other", path); err != nil {
			t.Fatal(err)
		}
		if n, err := f.WriteTo(io.Discard); n != 100_000 || err != nil {
			t.Errorf("%s: %d bytes, %v", name, n, err)
		}
		f.Close()
	}
}
