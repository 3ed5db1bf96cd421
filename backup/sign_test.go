package backup_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/envelope/sign"
	"github.com/takumi-backup/takumi-backup/envelope/slot"
	"github.com/takumi-backup/takumi-backup/internal/store/local"
)

// TestSignsOnlyWhatIsWhole: a job's signature is that of a second reading, and Sign
// makes one of nothing that was changed and in the place of no other backup's.
func TestSignsOnlyWhatIsWhole(t *testing.T) {
	_, secret, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	key, dir := kek.Generate(), t.TempDir()
	opts := backup.Options{Keys: ringOf(t, key)}
	seal := func(name string) string {
		path := filepath.Join(dir, name)
		job := backup.Job{Source: backup.From(io.LimitReader(rand.Reader, 300_000)), Unguarded: true, Created: time.Now(),
			Recipients: slot.Recipients(key), Store: local.Folder{}, To: backup.Dest{Path: path}, Signer: signer}
		if _, err := job.Run(t.Context(), backup.Observer{}); err != nil {
			t.Fatal(err)
		}
		return path
	}
	a, b := seal("a.enc"), seal("b.enc")
	of := func(path string) []byte {
		text, err := os.ReadFile(path + sign.Suffix)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	if _, already, err := backup.Sign(t.Context(), local.Folder{}, a, signer, opts); err != nil || !already {
		t.Errorf("what the job signed: already %v, %v", already, err)
	}
	put(t, a+sign.Suffix, of(b))
	if _, _, err := backup.Sign(t.Context(), local.Folder{}, a, signer, opts); !errors.Is(err, sign.ErrOtherBackup) || !bytes.Equal(of(a), of(b)) {
		t.Errorf("over the signature of another: %v", err)
	}
	content, err := os.ReadFile(a)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(a + sign.Suffix); err != nil {
		t.Fatal(err)
	}
	content[len(content)-1] ^= 1
	put(t, a, content)
	if _, _, err := backup.Sign(t.Context(), local.Folder{}, a, signer, opts); err == nil {
		t.Error("what was changed is signed")
	}
	if _, err := os.Stat(a + sign.Suffix); err == nil {
		t.Error("a signature is next to what was changed")
	}
	job := backup.Job{Source: backup.From(bytes.NewReader([]byte("x"))), Unguarded: true, Plain: true, Store: local.Folder{}, Signer: signer,
		To: backup.Dest{Path: filepath.Join(dir, "plain.zst")}}
	if _, err := job.Run(t.Context(), backup.Observer{}); err == nil {
		t.Error("a plain file is signed")
	}
}
