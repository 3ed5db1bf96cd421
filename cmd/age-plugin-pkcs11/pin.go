//go:build cgo

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/term"
)

const maxPIN = 256 // bytes; PKCS#11 itself has no bound

// pin is where the PIN comes from: a file, or somebody to ask.
type pin struct {
	file string
	ask  func(prompt string) (string, error)
}

func pinSource(ask func(prompt string) (string, error)) pin {
	return pin{os.Getenv(pinFileEnv), ask}
}

func (p pin) get(token string) (string, error) {
	if p.file != "" {
		return readPIN(p.file)
	}
	text, err := p.ask("PIN of the token " + token)
	if err != nil {
		return "", fmt.Errorf("asking for the PIN of the token %s: %w: run it on a terminal, or set %s", token, err, pinFileEnv)
	}
	if text == "" {
		return "", errors.New("the PIN is empty")
	}
	return text, nil
}

// readPIN reads the file, which nobody else may read. Line ends behind the PIN do
// not count.
func readPIN(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("reading the PIN (%s): %w", pinFileEnv, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", fmt.Errorf("reading the PIN (%s): %w", pinFileEnv, err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return "", fmt.Errorf("reading the PIN: %s has mode %04o, and others can read it: chmod 0600 %s", path, info.Mode().Perm(), path)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxPIN+1))
	defer clear(text)
	if err != nil {
		return "", fmt.Errorf("reading the PIN (%s): %w", pinFileEnv, err)
	}
	trimmed := bytes.TrimRight(text, "\r\n")
	if len(trimmed) == 0 || len(text) > maxPIN {
		return "", fmt.Errorf("reading the PIN: %s is empty, or longer than %d bytes", path, maxPIN)
	}
	return string(trimmed), nil
}

func askTerminal(prompt string) (string, error) {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return "", errors.New("there is no terminal to ask at")
	}
	defer tty.Close()
	fmt.Fprintf(tty, "%s: ", prompt)
	text, err := term.ReadPassword(int(tty.Fd()))
	fmt.Fprintln(tty)
	return string(text), err
}
