package backup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/takumi-backup/takumi-backup/backup/members"
	"github.com/takumi-backup/takumi-backup/backup/tables"
	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/keystore"
	"github.com/takumi-backup/takumi-backup/stream/pack"
)

// HandleAt is a backup open for random access: its length and every byte that it returns
// are authentic.
type HandleAt struct {
	*envelope.ReaderAt
	io.Closer

	place store.Store
	path  string
	opts  Options
	links []*HandleAt
}

// Close closes the file and the opened ones of its chain.
func (h *HandleAt) Close() error {
	err := h.Closer.Close()
	for _, link := range h.links {
		err = errors.Join(err, link.Close())
	}
	h.links = nil
	return err
}

// OpenAt is [Open] for random access. With Signers the head of the signature is checked,
// which binds the payload's key, so that nobody else can have sealed the bytes. That the
// payload is the signed one, whole, shows only when all of it is read.
func OpenAt(ctx context.Context, place store.Store, path string, o Options) (*HandleAt, error) {
	if o.keyless() {
		return nil, keystore.ErrNone
	}
	var f *HandleAt
	var passed error
	err := o.retryRewrapped(ctx, place, path, func(obj store.Object, beside *envelope.Envelope, besideErr error) error {
		var signed *witness
		if o.Signers != nil {
			var err error
			if signed, err = signedBy(ctx, place, path, o.Signers); err != nil {
				return err
			}
		}
		var src io.ReaderAt = obj
		if o.Meter != nil {
			src = meteredAt{obj, o.Meter}
		}
		r, err := envelope.OpenAt(ctx, src, obj.Size(), envelope.Options{Detached: beside, Rescue: o.Rescue, Find: o.find})
		if err == nil {
			if err := o.vouched(r.Holder); err != nil {
				return err
			}
		}
		if err == nil && signed != nil {
			if err := signed.Begin(r.Envelope, r.Start, r.Header()); err != nil {
				return err
			}
		}
		if err == nil {
			f, passed = &HandleAt{ReaderAt: r, Closer: obj, place: place, path: path, opts: o}, besideErr
			return nil
		}
		return withBesideError(path, err, besideErr)
	})
	if err != nil {
		return nil, err
	}
	if err := o.accept(path, &f.Opened); err != nil {
		f.Close()
		return nil, err
	}
	o.doubts(path, &f.Opened, passed)
	return f, nil
}

// Members returns the content of an archive, by its index: for an increment the whole tree,
// from the backups of its chain next to it. The error is [members.ErrNoIndex] without an
// index, and wraps [members.ErrChain] when a backup of the chain is missing, different, or
// does not open.
func (h *HandleAt) Members(ctx context.Context) (*members.Archive, error) {
	a, err := h.members()
	increment := h.Envelope.Kind == KindIncrement
	switch {
	case err == members.ErrNoIndex && increment:
		return nil, fmt.Errorf("%w: the backup is an increment, and has no index", members.ErrChain)
	case err != nil:
		return nil, err
	case increment != (a.Chain().N > 0):
		return nil, fmt.Errorf("%w: a backup of kind %s says that it is number %d", members.ErrChain, h.Envelope.Kind, a.Chain().N)
	}
	var older []*members.Archive
	for n, name := range a.Chain().Links {
		link, err := h.openLink(ctx, name)
		if err != nil {
			return nil, fmt.Errorf("%w: it needs %s, number %d: %w", members.ErrChain, name+Suffix, n, err)
		}
		older = append(older, link)
	}
	return a, a.Join(older)
}

func (h *HandleAt) members() (*members.Archive, error) {
	packed, err := h.packed()
	if packed == nil {
		return nil, cmp.Or(err, members.ErrNoIndex)
	}
	return members.Indexed(packed)
}

func (h *HandleAt) openLink(ctx context.Context, name string) (*members.Archive, error) {
	if err := envelope.CheckName(name); err != nil {
		return nil, err
	}
	o := h.opts
	o.ID, o.Opened = envelope.ID{}, nil
	link, err := OpenAt(ctx, h.place, store.Join(store.Dir(h.path), name+Suffix), o)
	if err != nil {
		return nil, err
	}
	h.links = append(h.links, link)
	if link.Envelope.Name != name {
		return nil, fmt.Errorf("its envelope says that it is %s", link.Envelope.Name)
	}
	return link.members()
}

// Tables returns the content of a plain dump, by its index. The error is
// [tables.ErrNoIndex] without one.
func (h *HandleAt) Tables() (*tables.Dump, error) {
	packed, err := h.packed()
	if packed == nil {
		return nil, cmp.Or(err, tables.ErrNoIndex)
	}
	return tables.Indexed(packed)
}

// packed returns the content for random access, or nil without a seek table.
func (h *HandleAt) packed() (*pack.ReaderAt, error) {
	if pack.Codec(h.Envelope.Codec) != pack.Zstd {
		return nil, nil
	}
	packed, err := pack.NewReaderAt(newTailed(h.ReaderAt, h.Size()), h.Size())
	if err == pack.ErrNoSeekTable {
		return nil, nil
	}
	return packed, err
}
