package history

import (
	"cmp"
	"context"
	"time"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/keystore"
)

// Site is where a key is kept.
type Site struct {
	URI   string // as the source's String method says it
	Place string // as that of a [keystore.Placed] says it, and else ""
}

// Locate says where src is. The errors are those of its Place method.
func Locate(ctx context.Context, src keystore.Source) (Site, error) {
	s := Site{URI: src.String()}
	placed, ok := src.(keystore.Placed)
	if !ok {
		return s, nil
	}
	var err error
	s.Place, err = placed.Place(ctx)
	return s, err
}

// is compares by the place, and by the URI where either place is not known, as in
// a history that an older version wrote.
func (s Site) is(other Site) bool {
	if s.Place != "" && other.Place != "" {
		return s.Place == other.Place
	}
	return s.URI == other.URI
}

func (s Site) key() string { return cmp.Or(s.Place, s.URI) }

func (s Site) record(id kek.ID, created time.Time) Record {
	return Record{ID: id, Provider: s.URI, Place: s.Place, Created: created}
}
