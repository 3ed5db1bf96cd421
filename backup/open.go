package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/envelope/sign"
	"github.com/takumi-backup/takumi-backup/envelope/slot"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/keystore"
)

// tries is how often an opening that a rewrap disturbs begins anew.
const tries = 3

// Options say how to open.
type Options struct {
	Keys   *keystore.Ring // nil, or a ring of no sources, opens nothing
	Rescue bool           // see [envelope.Options]
	Meter  *Meter         // if it is set, it counts what is read
	// Signers, if they are set, are whom the backups have to be signed by. The head of
	// the signature is checked before anything is released, and when a backup is looked
	// at, and the payload before a reader that reads in order ends well.
	Signers *sign.Signers
	// SignedWhole, with Signers, has [Open] hold the payload to its signature before it
	// returns: it reads all of the file once more, by the same open file, so that what is
	// then read can only be what was proved, but for who writes into that very file.
	SignedWhole bool
	// Vouched refuses with ErrAnonymous, where there are no Signers, what anybody may
	// have made who knows a public recipient.
	Vouched bool
	// Ledger, if it is set, knows what this host has sealed, which List calls SealedHere
	// where no key opens it.
	Ledger *Ledger
	// Doubt, if it is set, says why a backup that opened with the key of this id is
	// not to be trusted all the same.
	Doubt func(b *Backup, opened kek.ID) error

	// Content, if it is set, reads what a backup holds that [Prove] proves, and its error
	// speaks against the backup. What it leaves unread is proved all the same.
	Content func(io.Reader) error

	through func(io.Reader) io.Reader // the file passes through it on its way
}

func (o Options) keyless() bool { return o.Keys == nil || !o.Keys.Opens() }

type keyFault struct{ error }

func (f keyFault) Unwrap() error { return f.error }

// NoKey tells an error that says that no key at hand opens the backup from one
// that speaks against the backup.
func NoKey(err error) bool {
	return errors.As(err, new(*envelope.WrongKeyError)) || errors.As(err, new(keyFault)) || errors.Is(err, keystore.ErrNone)
}

func (o Options) find(ctx context.Context, wanted []slot.Holder) ([]envelope.Identity, error) {
	found, err := o.Keys.Identities(ctx, wanted)
	if err != nil {
		err = keyFault{err}
	}
	return found, err
}

// Handle is a backup that is open for reading in order: the packed stream, as
// [envelope.Reader] gives it. Close closes the file, and not the ring.
type Handle struct {
	*envelope.Reader
	store.Object
	// Beside says why what is next to the backup as its detached envelope
	// cannot be read. Its own slots opened it then.
	Beside error
}

// Read is that of the envelope's Reader.
func (f *Handle) Read(p []byte) (int, error) { return f.Reader.Read(p) }

// WriteTo is that of the envelope's Reader.
func (f *Handle) WriteTo(dst io.Writer) (int64, error) { return f.Reader.WriteTo(dst) }

// Unpack writes the original bytes of the backup to dst. Only when it returns nil was
// all of it authentic; until then dst has an authentic prefix.
func (f *Handle) Unpack(dst io.Writer) error { return Unseal(dst, f.Reader, false, new(Meter)) }

// Open opens the backup at path. The errors are those of the place and of
// [envelope.Open]; [NoKey] says whether a key is what it lacks. The caller
// closes the file.
func Open(ctx context.Context, place store.Store, path string, o Options) (*Handle, error) {
	if o.keyless() {
		return nil, keystore.ErrNone
	}
	var f *Handle
	err := o.settle(ctx, place, path, func(obj store.Object, beside *envelope.Envelope, besideErr error) error {
		var src io.Reader = obj
		if o.Meter != nil {
			src = o.Meter.Metered(obj)
		}
		if o.through != nil {
			src = o.through(src)
		}
		how := envelope.Options{Detached: beside, Rescue: o.Rescue, Find: o.find}
		if o.Signers != nil {
			w, err := signedBy(ctx, place, path, o.Signers)
			if err != nil {
				return err
			}
			src, how.Witness = io.TeeReader(src, w), w
			if o.SignedWhole {
				how.Witness = &wholeWitness{w, obj}
			}
		}
		r, err := envelope.Open(ctx, src, how)
		if err == nil {
			if err := o.vouched(r.Holder); err != nil {
				return err
			}
			f = &Handle{Reader: r, Object: obj, Beside: besideErr}
			return nil
		}
		return passedOver(path, foreign(ctx, place, path, obj, err), besideErr)
	})
	if err != nil {
		return nil, err
	}
	return f, nil
}

// Seen is what a backup says of itself.
type Seen struct {
	Size        int64
	Own, Beside *envelope.Envelope // its own envelope and the one next to it; either may be nil
	BesideErr   error              // why what is next to it as an envelope cannot be read
	// Opened is set when a key opened it: the preamble and the length are then
	// authentic, and the rest of the content was not read.
	Opened *envelope.Opened
	// Packed is the length of the packed stream, when Opened is set.
	Packed int64
	// Err says why Opened is not set; nil without keys.
	Err error
	// Signer is who signed the head, where Signers were asked for, and Unsigned why it is
	// none of them.
	Signer   string
	Unsigned error
}

// Look reads the envelopes of the backup at path and, with keys, authenticates
// them and the length of the file, which costs one chunk. The error is why there
// is nothing to see: the place's, or that of [envelope.Parse].
func Look(ctx context.Context, place store.Store, path string, o Options) (*Seen, error) {
	var s *Seen
	err := o.settle(ctx, place, path, func(obj store.Object, beside *envelope.Envelope, besideErr error) error {
		defer obj.Close()
		own, err := envelope.Parse(io.NewSectionReader(obj, 0, obj.Size()))
		if err != nil && beside == nil {
			return passedOver(path, foreign(ctx, place, path, obj, err), besideErr)
		}
		s = &Seen{Size: obj.Size(), Own: own, Beside: beside, BesideErr: besideErr}
		if o.Signers != nil {
			signed, err := OpenSigned(ctx, place, path, obj, o.Signers)
			if s.Unsigned = err; err == nil {
				s.Signer = signed.Signer().String()
			}
		}
		if o.keyless() {
			s.Err = err
			return nil
		}
		r, err := envelope.OpenAt(ctx, obj, obj.Size(), envelope.Options{Detached: beside, Rescue: o.Rescue, Find: o.find})
		if err != nil {
			s.Err = passedOver(path, err, besideErr)
			return err
		}
		s.Opened, s.Packed, s.Err = &r.Opened, r.Size(), nil
		return nil
	})
	if s == nil {
		return nil, err
	}
	return s, nil
}

// passedOver adds to err, why a backup does not open, that what is next to it
// as its envelope could not be read, if that is so.
func passedOver(path string, err, beside error) error {
	if beside == nil {
		return err
	}
	return fmt.Errorf("%w; and %s%s was passed over: %w", err, path, envelope.DetachedSuffix, beside)
}

// parse reads a detached envelope; in a rescue, what is good of it.
func (o Options) parse(src *bytes.Reader) (*envelope.Envelope, error) {
	e, err := envelope.Parse(src)
	if err != nil && o.Rescue {
		src.Seek(0, io.SeekStart) // never fails on this reader
		if salvaged, serr := envelope.Salvage(src); serr == nil {
			return salvaged, nil
		}
	}
	return e, err
}

// settle opens the file at path and calls try with it, again when that fails and
// the envelopes have changed meanwhile. The file is closed when try fails.
func (o Options) settle(ctx context.Context, place store.Store, path string, try func(store.Object, *envelope.Envelope, error) error) error {
	for n := 1; ; n++ {
		obj, err := place.Open(ctx, path)
		if err != nil {
			return err
		}
		text, besideErr := Beside(ctx, place, path)
		var beside *envelope.Envelope
		if text != nil {
			beside, besideErr = o.parse(bytes.NewReader(text))
		}
		before := headOf(obj)
		if err = try(obj, beside, besideErr); err == nil {
			return nil
		}
		obj.Close()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if n == tries || !changed(ctx, place, path, before, text) {
			return err
		}
	}
}

// changed says whether the envelopes of a backup are others than before.
func changed(ctx context.Context, place store.Store, path string, head [envelope.Unit]byte, beside []byte) bool {
	obj, err := place.Open(ctx, path)
	if err != nil {
		return false
	}
	defer obj.Close()
	now, _ := Beside(ctx, place, path)
	return headOf(obj) != head || !bytes.Equal(now, beside)
}

// headOf returns the first bytes of a file. The first slot is among them, which
// every rewrap changes.
func headOf(obj store.Object) (head [envelope.Unit]byte) {
	_, _ = obj.ReadAt(head[:], 0)
	return head
}

// Beside returns the bytes of what is next to a backup as its envelope, not
// many more than a good one has, and nil when there is none.
func Beside(ctx context.Context, place store.Store, path string) ([]byte, error) {
	obj, err := place.Open(ctx, path+envelope.DetachedSuffix)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer obj.Close()
	return io.ReadAll(io.LimitReader(obj, envelope.MaxSize+1))
}
