package agekey

import (
	"bufio"
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"filippo.io/age"

	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/secretenv"
)

const (
	maxTalk     = 1 << 20         // bytes that a plugin may say in all
	pluginGrace = 2 * time.Second // between asking a plugin to end and ending it
	touchAfter  = 5 * time.Second
)

// plugged is a recipient or an identity of a plugin: a program that speaks the
// protocol of C2SP age-plugin on its standard input and output.
type plugged struct {
	ctx        context.Context
	name, text string
	o          Options
	memory     *memory // of an identity
}

func (p plugged) in(ctx context.Context) plugged {
	p.ctx = ctx
	return p
}

func (p plugged) bound() context.Context { return cmp.Or(p.ctx, context.Background()) }

// Wrap implements age.Recipient.
func (p plugged) Wrap(fileKey []byte) (made []*age.Stanza, err error) {
	say := []stanza{{words: []string{"add-recipient", p.text}}, {[]string{"wrap-file-key"}, fileKey}, {words: []string{"extension-labels"}}}
	err = p.talk("recipient-v1", say, func(s stanza) (bool, error) {
		switch {
		case s.words[0] == "labels":
			return true, nil // there is no other recipient in the file that they could forbid
		case s.words[0] != "recipient-stanza":
			return false, nil
		case len(s.words) < 3 || s.words[1] != "0":
			return true, errProtocol
		}
		made = append(made, &age.Stanza{Type: s.words[2], Args: s.words[3:], Body: s.body})
		return true, nil
	})
	if err == nil && len(made) == 0 {
		err = p.fault(errProtocol)
	}
	return made, err
}

// Unwrap implements age.Identity.
func (p plugged) Unwrap(stanzas []*age.Stanza) (fileKey []byte, err error) {
	say := []stanza{{words: []string{"add-identity", p.text}}}
	for _, s := range stanzas {
		say = append(say, stanza{append([]string{"recipient-stanza", "0", s.Type}, s.Args...), s.Body})
	}
	select {
	case p.memory.turn <- struct{}{}:
		p.memory.begin()
		defer func() {
			p.memory.end(err == nil)
			<-p.memory.turn
		}()
	case <-p.bound().Done():
		return nil, context.Cause(p.ctx)
	}
	err = p.talk("identity-v1", say, func(s stanza) (bool, error) {
		switch {
		case s.words[0] != "file-key":
			return false, nil
		case fileKey != nil || !slices.Equal(s.words[1:], []string{"0"}):
			return true, errProtocol
		}
		fileKey = s.body
		return true, nil
	})
	if err == nil && fileKey == nil {
		err = age.ErrIncorrectIdentity
	}
	return fileKey, err
}

var (
	errProtocol = errors.New("its answer is not of age's plugin protocol")
	errSilent   = errors.New("it did not answer in time")
)

func (p plugged) program() string { return "age-plugin-" + p.name }

func (p plugged) fault(err error) error {
	hint := "run " + p.program() + " by hand, where age can use it, and see what it says"
	switch {
	case errors.Is(err, exec.ErrNotFound):
		hint = "install " + p.program() + " in a folder of the PATH"
	case errors.Is(err, errSilent):
		hint = "find the token that it waits for, and run it where somebody can touch it"
	}
	return fail.As(fail.Key, hint, fmt.Errorf("asking the plugin %s: %w", p.program(), err))
}

// talk runs the plugin: it says what there is to say, and then answers what the plugin
// says, each with take first. The plugin gets no variable that holds a secret, and is
// ended with the context, or when its time is over.
func (p plugged) talk(protocol string, say []stanza, take func(stanza) (bool, error)) error {
	outer := p.bound()
	ctx, stop := context.WithTimeoutCause(outer, cmp.Or(p.o.PluginTimeout, DefaultPluginTimeout), errSilent)
	defer stop()
	cmd := exec.CommandContext(ctx, p.program(), "--age-plugin="+protocol)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = pluginGrace
	cmd.Dir = os.TempDir() // and not one of ours, which a module could be loaded from
	cmd.Env = slices.DeleteFunc(secretenv.Environ(), func(pair string) bool { return strings.HasPrefix(pair, "PGPASSWORD=") })
	in, err := cmd.StdinPipe()
	if err != nil {
		return p.fault(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return p.fault(err)
	}
	if err := cmd.Start(); err != nil {
		return p.fault(err)
	}
	unblock := context.AfterFunc(ctx, func() { in.Close(); out.Close() }) // also when a child of the plugin holds them
	c := conversation{p, ctx, in, bufio.NewReader(io.LimitReader(out, maxTalk)), nil}
	err = c.exchange(say, take)
	cause := context.Cause(ctx)
	unblock()
	stop()
	in.Close()
	out.Close()
	ended := cmd.Wait()
	switch {
	case err == nil:
		return nil
	case outer.Err() != nil:
		return context.Cause(outer)
	case cause != nil:
		err = cause
	case c.unasked != nil:
		err = c.unasked
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		err = errors.New("it ended without an answer")
		if exit := (*exec.ExitError)(nil); errors.As(ended, &exit) && exit.Exited() {
			err = fmt.Errorf("%w: %v", err, exit)
		}
	}
	return p.fault(err)
}

type conversation struct {
	plugged
	ctx     context.Context
	in      io.Writer
	out     *bufio.Reader
	unasked error // why a question was not answered, which a plugin does not hear
}

func (c *conversation) exchange(say []stanza, take func(stanza) (bool, error)) error {
	for _, s := range append(say, stanza{words: []string{"done"}}) {
		if err := s.write(c.in); err != nil {
			return err
		}
	}
	for {
		s, err := c.hear()
		if err != nil {
			return err
		}
		reply := stanza{words: []string{"ok"}}
		taken, err := take(s)
		switch {
		case err != nil:
			return err
		case taken:
		case s.words[0] == "done":
			return nil
		case s.words[0] == "error":
			reply.write(c.in)
			return errors.New(printable(string(s.body)))
		default:
			reply = c.answer(s)
		}
		if err := reply.write(c.in); err != nil {
			return err
		}
	}
}

// hear reads what the plugin says next; when that takes a while, somebody is to know.
func (c *conversation) hear() (stanza, error) {
	if c.o.Tell != nil {
		defer time.AfterFunc(touchAfter, func() {
			c.o.Tell("waiting for " + c.program() + ": touch the token, if it asks for that")
		}).Stop()
	}
	return readStanza(c.out)
}

func (c *conversation) answer(s stanza) stanza {
	message := c.program() + ": " + printable(string(s.body))
	ok, failed := stanza{words: []string{"ok"}}, stanza{words: []string{"fail"}}
	switch s.words[0] {
	case "msg":
		if c.o.Tell == nil {
			return failed
		}
		c.o.Tell(message)
		return ok
	case "request-secret", "request-public":
		value, err := c.ask(message+": ", s.words[0] == "request-secret")
		if err != nil {
			return failed
		}
		ok.body = value
		return ok
	case "confirm":
		yes, err := c.confirm(message, s.words[1:])
		switch {
		case err != nil:
			return failed
		case yes:
			ok.words = append(ok.words, "yes")
		default:
			ok.words = append(ok.words, "no")
		}
		return ok
	}
	return stanza{words: []string{"unsupported"}}
}

// confirm asks for one of two choices, or only for the first.
func (c *conversation) confirm(message string, choices []string) (yes bool, err error) {
	labels := make([]string, len(choices))
	for i, choice := range choices {
		text, err := base64.RawStdEncoding.Strict().DecodeString(choice)
		if err != nil {
			return false, errProtocol
		}
		labels[i] = printable(string(text))
	}
	switch len(labels) {
	case 1:
		_, err = c.ask(fmt.Sprintf("%s (Enter for %q) ", message, labels[0]), false)
		return true, err
	case 2:
		answer, err := c.ask(fmt.Sprintf("%s (1 for %q, 2 for %q) ", message, labels[0], labels[1]), false)
		if err == nil && string(answer) != "1" && string(answer) != "2" {
			err = errors.New("the answer is neither 1 nor 2")
			c.unasked = err
		}
		return string(answer) == "1", err
	}
	return false, errProtocol
}

func (c *conversation) ask(prompt string, secret bool) ([]byte, error) {
	remembers := secret && c.memory != nil
	if remembers {
		if answer, known := c.memory.recall(prompt); known {
			return answer, nil
		}
	}
	err := errors.New("there is nobody to ask")
	if c.o.Ask != nil {
		var value []byte
		if value, err = c.o.Ask(c.ctx, prompt, secret); err == nil {
			if remembers {
				c.memory.keep(prompt, value)
			}
			return value, nil
		}
	}
	c.unasked = fmt.Errorf("it wants to know %q: %w", strings.TrimSpace(prompt), err)
	return nil, err
}

// stanza is one thing that is said in the protocol: words, and a body.
type stanza struct {
	words []string
	body  []byte
}

const columns = 64 // of a body's lines; a shorter one ends it

func (s stanza) write(w io.Writer) error {
	text := fmt.Appendf(nil, "-> %s\n", strings.Join(s.words, " "))
	body := base64.RawStdEncoding.AppendEncode(nil, s.body)
	defer clear(body)
	for len(body) >= columns {
		text = append(append(text, body[:columns]...), '\n')
		body = body[columns:]
	}
	text = append(append(text, body...), '\n')
	defer clear(text)
	_, err := w.Write(text)
	return err
}

func readStanza(r *bufio.Reader) (stanza, error) {
	line, err := readLine(r)
	if err != nil {
		return stanza{}, err
	}
	text, ok := strings.CutPrefix(line, "-> ")
	s := stanza{words: strings.Split(text, " ")}
	if !ok || slices.Contains(s.words, "") {
		return stanza{}, errProtocol
	}
	for {
		if line, err = readLine(r); err != nil {
			return stanza{}, err
		}
		part, err := base64.RawStdEncoding.Strict().DecodeString(line)
		if err != nil || len(line) > columns {
			return stanza{}, errProtocol
		}
		if s.body = append(s.body, part...); len(line) < columns {
			return s, nil
		}
	}
}

func readLine(r *bufio.Reader) (string, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return "", err
	}
	return line[:len(line)-1], nil
}

// printable makes a plugin's words fit for a terminal and for a line of a log.
func printable(text string) string {
	const most = 500
	runes := []rune(strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "?")))
	if len(runes) > most {
		runes = append(runes[:most], '…')
	}
	return string(runes)
}
