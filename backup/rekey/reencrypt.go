package rekey

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"slices"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/envelope/sign"
	"github.com/takumi-backup/takumi-backup/envelope/slot"
	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/keystore"
	"github.com/takumi-backup/takumi-backup/stream/pack"
)

// ErrOtherSlots is returned for a backup with holders of a type that no new one has.
var ErrOtherSlots = fail.New(fail.Failed, "name with --to, -r or -R those that are to open it from now on; --drop-other gives them up", "the backup is also sealed for holders of another type than those that are named")

// ReadBackError means that reading the new file back gave other bytes. The old backup is
// unchanged.
type ReadBackError struct{ Reason error }

// Error says what was read instead.
func (e *ReadBackError) Error() string {
	return fmt.Sprintf("reading back the new backup: %v; the old one stays", e.Reason)
}

// Fail is the class and the hint of the error.
func (*ReadBackError) Fail() (fail.Class, string) {
	return fail.Store, "the old backup is as it was; check the disk"
}

// ReencryptOptions say how to re-encrypt.
type ReencryptOptions struct {
	Options
	// ReadBack has the keys of To from where they are kept.
	ReadBack *keystore.Ring
	Pack     *pack.Options // how to pack anew; nil leaves what is packed as it is
	State    *State        // what is done
	// Signers, if set, must have signed the backup. Signer signs anew what they, or without
	// them itself, had signed.
	Signers *sign.Signers
	Signer  ssh.Signer
}

// Reencrypt re-encrypts the backup at path, unless o.State lists it. Created, kind and name
// stay, and so does the codec unless it is repacked.
//
// Every byte of the old payload is authenticated before it goes into the new one, and every
// byte of the new one, by a key that ReadBack fetched, before it replaces the old; each
// other key is checked to open it too. After an error the old backup is unchanged, unless
// the steps after the exchange failed: then the new one is whole.
//
// The errors are those of [backup.Open] and of reading, of the store and of the keys,
// ErrHeld, ErrOtherSlots and *ReadBackError.
func Reencrypt(ctx context.Context, path string, o ReencryptOptions) (Result, error) {
	if o.DryRun {
		return look(ctx, path, o)
	}
	lock, err := Take(o.StateDir, path)
	if err != nil {
		return Result{}, err
	}
	defer lock.Release()
	// First even for finished ones: it completes a killed run.
	dst, err := o.Store.Replace(ctx, path)
	if err != nil {
		return Result{}, err
	}
	defer dst.Abort()
	seen, r, err := done(ctx, path, o)
	if err == nil && r.Skipped != "" {
		err = dst.Abort() // nothing else keeps others off what belongs to the backup
		if beside := seen.Beside; err == nil && beside != nil && beside.ID != r.Old.ID {
			err = o.Store.Put(ctx, path, envelope.DetachedSuffix, beside.Bytes(), nil)
		}
		if err == nil {
			if words := unsign(ctx, o.Store, path, r.Old.ID); words != "" {
				r.warn(words)
			}
		}
	}
	if err != nil || r.Skipped != "" {
		return r, err
	}
	beside, besideErr := backup.Beside(ctx, o.Store, path)
	if besideErr != nil && !o.Rescue { // its holders would lose the backup unseen
		return Result{}, fmt.Errorf("reading the envelope next to it: %w", besideErr)
	}
	if seen != nil && besideErr == nil {
		seen.Beside, _ = envelope.Parse(bytes.NewReader(beside)) // what is no envelope is told of below
	}
	signers, err := o.signersOf(ctx, path)
	if err != nil {
		return Result{}, err
	}
	src, err := backup.Open(ctx, o.Store, path, backup.Options{Keys: o.From, Rescue: o.Rescue, Meter: o.Meter, Signers: signers})
	if err != nil {
		return Result{}, fmt.Errorf("opening it: %w", err)
	}
	defer src.Close()
	r.Old = src.Envelope
	for _, passed := range src.PassedOver() {
		r.warn(fmt.Sprintf("the envelope next to it was passed over: %v", passed))
	}
	if src.Altered != nil {
		r.warn(fmt.Sprintf("%v, and was written anew", src.Altered))
	}
	if err := o.checkSlots(src.Envelope, seen); err != nil {
		return r, err
	}
	label := src.Envelope.Label
	if o.Pack != nil {
		label.Codec = string(o.Pack.Codec)
	}
	w := newWitness(o.To)
	defer w.wipe()
	out, sums := io.Writer(dst), (*sign.Sums)(nil)
	if o.Signer != nil && signers != nil {
		sums = new(sign.Sums)
		out = io.MultiWriter(dst, sums)
	}
	sealing, err := envelope.NewWriter(ctx, out, label, w.recipients...)
	if err != nil {
		return r, err
	}
	if sums != nil {
		sums.Begin(sealing.Envelope(), int64(len(sealing.Envelope().Bytes())))
	}
	was, err := transfer(sealing, src, o.Pack)
	if err != nil {
		return r, fmt.Errorf("re-encrypting: %w", err)
	}
	written, err := dst.Finish()
	if err != nil {
		return r, err
	}
	if err := prove(ctx, dst, sealing.Envelope(), was, w, o); err != nil {
		return r, err
	}
	if err := o.State.add(path, src.Envelope.ID, sealing.Envelope().ID); err != nil {
		return r, err
	}
	if err := dst.Swap(ctx); err != nil {
		return r, err
	}
	r.New, r.Size, r.SHA256 = sealing.Envelope(), written.Size, written.SHA256
	if beside != nil { // it is the old backup's, and nobody's now
		besideErr = o.Store.Put(ctx, path, envelope.DetachedSuffix, beside, nil)
	}
	var signature []byte
	if sums != nil {
		if signature, err = sign.Sign(sums.Statement(time.Now()), o.Signer); err != nil {
			r.warn(fmt.Sprintf("it is not signed anew: %v", err))
		}
	}
	if words := resign(ctx, o.Store, path, signature); words != "" {
		r.warn(words)
	}
	if besideErr != nil {
		r.warn(fmt.Sprintf("the old envelope next to it is still there: %v", besideErr))
	}
	return r, nil
}

// signersOf returns who must have signed the backup at path: Signers, or Signer if it signed
// it, or nobody.
func (o ReencryptOptions) signersOf(ctx context.Context, path string) (*sign.Signers, error) {
	if o.Signers != nil || o.Signer == nil {
		return o.Signers, nil
	}
	text, err := backup.Signature(ctx, o.Store, path)
	if err != nil || text == nil {
		return nil, err
	}
	own := sign.Only(o.Signer.PublicKey())
	if was, err := sign.Parse(text); err == nil {
		if _, err := own.Verify(was); err == nil {
			return own, nil
		}
	}
	return nil, nil
}

// unsign deletes a signature next to the backup with this id that is not of it, as of the
// payload before, and says what became of it.
func unsign(ctx context.Context, st store.Store, path string, id envelope.ID) string {
	text, err := backup.Signature(ctx, st, path)
	if err == nil && text == nil {
		return ""
	}
	if err == nil {
		if s, notOne := sign.Parse(text); notOne == nil && s.ID == id {
			return ""
		}
		err = st.Put(ctx, path, store.SignatureSuffix, text, nil)
	}
	if err != nil {
		return fmt.Sprintf("the signature next to it may be of the old payload: %v", err)
	}
	return unsigned
}

// unsigned is what is said of a backup whose signature went.
const unsigned = "it has no signature any more: takumi-backup sign makes one"

// resign replaces the old payload's signature, nil for none, and says what became of it.
func resign(ctx context.Context, st store.Store, path string, signature []byte) string {
	was, err := backup.Signature(ctx, st, path)
	if err == nil && was == nil && signature == nil {
		return ""
	}
	if err == nil {
		err = st.Put(ctx, path, store.SignatureSuffix, was, signature)
	}
	switch {
	case err != nil:
		return fmt.Sprintf("the signature next to it is of the old payload, and still there: %v", err)
	case signature == nil:
		return unsigned
	}
	return ""
}

// checkSlots fails when a holder of either envelope would lose the backup and no new one is
// of its type.
func (o ReencryptOptions) checkSlots(opened *envelope.Envelope, seen *backup.Seen) error {
	if o.DropOther {
		return nil
	}
	envelopes := []*envelope.Envelope{opened}
	if seen != nil {
		envelopes = append(envelopes, seen.Own, seen.Beside)
	}
	for _, e := range envelopes {
		if e == nil || e.ID != opened.ID {
			continue
		}
		for _, h := range e.Recipients() {
			if !o.renews(h.Type) {
				return fmt.Errorf("%w: %s", ErrOtherSlots, h)
			}
		}
	}
	return nil
}

func look(ctx context.Context, path string, o ReencryptOptions) (Result, error) {
	if _, r, err := done(ctx, path, o); err != nil || r.Skipped != "" {
		return r, err
	}
	seen, err := backup.Look(ctx, o.Store, path, backup.Options{Keys: o.From, Rescue: o.Rescue})
	if err != nil {
		return Result{}, err
	}
	if seen.Opened == nil {
		return Result{}, fmt.Errorf("opening it: %w", seen.Err)
	}
	return Result{Old: seen.Opened.Envelope, Size: seen.Size}, o.checkSlots(seen.Opened.Envelope, seen)
}

// done reports whether an earlier run made the backup at path, and otherwise returns what
// is seen of it without keys. When a new holder is available, it authenticates that it
// opens the backup: the id alone is a claim. One that was rewrapped for others since is not
// done.
func done(ctx context.Context, path string, o ReencryptOptions) (*backup.Seen, Result, error) {
	seen, err := backup.Look(ctx, o.Store, path, backup.Options{})
	if o.Rescue && seen == nil && ctx.Err() == nil {
		return nil, Result{}, nil
	}
	if err != nil {
		return nil, Result{}, fmt.Errorf("opening it: %w", err)
	}
	if seen.Own == nil || !o.State.has(seen.Own.ID) {
		return seen, Result{}, nil
	}
	own := seen.Own
	r := Result{Old: own, Skipped: "done by an earlier run"}
	opened, err := backup.Look(ctx, o.Store, path, backup.Options{Keys: o.ReadBack})
	if err == nil && opened.Opened == nil && o.ReadBack.Opens() {
		err = opened.Err
	}
	if _, others := errors.AsType[*envelope.WrongKeyError](err); others {
		return seen, Result{}, nil
	}
	if err != nil {
		return nil, Result{}, fmt.Errorf("opening what an earlier run made: %w", err)
	}
	r.Size = opened.Size
	return opened, r, nil
}

// witness checks backups that are sealed for recipients alone: it keeps one data key, and
// the slots with it, until wiped.
type witness struct {
	recipients []slot.Recipient
	dataKey    []byte
	slots      []slot.Slot
}

func newWitness(to []slot.Recipient) *witness {
	w := new(witness)
	for _, r := range to {
		w.recipients = append(w.recipients, overheard{r, w})
	}
	return w
}

func (w *witness) wipe() { clear(w.dataKey) }

type overheard struct {
	slot.Recipient
	by *witness
}

func (o overheard) Wrap(ctx context.Context, id slot.ID, dataKey []byte) (slot.Slot, error) {
	s, err := o.Recipient.Wrap(ctx, id, dataKey)
	o.by.dataKey = append(o.by.dataKey[:0], dataKey...)
	o.by.slots = append(o.by.slots, s)
	return s, err
}

// Unwrap opens the slots that it has seen, as they were made.
func (w *witness) Unwrap(_ context.Context, _ slot.ID, s slot.Slot) ([]byte, error) {
	if !slices.ContainsFunc(w.slots, func(made slot.Slot) bool { return made.Line() == s.Line() }) {
		return nil, slot.ErrNotMine
	}
	return bytes.Clone(w.dataKey), nil
}

// digest compares contents. It finds the program's own mistakes and need not resist
// attacks.
type digest struct {
	hash maphash.Hash
	size int64
}

type sum struct {
	hash uint64
	size int64
}

var seed = maphash.MakeSeed()

func newDigest() *digest {
	d := new(digest)
	d.hash.SetSeed(seed)
	return d
}

func (d *digest) Write(p []byte) (int, error) {
	d.size += int64(len(p))
	return d.hash.Write(p)
}

func (d *digest) sum() sum { return sum{d.hash.Sum64(), d.size} }

// content is what a backup holds: packed as it is, or unpacked.
func content(r *envelope.Reader, unpacked bool) (io.WriterTo, error) {
	if !unpacked {
		return r, nil
	}
	return pack.NewReader(r, pack.Codec(r.Envelope.Codec))
}

// sumOf reads the content of a backup to its end.
func sumOf(r *envelope.Reader, unpacked bool) (sum, error) {
	from, err := content(r, unpacked)
	if err != nil {
		return sum{}, err
	}
	d := newDigest()
	_, err = from.WriteTo(d)
	return d.sum(), err
}

// transfer moves the content of src to dst, opening and sealing concurrently, and closes
// dst.
func transfer(dst *envelope.Writer, src *backup.Handle, repack *pack.Options) (sum, error) {
	from, err := content(src.Reader, repack != nil)
	if err != nil {
		return sum{}, err
	}
	var to io.ReaderFrom = dst
	var packing *pack.Writer
	if repack != nil {
		if packing, err = pack.NewWriter(dst, *repack); err != nil {
			return sum{}, err
		}
		to = packing
	}
	out, in := io.Pipe()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, err := from.WriteTo(in)
		in.CloseWithError(err)
	}()
	d := newDigest()
	_, err = to.ReadFrom(io.TeeReader(out, d))
	out.CloseWithError(io.ErrClosedPipe) // who still writes has nobody to read
	<-ended
	if err == nil && packing != nil {
		err = packing.Close()
	}
	if err == nil {
		err = dst.Close()
	}
	return d.sum(), err
}

// prove reads the new file back and compares it with the source.
func prove(ctx context.Context, dst store.Replacement, written *envelope.Envelope, want sum, w *witness, o ReencryptOptions) error {
	keys, err := o.ReadBack.Current(ctx)
	if err != nil {
		return fmt.Errorf("fetching the new key to read back with: %w", err)
	}
	fresh := slot.Identities(keys...)
	for _, i := range o.identities() {
		if _, isKey := i.(*kek.Key); !isKey {
			fresh = append(fresh, i)
		}
	}
	if len(fresh) == 0 {
		fresh = []envelope.Identity{w}
	}
	file, err := dst.Open(ctx)
	if err != nil {
		return err
	}
	defer file.Close()
	if err := readBack(ctx, file, written, want, fresh, o); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return &ReadBackError{err}
	}
	return nil
}

func readBack(ctx context.Context, file store.Object, written *envelope.Envelope, want sum, fresh []envelope.Identity, o ReencryptOptions) error {
	for _, i := range fresh[1:] {
		if _, err := envelope.OpenAt(ctx, file, file.Size(), envelope.Options{}, i); err != nil {
			return err
		}
	}
	r, err := envelope.Open(ctx, o.Meter.Metered(file), envelope.Options{}, fresh[0])
	if err != nil {
		return err
	}
	if r.Envelope.ID != written.ID {
		return fmt.Errorf("its id is %s, not %s", r.Envelope.ID, written.ID)
	}
	got, err := sumOf(r, o.Pack != nil)
	if err != nil {
		return err
	}
	if got != want {
		return fmt.Errorf("its content differs: %d bytes, and %d were written", got.size, want.size)
	}
	return nil
}
