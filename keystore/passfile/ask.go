package passfile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/terminal"
	"github.com/takumi-backup/takumi-backup/keystore"
)

// Passphrases gets passphrases from a file descriptor, a file, or by default a prompt on
// the terminal. It is not safe for concurrent use.
type Passphrases struct {
	FD   *os.File // if it is set: a line for each passphrase
	Path string   // or else if it is set: of a private file
	// Forget takes passphrases only from Path, each time anew, for a program that runs on.
	Forget bool
	known  map[string][]byte // what was answered, by path: a long job asks only once
}

// ErrForgets is returned by a program that asks nobody for a passphrase.
var ErrForgets = fail.New(fail.Key, "put the passphrase into a private file, and name that in TAKUMI_PASSPHRASE_FILE; or name a key that needs none", "the key needs a passphrase, and nobody is asked for it here")

// Ask gets the passphrase of the locked key file at path. It implements [Ask].
func (p *Passphrases) Ask(ctx context.Context, path string) ([]byte, error) {
	if p.Forget {
		if p.Path == "" || p.FD != nil {
			return nil, ErrForgets
		}
		return p.get(ctx, "")
	}
	if answer, ok := p.known[path]; ok {
		return bytes.Clone(answer), nil
	}
	answer, err := p.get(ctx, "Passphrase for "+strings.TrimPrefix(keystore.File{Path: path}.String(), "file:")+": ")
	if err != nil {
		return nil, err
	}
	if p.known == nil {
		p.known = make(map[string][]byte)
	}
	p.known[path] = bytes.Clone(answer)
	atEnd(p.known[path])
	return answer, nil
}

// secrets remembered for the life of the program
var typed struct {
	sync.Mutex
	all [][]byte
}

func atEnd(secret []byte) {
	typed.Lock()
	defer typed.Unlock()
	typed.all = append(typed.all, secret)
}

// WipeTyped wipes what atEnd was given.
func WipeTyped() {
	typed.Lock()
	defer typed.Unlock()
	for _, secret := range typed.all {
		clear(secret)
	}
	typed.all = nil
}

// Choose gets the passphrase for a new locked key file, twice on a terminal.
func (p *Passphrases) Choose(ctx context.Context) ([]byte, error) {
	first, err := p.get(ctx, "Passphrase for the new file: ")
	if err != nil || p.FD != nil || p.Path != "" {
		return first, err
	}
	again, err := prompt(ctx, "The same again: ")
	defer clear(again)
	if err == nil && !bytes.Equal(first, again) { // both were just typed by one person
		err = errors.New("the two passphrases differ")
	}
	if err != nil {
		clear(first)
		return nil, err
	}
	return first, nil
}

func (p *Passphrases) get(ctx context.Context, words string) ([]byte, error) {
	switch {
	case p.FD != nil:
		text, err := terminal.ReadLine(p.FD)
		if err != nil {
			return nil, fmt.Errorf("reading the passphrase from file descriptor %d: %w", p.FD.Fd(), err)
		}
		return terminal.OnlyLine(text)
	case p.Path != "":
		text, err := keystore.File{Path: p.Path}.ReadSecret(ctx, terminal.MaxLine+1)
		if err != nil {
			return nil, fmt.Errorf("TAKUMI_PASSPHRASE_FILE: %w", err)
		}
		return terminal.OnlyLine(text)
	}
	return prompt(ctx, words)
}

// prompt asks on the terminal, because standard input may be a backup.
func prompt(ctx context.Context, words string) ([]byte, error) {
	text, err := terminal.Ask(ctx, words, true)
	if errors.Is(err, terminal.ErrNone) {
		err = fmt.Errorf("%w: give --passphrase-fd N, or set TAKUMI_PASSPHRASE_FILE", err)
	}
	return text, err
}
