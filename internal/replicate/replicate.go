// Package replicate copies the backups of one store to another, as they are:
// sealed, and without a key. Call [Plan] to see what is to be done and [One] for
// each of its items.
//
// A copy is made only of what proves to be what its sidecar says, and it stands
// under its name only when the store that took it has the same SHA-256. What is
// there already, with the same length and SHA-256, is left alone, so that a run
// that was stopped goes on where it was. The sidecars say so; a backup that has
// none is read for it.
package replicate

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"

	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/internal/many"
	"github.com/takumi-backup/takumi-backup/internal/places"
	"github.com/takumi-backup/takumi-backup/internal/store"
)

var (
	// ErrRotten is returned when a backup is not what its sidecar says.
	ErrRotten = errors.New("the backup is not what its sidecar says, and is not copied")
	// ErrOther is returned when another backup stands at the destination.
	ErrOther = errors.New("another backup stands there, and is left alone")
	// ErrNotTheSame is returned when what the destination holds after copying is
	// not what was sent.
	ErrNotTheSame = errors.New("the copy is not what was sent")
)

// Action is what is to be done with a backup.
type Action string

// The actions.
const (
	Copy     Action = "copy"     // it is missing
	Replace  Action = "replace"  // it differs, as after a rewrap
	Envelope Action = "envelope" // only the envelope beside it does
	Nothing  Action = "same"
)

// Item is one backup of the source.
type Item struct {
	Backup store.Backup
	To     string // its path at the destination
	Action Action
	Err    error // it cannot be looked at
}

// Options say what is copied.
type Options struct {
	Place store.Place // of both
	// NewerThan leaves out what was last written before.
	NewerThan time.Time
	// ReplaceOthers lets a backup take the place of one of another id.
	ReplaceOthers bool
}

// Plan compares two stores. What stands only at the destination is not looked
// at. The error is the context's, or a root's.
func Plan(ctx context.Context, from, to string, o Options) ([]Item, error) {
	there := make(map[string]store.Backup)
	for b, err := range o.Place.Walk(ctx, to) {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // a folder that is yet to be made is empty
			return nil, fmt.Errorf("looking through the destination: %w", err)
		}
		there[b.Path] = b
	}
	found, _, err := many.Find(ctx, o.Place, []string{from})
	if err != nil {
		return nil, err
	}
	var items []Item
	for _, f := range found {
		if f.Err == nil && f.ModTime.Before(o.NewerThan) {
			continue
		}
		i := Item{Backup: f.Backup, Err: f.Err, Action: Copy}
		inside := strings.TrimPrefix(strings.TrimPrefix(f.Path, places.Clean(from)), "/")
		if inside == "" { // from is the backup itself
			inside = places.Base(f.Path)
		}
		i.To = places.Join(to, inside)
		if t, exists := there[i.To]; exists && f.Err == nil {
			i.Action = Replace
			if t.Size == f.Size && t.Sidecar {
				i.Action, i.Err = compare(ctx, o.Place, f.Backup, i.To)
			}
		}
		items = append(items, i)
	}
	return items, nil
}

// compare tells what there is to do with a backup whose like stands at the
// destination, where everything may be anything.
func compare(ctx context.Context, place store.Place, b store.Backup, to string) (Action, error) {
	sum := sidecar
	if !b.Sidecar {
		sum = digestOf
	}
	mine, err := sum(ctx, place, b.Path)
	if err != nil {
		return Replace, err
	}
	if theirs, err := sidecar(ctx, place, to); err != nil || mine != theirs {
		return Replace, nil
	}
	_, differs, err := beside(ctx, place, b.Path, to)
	if differs {
		return Envelope, err
	}
	return Nothing, err
}

// beside returns the envelope beside a backup, and whether it has to be brought
// along.
func beside(ctx context.Context, place store.Place, from, to string) (text []byte, differs bool, err error) {
	mine, err := readSmall(ctx, place, from+envelope.DetachedSuffix, envelope.MaxSize)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	theirs, err := readSmall(ctx, place, to+envelope.DetachedSuffix, envelope.MaxSize)
	return mine, err != nil || !bytes.Equal(mine, theirs), nil
}

// sidecar returns the hash in the sidecar of the backup at path, in hex.
func sidecar(ctx context.Context, place store.Place, path string) (string, error) {
	text, err := readSmall(ctx, place, path+store.SidecarSuffix, 4096)
	if err != nil {
		return "", err
	}
	sum, rest, _ := strings.Cut(string(text), "  ")
	if digits, err := hex.DecodeString(sum); err != nil || len(digits) != sha256.Size || rest != places.Base(path)+"\n" {
		return "", fmt.Errorf("%s%s is not a sidecar of it: %w", path, store.SidecarSuffix, ErrRotten)
	}
	return sum, nil
}

// digestOf reads the file at path for its hash, in hex.
func digestOf(ctx context.Context, place store.Place, path string) (string, error) {
	f, err := place.Open(ctx, path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	return digest(f)
}

// copyAll is io.Copy, but leaves to neither side how large the pieces are, and
// heeds the reader's context between them.
func copyAll(w io.Writer, r io.Reader) (int64, error) {
	return io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{r}, make([]byte, 1<<20))
}

func digest(r io.Reader) (string, error) {
	hash := sha256.New()
	if _, err := copyAll(hash, r); err != nil {
		return "", err
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

// readSmall reads a file of at most limit bytes.
func readSmall(ctx context.Context, place store.Place, path string, limit int64) ([]byte, error) {
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

// One does what an item says: it copies the backup, and the envelope beside it,
// and proves the copy. progress is told of every piece.
func One(ctx context.Context, i Item, o Options, progress func(n int)) (r store.Result, err error) {
	switch {
	case i.Err != nil:
		return r, i.Err
	case i.Action == Copy:
		r, err = copyNew(ctx, i, o, progress)
	case i.Action == Replace:
		r, err = replace(ctx, i, o, progress)
	}
	if err != nil {
		return r, err
	}
	text, differs, err := beside(ctx, o.Place, i.Backup.Path, i.To)
	if err == nil && differs {
		err = o.Place.PutBeside(ctx, i.To, envelope.DetachedSuffix, text)
	}
	return r, err
}

// counter tells how much was written.
type counter func(n int)

func (c counter) Write(p []byte) (int, error) { c(len(p)); return len(p), nil }

// send writes the backup to dst and returns its hash, which is that of its
// sidecar if it has one.
func send(ctx context.Context, dst io.Writer, i Item, o Options, progress func(n int)) (string, error) {
	f, err := o.Place.Open(ctx, i.Backup.Path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	want, err := sidecar(ctx, o.Place, i.Backup.Path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	hash := sha256.New()
	n, err := copyAll(io.MultiWriter(dst, hash, counter(progress)), f)
	if err != nil {
		return "", fmt.Errorf("copying %s: %w", i.Backup.Path, err)
	}
	sum := hex.EncodeToString(hash.Sum(nil))
	if n != f.Size() || want != "" && sum != want {
		return "", fmt.Errorf("%s: %w", i.Backup.Path, ErrRotten)
	}
	return sum, nil
}

func copyNew(ctx context.Context, i Item, o Options, progress func(n int)) (store.Result, error) {
	w, err := o.Place.Create(ctx, i.To, store.Options{Sidecar: true, Parents: true})
	if err != nil {
		return store.Result{}, err
	}
	defer w.Abort()
	sum, err := send(ctx, w, i, o, progress)
	if err != nil {
		return store.Result{}, err
	}
	r, err := w.Commit()
	if err == nil && r.SHA256 != sum {
		err = fmt.Errorf("%s: %w", i.To, ErrNotTheSame)
	}
	return r, err
}

// replace gives a backup that changed its place at the destination. The one
// there stays until the new one was read back.
func replace(ctx context.Context, i Item, o Options, progress func(n int)) (store.Result, error) {
	if !o.ReplaceOthers {
		if err := sameBackup(ctx, i, o); err != nil {
			return store.Result{}, err
		}
	}
	w, err := o.Place.Replace(ctx, i.To)
	if err != nil {
		return store.Result{}, err
	}
	defer w.Abort()
	sum, err := send(ctx, w, i, o, progress)
	if err != nil {
		return store.Result{}, err
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

// sameBackup fails with ErrOther unless both envelopes have one id, as those of
// a backup that was rewrapped.
func sameBackup(ctx context.Context, i Item, o Options) error {
	var ids [2]envelope.ID
	for n, path := range []string{i.Backup.Path, i.To} {
		f, err := o.Place.Open(ctx, path)
		if err != nil {
			return err
		}
		e, err := envelope.Parse(f)
		f.Close()
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		ids[n] = e.ID
	}
	if ids[0] != ids[1] {
		return fmt.Errorf("%s: %w", i.To, ErrOther)
	}
	return nil
}
