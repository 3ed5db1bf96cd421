//go:build cgo

// Command age-plugin-pkcs11 keeps age identities in a hardware security module, or
// any other token with a PKCS#11 module: a P-256 key that the token makes, keeps and
// derives with. The recipient is one of age's own (age1tag1…, C2SP age-tagged), so
// that sealing needs neither token nor plugin. Opening needs the token and its PIN.
//
// With --hybrid an ML-KEM-768 key is combined with it (age1tagpq1…), whose seed is
// kept in the identity's file; opening then needs the token and that file.
package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"filippo.io/age"
	"filippo.io/age/plugin"
)

const usage = `age-plugin-pkcs11 keeps age identities in a PKCS#11 token.

  age-plugin-pkcs11 --generate [--hybrid] [-o FILE]   make a key in the token
  age-plugin-pkcs11 --list                            the recipients of its keys
  age-plugin-pkcs11 --identity [-o FILE]              the identities of its keys

--generate prints the recipient, which is public: seal for it with age -r, or with
takumi-backup seal -r. FILE has the identity, for age -i and takumi-backup open -i:
it says which key it is. With --hybrid it also has half of the secret: it can not be
made again, and needs a copy.

PKCS11_MODULE names the token's library, as --module does. The PIN is asked for, or
read from the file that PKCS11_PIN_FILE names.

`

// env are the settings that a plugin has no flags for.
const (
	moduleEnv     = "PKCS11_MODULE"
	pinFileEnv    = "PKCS11_PIN_FILE"
	defaultModule = "p11-kit-proxy.so"
)

func main() {
	p, err := plugin.New("pkcs11")
	if err != nil {
		fmt.Fprintf(os.Stderr, "age-plugin-pkcs11: %v\n", err)
		os.Exit(1)
	}
	var o options
	fs := flag.NewFlagSet("age-plugin-pkcs11", flag.ExitOnError)
	fs.Usage = func() {
		fmt.Fprint(fs.Output(), usage)
		fs.PrintDefaults()
	}
	p.RegisterFlags(fs)
	o.register(fs)
	fs.Parse(os.Args[1:])
	if fs.Lookup("age-plugin").Value.String() != "" {
		p.HandleIdentity(func(data []byte) (age.Identity, error) {
			i, err := parseIdentity(data)
			if err != nil {
				return nil, err
			}
			i.module = modulePath("")
			i.pin = pinSource(func(prompt string) (string, error) { return p.RequestValue(prompt, true) })
			return i, nil
		})
		os.Exit(p.Main())
	}
	if err := o.run(os.Stdout, os.Stderr); err != nil {
		fmt.Fprintf(os.Stderr, "age-plugin-pkcs11: %v\n", err)
		os.Exit(1)
	}
}

type options struct {
	generate, list, identity, hybrid bool
	module, token, label, output     string
}

func (o *options) register(fs *flag.FlagSet) {
	fs.BoolVar(&o.generate, "generate", false, "make a key in the token, and print its recipient")
	fs.BoolVar(&o.list, "list", false, "print the recipients of the keys in all tokens: a file for age -R")
	fs.BoolVar(&o.identity, "identity", false, "print the identities of the keys in all tokens: a file for age -i")
	fs.BoolVar(&o.hybrid, "hybrid", false, "with --generate: post-quantum, with a half that stays in the identity's file")
	fs.StringVar(&o.module, "module", "", "the token's library (default $"+moduleEnv+", or "+defaultModule+")")
	fs.StringVar(&o.token, "token", "", "the label or serial number of the token, where there are several")
	fs.StringVar(&o.label, "label", "age", "with --generate: what the key is called in the token")
	fs.StringVar(&o.output, "o", "", "write the identity to this new file, with mode 0600, and not to standard output")
}

func modulePath(flag string) string { return cmp.Or(flag, os.Getenv(moduleEnv), defaultModule) }

func (o *options) run(stdout, stderr io.Writer) error {
	chosen := 0
	for _, c := range []bool{o.generate, o.list, o.identity} {
		if c {
			chosen++
		}
	}
	if chosen != 1 || o.hybrid && !o.generate || o.list && o.output != "" {
		return errors.New("one of --generate, --list and --identity is needed, --hybrid goes with --generate and -o with an identity (see --help)")
	}
	m, err := openModule(modulePath(o.module))
	if err != nil {
		return err
	}
	defer m.close()
	if o.generate {
		return o.makeKey(m, stdout, stderr)
	}
	found, err := m.keys(o.token)
	if err != nil {
		return err
	}
	if len(found) == 0 {
		return errors.New("looking for keys: no token here has a P-256 key: --generate makes one")
	}
	if o.list {
		return printAll(stdout, found, func(k key) (string, error) { r, err := k.identity().recipient(); return fmt.Sprint(r), err })
	}
	out, finish, err := o.create(stdout)
	if err != nil {
		return err
	}
	return finish(printAll(out, found, func(k key) (string, error) { return k.identity().String(), nil }))
}

func printAll(w io.Writer, keys []key, line func(key) (string, error)) error {
	for _, k := range keys {
		text, err := line(k)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(w, "# %s\n%s\n", k, text); err != nil {
			return err
		}
	}
	return nil
}

// makeKey makes the identity's file first: a key in the token is of no use when
// what names it can not be written.
func (o *options) makeKey(m *module, stdout, stderr io.Writer) error {
	t, err := m.token(o.token)
	if err != nil {
		return err
	}
	out, finish, err := o.create(stdout)
	if err != nil {
		return err
	}
	return finish(func() error {
		pin := pinSource(askTerminal)
		k, err := m.generate(t, o.label, pin)
		if err != nil {
			return err
		}
		i := k.identity()
		if o.hybrid {
			if err := i.addMLKEM(); err != nil {
				return err
			}
		}
		r, err := i.recipient()
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(out, "# %s\n# recipient: %s\n%s\n", k, r, i); err != nil {
			return fmt.Errorf("writing the identity: %w", err)
		}
		if o.output != "" {
			_, err = fmt.Fprintln(stdout, r)
		} else {
			_, err = fmt.Fprintf(stderr, "recipient: %s\n", r)
		}
		return err
	}())
}

// create opens where the identity goes; finish closes it, and takes a new file away
// when what was to be written failed.
func (o *options) create(stdout io.Writer) (io.Writer, func(error) error, error) {
	if o.output == "" {
		return stdout, func(err error) error { return err }, nil
	}
	f, err := os.OpenFile(o.output, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, nil, fmt.Errorf("making the identity's file: %w", err)
	}
	return f, func(err error) error {
		if err == nil {
			err = f.Sync()
		}
		err = errors.Join(err, f.Close())
		if err != nil {
			os.Remove(o.output)
		}
		return err
	}, nil
}

// clean makes text of a token fit for a line of a file and for a terminal.
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
}
