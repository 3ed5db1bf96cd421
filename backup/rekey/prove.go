package rekey

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"sync"
	"time"

	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/internal/parallel"
	"github.com/takumi-backup/takumi-backup/internal/store"
)

// sums returns the SHA-256 of the file as it was, and as it will be. Nothing but
// the head differs, but SHA-256 has to go through all of it twice: on a goroutine
// each, while this one reads.
func (j *job) sums() (was, is [sha256.Size]byte, err error) {
	src := j.Meter.Metered(j.file)
	head := make([]byte, len(j.New.Bytes()))
	n, err := parallel.ReadFull(src, head)
	if n < len(head) {
		return was, is, cmp.Or(noEnd(err), store.ErrChanged)
	}
	sums := [2]hash.Hash{sha256.New(), sha256.New()}
	sums[0].Write(head)
	sums[1].Write(j.New.Bytes())

	// A piece is filled again when both have gone through it.
	type piece struct {
		buf  []byte
		busy sync.WaitGroup
	}
	var pieces [3]piece
	var feeds [2]chan *piece
	var both sync.WaitGroup
	for i, sum := range sums {
		feed := make(chan *piece, len(pieces))
		feeds[i] = feed
		both.Go(func() {
			for p := range feed {
				sum.Write(p.buf)
				p.busy.Done()
			}
		})
	}
	size := int64(n)
	for k := 0; err == nil; k = (k + 1) % len(pieces) {
		p := &pieces[k]
		p.busy.Wait()
		if p.buf == nil {
			p.buf = make([]byte, 1<<20)
		}
		n, err = parallel.ReadFull(src, p.buf[:cap(p.buf)])
		p.buf = p.buf[:n]
		size += int64(n)
		p.busy.Add(len(feeds))
		for _, feed := range feeds {
			feed <- p
		}
	}
	for _, feed := range feeds {
		close(feed)
	}
	both.Wait()
	if err = noEnd(err); err == nil && size != j.file.Size() {
		err = store.ErrChanged
	}
	return [sha256.Size]byte(sums[0].Sum(nil)), [sha256.Size]byte(sums[1].Sum(nil)), err
}

// noEnd is an error of a reader that is not its end.
func noEnd(err error) error {
	if err == io.EOF {
		return nil
	}
	return err
}

// sidecar is what stands beside a backup as its sidecar.
type sidecar struct {
	sum, name string // of a good form, or sum is ""
	modified  time.Time
}

// sidecar reads it; it is nil when there is none.
func (j *job) sidecar(ctx context.Context) (*sidecar, error) {
	file, err := j.Place.Open(ctx, j.path+store.SidecarSuffix)
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
	s := &sidecar{modified: file.ModTime()}
	s.sum, s.name, _ = store.ParseSidecar(string(text))
	return s, nil
}

// sidecarAge is how much older than its backup a sidecar may be. A rewrap writes
// the sidecar a moment before the head.
const sidecarAge = time.Minute

// glance looks at the sidecar without reading the file: done, that nothing is to
// be done, stays true only when the sidecar can be that of the file.
func (j *job) glance(ctx context.Context, done bool) (bool, error) {
	s, err := j.sidecar(ctx)
	switch {
	case err != nil:
		return false, err
	case s == nil:
		if j.DryRun {
			j.Warnings = append(j.Warnings, "it has no sidecar; every byte of it will be authenticated")
		}
		return false, nil
	case s.sum == "" && j.text == nil:
		return false, ErrRot
	}
	return done && s.name == store.Base(j.path) && j.file.ModTime().Sub(s.modified) < sidecarAge, nil
}

// prove compares the file with its sidecar. Where that can prove nothing, every
// chunk is authenticated instead.
func (j *job) prove(ctx context.Context, sum [sha256.Size]byte) error {
	s, err := j.sidecar(ctx)
	switch {
	case err != nil:
		return err
	case s == nil:
		j.Warnings = append(j.Warnings, "it had no sidecar; every byte of it was authenticated, and it has one now")
		return j.authenticate(ctx)
	case s.sum == hex.EncodeToString(sum[:]):
		if s.name != store.Base(j.path) {
			j.Warnings = append(j.Warnings, fmt.Sprintf("its sidecar named it %q, and has its name now", s.name))
		}
		return nil
	case j.text == nil:
		return ErrRot
	}
	// The head may be another one than the sidecar's, which nobody has any more.
	if err := j.authenticate(ctx); err != nil {
		return fmt.Errorf("%w: %w", ErrRot, err)
	}
	j.Warnings = append(j.Warnings, "a rewrap of it was interrupted; every byte of it was authenticated, and this one finished it")
	return nil
}

// authenticate reads the backup to its end, as one that opens it does.
func (j *job) authenticate(ctx context.Context) error {
	file, err := j.Place.Open(ctx, j.path)
	if err != nil {
		return err
	}
	defer file.Close()
	r, err := envelope.Open(ctx, file, j.openOptions())
	if err == nil {
		_, err = r.WriteTo(io.Discard)
	}
	return err
}
