package rekey

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
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
	"github.com/takumi-backup/takumi-backup/internal/store/local"
)

var (
	// ErrRot is returned for a backup whose sidecar is another file's.
	ErrRot = fail.New(fail.Damaged, "use another copy of this backup, or --rescue, which authenticates every byte of it and renews the sidecar", "it does not match its sidecar: it was damaged, or replaced, since it was written")
	// ErrBeside is returned for a detached envelope that would be lost.
	ErrBeside = errors.New("the envelope next to it does not open with these keys, and would be lost")
	// ErrForeign is returned for a detached envelope of another backup.
	ErrForeign = fail.New(fail.Failed, "", "it is not this backup's envelope, and is not written over: when you know whose it is, delete it")
)

// RewrapOptions are for which keys, and how. To is also tried to open a backup.
type RewrapOptions struct {
	Options
	KeepOld bool // see [envelope.RewrapOptions]
	// Detached leaves the backup and its sidecar untouched: the new envelope goes next to
	// it.
	Detached bool
}

// Rewrap gives the backup at path slots for the new keys. It skips one that has them,
// unless a detached envelope must go, or the sidecar is missing or wrong.
//
// Every byte is checked before the new file replaces the old: by the sidecar or else by the
// tag of every chunk. Slots of unknown kinds are kept; where that is impossible, in the
// envelope that did not open, the error is ErrOtherSlots.
//
// Besides those of the store and of [envelope.Rewrap], the errors are ErrRot, ErrBeside,
// ErrForeign, ErrOtherSlots, ErrHeld, *ReadBackError and [store.ErrChanged]; after any of
// them the backup opens as before, or with the new keys.
func Rewrap(ctx context.Context, path string, o RewrapOptions) (Result, error) {
	lock, err := Take(o.StateDir, path)
	if err != nil {
		return Result{}, err
	}
	defer lock.Release()
	j := &job{RewrapOptions: o, path: path}
	if !store.IsRemote(path) { // companions are next to the file, not next to a link to it
		if j.path, err = filepath.EvalSymlinks(path); err != nil {
			return Result{}, fmt.Errorf("looking for the backup: %w", err)
		}
	}
	if !o.Detached && !o.DryRun {
		// First even for finished ones: it completes a killed run.
		if j.dst, err = o.Store.Replace(ctx, j.path); err != nil {
			return Result{}, err
		}
		defer j.dst.Abort()
	}
	if j.file, err = o.Store.Open(ctx, j.path); err != nil {
		return Result{}, err
	}
	defer j.file.Close()
	if err := j.run(ctx); err != nil {
		return Result{}, err
	}
	return j.Result, nil
}

type job struct {
	RewrapOptions
	Result
	path   string
	dst    store.Replacement // what takes the place of the file, nil when nothing does
	file   store.Object
	text   []byte             // the detached envelope, nil when there is none
	beside *envelope.Envelope // the same
	w      *envelope.Rewrapped
}

func (j *job) run(ctx context.Context) error {
	if err := j.wrap(ctx); err != nil {
		return err
	}
	j.Old, j.New, j.Size = j.w.Envelope, j.w.New, j.file.Size()
	if j.Detached && j.w.Own == nil {
		j.warn("its own envelope is damaged; rewrap it without --detached, which heals it")
	}
	side, err := j.sidecar(ctx)
	if err != nil {
		return err
	}
	current := j.w.Current && (j.Detached || j.text == nil && side.names(j.path))
	switch {
	case !j.Detached && side != nil && side.sum == "" && !j.Rescue:
		return ErrRot
	case current:
		j.Skipped, j.New = "it is for these keys already", nil
		return j.cleanUp(ctx)
	case j.DryRun:
		if side == nil && !j.Detached {
			j.warn("it has no sidecar; every byte of it will be authenticated")
		}
		return nil
	case j.Detached:
		return j.detach(ctx)
	}
	return j.replace(ctx, side)
}

func (j *job) open() envelope.Options {
	return envelope.Options{Detached: j.beside, Rescue: j.Rescue, Find: func(ctx context.Context, wanted []slot.Holder) ([]envelope.Identity, error) {
		var found []envelope.Identity
		if j.beside != nil { // the ring would accept a key of the backup's own slots
			found, _ = j.From.Identities(ctx, j.beside.Holders())
		}
		more, err := j.From.Identities(ctx, wanted)
		return slices.Concat(found, more, j.identities()), err
	}}
}

func (j *job) wrap(ctx context.Context) (err error) {
	if j.text, err = backup.Beside(ctx, j.Store, j.path); err != nil {
		return err
	}
	foreign := func(why error) error {
		return fmt.Errorf("%s%s: %w: %v", j.path, envelope.DetachedSuffix, ErrForeign, why)
	}
	if j.text != nil {
		read := envelope.Parse
		if j.Rescue {
			read = envelope.ParseRescue
		}
		if j.beside, err = read(bytes.NewReader(j.text)); err != nil {
			return foreign(err)
		}
	}
	how := envelope.RewrapOptions{KeepOld: j.KeepOld, DropOther: j.DropOther, Grow: true}
	if j.w, err = envelope.Rewrap(ctx, j.file, j.file.Size(), j.open(), how, j.To...); err != nil {
		return err
	}
	switch passed := j.w.Opened.Detached; {
	case errors.Is(passed, envelope.ErrPreamble): // and the backup's own is authentic
		return foreign(passed)
	case passed != nil && (!j.Rescue || errors.As(passed, new(*envelope.WrongKeyError))):
		class, hint := fail.Inner(passed, fail.Failed, "name with --from the key that opens it")
		return fail.As(class, hint, fmt.Errorf("%s%s: %w: %w", j.path, envelope.DetachedSuffix, ErrBeside, passed))
	}
	return j.holders()
}

func (j *job) holders() error {
	for _, h := range j.w.Dropped {
		known := slices.Contains(j.w.Envelope.Holders(), h)
		switch {
		case j.Detached: // which leaves the backup's own slots
		case h.Type != kek.SlotType && !j.DropOther && !j.Rescue && !j.renews(h.Type):
			return fmt.Errorf("%w: its other envelope has a slot for %s; give --drop-other to let that go", ErrOtherSlots, h)
		case j.Rescue || !known:
			j.warn(fmt.Sprintf("%s opens it no more", h))
		}
	}
	if j.w.Altered != nil {
		j.warn(fmt.Sprintf("%v, and was written anew", j.w.Altered))
	}
	return nil
}

// renews reports whether the new holders replace slots of this type.
func (o *Options) renews(slotType string) bool {
	return slices.ContainsFunc(o.To, func(r slot.Recipient) bool {
		h, known := slot.HolderOf(r)
		return known && h.Type == slotType
	})
}

// replace writes the file with the new envelope, checks it, and swaps it with the old one.
func (j *job) replace(ctx context.Context, side *sidecar) error {
	if !store.IsRemote(j.path) && hasOtherNames(j.path) {
		j.warn("the file has further names (hard links), which stay with the old keys")
	}
	was := sha256.New()
	if _, err := io.Copy(was, io.NewSectionReader(j.file, 0, j.w.Start)); err != nil {
		return fmt.Errorf("reading it: %w", err)
	}
	if _, err := j.dst.Write(j.New.Bytes()); err != nil {
		return noRoom(err)
	}
	if err := j.dst.CopyFrom(ctx, j.w.Start, io.MultiWriter(was, counter{j.Meter})); err != nil {
		return noRoom(err)
	}
	proved, err := j.compare(side, was)
	if err != nil {
		return err
	}
	written, err := j.dst.Finish()
	if err != nil {
		return noRoom(err)
	}
	if err := j.readBack(ctx, proved); err != nil {
		return err
	}
	// Another host may have made a detached envelope since.
	if now, err := backup.Beside(ctx, j.Store, j.path); err != nil {
		return err
	} else if !bytes.Equal(now, j.text) || (now == nil) != (j.text == nil) {
		return fmt.Errorf("%s%s: %w", j.path, envelope.DetachedSuffix, store.ErrChanged)
	}
	if err := j.dst.Swap(ctx); err != nil {
		return err
	}
	j.Size, j.SHA256 = written.Size, written.SHA256
	if j.text == nil {
		return nil
	}
	if err := j.Store.Put(ctx, j.path, envelope.DetachedSuffix, j.text, nil); err != nil {
		return fmt.Errorf("it is for the new keys, and the former envelope next to it is still there: %w", err)
	}
	return nil
}

func noRoom(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fail.As(fail.Store, "make room for a second copy of the backup, or give --detached, which needs none", err)
	}
	return err
}

func hasOtherNames(path string) bool {
	info, err := os.Stat(path)
	if err != nil {
		return false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && stat.Nlink > 1
}

// compare compares the bytes with the sidecar. Without one, or in a rescue of a mismatch,
// proved is false.
func (j *job) compare(side *sidecar, was hash.Hash) (proved bool, err error) {
	switch {
	case side == nil:
		j.warn("it had no sidecar; every byte of it was authenticated, and it has one now")
	case side.sum == hex.EncodeToString(was.Sum(nil)):
		if !side.names(j.path) {
			j.warn(fmt.Sprintf("its sidecar named it %q, and has its name now", side.name))
		}
		return true, nil
	case !j.Rescue:
		return false, ErrRot
	default:
		j.warn("it did not match its sidecar; every byte of it was authenticated, and the sidecar is new")
	}
	return false, nil
}

// readBack opens the new file with each new holder that can, and reads it to its end unless
// proved.
func (j *job) readBack(ctx context.Context, proved bool) error {
	file, err := j.dst.Open(ctx)
	if err != nil {
		return err
	}
	defer file.Close()
	head := make([]byte, len(j.New.Bytes()))
	if _, err := file.ReadAt(head, 0); err != nil && err != io.EOF {
		return err
	}
	if !bytes.Equal(head, j.New.Bytes()) {
		return &ReadBackError{errors.New("its envelope differs")}
	}
	holders := j.identities()
	for _, i := range holders {
		if _, err := envelope.OpenAt(ctx, file, file.Size(), envelope.Options{}, i); err != nil {
			return err
		}
	}
	if proved {
		return nil
	}
	how := envelope.Options{}
	if len(holders) == 0 { // by the slots that it had: preamble and payload are the same
		how = j.open()
		how.Detached = j.w.Envelope
	}
	r, err := envelope.Open(ctx, file, how, holders...)
	if err == nil {
		_, err = r.WriteTo(io.Discard)
	}
	return err
}

func (j *job) detach(ctx context.Context) error {
	text := j.New.Bytes()
	if err := j.Store.Put(ctx, j.path, envelope.DetachedSuffix, j.text, text); err != nil {
		return fmt.Errorf("writing the new envelope: %w", err)
	}
	err := j.unchanged(ctx)
	if err == nil {
		var there []byte
		if there, err = backup.Beside(ctx, j.Store, j.path); err == nil && !bytes.Equal(there, text) {
			err = store.ErrChanged
		}
		return err
	}
	// It is that of a backup that is gone.
	if undo := j.Store.Put(context.WithoutCancel(ctx), j.path, envelope.DetachedSuffix, text, j.text); undo != nil {
		err = fmt.Errorf("%w (and then: %v)", err, undo)
	}
	return err
}

// cleanUp cleans up after a run that was killed when it had written the detached envelope.
func (j *job) cleanUp(ctx context.Context) error {
	if j.DryRun || !j.Detached || store.IsRemote(j.path) {
		return nil
	}
	for _, path := range []string{j.path, j.path + envelope.DetachedSuffix} {
		if _, err := os.Lstat(local.Partial(path)); err == nil {
			return j.Store.Put(ctx, j.path, envelope.DetachedSuffix, j.text, j.text)
		}
	}
	return nil
}

// unchanged checks that the backup has not been pruned or re-encrypted since it was opened.
func (j *job) unchanged(ctx context.Context) error {
	changed := fmt.Errorf("%s: %w", j.path, store.ErrChanged)
	now, err := j.Store.Open(ctx, j.path)
	if errors.Is(err, fs.ErrNotExist) {
		return changed
	}
	if err != nil {
		return err
	}
	defer now.Close()
	var heads [2][envelope.Unit]byte
	for i, file := range []store.Object{j.file, now} {
		if _, err := file.ReadAt(heads[i][:], 0); err != nil && err != io.EOF {
			return err
		}
	}
	if heads[0] != heads[1] || now.Size() != j.file.Size() {
		return changed
	}
	return nil
}

type sidecar struct {
	sum, name string // of a good form, or sum is ""
}

// names reports whether it is the sidecar of the file at path; nil is not.
func (s *sidecar) names(path string) bool { return s != nil && s.name == store.Base(path) }

// sidecar reads it; it is nil when there is none.
func (j *job) sidecar(ctx context.Context) (*sidecar, error) {
	file, err := j.Store.Open(ctx, j.path+store.SidecarSuffix)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, store.MaxSidecar))
	if err != nil {
		return nil, fmt.Errorf("reading its sidecar: %w", err)
	}
	s := new(sidecar)
	s.sum, s.name, _ = store.ParseSidecar(string(text))
	return s, nil
}
