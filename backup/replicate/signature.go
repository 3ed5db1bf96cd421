package replicate

import (
	"bytes"
	"context"
	"fmt"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/envelope/sign"
	"github.com/takumi-backup/takumi-backup/internal/store"
)

// signatures are those next to a backup and its copy; nil is none.
type signatures struct {
	mine, their []byte
	fault       error // why mine is not brought along
}

// signaturesOf reads both. Mine is looked at only where it is not the copy's: it has
// to name the backup, and who made it is for a reader to judge.
func signaturesOf(ctx context.Context, place store.Store, from, to string) (s signatures, err error) {
	if s.mine, err = backup.Signature(ctx, place, from); err != nil {
		return s, err
	}
	if s.their, err = backup.Signature(ctx, place, to); err != nil {
		return s, err
	}
	if s.mine != nil && !bytes.Equal(s.mine, s.their) {
		s.fault = names(ctx, place, from, s.mine)
	}
	return s, nil
}

// differ reports whether a copy that has the same content lacks the signature. One
// that it has and the backup has not is good there too.
func (s signatures) differ() bool { return s.mine != nil && !bytes.Equal(s.mine, s.their) }

// settleSignature brings the signature of a backup along, or takes away that of
// another backup whose place the copy took.
func settleSignature(ctx context.Context, i Item, o Options) error {
	place, from, to := o.Place, i.Backup.Path, i.To
	s, err := signaturesOf(ctx, place, from, to)
	if err == nil && s.differ() && s.fault == nil && o.Signers != nil {
		s.fault = byThem(ctx, i, o)
	}
	switch {
	case err != nil:
		return err
	case s.differ() && s.fault == nil:
		return place.Put(ctx, to, sign.Suffix, s.their, s.mine)
	case s.their != nil && names(ctx, place, to, s.their) != nil:
		err = place.Put(ctx, to, sign.Suffix, s.their, nil)
	}
	if s.fault != nil {
		return s.fault
	}
	return err
}

// byThem fails unless the signature of a backup is by one of the signers: another one
// must not take the place of theirs at the copy.
func byThem(ctx context.Context, i Item, o Options) error {
	f, err := o.Place.Open(ctx, i.Backup.Path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = backup.OpenSigned(ctx, o.Place, i.Backup.Path, f, o.Signers)
	return err
}

// names fails unless text is the signature of somebody for the backup at path, by
// its id. What cannot be parsed has no id that speaks against it.
func names(ctx context.Context, place store.Store, path string, text []byte) error {
	s, err := sign.Parse(text)
	if err == nil {
		f, openErr := place.Open(ctx, path)
		if openErr != nil {
			return openErr
		}
		defer f.Close()
		if own, parseErr := envelope.Parse(f); parseErr == nil && own.ID != s.ID {
			err = sign.ErrOtherBackup
		}
	}
	if err != nil {
		return fmt.Errorf("%s: %w", store.Beside(path, sign.Suffix), err)
	}
	return nil
}
