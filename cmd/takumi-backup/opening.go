package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/envelope/sign"
	"github.com/takumi-backup/takumi-backup/envelope/slot"
	"github.com/takumi-backup/takumi-backup/internal/source"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/keystore"
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
}

func (o *opening) add(cmd *cobra.Command) {
	f := cmd.Flags()
	o.keys.add(cmd, "open with this key")
	o.keys.addIdentities(cmd)
	f.BoolVar(&o.rescue, "rescue", false, "open although the envelope was altered or damaged, by its first six lines and one slot; the payload is authenticated all the same")
	addSigners(f, &o.signers, "open only what one of these has signed")
	o.progress.add(cmd)
}

// unpinned fails when another backup is where the one was that was proved.
func (o *opening) unpinned(path string, id envelope.ID) error {
	if o.pinned == (envelope.ID{}) || id == o.pinned {
		return nil
	}
	return fmt.Errorf("%s: the backup that was verified has id %s, and the file now has %s: %w", path, o.pinned, id, store.ErrChanged)
}

// fits fails for another backup than the one that is meant, and when its file has the
// name of another, where that counts; otherwise it warns of that.
func (o *opening) fits(cmd *cobra.Command, path string, e *envelope.Envelope) error {
	if err := o.unpinned(path, e.ID); err != nil {
		return err
	}
	if err := backup.Misnamed(path, e.Name); err != nil && o.mustFit {
		return fmt.Errorf("%s: %w; nothing was changed", path, err)
	} else if err != nil {
		warn(cmd, "%s: %v", path, err)
	}
	return nil
}

func addSigners(f *pflag.FlagSet, file *string, words string) {
	f.StringVar(file, "signers", "", words+": an allowed_signers file, as ssh-keygen reads it (default $TAKUMI_SIGNERS)")
}

func (o *opening) options(ring *keystore.Ring) (backup.Options, error) {
	signers, err := trusted(o.signers)
	return backup.Options{Keys: ring, Rescue: o.rescue, Signers: signers, SignedWhole: o.whole, Vouched: o.vouched && !o.unsigned}, err
}

// anonymous says of what opened for a public recipient that nobody vouches for it.
func (o *opening) anonymous(cmd *cobra.Command, path string, opened slot.Holder, how backup.Options) {
	if how.Signers == nil && !o.unsigned && backup.Anonymous(opened) {
		warn(cmd, "%s: %v", path, backup.ErrAnonymous)
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
// read. Close wipes the keys.
type openedBackup struct {
	*envelope.Reader
	size int64 // of the file, or -1
	ring *keystore.Ring
	src  io.Closer
	stop func() // ends a read that waits
}

func (b *openedBackup) Close() error {
	b.stop()
	b.ring.Close()
	return b.src.Close()
}

func (o *opening) open(ctx context.Context, cmd *cobra.Command, path string) (_ *openedBackup, err error) {
	rec := recordIn(ctx)
	rec.Path, rec.Meter = path, &o.meter
	ring, err := o.keys.ring()
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			ring.Close()
		}
	}()
	// Before the backup is touched: a key that cannot be had is the first thing
	// to know. With several, one may do.
	if ring.Ways() < 2 {
		if _, err := ring.Current(ctx); err != nil {
			return nil, fmt.Errorf("loading the key: %w", err)
		}
	}
	b := &openedBackup{ring: ring, size: -1}
	ctx, b.stop = context.WithCancel(ctx)
	defer func() {
		if err != nil {
			b.stop()
		}
	}()
	if path == "-" {
		err = o.openStdin(ctx, cmd, b)
	} else {
		err = o.openFile(ctx, cmd, b, path)
	}
	if err != nil {
		return nil, err
	}
	describe(rec, b.Envelope, b.Holder)
	if err := o.fits(cmd, path, b.Envelope); err != nil {
		b.src.Close()
		return nil, err
	}
	if b.Altered != nil {
		warn(cmd, "%s: %v; opened because of --rescue", path, b.Altered)
	}
	return b, nil
}

func (o *opening) openStdin(ctx context.Context, cmd *cobra.Command, b *openedBackup) error {
	how, err := o.options(b.ring)
	if err != nil || how.Signers != nil {
		return cmp.Or(err, usagef("a backup on standard input has no signature next to it: give --signers and the file"))
	}
	src, err := source.Stdin(ctx, os.Stdin)
	if err != nil {
		return err
	}
	b.src = src
	b.Reader, err = envelope.Open(ctx, o.meter.Metered(src), envelope.Options{Rescue: o.rescue, Find: b.ring.Identities})
	if err == nil && how.Vouched && backup.Anonymous(b.Holder) {
		err = backup.ErrAnonymous
	}
	if err != nil {
		src.Close()
		return fmt.Errorf("opening -: %w", err)
	}
	o.anonymous(cmd, "-", b.Holder, how)
	return nil
}

func (o *opening) openFile(ctx context.Context, cmd *cobra.Command, b *openedBackup, path string) error {
	warnPlacement(cmd, b.ring.Places(), store.Dir(path))
	how, err := o.options(b.ring)
	if err != nil {
		return err
	}
	how.Meter = &o.meter
	f, err := backup.Open(ctx, newPlace(), path, how)
	if err != nil {
		return aboutPath("opening", path, err)
	}
	o.anonymous(cmd, path, f.Holder, how)
	b.Reader, b.src, b.size = f.Reader, f, f.Object.Size()
	for _, passed := range []error{f.Beside, f.Detached} {
		if passed != nil {
			warn(cmd, "%s%s was passed over: %v", path, envelope.DetachedSuffix, passed)
		}
	}
	return nil
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
