package envelope

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/internal/parallel"
	"github.com/takumi-backup/takumi-backup/stream"
)

var (
	// ErrAltered is returned when the envelope is not the one that was written
	// for this payload, although a key opens it.
	ErrAltered = errors.New("the envelope was altered; the payload is not affected")
	// ErrDamagedSlot is returned when the slot of an offered key does not open.
	ErrDamagedSlot = errors.New("the slot of the offered key does not open: the slot or the id line is damaged, or the slot is another backup's")
	// ErrDamagedHead is returned when a slot opens but its data key does not
	// fit the payload.
	ErrDamagedHead = errors.New("the data key does not fit the payload: the preamble, a slot or the head of the payload is damaged")
	// ErrPreamble is returned when a detached envelope is another backup's.
	ErrPreamble = errors.New("the detached envelope belongs to another backup")
)

// WrongKeyError says that none of the offered keys is one that the backup was
// sealed for.
type WrongKeyError struct {
	Wanted  []kek.ID // the keys that the backup has slots for
	Offered []kek.ID
	Other   []string // types of slots that this version cannot open
}

// Error names the ids that were wanted and those that were offered.
func (e *WrongKeyError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "wrong key: the backup wants %s, offered %s", idList(e.Wanted), idList(e.Offered))
	if len(e.Other) > 0 {
		fmt.Fprintf(&b, "; it also has slots that this program cannot open: %s", strings.Join(e.Other, ", "))
	}
	return b.String()
}

func idList(ids []kek.ID) string {
	if len(ids) == 0 {
		return "no key"
	}
	words := make([]string, len(ids))
	for i, id := range ids {
		words[i] = string(id)
	}
	return "key " + strings.Join(words, ", ")
}

// Options say how to open.
type Options struct {
	// Detached is the envelope that stands beside the backup, if there is one.
	// It is tried first. When the backup's own has no good form, because a rewrap
	// in place was interrupted, the payload is taken to begin where one of
	// Detached's length would end.
	Detached *Envelope
	// Rescue opens a backup in spite of an altered envelope. The payload is
	// authenticated all the same.
	Rescue bool
	// Find, if it is set, is asked for keys once the envelope has been read. It
	// gets the ids that the slots carry, which nothing has authenticated yet,
	// and what it returns is tried after the keys that are there already. An
	// error beside keys counts only when none of the keys opens the backup.
	Find func(wanted []kek.ID) ([]*kek.Key, error)
}

// find adds the keys that Find knows of.
func (o Options) find(embedded *Envelope, keys []*kek.Key) ([]*kek.Key, error) {
	if o.Find == nil {
		return keys, nil
	}
	var wanted []kek.ID
	for _, e := range []*Envelope{embedded, o.Detached} {
		if e == nil {
			continue
		}
		for _, id := range e.KeyIDs() {
			if !slices.Contains(wanted, id) {
				wanted = append(wanted, id)
			}
		}
	}
	found, err := o.Find(wanted)
	return append(slices.Clip(keys), found...), err
}

// Opened says how a backup was opened.
type Opened struct {
	Envelope *Envelope // the one that opened; its preamble is authentic
	KeyID    kek.ID    // of the key that opened it
	// Altered holds ErrAltered when Rescue passed over it: the slots, and which
	// of them opened, are then not authentic.
	Altered error
	// Detached says why the detached envelope, if there was one, was passed over.
	Detached error
}

// Reader opens the payload of a backup in order: the packed stream. See
// [stream.Reader] for what is authenticated when.
type Reader struct {
	*stream.Reader
	Opened
	start int64 // of the payload in the file
}

// Open reads the envelope from src, unwraps the data key with the first of the
// keys, or of those that Options.Find gives, that fits, and checks the payload's commitment and then the envelope's
// authenticator. Besides those of [Parse] the errors are *WrongKeyError,
// ErrDamagedSlot, ErrDamagedHead, ErrAltered, [stream.ErrTruncated] and those of
// src. Reading the payload then gives the errors of [stream.Reader]; their
// offsets count from the first byte of the file.
func Open(src io.Reader, opts Options, keys ...*kek.Key) (*Reader, error) {
	own, text, err := parse(src)
	h, err := opts.head(own, err)
	if err != nil {
		return nil, err
	}
	if own == nil { // of what was read, the payload's part is still to come
		src = io.MultiReader(bytes.NewReader(text), src)
		if _, err := io.CopyN(io.Discard, src, h.size); err != nil && err != io.EOF {
			return nil, fmt.Errorf("reading the envelope: %w", err)
		}
	}
	header := make([]byte, stream.HeaderSize)
	if n, err := parallel.ReadFull(src, header); n < len(header) && err != io.EOF {
		return nil, fmt.Errorf("reading the head of the payload: %w", err)
	} else if n < len(header) {
		return nil, h.fault(stream.ErrTruncated, false)
	}
	r := &Reader{start: h.size}
	r.Opened, err = h.open(opts, keys, func(dataKey, preamble []byte) (err error) {
		r.Reader, err = stream.NewReader(io.MultiReader(bytes.NewReader(header), src), dataKey, preamble)
		return err
	})
	if err != nil {
		return nil, err
	}
	return r, nil
}

// Read is that of [stream.Reader].
func (r *Reader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	return n, locate(err, r.start)
}

// WriteTo is that of [stream.Reader].
func (r *Reader) WriteTo(dst io.Writer) (int64, error) {
	n, err := r.Reader.WriteTo(dst)
	return n, locate(err, r.start)
}

// locate makes a payload's offsets those of the file.
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

// ReaderAt opens any part of the payload of a backup. See [stream.ReaderAt].
type ReaderAt struct {
	*stream.ReaderAt
	Opened
	start int64 // of the payload in the file
}

// ReadAt is that of [stream.ReaderAt], with offsets in errors that count from
// the first byte of the file.
func (r *ReaderAt) ReadAt(p []byte, off int64) (int, error) {
	n, err := r.ReaderAt.ReadAt(p, off)
	return n, locate(err, r.start)
}

// OpenAt is Open for random access to a backup of size bytes. It authenticates
// the final chunk, and so the length, before it returns.
func OpenAt(src io.ReaderAt, size int64, opts Options, keys ...*kek.Key) (*ReaderAt, error) {
	r, _, err := openAt(src, size, opts, keys, func([]byte) {})
	return r, err
}

// openAt is OpenAt, and calls found with the data key.
func openAt(src io.ReaderAt, size int64, opts Options, keys []*kek.Key, found func(dataKey []byte)) (*ReaderAt, head, error) {
	own, _, err := parse(io.NewSectionReader(src, 0, size))
	h, err := opts.head(own, err)
	if err != nil {
		return nil, h, err
	}
	if size < h.size+stream.HeaderSize {
		return nil, h, h.fault(stream.ErrTruncated, false)
	}
	payload := io.NewSectionReader(src, h.size, size-h.size)
	r := &ReaderAt{start: h.size}
	r.Opened, err = h.open(opts, keys, func(dataKey, preamble []byte) (err error) {
		r.ReaderAt, err = stream.NewReaderAt(payload, payload.Size(), dataKey, preamble)
		if err == nil {
			found(dataKey)
		}
		return locate(err, h.size)
	})
	if err != nil {
		return nil, h, err
	}
	return r, h, nil
}

// openEither tries the detached envelope, then the embedded one. When neither
// opens, the error tells of both.
func openEither(embedded *Envelope, opts Options, keys []*kek.Key, try func(dataKey, preamble []byte) error) (Opened, error) {
	if opts.Detached == nil {
		return embedded.open(opts.Rescue, keys, try)
	}
	passedOver := ErrPreamble
	fits := opts.Detached.samePreamble(embedded)
	for _, rescue := range []bool{false, opts.Rescue} { // what needs no rescue comes first
		if fits {
			var o Opened
			if o, passedOver = opts.Detached.open(rescue, keys, try); passedOver == nil {
				return o, nil
			}
		}
		o, err := embedded.open(rescue, keys, try)
		o.Detached = passedOver
		if err == nil {
			return o, nil
		}
		if rescue == opts.Rescue {
			return Opened{}, bothFail(err, passedOver)
		}
	}
	panic("envelope: unreachable")
}

// bothFail joins why the embedded envelope does not open and why the detached one
// does not. The embedded one's counts, for it is always there; unless no offered
// key is for it, and one is for the detached one.
func bothFail(embedded, detached error) error {
	var ofEmbedded, ofDetached *WrongKeyError
	ownKey, besideKey := !errors.As(embedded, &ofEmbedded), !errors.As(detached, &ofDetached)
	switch {
	case embedded.Error() == detached.Error():
		return embedded
	case !ownKey && !besideKey:
		all := *ofDetached
		for _, id := range ofEmbedded.Wanted {
			if !slices.Contains(all.Wanted, id) {
				all.Wanted = append(all.Wanted, id)
			}
		}
		return &all
	case !ownKey && !errors.Is(detached, ErrPreamble):
		return fmt.Errorf("with the envelope beside it: %w; and with its own: %v", detached, embedded)
	}
	return fmt.Errorf("%w; and the envelope beside it was passed over: %v", embedded, detached)
}

// open follows "Opening" in docs/FORMAT.md. try joins a data key with the
// payload and returns stream.ErrCommitment when they do not fit.
func (e *Envelope) open(rescue bool, keys []*kek.Key, try func(dataKey, preamble []byte) error) (Opened, error) {
	var fault error // the best explanation so far
	for _, c := range e.candidates(keys) {
		dataKey, err := e.unwrap(c.slot, c.key)
		if err != nil {
			if c.named && fault == nil {
				fault = ErrDamagedSlot
			}
			continue
		}
		defer clear(dataKey)
		if err := try(dataKey, e.preamble()); errors.Is(err, stream.ErrCommitment) {
			fault = ErrDamagedHead
			continue
		} else if err != nil {
			return Opened{}, err
		}
		o := Opened{Envelope: e, KeyID: c.key.ID()}
		if !c.named || !e.authentic(dataKey) {
			if !rescue {
				return Opened{}, ErrAltered
			}
			o.Altered = ErrAltered
		}
		return o, nil
	}
	if fault != nil {
		return Opened{}, fault
	}
	offered := make([]kek.ID, len(keys))
	for i, k := range keys {
		offered[i] = k.ID()
	}
	return Opened{}, &WrongKeyError{Wanted: e.KeyIDs(), Offered: offered, Other: e.OtherSlots()}
}

// candidate is a slot and a key to try on it. Named says that the slot carries
// the key's id.
type candidate struct {
	slot  Slot
	key   *kek.Key
	named bool
}

// candidates lists, in file order, the slots that carry an offered key's id,
// and after them every other combination.
func (e *Envelope) candidates(keys []*kek.Key) []candidate {
	var named, others []candidate
	for _, s := range e.Slots {
		if s.Type != keySlotType {
			continue
		}
		for _, k := range keys {
			if s.keyID() == k.ID() {
				named = append(named, candidate{s, k, true})
			} else {
				others = append(others, candidate{s, k, false})
			}
		}
	}
	return append(named, others...)
}

// unwrap opens a key slot.
func (e *Envelope) unwrap(s Slot, k *kek.Key) ([]byte, error) {
	wrapped, err := base64.StdEncoding.DecodeString(s.Args[1])
	if err != nil {
		return nil, err
	}
	dataKey, err := stream.Open(k.Bytes(), e.slotContext(), wrapped)
	if err != nil {
		return nil, err
	}
	if len(dataKey) != dataKeySize {
		return nil, stream.ErrKeySize
	}
	return dataKey, nil
}

// authentic checks the auth line.
func (e *Envelope) authentic(dataKey []byte) bool {
	message, err := stream.Open(dataKey, append([]byte(authContext), e.beforeAuth()...), e.auth[:])
	return err == nil && len(message) == 0
}
