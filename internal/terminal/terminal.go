// Package terminal asks the person at a terminal, for secrets without showing them, and
// reads what is typed or piped in the place of that. What it returns is for the caller to
// wipe; no copy of it is left behind.
package terminal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// MaxLine bounds what is read of a line, in bytes.
const MaxLine = 1024

// ReadLine reads one line and not a byte more: when several passphrases are
// needed, each has a line.
func ReadLine(r io.Reader) ([]byte, error) {
	line := make([]byte, 0, MaxLine+1) // never grows, so no copy is left
	for len(line) <= MaxLine {
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

// OnlyLine returns a passphrase without the line break that editors leave.
func OnlyLine(text []byte) ([]byte, error) {
	if len(text) > MaxLine {
		clear(text)
		return nil, fmt.Errorf("the passphrase has more than %d bytes", MaxLine)
	}
	text = bytes.TrimSuffix(bytes.TrimSuffix(text, []byte("\n")), []byte("\r"))
	if bytes.ContainsAny(text, "\r\n") {
		clear(text)
		return nil, errors.New("the passphrase has several lines")
	}
	return text, nil
}

// ErrNone is returned by Ask when the process has no terminal.
var ErrNone = errors.New("there is no terminal to ask on")

// Ask reads a line from the terminal, a secret without showing it.
func Ask(ctx context.Context, words string, secret bool) ([]byte, error) {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return nil, ErrNone
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
	line := make([]byte, MaxLine+2)
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
	return OnlyLine(line[:n])
}

// Question puts a question on w to the person at standard input, and returns the line that
// was typed, without blanks around it. The end of the input, as by Ctrl-D, is an error.
func Question(ctx context.Context, w io.Writer, question string) (string, error) {
	fmt.Fprint(w, question)
	type answer struct {
		line []byte
		err  error
	}
	done, in := make(chan answer, 1), os.Stdin
	go func() { // a read of a terminal cannot be taken back; when stopped, the program ends
		line, err := ReadLine(in)
		done <- answer{line, err}
	}()
	select {
	case a := <-done:
		switch {
		case errors.Is(a.err, io.ErrUnexpectedEOF):
			return "", errors.New("the input ended without an answer: nothing was done")
		case a.err != nil:
			return "", fmt.Errorf("asking: %w", a.err)
		}
		return strings.TrimSpace(string(a.line)), nil
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}

// Nowhere says whether f is what the Go runtime puts in place of a standard
// stream that is closed: /dev/null, for reading and writing. Redirections of a
// shell open it for one of the two.
func Nowhere(f *os.File) bool {
	flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFL, 0)
	if err != nil || flags&unix.O_ACCMODE != unix.O_RDWR {
		return false
	}
	here, err := f.Stat()
	if err != nil {
		return false
	}
	null, err := os.Stat(os.DevNull)
	return err == nil && os.SameFile(here, null)
}

// Is reports whether f is a terminal.
func Is(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }
