// Package reencrypt gives backups a new data key, a new id and so a new payload,
// and brings files of former tools into the format.
//
// [One] does it to one backup: what was packed goes from the old payload into
// the new one through memory, the new file is read back with keys that were
// fetched again, and only then it takes the place of the old one. [Begin] keeps
// account of what is done, so that a run over a big store that was stopped goes
// on where it was. [Import] reads a file that no sealed backup is.
package rekey

import (
	"context"
	"fmt"
	"hash/maphash"
	"io"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/envelope/slot"
	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/keystore"
	"github.com/takumi-backup/takumi-backup/stream/pack"
)

// ErrOtherSlots is returned for a backup that has holders for which this program
// cannot seal.
var ErrOtherSlots = fail.New(fail.Failed, "--drop-other gives up the slots that this program cannot make anew", "the backup is also sealed for holders that this program cannot seal for")

// ReadBackError says that what was written did not come back from the disk. The
// old backup stands as it was.
type ReadBackError struct{ Reason error }

// Error tells what was read instead.
func (e *ReadBackError) Error() string {
	return fmt.Sprintf("what was written does not come back, and the old backup stays: %v", e.Reason)
}

// Fail is the class and the hint of the error.
func (*ReadBackError) Fail() (fail.Class, string) {
	return fail.Store, "the old backup stands as it was; check the disk"
}

// ReencryptOptions say how to re-encrypt. They serve many backups at once.
type ReencryptOptions struct {
	Place store.Store
	Keys  *keystore.Ring // open the old backups
	To    []*kek.Key     // the new ones are sealed for these
	// ReadBack has the same keys from where they are kept.
	ReadBack  *keystore.Ring
	Pack      *pack.Options // how to pack anew; nil leaves what is packed as it is
	DropOther bool          // passes over ErrOtherSlots: those holders lose the backup
	StateDir  string        // where the locks are
	State     *State        // what is done
	Meter     *backup.Meter // required; it counts what is read of the old file and of the new one
	DryRun    bool          // opens and authenticates, and changes nothing
}

// ReencryptResult is what One did.
type ReencryptResult struct {
	Old, New *envelope.Envelope // New is nil after a dry run, and when Done
	Done     bool               // an earlier run had done it
	Size     int64              // of the new file
	SHA256   string
	Warnings []string
}

// One re-encrypts the backup at path, unless o.State has it. Created, kind and
// name stay, and the codec when nothing is packed anew.
//
// Every byte of the old payload is authenticated before it goes into the new
// one, and every byte of the new one before it takes the place of the old, with
// a key that ReadBack fetched; that each of the others opens it is proved too.
// With an error the old backup stands as it was, but when the very last steps
// fail, after the exchange: then the new one stands there whole. A kill leaves
// the one or the other; see [store.Replacement].
//
// The errors are those of [backup.Open] and of reading what it opens, of the
// place and of the keys, [ErrHeld], ErrOtherSlots and *ReadBackError.
func Reencrypt(ctx context.Context, path string, o ReencryptOptions) (ReencryptResult, error) {
	if o.DryRun {
		return look(ctx, path, o)
	}
	lock, err := Take(o.StateDir, path)
	if err != nil {
		return ReencryptResult{}, err
	}
	defer lock.Release()
	// It comes first also for what is done: a killed run is finished by it.
	dst, err := o.Place.Replace(ctx, path)
	if err != nil {
		return ReencryptResult{}, err
	}
	defer dst.Abort()
	if r, err := done(ctx, path, o); err != nil || r.Done {
		return r, err
	}
	beside, besideErr := backup.Beside(ctx, o.Place, path)
	src, err := backup.Open(ctx, o.Place, path, backup.Options{Keys: o.Keys, Meter: o.Meter})
	if err != nil {
		return ReencryptResult{}, fmt.Errorf("opening it: %w", err)
	}
	defer src.Close()
	r := ReencryptResult{Old: src.Envelope}
	for _, passed := range []error{src.Beside, src.Detached} {
		if passed != nil {
			r.Warnings = append(r.Warnings, fmt.Sprintf("the envelope beside it was passed over: %v", passed))
		}
	}
	if err := o.checkSlots(src.Envelope); err != nil {
		return r, err
	}
	label := src.Envelope.Label
	if o.Pack != nil {
		label.Codec = string(o.Pack.Codec)
	}
	sealing, err := envelope.NewWriter(ctx, dst, label, slot.Recipients(o.To...)...)
	if err != nil {
		return r, err
	}
	was, err := transfer(sealing, src, o.Pack)
	if err != nil {
		return r, fmt.Errorf("re-encrypting: %w", err)
	}
	written, err := dst.Finish()
	if err != nil {
		return r, err
	}
	if err := prove(ctx, dst, sealing.Envelope(), was, o); err != nil {
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
		besideErr = o.Place.RemoveBeside(ctx, path, envelope.DetachedSuffix, beside)
	}
	if besideErr != nil {
		r.Warnings = append(r.Warnings, fmt.Sprintf("the old envelope beside it is still there: %v", besideErr))
	}
	return r, nil
}

func (o ReencryptOptions) checkSlots(e *envelope.Envelope) error {
	if others := e.OtherSlots(); len(others) > 0 && !o.DropOther {
		return fmt.Errorf("%w: slots of type %v", ErrOtherSlots, others)
	}
	return nil
}

// look is One that changes nothing.
func look(ctx context.Context, path string, o ReencryptOptions) (ReencryptResult, error) {
	if r, err := done(ctx, path, o); err != nil || r.Done {
		return r, err
	}
	seen, err := backup.Look(ctx, o.Place, path, backup.Options{Keys: o.Keys})
	if err != nil {
		return ReencryptResult{}, err
	}
	if seen.Opened == nil {
		return ReencryptResult{}, fmt.Errorf("opening it: %w", seen.Err)
	}
	return ReencryptResult{Old: seen.Opened.Envelope, Size: seen.Size}, o.checkSlots(seen.Opened.Envelope)
}

// done tells whether an earlier run put the backup at path there. That it opens
// with the new keys is authenticated: what its id says is a claim until then.
func done(ctx context.Context, path string, o ReencryptOptions) (r ReencryptResult, err error) {
	seen, err := backup.Look(ctx, o.Place, path, backup.Options{})
	if err != nil {
		return r, fmt.Errorf("opening it: %w", err)
	}
	if seen.Own == nil || !o.State.has(seen.Own.ID) {
		return r, nil
	}
	if seen, err = backup.Look(ctx, o.Place, path, backup.Options{Keys: o.ReadBack}); err == nil && seen.Opened == nil {
		err = seen.Err
	}
	if err != nil {
		return r, fmt.Errorf("opening what an earlier run made: %w", err)
	}
	if beside := seen.Beside; !o.DryRun && beside != nil && beside.ID != seen.Own.ID {
		err = o.Place.RemoveBeside(ctx, path, envelope.DetachedSuffix, beside.Bytes())
	}
	return ReencryptResult{Old: seen.Own, Done: true, Size: seen.Size}, err
}

// digest tells one content from another. It finds this program's own mistakes,
// so nobody has to be kept from making two that are alike.
type digest struct {
	hash maphash.Hash
	size int64
}

// sum is what two equal contents have in common, in one process.
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

// transfer moves the content of src to dst, and closes dst. Opening and sealing
// run beside each other.
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

// prove reads the new file back and compares it with what went in.
func prove(ctx context.Context, dst store.Replacement, written *envelope.Envelope, want sum, o ReencryptOptions) error {
	fresh, err := o.ReadBack.Current(ctx)
	if err != nil {
		return fmt.Errorf("fetching the new key to read back with: %w", err)
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

func readBack(ctx context.Context, file store.Object, written *envelope.Envelope, want sum, fresh []*kek.Key, o ReencryptOptions) error {
	for _, key := range fresh[1:] {
		if _, err := envelope.OpenAt(ctx, file, file.Size(), envelope.Options{}, key); err != nil {
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
	from, err := content(r, o.Pack != nil)
	if err != nil {
		return err
	}
	d := newDigest()
	if _, err := from.WriteTo(d); err != nil {
		return err
	}
	if d.sum() != want {
		return fmt.Errorf("its content differs: %d bytes, and %d were written", d.size, want.size)
	}
	return nil
}
