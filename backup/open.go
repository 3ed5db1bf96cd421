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

// tries is how often an opening is repeated that a rewrap disturbs.
const tries = 3

// Options say how to open.
type Options struct {
	Keys   *keystore.Ring // nil, or a ring of no sources, opens nothing
	Rescue bool           // see [envelope.Options]
	Meter  *Meter         // if it is set, it counts what is read
	// Signers, if set, must have signed the backups. The head of the signature is checked
	// before anything is released and by Look; the payload before a sequential reader ends
	// without an error.
	Signers *sign.Signers
	// SignedWhole, with Signers, has [Open] check the signed payload before it returns, by
	// an extra pass over the same open file. Only writes into that file could change it
	// afterwards.
	SignedWhole bool
	// Vouched refuses, without Signers, a backup that anybody with a public recipient may
	// have made: ErrAnonymous. Unsigned takes it all the same, without a warning.
	Vouched, Unsigned bool
	// ID, if set, is of the backup that has to be at the path: else the error is
	// [store.ErrChanged].
	ID envelope.ID
	// Named refuses a backup whose file has the name of another: ErrMisnamed.
	Named bool
	// Opened, if set, is called with what a key opened, before that is judged.
	Opened func(*envelope.Opened)
	// Warn, if set, is called with what is odd about an opened backup.
	Warn func(format string, args ...any)
	// Ledger, if set, makes known backups SealedHere that no key opens.
	Ledger *Ledger
	// Doubt, if set, returns why a backup that this key opened is not trusted.
	Doubt func(b *Backup, opened kek.ID) error

	// Content, if set, checks the payload for [Prove]. It need not read all of it.
	Content func(io.Reader) error

	through func(io.Reader) io.Reader // the file passes through it on its way
}

func (o Options) keyless() bool { return o.Keys == nil || !o.Keys.Opens() }

type keyFault struct{ error }

func (f keyFault) Unwrap() error { return f.error }

// NoKey reports whether err is about missing keys and not about the backup.
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

// Handle is an open backup, read in order: the packed stream of [envelope.Reader]. Close
// closes the file, not the ring.
type Handle struct {
	*envelope.Reader
	store.Object
	beside error // why the detached envelope is unreadable
}

// PassedOver returns why the envelope next to the backup was not used; the backup's own
// slots opened it.
func (f *Handle) PassedOver() (why []error) { return passedOver(f.beside, &f.Opened) }

func passedOver(beside error, opened *envelope.Opened) (why []error) {
	for _, err := range []error{beside, opened.Detached} {
		if err != nil {
			why = append(why, err)
		}
	}
	return why
}

// Read is that of the envelope's Reader.
func (f *Handle) Read(p []byte) (int, error) { return f.Reader.Read(p) }

// WriteTo is that of the envelope's Reader.
func (f *Handle) WriteTo(dst io.Writer) (int64, error) { return f.Reader.WriteTo(dst) }

// Unpack writes the original bytes to dst. All of them are authentic only when it returns
// nil; until then dst has an authentic prefix.
func (f *Handle) Unpack(dst io.Writer) error { return Unseal(dst, f.Reader, false, new(Meter)) }

// Open opens the backup at path. The errors are those of the place and of [envelope.Open];
// see [NoKey]. The caller closes the Handle.
func Open(ctx context.Context, place store.Store, path string, o Options) (*Handle, error) {
	if o.keyless() {
		return nil, keystore.ErrNone
	}
	var f *Handle
	err := o.retryRewrapped(ctx, place, path, func(obj store.Object, beside *envelope.Envelope, besideErr error) error {
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
			f = &Handle{Reader: r, Object: obj, beside: besideErr}
			return nil
		}
		return withBesideError(path, foreign(ctx, place, path, obj, err), besideErr)
	})
	if err == nil {
		if err = o.accept(path, &f.Opened); err == nil {
			o.doubts(path, &f.Opened, f.beside)
			return f, nil
		}
		f.Close()
	}
	return nil, err
}

// Seen is what a backup says of itself.
type Seen struct {
	Size        int64
	Own, Beside *envelope.Envelope // of the backup itself and next to it; either may be nil
	BesideErr   error              // why the envelope next to it is unreadable
	// Opened is set when a key opened it: preamble and length are authentic, the rest is
	// unread.
	Opened *envelope.Opened
	// Packed is the length of the packed stream, with Opened.
	Packed int64
	// Err is why Opened is not set; nil without keys.
	Err error
	// Signer is the trusted signer of the head, and Unsigned why there is none.
	Signer   string
	Unsigned error
}

// Look reads the envelopes of the backup at path and, with keys, authenticates them and the
// length of the file, which reads one chunk. The errors are those of the place and of
// [envelope.Parse].
func Look(ctx context.Context, place store.Store, path string, o Options) (*Seen, error) {
	var s *Seen
	err := o.retryRewrapped(ctx, place, path, func(obj store.Object, beside *envelope.Envelope, besideErr error) error {
		defer obj.Close()
		own, err := envelope.Parse(io.NewSectionReader(obj, 0, obj.Size()))
		if err != nil && beside == nil {
			return withBesideError(path, foreign(ctx, place, path, obj, err), besideErr)
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
			s.Err = withBesideError(path, err, besideErr)
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

// withBesideError adds to err that the detached envelope is unreadable, if so.
func withBesideError(path string, err, beside error) error {
	if beside == nil {
		return err
	}
	return fmt.Errorf("%w; and %s%s was passed over: %w", err, path, envelope.DetachedSuffix, beside)
}

// parse reads a detached envelope; in a rescue, its intact part.
func (o Options) parse(src *bytes.Reader) (*envelope.Envelope, error) {
	e, err := envelope.Parse(src)
	if err != nil && o.Rescue {
		src.Seek(0, io.SeekStart) // never fails on this reader
		if rescued, serr := envelope.ParseRescue(src); serr == nil {
			return rescued, nil
		}
	}
	return e, err
}

// retryRewrapped opens the file at path and calls try with it, and repeats both when try fails and
// the envelopes have changed meanwhile. The file is closed when try fails.
func (o Options) retryRewrapped(ctx context.Context, place store.Store, path string, try func(store.Object, *envelope.Envelope, error) error) error {
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

// changed reports whether a backup's envelopes have changed.
func changed(ctx context.Context, place store.Store, path string, head [envelope.Unit]byte, beside []byte) bool {
	obj, err := place.Open(ctx, path)
	if err != nil {
		return false
	}
	defer obj.Close()
	now, _ := Beside(ctx, place, path)
	return headOf(obj) != head || !bytes.Equal(now, beside)
}

// headOf returns the first bytes of a file, which include the first slot: every rewrap
// changes it.
func headOf(obj store.Object) (head [envelope.Unit]byte) {
	_, _ = obj.ReadAt(head[:], 0)
	return head
}

// Beside returns the bytes of the detached envelope next to a backup, little more than a
// valid one has; nil without one.
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
