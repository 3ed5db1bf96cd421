package replicate

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"slices"
	"time"

	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/envelope/slot"
	"github.com/takumi-backup/takumi-backup/internal/store"
)

// side is what one end has of a backup, as far as it says who may open it.
type side struct {
	own, detached *envelope.Envelope // nil where there is none, or none of this backup
	written       time.Time          // the later of the two
}

// look reads the envelopes of a backup.
func look(ctx context.Context, st store.Store, b store.Backup) (side, error) {
	s := side{written: b.ModTime}
	f, err := st.Open(ctx, b.Path)
	if err != nil {
		return s, err
	}
	defer f.Close()
	if s.own, err = envelope.Parse(f); err != nil {
		return s, nil // it has no holders that anybody could lose
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
	if err == nil && at.ModTime.After(s.written) {
		s.written = at.ModTime
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return s, err
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

// keeps reports whether the copy keeps its envelopes: it is the same backup, has
// holders that the backup lacks, and was written after it, so that it was rewrapped
// there. A backup that was rewrapped here later takes them from the copy too.
func keeps(ctx context.Context, st store.Store, mine, theirs store.Backup) (bool, error) {
	here, err := look(ctx, st, mine)
	if err != nil {
		return false, err
	}
	there, err := look(ctx, st, theirs)
	if err != nil || here.own == nil || there.own == nil || here.own.ID != there.own.ID {
		return false, err
	}
	if here.written.After(there.written) {
		return false, nil
	}
	have := here.holders()
	return slices.ContainsFunc(there.holders(), func(h slot.Holder) bool { return !slices.Contains(have, h) }), nil
}
