package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/envelope/sign"
	"github.com/takumi-backup/takumi-backup/internal/source"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/keystore"
	"github.com/takumi-backup/takumi-backup/restore/contents"
	"github.com/takumi-backup/takumi-backup/verify"
)

// opening gets at the content of a backup: what every command that reads one
// has in common.
type opening struct {
	keys     keyFlags
	progress progressFlags
	rescue   bool
	pinned   envelope.ID // if it is set: of the backup that was proved, and has to be this one
	mustFit  bool        // refuse a backup whose file has the name of another
	signers  string      // file of whom a backup has to be signed by
	vouched  bool        // somebody has to vouch for it: signers, or who says --unsigned
	unsigned bool
	whole    bool // with signers: its signature is checked to the end before anything is read

	meter backup.Meter
	held  *keystore.Ring // of the whole command
	said  sync.Map       // warnings: what has no index is opened several times
}

func (o *opening) add(cmd *cobra.Command) {
	run := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		defer o.wipe()
		return run(cmd, args)
	}
	f := cmd.Flags()
	o.keys.add(cmd, "open with this key")
	o.keys.addIdentities(cmd)
	f.BoolVar(&o.rescue, "rescue", false, "open although the envelope was altered or damaged, by its first six lines and one slot; the payload is authenticated all the same")
	addSigners(f, &o.signers, "open only what one of these has signed")
	o.progress.add(cmd)
}

func addSigners(f *pflag.FlagSet, file *string, words string) {
	f.StringVar(file, "signers", "", words+": an allowed_signers file, as ssh-keygen reads it (default $TAKUMI_SIGNERS)")
}

// ring returns the ring of the command: however many backups it finds and opens, a key is
// fetched once. It is closed when the command ends.
func (o *opening) ring() (_ *keystore.Ring, err error) {
	if o.held == nil {
		o.held, err = o.keys.ring()
	}
	return o.held, err
}

func (o *opening) wipe() {
	if o.held != nil {
		o.held.Close()
	}
}

// options are how the flags want backups opened. What opens goes into the record.
func (o *opening) options(cmd *cobra.Command, ring *keystore.Ring) (backup.Options, error) {
	signers, err := trusted(o.signers)
	rec := recordOf(cmd)
	return backup.Options{
		Keys: ring, Rescue: o.rescue, Signers: signers, SignedWhole: o.whole, Vouched: o.vouched, Unsigned: o.unsigned, ID: o.pinned, Named: o.mustFit, Warn: o.warner(cmd),
		Opened: func(opened *envelope.Opened) { describe(rec, opened.Envelope, opened.Holder) },
	}, err
}

func (o *opening) warner(cmd *cobra.Command) func(string, ...any) {
	return func(format string, args ...any) {
		text := fmt.Sprintf(format, args...)
		if _, said := o.said.LoadOrStore(text, true); !said {
			warn(cmd, "%s", text)
		}
	}
}

// trusted reads the file of signers, or that of the environment with "", nil when
// there is none.
func trusted(path string) (*sign.Signers, error) {
	path = cmp.Or(path, conf.Get("TAKUMI_SIGNERS"))
	if path == "" {
		return nil, nil
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, usagef("--signers: %w", err)
	}
	defer file.Close()
	signers, err := sign.ParseSigners(file)
	if err != nil {
		return nil, usagef("--signers: %s: %w", path, err)
	}
	return signers, nil
}

// openedBackup is a backup whose key was found. Nothing of its payload has been
// read.
type openedBackup struct {
	*backup.Handle
	ring *keystore.Ring
	stop func() // ends a read that waits
}

func (b *openedBackup) Close() error {
	b.stop()
	return b.Handle.Close()
}

func (o *opening) open(cmd *cobra.Command, path string) (_ *openedBackup, err error) {
	rec := recordOf(cmd)
	rec.Path, rec.Meter = path, &o.meter
	ring, err := o.ring()
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(cmd.Context())
	b := &openedBackup{ring: ring, stop: stop}
	defer func() {
		if err != nil {
			stop()
		}
	}()
	// Before the backup is touched: a key that cannot be had is the first thing to know.
	if err := ring.Ready(cmd.Context()); err != nil {
		return nil, fmt.Errorf("loading the key: %w", err)
	}
	how, err := o.options(cmd, ring)
	if err != nil {
		return nil, err
	}
	how.Meter = &o.meter
	if path == "-" {
		src, err := source.Stdin(ctx, os.Stdin)
		if err == nil {
			b.Handle, err = backup.OpenInput(ctx, src, how)
		}
		return b, err
	}
	warnPlacement(cmd, ring.Places(), store.Dir(path))
	if b.Handle, err = backup.Open(ctx, newPlace(), path, how); err != nil {
		return nil, aboutPath("opening", path, err)
	}
	return b, nil
}

// newest has find look for the newest backup that is whole and authentic, and returns its
// path: nothing else at that path is opened then.
func (o *opening) newest(cmd *cobra.Command, find func(backup.Options) (*backup.Backup, error)) (string, error) {
	ring, err := o.ring()
	if err != nil {
		return "", err
	}
	if err := ring.Ready(cmd.Context()); err != nil {
		return "", fmt.Errorf("loading the key: %w", err)
	}
	how, err := o.options(cmd, ring)
	if err != nil {
		return "", err
	}
	how.Opened, how.Named, how.Doubt = nil, false, verify.LoadKnown("", warner(cmd)).Doubt
	found, err := find(how)
	if err != nil {
		return "", err
	}
	o.pinned = found.ID
	return found.Path, nil
}

// warnPlacement says when a key is with the backups. Who reads a backup
// needs it now, so it is no more than a warning.
func warnPlacement(cmd *cobra.Command, sources []keystore.Source, folder string) {
	for _, src := range sources {
		if err := keystore.CheckOutside(src, folder); err != nil {
			warn(cmd, "%v", err)
		}
	}
}

// errStdin is returned for standard input, which is read in order alone.
var errStdin = errors.New("standard input has no parts that can be read alone")

// openAt opens the backup at path to read any part of it. The caller calls done,
// unless there is an error.
func (o *opening) openAt(cmd *cobra.Command, path string) (h *backup.HandleAt, done func(), err error) {
	if path == "-" {
		return nil, nil, errStdin
	}
	ring, err := o.ring()
	if err != nil {
		return nil, nil, err
	}
	warnPlacement(cmd, ring.Places(), store.Dir(path))
	rec := recordOf(cmd)
	rec.Path, rec.Meter = path, &o.meter
	how, err := o.options(cmd, ring)
	how.Meter = &o.meter
	if err == nil {
		h, err = backup.OpenAt(cmd.Context(), newPlace(), path, how)
	}
	if err != nil {
		return nil, nil, aboutPath("opening", path, err)
	}
	return h, func() { h.Close() }, nil
}

// look opens what is in the backup at path, by its index if it has one. The caller calls
// done, unless there is an error.
func (o *opening) look(cmd *cobra.Command, path string) (c *contents.Content, done func(), err error) {
	c = &contents.Content{Read: func(f func(*bufio.Reader) error) error { return o.scan(cmd, path, f) }}
	h, done, err := o.openAt(cmd, path)
	if errors.Is(err, errStdin) {
		return c, func() {}, nil
	}
	if err != nil {
		return nil, nil, err
	}
	if err := c.Look(cmd.Context(), h); err != nil {
		done()
		return nil, nil, aboutPath("opening", path, err)
	}
	return c, done, nil
}

func (o *opening) scan(cmd *cobra.Command, path string, f func(*bufio.Reader) error) error {
	b, err := o.open(cmd, path)
	if err != nil {
		return err
	}
	defer b.Close()
	hide := o.progress.start(cmd.ErrOrStderr(), "reading", b.Size(), &o.meter)
	defer hide()
	content := backup.NewPlaintext(b.Handle.Reader, &o.meter)
	defer content.Close()
	if err := f(bufio.NewReaderSize(content, 64<<10)); err != nil {
		return fmt.Errorf("reading %s: %w", path, err)
	}
	return nil
}
