package envelope

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/takumi-backup/takumi-backup/envelope/slot"
	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/stream"
)

var (
	// ErrAltered is returned when a key opens the envelope, but it is not the one that was
	// written for this payload.
	ErrAltered = fail.New(fail.Damaged, "find out who changed it; --rescue opens it, and the payload is authenticated all the same", "the envelope was altered; the payload is not affected")
	// ErrDamagedSlot is returned when the slot of an offered key does not open.
	ErrDamagedSlot = slot.ErrDamaged
	// ErrDamagedHead is returned when a slot opens but its data key does not
	// fit the payload.
	ErrDamagedHead = fail.New(fail.Damaged, "use another copy of this backup, or an older one", "the data key does not fit the payload: the preamble, a slot or the head of the payload is damaged")
	// ErrPreamble is returned when a detached envelope is another backup's.
	ErrPreamble = errors.New("the detached envelope belongs to another backup")
)

// WrongKeyError means that the backup was sealed for none of the identities.
type WrongKeyError struct {
	Wanted  []slot.Holder // for whom the backup has slots
	Offered []slot.Holder // who tried, as far as they have names
}

// Error names the wanted and the offered holders.
func (e *WrongKeyError) Error() string {
	return fmt.Sprintf("wrong key: the backup wants %s, offered %s", list(e.Wanted), list(e.Offered))
}

func list(holders []slot.Holder) string {
	if len(holders) == 0 {
		return "no key"
	}
	var b strings.Builder
	for i, h := range holders {
		switch {
		case i == 0:
			b.WriteString(h.String())
		case h.Type == holders[i-1].Type:
			b.WriteString(", " + h.Name)
		default:
			b.WriteString(", " + h.String())
		}
	}
	return b.String()
}

func (*WrongKeyError) Fail() (fail.Class, string) {
	return fail.Key, "find the key with one of the ids that the backup wants (takumi-backup key id --key URI), and give it with --key"
}

// Options say how to open.
type Options struct {
	// Detached is the envelope next to the backup, if any. It is tried first. When the
	// backup's own is malformed, the payload is assumed to begin after an envelope of
	// Detached's length.
	Detached *Envelope
	// Rescue opens a backup with no more intact than the preamble and one slot, in either
	// envelope, and the payload. It ignores padding, authenticator and slots that do not
	// parse, and looks for the payload wherever one can begin. The payload is still
	// authenticated.
	Rescue bool
	// Find, if set, is asked for identities once the envelope has been read. It gets the
	// holders of the slots, not yet authenticated, and its identities are tried after the
	// given ones. When none opens the backup, it is asked again for the holders that it
	// left out. An error with identities counts only when none of them opens.
	Find func(ctx context.Context, wanted []slot.Holder) ([]Identity, error)
	// Witness, if set, may refuse the backup; only [Open] asks it.
	Witness Witness
}

// Witness knows more of a backup than its envelope, such as a signature. Its errors are
// returned as they are.
type Witness interface {
	// Begin is called when a backup has opened, before anything is released: with the
	// envelope that opened, the offset of the payload, and its salt and commitment.
	Begin(e *Envelope, start int64, payload [stream.HeaderSize]byte) error
	// End is called when the whole payload has verified, before the reader's io.EOF.
	End() error
}

// Opened says how a backup was opened.
type Opened struct {
	Envelope *Envelope   // the one that opened; its preamble is authentic
	Holder   slot.Holder // of the opened slot, such as a key's id
	// Altered is the ErrAltered that Rescue ignored: the slots, and which of them opened,
	// are not authentic.
	Altered error
	// Detached is why the detached envelope was ignored.
	Detached error
	// Start is the offset of the payload in the file, in bytes.
	Start int64
}

// Reader opens the payload in order: the packed stream. See [stream.Reader] for what is
// authenticated when.
type Reader struct {
	*stream.Reader
	Opened
	witness Witness
	said    error // by the witness, at the end; io.EOF for nothing
}

// Open reads the envelope from src, unwraps the data key with the first identity that fits,
// given or from Options.Find, and checks the payload's commitment and then the envelope's
// authenticator. Besides those of [Parse] the errors are *WrongKeyError, ErrDamagedSlot,
// ErrDamagedHead, ErrAltered, [stream.ErrTruncated] and those of src and the identities.
// Reading the payload gives the errors of [stream.Reader]; their offsets count from the
// first byte of the file. The context is for the identities and Find.
func Open(ctx context.Context, src io.Reader, opts Options, identities ...Identity) (*Reader, error) {
	f, err := readFront(src, opts)
	if err != nil {
		return nil, err
	}
	if err := f.fill(src); err != nil {
		return nil, err
	}
	if int64(len(f.text)) < f.starts[0]+stream.HeaderSize {
		return nil, f.fault(stream.ErrTruncated, false)
	}
	r := new(Reader)
	r.Opened, err = f.open(ctx, opts, identities, func(start int64, dataKey, preamble []byte) (err error) {
		if int64(len(f.text)) < start+stream.HeaderSize {
			return stream.ErrCommitment
		}
		r.Reader, err = stream.NewReader(io.MultiReader(bytes.NewReader(f.text[start:]), src), dataKey, preamble)
		return err
	})
	if err != nil {
		return nil, err
	}
	if r.witness = opts.Witness; r.witness != nil {
		if err := r.witness.Begin(r.Envelope, r.Start, r.Header()); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// Read is that of [stream.Reader]. A witness is asked before io.EOF.
func (r *Reader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if err == io.EOF {
		err = r.end()
	}
	return n, locate(err, r.Start)
}

// WriteTo is that of [stream.Reader]. A witness is asked before it returns nil.
func (r *Reader) WriteTo(dst io.Writer) (int64, error) {
	n, err := r.Reader.WriteTo(dst)
	if err == nil {
		if err = r.end(); err == io.EOF {
			err = nil
		}
	}
	return n, locate(err, r.Start)
}

// end returns the witness's error about the whole, or io.EOF. It asks once.
func (r *Reader) end() error {
	if r.said == nil {
		r.said = io.EOF
		if r.witness != nil {
			if err := r.witness.End(); err != nil {
				r.said = err
			}
		}
	}
	return r.said
}

func locate(err error, start int64) error {
	switch e := err.(type) {
	case *stream.ChunkError:
		located := *e
		located.Offset += start
		return &located
	case *stream.TrailingError:
		return &stream.TrailingError{Offset: start + e.Offset}
	}
	return err
}

// ReaderAt opens any part of the payload. See [stream.ReaderAt].
type ReaderAt struct {
	*stream.ReaderAt
	Opened
}

// ReadAt is that of [stream.ReaderAt]; offsets in errors count from the first byte of the
// file.
func (r *ReaderAt) ReadAt(p []byte, off int64) (int, error) {
	n, err := r.ReaderAt.ReadAt(p, off)
	return n, locate(err, r.Start)
}

// OpenAt is Open for random access to a backup of size bytes. It authenticates the final
// chunk, and so the length, first.
func OpenAt(ctx context.Context, src io.ReaderAt, size int64, opts Options, identities ...Identity) (*ReaderAt, error) {
	f, err := readFront(io.NewSectionReader(src, 0, size), opts)
	if err != nil {
		return nil, err
	}
	r, err := f.openAt(ctx, src, size, opts, identities, func([]byte) {})
	return r, err
}

// openAt is the rest of OpenAt, and calls found with the data key.
func (f *front) openAt(ctx context.Context, src io.ReaderAt, size int64, opts Options, identities []Identity, found func(dataKey []byte)) (*ReaderAt, error) {
	if size < f.starts[0]+stream.HeaderSize {
		return nil, f.fault(stream.ErrTruncated, false)
	}
	r := new(ReaderAt)
	var err error
	r.Opened, err = f.open(ctx, opts, identities, func(start int64, dataKey, preamble []byte) (err error) {
		if size < start+stream.HeaderSize {
			return stream.ErrCommitment
		}
		r.ReaderAt, err = stream.NewReaderAt(io.NewSectionReader(src, start, size-start), size-start, dataKey, preamble)
		if err == nil {
			found(dataKey)
		}
		return locate(err, start)
	})
	if err != nil {
		return nil, err
	}
	return r, nil
}
