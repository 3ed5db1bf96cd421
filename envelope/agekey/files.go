package agekey

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"unicode/utf8"

	"filippo.io/age"
	"filippo.io/age/agessh"
	"filippo.io/age/armor"
	"filippo.io/age/plugin"
	"golang.org/x/crypto/ssh"
)

const (
	maxFile = 1 << 20 // bytes, of recipients or identities
	maxLine = 8 << 10 // as sshd(8) has it
)

// ParseRecipients reads a file of recipients, one a line; empty lines and lines
// that begin with "#" are passed over, as age's -R does. Errors name the line and
// do not repeat it.
func ParseRecipients(src io.Reader, o Options) ([]*Recipient, error) {
	var all []*Recipient
	err := eachLine(src, func(line string) error {
		r, err := ParseRecipient(line, o)
		all = append(all, r)
		return err
	})
	if err == nil && len(all) == 0 {
		err = errors.New("there are no recipients in it")
	}
	if err != nil {
		return nil, fmt.Errorf("reading recipients: %w", err)
	}
	return all, nil
}

func eachLine(src io.Reader, do func(line string) error) error {
	limited := &io.LimitedReader{R: src, N: maxFile + 1}
	lines := bufio.NewScanner(limited)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSuffix(lines.Text(), "\r")
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if len(line) > maxLine || !utf8.ValidString(line) {
			return fmt.Errorf("line %d is not UTF-8, or longer than %d bytes", n, maxLine)
		}
		if err := do(line); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	if limited.N == 0 {
		return fmt.Errorf("it is longer than %d bytes", maxFile)
	}
	return nil
}

// ParseIdentities reads a file of identities, as age's -i does: of age-keygen or a
// plugin, an OpenSSH private key, or an age file of identities that is locked with a
// passphrase, which is asked for when it is first needed. name is what messages call
// the file. Errors repeat nothing of it.
func ParseIdentities(src io.Reader, name string, o Options) ([]*Identity, error) {
	text, err := io.ReadAll(io.LimitReader(src, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("reading identities: %w", err)
	}
	defer clear(text)
	trimmed := bytes.TrimSpace(text)
	var all []*Identity
	switch {
	case len(text) > maxFile:
		err = fmt.Errorf("it is longer than %d bytes", maxFile)
	case bytes.HasPrefix(text, []byte("age-encryption.org/")), bytes.HasPrefix(trimmed, []byte(armor.Header)):
		all = []*Identity{{age: unlocking{locked: &locked{text: bytes.Clone(text), name: name, o: o}}, asks: true}}
	case bytes.HasPrefix(trimmed, []byte("-----BEGIN")):
		var one *Identity
		one, err = parseSSHIdentity(text, name, o)
		all = []*Identity{one}
	default:
		all, err = parseIdentityLines(text, o)
	}
	if err != nil {
		return nil, fmt.Errorf("reading identities: %w", err)
	}
	return all, nil
}

func parseIdentityLines(text []byte, o Options) ([]*Identity, error) {
	var all []*Identity
	err := eachLine(bytes.NewReader(text), func(line string) error {
		one, err := parseIdentity(line, o)
		all = append(all, one)
		return err
	})
	if err == nil && len(all) == 0 {
		err = errors.New("there are no identities in it")
	}
	return all, err
}

func parseIdentity(line string, o Options) (*Identity, error) {
	fault := errors.New("it is not an age identity (AGE-SECRET-KEY-…)")
	switch {
	case strings.HasPrefix(line, "AGE-PLUGIN-"):
		name, _, err := plugin.ParseIdentity(line)
		if err != nil {
			return nil, fault
		}
		return &Identity{age: plugged{name: name, text: line, o: o, memory: newMemory()}, asks: true}, nil
	case strings.HasPrefix(line, "AGE-SECRET-KEY-PQ-1"):
		i, err := age.ParseHybridIdentity(line)
		if err != nil {
			return nil, fault
		}
		return &Identity{age: i, recipient: &Recipient{age: i.Recipient(), text: i.Recipient().String()}}, nil
	case strings.HasPrefix(line, "AGE-SECRET-KEY-1"):
		i, err := age.ParseX25519Identity(line)
		if err != nil {
			return nil, fault
		}
		return &Identity{age: i, recipient: &Recipient{age: i.Recipient(), text: i.Recipient().String()}}, nil
	case strings.HasPrefix(line, "age1"):
		return nil, errors.New("it is a public recipient, and a secret identity is wanted")
	}
	return nil, fault
}

func parseSSHIdentity(pem []byte, name string, o Options) (*Identity, error) {
	i, err := agessh.ParseIdentity(pem)
	if missing := new(ssh.PassphraseMissingError); errors.As(err, &missing) {
		if missing.PublicKey == nil {
			return nil, errors.New("the ssh key is in an old form, and locked: ssh-keygen -p -f FILE writes the new one")
		}
		return parseLockedSSH(missing.PublicKey, bytes.Clone(pem), name, o)
	}
	if err != nil {
		return nil, errors.New("it is not an ssh key that age can use: ssh-ed25519, or ssh-rsa of 2048 bits or more")
	}
	signer, err := ssh.ParsePrivateKey(pem)
	if err != nil {
		return nil, errors.New("it is not an ssh key")
	}
	r, err := parseSSHRecipient(sshText(signer.PublicKey()))
	if err != nil {
		return nil, err
	}
	return &Identity{age: i, recipient: r}, nil
}

func parseLockedSSH(public ssh.PublicKey, pem []byte, name string, o Options) (*Identity, error) {
	r, err := parseSSHRecipient(sshText(public))
	if err != nil {
		return nil, err
	}
	i, err := agessh.NewEncryptedSSHIdentity(public, pem, func() ([]byte, error) { return o.ask(context.Background(), name) })
	if err != nil {
		return nil, err
	}
	return &Identity{age: i, recipient: r, asks: true}, nil
}

// ErrNoPassphrase is returned when an identity is locked and nobody can be asked.
var ErrNoPassphrase = errors.New("the identity is locked with a passphrase, and there is nobody to ask for it")

func (o Options) ask(ctx context.Context, name string) ([]byte, error) {
	if o.Passphrase == nil {
		return nil, ErrNoPassphrase
	}
	return o.Passphrase(ctx, name)
}

// locked is a file of identities that a passphrase opens, when it is first used.
type locked struct {
	text []byte
	name string
	o    Options

	once sync.Once
	all  []*Identity
	err  error
}

type unlocking struct {
	*locked
	ctx context.Context
}

// Unwrap implements age.Identity.
func (l unlocking) Unwrap(stanzas []*age.Stanza) ([]byte, error) {
	l.once.Do(func() { l.all, l.err = l.unlock(cmp.Or(l.ctx, context.Background())) })
	if l.err != nil {
		return nil, fmt.Errorf("unlocking %s: %w", l.name, l.err)
	}
	for _, i := range l.all {
		key, err := bounded(l.ctx, i.age).Unwrap(stanzas)
		if !errors.Is(err, age.ErrIncorrectIdentity) {
			return key, err
		}
	}
	return nil, age.ErrIncorrectIdentity
}

func (l *locked) unlock(ctx context.Context) ([]*Identity, error) {
	passphrase, err := l.o.ask(ctx, l.name)
	if err != nil {
		return nil, err
	}
	defer clear(passphrase)
	i, err := age.NewScryptIdentity(string(passphrase))
	if err != nil {
		return nil, err
	}
	var src io.Reader = bytes.NewReader(l.text)
	if bytes.HasPrefix(bytes.TrimSpace(l.text), []byte(armor.Header)) {
		src = armor.NewReader(src)
	}
	plain, err := age.Decrypt(src, i)
	if err != nil {
		return nil, errors.New("the passphrase is wrong, or it is not a file that a passphrase locks")
	}
	text, err := io.ReadAll(io.LimitReader(plain, maxFile+1))
	defer clear(text)
	if err != nil {
		return nil, err
	}
	return parseIdentityLines(text, l.o)
}
