package history

import (
	"cmp"
	"context"
	"time"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/keystore"
)

// Site is the place of a key.
type Site struct {
	URI   string // of the source's String method
	Place string // of a [keystore.Placed], else ""
}

// Locate returns the site of src. The errors are those of its Place method.
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

// same compares by place, or by URI when a place is unknown, as in an older history.
func (s Site) same(other Site) bool {
	if s.Place != "" && other.Place != "" {
		return s.Place == other.Place
	}
	return s.URI == other.URI
}

func (s Site) key() string { return cmp.Or(s.Place, s.URI) }

func (s Site) record(id kek.ID, created time.Time) Record {
	return Record{ID: id, Provider: s.URI, Place: s.Place, Created: created}
}
