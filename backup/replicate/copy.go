package replicate

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

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/store"
)

// beside returns the detached envelopes at both ends, nil if missing.
func beside(ctx context.Context, place store.Store, from, to string) (mine, their []byte, err error) {
	if mine, err = readEnvelope(ctx, place, from); err != nil {
		return nil, nil, err
	}
	their, err = readEnvelope(ctx, place, to)
	return mine, their, err
}

func readEnvelope(ctx context.Context, place store.Store, path string) ([]byte, error) {
	text, err := readSmall(ctx, place, path+envelope.DetachedSuffix, envelope.MaxSize)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return text, err
}

// copyEnvelope copies the detached envelope, or removes the destination's: a former envelope
// opens the backup with keys that have lost access. An envelope of another backup is not
// copied.
func copyEnvelope(ctx context.Context, i Item, o Options) error {
	mine, their, err := beside(ctx, o.Place, i.Backup.Path, i.To)
	if err != nil || bytes.Equal(mine, their) {
		return err
	}
	if mine != nil {
		if err := belongs(ctx, o.Place, i.Backup.Path, mine); err != nil {
			return err
		}
	}
	if i.Action != Replace { // which has looked before
		if err := o.unkept(ctx, i); err != nil {
			return err
		}
	}
	return o.Place.Put(ctx, i.To, envelope.DetachedSuffix, their, mine)
}

// belongs fails unless text is an envelope of the backup at path.
func belongs(ctx context.Context, place store.Store, path string, text []byte) error {
	f, err := place.Open(ctx, path)
	if err != nil {
		return err
	}
	defer f.Close()
	own, fault, err := parse(f)
	if err != nil {
		return fault // nil: the detached one may be all that there is
	}
	if e, err := envelope.Parse(bytes.NewReader(text)); err != nil {
		return fmt.Errorf("%s%s: %w", path, envelope.DetachedSuffix, err)
	} else if e.ID != own.ID {
		return fmt.Errorf("%s%s: %w", path, envelope.DetachedSuffix, envelope.ErrPreamble)
	}
	return nil
}

// sidecar returns the hash in the sidecar of the backup at path, in hex.
func sidecar(ctx context.Context, place store.Store, path string) (string, error) {
	text, err := readSmall(ctx, place, path+store.SidecarSuffix, 4096)
	if err != nil {
		return "", err
	}
	sum, name, ok := store.ParseSidecar(string(text))
	if !ok || name != store.Base(path) {
		return "", fmt.Errorf("%s%s is not a sidecar of it: %w", path, store.SidecarSuffix, ErrRotten)
	}
	return sum, nil
}

func digestOf(ctx context.Context, place store.Store, path string) (string, error) {
	f, err := place.Open(ctx, path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	return digest(f)
}

// copyAll is io.Copy with pieces of a fixed size, which checks the reader's context between
// them.
func copyAll(w io.Writer, r io.Reader) (int64, error) {
	return io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{r}, make([]byte, 1<<20))
}

func digest(r io.Reader) (string, error) {
	sum := sha256.New()
	if _, err := copyAll(sum, r); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

func readSmall(ctx context.Context, place store.Store, path string, limit int64) ([]byte, error) {
	f, err := place.Open(ctx, path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if f.Size() > limit {
		return nil, fmt.Errorf("%s has %d bytes, and may have %d", path, f.Size(), limit)
	}
	return io.ReadAll(f)
}

// One does what an item says: it copies the backup, its signature and its detached
// envelope, and checks the copy. progress gets every piece's size.
func One(ctx context.Context, i Item, o Options, progress func(n int)) (r store.Result, err error) {
	switch {
	case i.Err != nil:
		return r, i.Err
	case i.Action == Kept:
		return r, nil
	}
	given, err := look(ctx, o.Place, i.Backup)
	if err != nil {
		return r, err
	}
	switch {
	case i.Action == Copy:
		r, err = copyNew(ctx, i, o, progress)
	case i.Action == Replace:
		r, err = replace(ctx, i, o, progress)
	}
	if err != nil {
		return r, err
	}
	if i.Action == Replace && o.Memory != nil { // if a later step fails, the next run must continue
		if there, err := look(ctx, o.Place, store.Backup{Path: i.To}); err == nil {
			o.Memory.learn(i.To, there)
		}
	}
	if err = copyEnvelope(ctx, i, o); err != nil {
		return r, errors.Join(err, copySignature(ctx, i, o))
	}
	o.Memory.learn(i.To, given)
	if err = copySignature(ctx, i, o); err != nil {
		err = signatureFault{err}
	}
	return r, err
}

// signatureFault is why a signature is not copied with its backup, which is: others of its
// chain may follow.
type signatureFault struct{ error }

func (f signatureFault) Unwrap() error { return f.error }

type counter func(n int)

func (c counter) Write(p []byte) (int, error) { c(len(p)); return len(p), nil }

// send writes the backup to dst and more, and returns its hash, which equals its sidecar's,
// if any. The error is store.ErrChanged when the backup is replaced meanwhile.
func send(ctx context.Context, dst io.Writer, i Item, o Options, progress func(n int), more ...io.Writer) (string, error) {
	f, err := o.Place.Open(ctx, i.Backup.Path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	want, err := sidecar(ctx, o.Place, i.Backup.Path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	sum, err := sendFile(ctx, dst, f, want, i, o, progress, more...)
	if class, _ := fail.Of(err); err != nil && class == fail.Damaged && changed(ctx, o.Place, i.Backup.Path, f, want) {
		return "", fmt.Errorf("copying %s: %w", i.Backup.Path, store.ErrChanged)
	}
	return sum, err
}

// changed reports whether the backup that is open as f, or its sidecar, which had the sum
// want, has been replaced since, as by a rewrap.
func changed(ctx context.Context, place store.Store, path string, f store.Object, want string) bool {
	now, err := place.Open(ctx, path)
	if err != nil {
		return errors.Is(err, fs.ErrNotExist)
	}
	defer now.Close()
	var heads [2][envelope.Unit]byte
	for i, file := range []store.Object{f, now} {
		if _, err := file.ReadAt(heads[i][:], 0); err != nil && err != io.EOF {
			return errors.Is(err, store.ErrChanged)
		}
	}
	sum, err := sidecar(ctx, place, path)
	return heads[0] != heads[1] || now.Size() != f.Size() || !now.ModTime().Equal(f.ModTime()) || err == nil && sum != want
}

func sendFile(ctx context.Context, dst io.Writer, f store.Object, want string, i Item, o Options, progress func(n int), more ...io.Writer) (string, error) {
	digest := sha256.New()
	to := append([]io.Writer{dst, digest, counter(progress)}, more...)
	var signed *backup.SignedFile
	var err error
	if o.Signers != nil {
		if signed, err = backup.OpenSigned(ctx, o.Place, i.Backup.Path, f, o.Signers); err != nil {
			return "", fmt.Errorf("%s: %w", i.Backup.Path, err)
		}
		to = append(to, signed)
	}
	n, err := copyAll(io.MultiWriter(to...), f)
	if err != nil {
		return "", fmt.Errorf("copying %s: %w", i.Backup.Path, err)
	}
	sum := hex.EncodeToString(digest.Sum(nil))
	if n != f.Size() || want != "" && sum != want {
		return "", fmt.Errorf("%s: %w", i.Backup.Path, ErrRotten)
	}
	if signed != nil {
		if err := signed.End(); err != nil {
			return "", fmt.Errorf("%s: %w", i.Backup.Path, err)
		}
	}
	return sum, nil
}

func copyNew(ctx context.Context, i Item, o Options, progress func(n int)) (store.Result, error) {
	w, err := o.Place.Create(ctx, i.To, store.Options{Sidecar: true, Parents: true, Size: i.Backup.Size})
	if err != nil {
		return store.Result{}, err
	}
	defer w.Abort()
	sum, err := send(ctx, w, i, o, progress)
	if err != nil {
		return store.Result{}, err
	}
	// The envelope comes before the sidecar, which completes the copy.
	mine, err := readEnvelope(ctx, o.Place, i.Backup.Path)
	if err != nil {
		return store.Result{}, err
	}
	if mine != nil {
		if err := belongs(ctx, o.Place, i.Backup.Path, mine); err != nil {
			return store.Result{}, err
		}
		w.Beside(envelope.DetachedSuffix, mine)
	}
	// A useless signature does not prevent a copy, and is reported afterwards.
	signature, err := backup.Signature(ctx, o.Place, i.Backup.Path)
	if err != nil {
		return store.Result{}, err
	}
	if signature != nil {
		if _, err := checkNames(ctx, o.Place, i.Backup.Path, signature); err == nil {
			w.Beside(store.SignatureSuffix, signature)
		}
	}
	r, err := w.Commit()
	if err != nil || store.IsRemote(i.To) {
		return r, err
	}
	back, err := digestOf(ctx, o.Place, i.To)
	if err == nil && back != sum {
		err = fmt.Errorf("%s: %w", i.To, ErrNotTheSame)
	}
	if err == nil || ctx.Err() != nil {
		return r, err
	}
	// The next run would trust its sidecar.
	made, _, statErr := o.Place.Stat(ctx, i.To)
	if statErr != nil {
		return store.Result{}, errors.Join(err, statErr)
	}
	return store.Result{}, errors.Join(err, o.Place.Remove(ctx, made, envelope.DetachedSuffix, store.SignatureSuffix))
}

// replace copies a changed backup over the destination's, which stays until the new one was
// read back.
func replace(ctx context.Context, i Item, o Options, progress func(n int)) (store.Result, error) {
	w, err := o.Place.Replace(ctx, i.To)
	if err != nil {
		return store.Result{}, err
	}
	defer w.Abort()
	mine, theirs := new(payload), new(payload)
	if !o.ReplaceOthers {
		if err := sameBackup(ctx, i, o, mine, theirs); err != nil {
			return store.Result{}, err
		}
		if err := o.unkept(ctx, i); err != nil {
			return store.Result{}, err
		}
	}
	sum, err := send(ctx, w, i, o, progress, mine)
	if err != nil {
		return store.Result{}, err
	}
	if !o.ReplaceOthers {
		if err := samePayload(ctx, i.To, o, mine, theirs); err != nil {
			return store.Result{}, err
		}
	}
	r, err := w.Finish()
	if err != nil {
		return store.Result{}, err
	}
	copied, err := w.Open(ctx)
	if err != nil {
		return store.Result{}, err
	}
	defer copied.Close()
	back, err := digest(copied)
	if err != nil {
		return store.Result{}, fmt.Errorf("reading back the copy of %s: %w", i.Backup.Path, err)
	}
	if back != sum {
		return store.Result{}, fmt.Errorf("%s: %w", i.To, ErrNotTheSame)
	}
	return r, w.Swap(ctx)
}

// sameBackup fails with ErrOther unless both envelopes have one id, as after a rewrap. It
// has the payloads begin behind them.
func sameBackup(ctx context.Context, i Item, o Options, mine, theirs *payload) error {
	here, err := envelopeOf(ctx, o.Place, i.Backup.Path)
	if err != nil {
		return err
	}
	there, err := envelopeOf(ctx, o.Place, i.To)
	if err != nil {
		return err
	}
	mine.skip, theirs.skip = int64(len(here.Bytes())), int64(len(there.Bytes()))
	if here.ID != there.ID {
		return fmt.Errorf("%s: %w", i.To, ErrOther)
	}
	return nil
}

func envelopeOf(ctx context.Context, place store.Store, path string) (*envelope.Envelope, error) {
	f, err := place.Open(ctx, path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	e, err := envelope.Parse(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return e, nil
}

type payload struct {
	skip int64
	sum  hash.Hash
}

func (p *payload) Write(b []byte) (int, error) {
	if p.sum == nil {
		p.sum = sha256.New()
	}
	n := min(p.skip, int64(len(b)))
	p.skip -= n
	p.sum.Write(b[n:])
	return len(b), nil
}

// samePayload fails with ErrPayload when the copy matches its sidecar but its payload
// differs from mine: no rewrap changes it, so one of the two is damaged.
func samePayload(ctx context.Context, to string, o Options, mine, theirs *payload) error {
	want, err := sidecar(ctx, o.Place, to)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrRotten) {
		return nil // a copy that is not complete is nothing to lose
	}
	if err != nil {
		return err
	}
	f, err := o.Place.Open(ctx, to)
	if err != nil {
		return err
	}
	defer f.Close()
	whole := sha256.New()
	if _, err := copyAll(io.MultiWriter(whole, theirs), f); err != nil {
		return fmt.Errorf("reading the copy that is to be replaced: %w", err)
	}
	if hex.EncodeToString(whole.Sum(nil)) == want && !bytes.Equal(mine.sum.Sum(nil), theirs.sum.Sum(nil)) {
		return fmt.Errorf("%s: %w", to, ErrPayload)
	}
	return nil
}
