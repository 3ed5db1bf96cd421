package vault

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/takumi-backup/takumi-backup/keystore"
)

type history struct {
	current int
	limit   int       // of versions; 0 when the mount decides
	live    []live    // neither deleted nor destroyed, from newest to oldest
	deleted []content // and not destroyed, likewise
}

type live struct {
	number  int
	created time.Time
}

// Versions implements keystore.Keeper: the versions that were not destroyed, each
// pinned, those that were deleted marked as gone. When the current one was, none is marked as
// current. A pinned Secret has one version, itself. The errors are those of
// Load; the token needs the right to read MOUNT/metadata/PATH.
func (s Secret) Versions(ctx context.Context) ([]keystore.Version, error) {
	var all []keystore.Version
	err := s.do(ctx, func(ctx context.Context) error {
		all = nil
		if s.version > 0 {
			return s.itself(ctx, &all)
		}
		h, err := s.history(ctx)
		if err != nil {
			return err
		}
		for _, v := range h.live {
			all = append(all, keystore.Version{
				Source: s.at(v.number), Name: strconv.Itoa(v.number), Current: v.number == h.current, Created: v.created,
			})
		}
		if len(all) > 0 {
			for _, c := range h.deleted {
				all = append(all, keystore.Version{Source: s.at(c.number), Name: strconv.Itoa(c.number), Created: c.created, Gone: s.goneError(c)})
			}
			return nil
		}
		// Say what became of it, as Load does.
		c, err := s.read(ctx, 0)
		if err != nil {
			return err
		}
		defer c.wipe()
		key, err := s.key(ctx, c)
		if err != nil {
			return err
		}
		key.Wipe()
		return s.unexpected() // there is a key, of which the metadata says nothing
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

func (s Secret) itself(ctx context.Context, all *[]keystore.Version) error {
	c, err := s.read(ctx, s.version)
	if err != nil {
		return err
	}
	defer c.wipe()
	key, err := s.key(ctx, c)
	if err != nil {
		return err
	}
	key.Wipe()
	*all = []keystore.Version{{Source: s, Name: strconv.Itoa(s.version), Current: true, Created: c.created}}
	return nil
}

// history reads the metadata. That there is none is not an error.
func (s Secret) history(ctx context.Context) (history, error) {
	status, body, err := s.get(ctx, s.metadataPath(), nil)
	if err != nil {
		return history{}, s.fault(err, `"read"`, s.metadataPath())
	}
	if status == http.StatusNotFound {
		return history{}, nil
	}
	var answer struct {
		Data struct {
			Current  int            `json:"current_version"`
			Limit    int            `json:"max_versions"`
			Versions map[int]stamps `json:"versions"`
		} `json:"data"`
	}
	if err := json.Unmarshal(body, &answer); err != nil || answer.Data.Versions == nil {
		return history{}, s.unexpected()
	}
	h := history{current: answer.Data.Current, limit: answer.Data.Limit}
	for number, m := range answer.Data.Versions {
		switch gone, _ := m.state(s.conn.now()); {
		case gone == "":
			h.live = append(h.live, live{number, m.Created})
		case !m.Destroyed:
			h.deleted = append(h.deleted, content{number: number, created: m.Created, gone: gone})
		}
	}
	slices.SortFunc(h.live, func(a, b live) int { return b.number - a.number })
	slices.SortFunc(h.deleted, func(a, b content) int { return b.number - a.number })
	return h, nil
}
