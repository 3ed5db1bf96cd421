// Package passfile keeps a key in a file locked with a passphrase, for a memory stick in a
// safe.
//
// Give its [Scheme], with a function that gets the passphrase, to [keystore.Parse], which
// then knows passfile:PATH. [Write] makes such a file.
//
// The file is a standard armored age file (https://c2sp.org/age) with one scrypt recipient.
// It contains a key file, 64 hex digits and a newline, or age identities. Plain `age -d`
// opens it.
package passfile

import (
	"bytes"
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"filippo.io/age"
	"filippo.io/age/armor"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/internal/store/local"
	"github.com/takumi-backup/takumi-backup/keystore"
)

const (
	// maxFile bounds a file. A valid one has some 400 bytes.
	maxFile = 16 << 10

	// maxText bounds what is read of its content.
	maxText = maxFile

	// maxWork is the base-2 logarithm of the largest accepted scrypt N (RFC 7914, section
	// 2): four times writeWork's, so that a file cannot exhaust the machine.
	maxWork = 20

	// MinPassphrase is Write's minimum, in bytes, against accidents; six random words
	// protect a key.
	MinPassphrase = 8
)

// writeWork is the base-2 logarithm of scrypt's N for new files: about a second and 256
// MiB, as age itself writes. Tests lower it.
var writeWork = 18

// Ask gets the passphrase of the file at path. The result is wiped.
type Ask func(ctx context.Context, path string) ([]byte, error)

// Scheme is passfile:PATH, for keystore.Parse.
func Scheme(ask Ask) keystore.Scheme {
	return keystore.Scheme{Name: "passfile", Form: "PATH", Parse: func(path string) (keystore.Source, error) {
		return File{path, ask}, nil
	}}
}

// File is a key file at Path that is locked with a passphrase. It implements
// [keystore.Local]: even a locked key must not be among the backups.
type File struct {
	Path string
	Ask  Ask
}

var _ keystore.Local = File{}

// String returns "passfile:PATH".
func (f File) String() string {
	return "pass" + keystore.File{Path: f.Path}.String()
}

// Inside implements [keystore.Local].
func (f File) Inside(dir string) (bool, error) { return keystore.File{Path: f.Path}.Inside(dir) }

// Load asks for the passphrase and opens the file, which takes about a second and 256 MiB.
// Others may read the file. A wrong passphrase is an Error of kind [keystore.ErrRefused].
func (f File) Load(ctx context.Context) (*kek.Key, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	locked, err := f.read()
	if err != nil {
		return nil, err
	}
	return f.Unlock(ctx, locked)
}

// Unlock is Load for the text of a locked key file; Path names it in messages.
func (f File) Unlock(ctx context.Context, locked []byte) (*kek.Key, error) {
	text, err := f.Text(ctx, locked)
	defer clear(text)
	if err != nil {
		return nil, err
	}
	return f.Key(text)
}

// Key makes the key of what was in the file.
func (f File) Key(text []byte) (*kek.Key, error) {
	key, err := keystore.ParseText(text)
	if err != nil {
		return nil, f.refuse("what it holds is not a key: "+err.Error(), "", err)
	}
	return key, nil
}

// Text returns the content of a locked file. The caller wipes it.
func (f File) Text(ctx context.Context, locked []byte) ([]byte, error) {
	if f.Ask == nil {
		return nil, f.refuse("it is locked, and nobody can be asked for the passphrase", "", nil)
	}
	passphrase, err := f.Ask(ctx, f.Path)
	if err != nil {
		return nil, f.refuse("no passphrase: "+err.Error(), "", err)
	}
	defer clear(passphrase)
	return f.unlock(locked, passphrase)
}

func (f File) refuse(reason, fix string, err error) error {
	return &keystore.Error{URI: f.String(), Kind: keystore.ErrRefused, Reason: reason, Fix: fix, Err: err}
}

func (f File) read() ([]byte, error) {
	// The flags keep a named pipe without a writer from blocking.
	file, err := os.OpenFile(f.Path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if err != nil {
		err = bare(err)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, &keystore.Error{URI: f.String(), Kind: keystore.ErrNotFound, Reason: err.Error(), Err: err}
		}
		return nil, f.refuse(err.Error(), "", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		return nil, f.refuse("it is not a regular file", "", nil)
	}
	locked, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err != nil {
		return nil, f.refuse(bare(err).Error(), "", err)
	}
	if len(locked) > maxFile {
		return nil, f.refuse("it is too long for a locked key file", "", nil)
	}
	return locked, nil
}

// bare strips package os's wrappers, which repeat the path.
func bare(err error) error {
	if e := (*fs.PathError)(nil); errors.As(err, &e) {
		return e.Err
	}
	return err
}

// IsLocked says whether text begins like an armored age file.
func IsLocked(text []byte) bool { return bytes.HasPrefix(bytes.TrimSpace(text), []byte(armor.Header)) }

func (f File) unlock(locked, passphrase []byte) ([]byte, error) {
	if !IsLocked(locked) {
		return nil, f.refuse("it does not begin with "+armor.Header, "give the file that `takumi-backup key export --passphrase` wrote, or one that `age -p -a` made", nil)
	}
	identity, err := age.NewScryptIdentity(string(passphrase))
	if err != nil {
		return nil, f.refuse("the passphrase is empty", "", err)
	}
	identity.SetMaxWorkFactor(maxWork)
	text, err := decrypt(locked, identity)
	var noMatch *age.NoIdentityMatchError
	switch {
	case errors.As(err, &noMatch):
		return nil, f.refuse("wrong passphrase", "", err)
	case err != nil:
		return nil, f.refuse("it does not unlock: "+err.Error(), "use another copy of it", err)
	}
	return text, nil
}

func decrypt(locked []byte, identity age.Identity) ([]byte, error) {
	opened, err := age.Decrypt(armor.NewReader(bytes.NewReader(locked)), identity)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(opened, maxText))
}

// WriteText makes a locked file of mode 0600 at path, whole or not at all, of a key's digits
// or of age identities, and opens it again before it gets its name. It overwrites no file:
// the error then wraps fs.ErrExist. The caller wipes text and passphrase.
func WriteText(path string, text, passphrase []byte) error {
	if len(passphrase) < MinPassphrase {
		return fmt.Errorf("a passphrase of %d characters is too short: take at least %d, or better six random words", len(passphrase), MinPassphrase)
	}
	if strings.TrimSpace(string(passphrase)) != string(passphrase) {
		return errors.New("the passphrase begins or ends with a blank, which nobody will type again")
	}
	f, err := local.Create(path, store.Options{}) // before the work, which takes seconds
	if errors.Is(err, store.ErrExists) {
		err = fmt.Errorf("a key file is never overwritten: %w", fs.ErrExist)
	}
	if err != nil {
		return fmt.Errorf("write locked key file %s: %w", path, err)
	}
	defer f.Abort()
	locked, err := lock(text, passphrase)
	if err != nil {
		return fmt.Errorf("lock the key: %w", err)
	}
	back, err := File{Path: path}.unlock(locked, passphrase)
	if err != nil {
		return fmt.Errorf("prove the locked key: %w", err)
	}
	defer clear(back)
	if subtle.ConstantTimeCompare(back, text) != 1 {
		return errors.New("prove the locked key: another key came back")
	}
	if _, err := f.Write(locked); err != nil {
		return fmt.Errorf("write locked key file: %w", err)
	}
	if _, err := f.Commit(); err != nil {
		return fmt.Errorf("write locked key file: %w", err)
	}
	return nil
}

func lock(text, passphrase []byte) ([]byte, error) {
	recipient, err := age.NewScryptRecipient(string(passphrase))
	if err != nil {
		return nil, err
	}
	recipient.SetWorkFactor(writeWork)
	var out bytes.Buffer
	armored := armor.NewWriter(&out)
	w, err := age.Encrypt(armored, recipient)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(text); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	if err := armored.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
