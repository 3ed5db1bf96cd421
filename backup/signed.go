package backup

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/envelope/agekey"
	"github.com/takumi-backup/takumi-backup/envelope/sign"
	"github.com/takumi-backup/takumi-backup/envelope/slot"
	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/stream"
)

// ErrUnsigned is returned when signers are required and the backup has no signature.
var ErrUnsigned = fail.New(fail.Damaged, "open it without --signers if you know who made it", "it has no signature")

func refused(err error) error {
	return fail.As(fail.Damaged, "look who put it there, and use a backup that one of the signers has signed", err)
}

// ErrAnonymous is returned for a backup that opened for a public recipient when its origin
// matters.
var ErrAnonymous = fail.New(fail.Usage, "name with --signers who is trusted to sign; --unsigned takes it as it is, when it is known whose it is", "it opens for a recipient, which is public, and no signature is asked for: anybody may have made it")

// Anonymous reports whether anybody with a public recipient can have made a backup that
// this holder's slot opened. Slots for keys need the key.
func Anonymous(opened slot.Holder) bool { return opened.Type == agekey.SlotType }

func (o Options) vouched(opened slot.Holder) error {
	if o.Vouched && !o.Unsigned && o.Signers == nil && Anonymous(opened) {
		return ErrAnonymous
	}
	return nil
}

type witness struct {
	sign.Sums
	signature *sign.Signature
	signer    sign.Signer
}

// signedBy returns the witness of a backup with a valid signature by one of the signers.
func signedBy(ctx context.Context, place store.Store, path string, signers *sign.Signers) (*witness, error) {
	text, err := Signature(ctx, place, path)
	if err != nil {
		return nil, err
	}
	if text == nil || signers == nil {
		return nil, ErrUnsigned
	}
	var signer sign.Signer
	s, err := sign.Parse(text)
	if err == nil {
		signer, err = signers.Verify(s)
	}
	if err != nil {
		return nil, refused(fmt.Errorf("%s: %w", store.Beside(path, sign.Suffix), err))
	}
	return &witness{signature: s, signer: signer}, nil
}

// Signature returns the signature next to the backup at path, unparsed, at most one byte
// more than [sign.MaxSize]; nil without one.
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

// wholeWitness checks the payload in file against its signature before anything is
// released.
type wholeWitness struct {
	*witness
	file store.Object
}

// wholePiece is read at once: a request each, in a bucket.
const wholePiece = 8 << 20

// Begin implements [envelope.Witness].
func (w *wholeWitness) Begin(e *envelope.Envelope, start int64, payload [stream.HeaderSize]byte) error {
	if err := w.witness.Begin(e, start, payload); err != nil {
		return err
	}
	before := &witness{signature: w.signature}
	before.Sums.Begin(e, start)
	all := io.NewSectionReader(w.file, start, w.file.Size()-start)
	if _, err := io.CopyBuffer(struct{ io.Writer }{before}, struct{ io.Reader }{all}, make([]byte, wholePiece)); err != nil {
		return err
	}
	return before.End()
}

// SignedFile checks a backup's file against its signature, without a key. All of the file
// is written to it, in order; End says whether the payload is the signed one.
type SignedFile struct {
	*witness
	skip int64 // of the envelope, of which only the preamble is signed
}

// OpenSigned checks that the backup at path has a signature by one of the signers, and the
// signed head. The errors are ErrUnsigned, those of the signature, and those of reading.
func OpenSigned(ctx context.Context, place store.Store, path string, file store.Object, signers *sign.Signers) (*SignedFile, error) {
	w, err := signedBy(ctx, place, path, signers)
	if err != nil {
		return nil, err
	}
	e, err := envelope.Parse(io.NewSectionReader(file, 0, file.Size()))
	if err != nil {
		return nil, err
	}
	start := int64(len(e.Bytes()))
	var header [stream.HeaderSize]byte
	if _, err := file.ReadAt(header[:], start); err != nil {
		return nil, fmt.Errorf("reading the head of the payload: %w", err)
	}
	if err := w.Begin(e, start, header); err != nil {
		return nil, err
	}
	return &SignedFile{w, start}, nil
}

// Signer is who signed, as the trusted signers name them.
func (f *SignedFile) Signer() sign.Signer { return f.signer }

// Write takes the next bytes of the file.
func (f *SignedFile) Write(p []byte) (int, error) {
	n := min(f.skip, int64(len(p)))
	f.skip -= n
	if _, err := f.witness.Write(p[n:]); err != nil {
		return 0, err
	}
	return len(p), nil
}

// ProveSigned reads the backup at path to its end, without a key, and returns nil only when
// one of the signers signed its payload and the file matches its sidecar, if any.
func ProveSigned(ctx context.Context, place store.Store, path string, o Options) error {
	want, err := sidecarOf(ctx, place, path)
	if err != nil {
		return err
	}
	file, err := place.Open(ctx, path)
	if err != nil {
		return err
	}
	defer file.Close()
	signed, err := OpenSigned(ctx, place, path, file, o.Signers)
	if err != nil {
		return err
	}
	var src io.Reader = file
	if o.Meter != nil {
		src = o.Meter.Metered(file)
	}
	hash := sha256.New()
	if _, err := io.Copy(io.MultiWriter(hash, signed), src); err != nil {
		return err
	}
	if want != "" && hex.EncodeToString(hash.Sum(nil)) != want {
		return fmt.Errorf("%s: %w", path, ErrSidecar)
	}
	return signed.End()
}

// signable is a place that can keep a signature: a [store.Writer].
type signable interface {
	Beside(suffix string, content []byte)
}

// signable fails when the job has a signer and dst cannot keep a signature.
func (j Job) signable(dst *target) error {
	if j.Signer == nil {
		return nil
	}
	if _, ok := dst.Sink.(signable); j.Plain || !ok {
		return fail.Usagef("signing the backup: only a sealed backup in a file or a bucket has a signature")
	}
	return nil
}

// worthwhile is the size up to which hashing in place is faster.
const worthwhile = 32 << 10

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

func (s *summing) sign(dst signable, signer ssh.Signer) error {
	file, err := sign.Sign(s.Statement(time.Now()), signer)
	if err != nil {
		return err
	}
	dst.Beside(sign.Suffix, file)
	return nil
}

// Sign authenticates the backup at path to its end, signs it and returns its envelope. It
// replaces another signature of the same backup; already reports that signer's own is
// there, which stays. For a signature of another backup, or a malformed one, the error is
// [sign.ErrOtherBackup] or [sign.ErrMalformed], and nothing changes. o.Signers and o.Rescue
// are ignored.
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
