package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/takumi-backup/takumi-backup/keystore"
)

// maxPassphrase bounds what is read of a passphrase, in bytes.
const maxPassphrase = 1024

// passphraseFlags say where the passphrase of a passfile comes from: a file
// descriptor, a file, or a prompt on the terminal.
type passphraseFlags struct {
	fd    int
	file  *os.File          // fd, once it has been read from
	known map[string][]byte // what was answered, by path: a long job asks only once
}

func (p *passphraseFlags) add(cmd *cobra.Command) {
	cmd.Flags().IntVar(&p.fd, "passphrase-fd", -1, "read the passphrase of a passfile from this file descriptor (default $TAKUMI_PASSPHRASE_FILE, or a prompt)")
}

// ask gets the passphrase of the locked key file at path. It implements
// passfile.Ask.
func (p *passphraseFlags) ask(ctx context.Context, path string) ([]byte, error) {
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

// typed are the secrets that are remembered for as long as the program runs.
var typed struct {
	sync.Mutex
	all [][]byte
}

// atEnd has a secret wiped when the program ends.
func atEnd(secret []byte) {
	typed.Lock()
	defer typed.Unlock()
	typed.all = append(typed.all, secret)
}

// wipeTyped wipes what atEnd was given.
func wipeTyped() {
	typed.Lock()
	defer typed.Unlock()
	for _, secret := range typed.all {
		clear(secret)
	}
	typed.all = nil
}

// choose gets the passphrase for a new locked key file. On a terminal it is
// asked for twice.
func (p *passphraseFlags) choose(ctx context.Context) ([]byte, error) {
	first, err := p.get(ctx, "Passphrase for the new file: ")
	if err != nil || !p.prompts() {
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

func (p *passphraseFlags) prompts() bool {
	return p.fd < 0 && conf.Get("TAKUMI_PASSPHRASE_FILE") == ""
}

func (p *passphraseFlags) get(ctx context.Context, words string) ([]byte, error) {
	switch path := conf.Get("TAKUMI_PASSPHRASE_FILE"); {
	case p.fd >= 0:
		if p.file == nil { // kept: a forgotten os.File closes its descriptor
			p.file = os.NewFile(uintptr(p.fd), "passphrase")
		}
		text, err := nextLine(p.file)
		if err != nil {
			return nil, fmt.Errorf("reading the passphrase from file descriptor %d: %w", p.fd, err)
		}
		return onlyLine(text)
	case path != "":
		text, err := keystore.File{Path: path}.ReadSecret(ctx, maxPassphrase+1)
		if err != nil {
			return nil, fmt.Errorf("TAKUMI_PASSPHRASE_FILE: %w", err)
		}
		return onlyLine(text)
	}
	return prompt(ctx, words)
}

// nextLine reads one line and not a byte more: when several passphrases are
// needed, each has a line.
func nextLine(r io.Reader) ([]byte, error) {
	line := make([]byte, 0, maxPassphrase+1) // never grows, so no copy is left
	for len(line) <= maxPassphrase {
		var b [1]byte
		n, err := r.Read(b[:])
		if n > 0 {
			line = append(line, b[0])
		}
		if n > 0 && b[0] == '\n' || err == io.EOF && len(line) > 0 {
			break
		}
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			clear(line)
			return nil, err
		}
	}
	return line, nil
}

// onlyLine returns a passphrase without the line break that editors leave.
func onlyLine(text []byte) ([]byte, error) {
	if len(text) > maxPassphrase {
		clear(text)
		return nil, fmt.Errorf("the passphrase has more than %d bytes", maxPassphrase)
	}
	text = bytes.TrimSuffix(bytes.TrimSuffix(text, []byte("\n")), []byte("\r"))
	if bytes.ContainsAny(text, "\r\n") {
		clear(text)
		return nil, errors.New("the passphrase has several lines")
	}
	return text, nil
}

// prompt asks for a passphrase on the terminal. Standard input is not used: a backup
// may come that way.
func prompt(ctx context.Context, words string) ([]byte, error) {
	text, err := askOnTerminal(ctx, words, true)
	if errors.Is(err, errNoTerminal) {
		err = fmt.Errorf("%w: give --passphrase-fd N, or set TAKUMI_PASSPHRASE_FILE", err)
	}
	return text, err
}

var errNoTerminal = errors.New("there is no terminal to ask on")

// askOnTerminal reads a line from the terminal, a secret without showing it.
func askOnTerminal(ctx context.Context, words string, secret bool) ([]byte, error) {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return nil, errNoTerminal
	}
	defer tty.Close()
	fd := int(tty.Fd())
	state, err := unix.IoctlGetTermios(fd, getTermios)
	if err != nil {
		return nil, fmt.Errorf("asking on the terminal: %w", err)
	}
	hidden := *state
	hidden.Lflag |= unix.ICANON | unix.ISIG
	if secret {
		hidden.Lflag &^= unix.ECHO
	}
	hidden.Iflag |= unix.ICRNL
	if err := unix.IoctlSetTermios(fd, setTermios, &hidden); err != nil {
		return nil, fmt.Errorf("asking on the terminal: %w", err)
	}
	if secret {
		defer fmt.Fprintln(tty)
	}
	defer unix.IoctlSetTermios(fd, setTermios, state)
	fmt.Fprint(tty, words)
	type answer struct {
		line []byte
		err  error
	}
	done := make(chan answer, 1)
	go func() {
		line, err := typedLine(fd)
		done <- answer{line, err}
	}()
	select {
	case a := <-done:
		return a.line, a.err
	case <-ctx.Done():
		// The read itself cannot be taken back; the program ends now.
		return nil, context.Cause(ctx)
	}
}

// typedLine reads a line from a terminal in one piece, so that no copy of it is left
// behind. Enter ends it, and so does Ctrl-D.
func typedLine(fd int) ([]byte, error) {
	line := make([]byte, maxPassphrase+2)
	n, err := unix.Read(fd, line)
	for err == unix.EINTR {
		n, err = unix.Read(fd, line)
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("asking on the terminal: %w", err)
	case n == 0:
		return nil, errors.New("the input ended, and nothing was typed")
	}
	return onlyLine(line[:n])
}
