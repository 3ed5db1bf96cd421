// Rewrapping changes the keys that open a backup, and leaves its payload as it is.
//
// # What a kill leaves
//
// The new envelope is first written beside the backup, then over the old one,
// then the sidecar is renewed, and last what stands beside it is removed. Killed
// at any moment, this leaves a backup that opens with the keys that it had, or
// with the new ones: a reader tries the envelope beside it, and then its own. The
// sidecar may be the old one; the same call finishes all of it.
//
// A sidecar is renewed only for what has proved good: by the old sidecar, or where
// there is none, or an interrupted rewrap has left one that cannot fit, by the tag
// of every chunk.
package rekey

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/envelope/slot"
	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/keystore"
)

var (
	// ErrRot is returned for a backup whose sidecar is another file's.
	ErrRot = fail.New(fail.Damaged, "use another copy of this backup; if a reencrypt of it was interrupted, run that again", "it does not match its sidecar: it was damaged, or replaced, since it was written")
	// ErrBeside is returned when what stands beside a backup as its envelope
	// cannot be taken into account.
	ErrBeside = errors.New("the envelope beside it does not open with these keys, and would be lost")
	// ErrForeign is returned when what stands beside a backup as its envelope is none of it.
	ErrForeign = fail.New(fail.Failed, "", "it is not this backup's envelope, and is not written over: when you know whose it is, delete it")
	// ErrLinked is returned for a file that has several names, in place.
	ErrLinked = fail.New(fail.Failed, "", "the file has further names (hard links), whose sidecars would be wrong then: use --detached, or copy it first")
)

// RewrapOptions say for which keys, and how.
type RewrapOptions struct {
	Place store.Store
	State string         // the folder of locks
	From  *keystore.Ring // opens; To is tried too
	To    []*kek.Key

	KeepOld   bool // see [envelope.RewrapOptions]
	DropOther bool
	// Detached leaves the backup itself and its sidecar untouched for good: the
	// new envelope stays beside it.
	Detached bool
	// DryRun finds out whether the keys fit and the sidecar has a good form, and
	// does not read the payload.
	DryRun bool

	Meter *backup.Meter // counts what is read of the payload; not nil
}

// RewrapResult says what was done.
type RewrapResult struct {
	Old      *envelope.Envelope // what the backup opened with; authentic
	New      *envelope.Envelope // nil when it was skipped
	Skipped  string             // why nothing was to be done
	Warnings []string
	Size     int64
	SHA256   string // of the file, when it was read
}

// Rewrap rewraps the backup at path. One that is for the very keys already is
// skipped, unless a crash has left something beside it, or its sidecar cannot be
// that of the file as it is. Besides those of the place and of [envelope.Rewrap],
// the errors are ErrRot, ErrBeside, ErrForeign, ErrLinked, [ErrHeld] and
// [store.ErrChanged]; after any of them the backup opens as before, or with the new
// keys.
func Rewrap(ctx context.Context, path string, o RewrapOptions) (*RewrapResult, error) {
	lock, err := Take(o.State, path)
	if err != nil {
		return nil, err
	}
	defer lock.Release()
	if !store.IsRemote(path) { // what belongs to it stands beside the file, not beside a link to it
		if path, err = filepath.EvalSymlinks(path); err != nil {
			return nil, fmt.Errorf("looking for the backup: %w", err)
		}
		if err = onlyName(path); err != nil && !o.Detached {
			return nil, err
		}
	}
	j := &job{RewrapOptions: o, path: path}
	if j.file, err = o.Place.Open(ctx, path); err != nil {
		return nil, err
	}
	defer j.file.Close()
	if err := j.wrap(ctx); err != nil {
		return nil, err
	}
	j.Size = j.file.Size()
	done := j.w.Current && (o.Detached || j.text == nil)
	if !o.Detached && (done || o.DryRun) {
		if done, err = j.glance(ctx, done); err != nil {
			return nil, err
		}
	}
	switch {
	case done:
		j.Skipped, j.New = "it is for these keys already", nil
		err = j.settle(ctx)
	case o.DryRun:
	case o.Detached:
		err = j.detach(ctx)
	default:
		err = j.inPlace(ctx)
	}
	if err != nil {
		return nil, err
	}
	if o.Detached && j.w.Own == nil {
		j.Warnings = append(j.Warnings, "its own envelope is torn; only the one beside it opens it, and rewrapping without --detached mends it")
	}
	return &j.RewrapResult, nil
}

// onlyName fails with ErrLinked when the file at path has another name.
func onlyName(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("looking for the backup: %w", err)
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && stat.Nlink > 1 {
		return ErrLinked
	}
	return nil
}

// job is the work on one backup.
type job struct {
	RewrapOptions
	RewrapResult
	path   string
	file   store.Object
	text   []byte             // what stands beside it as an envelope, nil when nothing does
	beside *envelope.Envelope // the same
	w      *envelope.Rewrapped
}

func (j *job) openOptions() envelope.Options {
	return envelope.Options{Detached: j.beside, Find: func(ctx context.Context, wanted []slot.Holder) ([]envelope.Identity, error) {
		var found []envelope.Identity
		if j.beside != nil { // a key for its own slots would do for the ring, and not here
			found, _ = j.From.Identities(ctx, j.beside.Holders())
		}
		more, err := j.From.Identities(ctx, wanted)
		return slices.Concat(found, more, slot.Identities(j.To...)), err
	}}
}

// wrap opens the backup and makes the new envelope.
func (j *job) wrap(ctx context.Context) (err error) {
	if j.text, err = backup.Beside(ctx, j.Place, j.path); err != nil {
		return err
	}
	if j.text != nil {
		if j.beside, err = envelope.Parse(bytes.NewReader(j.text)); err != nil {
			return fmt.Errorf("%s%s: %w: %v", j.path, envelope.DetachedSuffix, ErrForeign, err)
		}
	}
	how := envelope.RewrapOptions{KeepOld: j.KeepOld, DropOther: j.DropOther, Grow: j.Detached}
	if j.w, err = envelope.Rewrap(ctx, j.file, j.file.Size(), j.openOptions(), how, slot.Recipients(j.To...)...); err != nil {
		return err
	}
	switch passed := j.w.Opened.Detached; {
	case errors.Is(passed, envelope.ErrPreamble): // and the backup's own is authentic
		return fmt.Errorf("%s%s: %w: %v", j.path, envelope.DetachedSuffix, ErrForeign, passed)
	case passed != nil:
		class, hint := fail.Inner(passed, fail.Failed, "name with --from the key that opens it")
		return fail.As(class, hint, fmt.Errorf("%s%s: %w: %w", j.path, envelope.DetachedSuffix, ErrBeside, passed))
	}
	j.Old, j.New = j.w.Envelope, j.w.New
	return nil
}

// inPlace proves the file, and then writes the new envelope over the old one.
func (j *job) inPlace(ctx context.Context) error {
	was, is, err := j.sums()
	if err != nil {
		return fmt.Errorf("reading it: %w", err)
	}
	return j.reserved(ctx, func() error {
		if err := j.prove(ctx, was); err != nil {
			return err
		}
		return j.overwrite(ctx, is)
	})
}

// overwrite writes the new envelope; sum is that of the file afterwards.
func (j *job) overwrite(ctx context.Context, sum [sha256.Size]byte) error {
	if err := j.putBeside(ctx); err != nil {
		return err
	}
	if err := j.Place.Overwrite(ctx, j.path, j.file, j.New.Bytes(), sum); err != nil {
		return also(err, j.undo(context.WithoutCancel(ctx), err))
	}
	head, err := j.head(ctx, len(j.New.Bytes()))
	if err == nil && !bytes.Equal(head, j.New.Bytes()) {
		err = store.ErrChanged
	}
	if err != nil {
		return fmt.Errorf("reading the new envelope back; the one beside it stays: %w", err)
	}
	j.SHA256 = hex.EncodeToString(sum[:])
	return j.removeBeside(ctx)
}

// also adds to err that tidying up after it failed as well.
func also(err, tidying error) error {
	if tidying == nil {
		return err
	}
	return fmt.Errorf("%w (and then: %v)", err, tidying)
}

// head returns what stands in the first size bytes of the backup now.
func (j *job) head(ctx context.Context, size int) ([]byte, error) {
	now, err := j.Place.Open(ctx, j.path)
	if err != nil {
		return nil, err
	}
	defer now.Close()
	head := make([]byte, size)
	_, err = now.ReadAt(head, 0)
	if err == io.EOF {
		err = nil
	}
	return head, err
}

// undo puts back what stood beside the backup, if that is all that has changed.
// When its head may be torn, or is new, the new envelope has to stay there.
func (j *job) undo(ctx context.Context, why error) error {
	head, err := j.head(ctx, len(j.New.Bytes()))
	switch {
	case errors.Is(why, store.ErrBusy): // whoever is there may count on what is beside it
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return j.removeBeside(ctx)
	case err != nil || bytes.Equal(head, j.New.Bytes()):
		return nil
	case j.w.Own != nil && bytes.Equal(head, j.w.Own.Bytes()):
		if j.text == nil {
			return j.removeBeside(ctx)
		}
		return j.Place.PutBeside(ctx, j.path, envelope.DetachedSuffix, j.text)
	case errors.Is(why, store.ErrChanged): // another backup, or one with other slots
		return j.removeBeside(ctx)
	}
	return nil
}
