package replicate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"time"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/envelope/slot"
	"github.com/takumi-backup/takumi-backup/internal/store"
)

// side is what one end knows of a backup's holders.
type side struct {
	own, detached *envelope.Envelope // nil where there is none, or none of this backup
	written       time.Time          // the later of the two
}

func look(ctx context.Context, st store.Store, b store.Backup) (side, error) {
	s := side{written: b.ModTime}
	f, err := st.Open(ctx, b.Path)
	if err != nil {
		return s, err
	}
	defer f.Close()
	var fault error
	if s.own, fault, err = parse(f); err != nil {
		return s, fault // nil: it has no holders that anybody could lose
	}
	text, err := readEnvelope(ctx, st, b.Path)
	if err != nil || text == nil {
		return s, err
	}
	if e, err := envelope.Parse(bytes.NewReader(text)); err != nil || e.ID != s.own.ID {
		return s, nil
	} else {
		s.detached = e
	}
	at, _, err := st.Stat(ctx, b.Path+envelope.DetachedSuffix)
	if at.ModTime.After(s.written) {
		s.written = at.ModTime
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return s, err
}

// parse reads an envelope. fault is why the store did not give it, of which err says nothing.
func parse(f io.Reader) (e *envelope.Envelope, fault, err error) {
	r := &heeding{Reader: f}
	e, err = envelope.Parse(r)
	return e, r.fault, err
}

// heeding remembers why reading failed.
type heeding struct {
	io.Reader
	fault error
}

func (h *heeding) Read(p []byte) (n int, err error) {
	if n, err = h.Reader.Read(p); err != nil && err != io.EOF {
		h.fault = err
	}
	return n, err
}

func (s side) holders() []slot.Holder {
	var all []slot.Holder
	for _, e := range []*envelope.Envelope{s.own, s.detached} {
		if e != nil {
			all = append(all, e.Holders()...)
		}
	}
	return all
}

// keepsEnvelopes reports whether the copy keeps its different envelopes: it is the same backup, and
// a key at hand opens only the copy; or it was rewrapped at the destination, for holders
// that the backup lacks. The latter is so when only the copy has changed since it was made
// or, without memory, when the copy was written last.
func (o Options) keepsEnvelopes(ctx context.Context, mine, theirs store.Backup) (bool, error) {
	here, err := look(ctx, o.Place, mine)
	if err != nil {
		return false, err
	}
	there, err := look(ctx, o.Place, theirs)
	if err != nil || here.own == nil || there.own == nil || here.own.ID != there.own.ID || here.sum() == there.sum() {
		return false, err
	}
	if o.Keys != nil && o.Keys.Opens() {
		if copied := o.opens(ctx, theirs.Path); copied && !o.opens(ctx, mine.Path) {
			return true, ctx.Err()
		}
	}
	have := here.holders()
	if !slices.ContainsFunc(there.holders(), func(h slot.Holder) bool { return !slices.Contains(have, h) }) {
		return false, nil
	}
	switch o.Memory.of(theirs.Path) {
	case there.sum():
		return false, nil
	case here.sum():
		return true, nil
	}
	return !here.written.After(there.written), nil
}

// unkept fails with [store.ErrChanged] when the copy was rewrapped since the plan, which may
// be hours old, so that it keeps its envelopes now.
func (o Options) unkept(ctx context.Context, i Item) error {
	there, _, err := o.Place.Stat(ctx, i.To)
	if err != nil || o.ReplaceOthers {
		return err
	}
	kept, err := o.keepsEnvelopes(ctx, i.Backup, there)
	if kept && err == nil {
		err = fmt.Errorf("%s: %w", i.To, store.ErrChanged)
	}
	return err
}

func (o Options) opens(ctx context.Context, path string) bool {
	seen, err := backup.Look(ctx, o.Place, path, backup.Options{Keys: o.Keys})
	return err == nil && seen.Opened != nil
}
