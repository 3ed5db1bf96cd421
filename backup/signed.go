package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/envelope/sign"
	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/stream"
)

// ErrUnsigned is returned when signers are asked for and a backup has no signature.
var ErrUnsigned = fail.New(fail.Damaged, "if it is known who made it, open it without --signers", "it has no signature")

// refused says that a signature speaks against a backup.
func refused(err error) error {
	return fail.As(fail.Damaged, "look who put it there, and use a backup that one of the signers has signed", err)
}

// witness holds a backup that is read to a signature.
type witness struct {
	sign.Sums
	signature *sign.Signature
}

// signedBy returns the witness of the backup at path, whose signature is good and by
// one of the signers.
func signedBy(ctx context.Context, place store.Store, path string, signers *sign.Signers) (*witness, error) {
	text, err := Signature(ctx, place, path)
	if err != nil {
		return nil, err
	}
	if text == nil {
		return nil, ErrUnsigned
	}
	s, err := sign.Parse(text)
	if err == nil {
		_, err = signers.Verify(s)
	}
	if err != nil {
		return nil, refused(fmt.Errorf("%s: %w", store.Beside(path, sign.Suffix), err))
	}
	return &witness{signature: s}, nil
}

// Signature returns the signature next to the backup at path, unread and at most one
// byte more than [sign.MaxSize]; nil when there is none.
func Signature(ctx context.Context, place store.Store, path string) ([]byte, error) {
	obj, err := place.Open(ctx, store.Beside(path, sign.Suffix))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer obj.Close()
	text, err := io.ReadAll(io.LimitReader(obj, sign.MaxSize+1))
	if err != nil {
		return nil, fmt.Errorf("reading the signature: %w", err)
	}
	if text == nil {
		text = []byte{}
	}
	return text, nil
}

// Begin implements [envelope.Witness].
func (w *witness) Begin(e *envelope.Envelope, start int64, payload [stream.HeaderSize]byte) error {
	if err := w.signature.CheckHead(e, payload); err != nil {
		return refused(err)
	}
	w.Sums.Begin(e, start)
	return nil
}

// End implements [envelope.Witness].
func (w *witness) End() error {
	if err := w.signature.CheckPayload(w.Payload()); err != nil {
		return refused(err)
	}
	return nil
}

// signable is a place that a signature fits next to: a [store.Writer].
type signable interface {
	Beside(suffix string, content []byte)
}

// signable fails when the job is to sign what cannot be signed at dst.
func (j Job) signable(dst *target) error {
	if j.Signer == nil {
		return nil
	}
	if _, ok := dst.Sink.(signable); j.Plain || !ok {
		return fail.Usagef("signing the backup: only a sealed backup in a file or a bucket has a signature")
	}
	return nil
}

// worthwhile is the size up to which starting a goroutine costs more than hashing on
// the spot.
const worthwhile = 32 << 10

// summing sums up what is written through it, while it is written.
type summing struct {
	io.Writer
	sign.Sums
}

func (s *summing) Write(p []byte) (int, error) {
	if len(p) <= worthwhile {
		if _, err := s.Sums.Write(p); err != nil {
			return 0, err
		}
		return s.Writer.Write(p)
	}
	summed := make(chan error, 1)
	go func() {
		_, err := s.Sums.Write(p)
		summed <- err
	}()
	n, err := s.Writer.Write(p)
	return n, errors.Join(err, <-summed)
}

// sign has the signature written with the backup that was summed up.
func (s *summing) sign(dst signable, signer ssh.Signer) error {
	file, err := sign.Sign(s.Statement(time.Now()), signer)
	if err != nil {
		return err
	}
	dst.Beside(sign.Suffix, file)
	return nil
}

// Sign signs the backup at path, which it has authenticated to its end before, and
// returns its envelope. A signature that is there gives way when it is of the same
// backup, and stays as it is when signer made it: already is true then. Of another
// backup, or no signature, the error is [sign.ErrOtherBackup] or [sign.ErrMalformed],
// and nothing is changed. Signers and Rescue of o do not count.
func Sign(ctx context.Context, place store.Store, path string, signer ssh.Signer, o Options) (e *envelope.Envelope, already bool, err error) {
	was, err := Signature(ctx, place, path)
	if err != nil {
		return nil, false, err
	}
	var sums *sign.Sums
	o.Signers, o.Rescue = nil, false
	o.through = func(src io.Reader) io.Reader {
		sums = new(sign.Sums)
		return io.TeeReader(src, sums)
	}
	f, err := Open(ctx, place, path, o)
	if err != nil {
		return nil, false, err
	}
	defer f.Close()
	sums.Begin(f.Envelope, f.Start)
	if _, err := f.WriteTo(io.Discard); err != nil {
		return f.Envelope, false, fmt.Errorf("opening the payload: %w", err)
	}
	now := sums.Statement(time.Now())
	if was != nil {
		before, err := sign.Parse(was)
		if err == nil && (before.ID != now.ID || before.Head != now.Head || before.Payload != now.Payload) {
			err = sign.ErrOtherBackup
		}
		if err != nil {
			return f.Envelope, false, fail.As(fail.Damaged, "look where it comes from, delete it if it is of no use, and sign again", fmt.Errorf("%s: %w", store.Beside(path, sign.Suffix), err))
		}
		if bytes.Equal(before.Key.Marshal(), signer.PublicKey().Marshal()) {
			return f.Envelope, true, nil
		}
	}
	text, err := sign.Sign(now, signer)
	if err != nil {
		return f.Envelope, false, err
	}
	return f.Envelope, false, place.Put(ctx, path, sign.Suffix, was, text)
}
