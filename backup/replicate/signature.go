package replicate

import (
	"bytes"
	"context"
	"fmt"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/envelope/sign"
	"github.com/takumi-backup/takumi-backup/internal/store"
)

// signatures are those of a backup and its copy; nil is none.
type signatures struct {
	mine, their []byte
	fault       error // why mine is not brought along
}

// signaturesOf reads both. Mine, if it differs, has to name the backup; readers judge who
// made it.
func signaturesOf(ctx context.Context, place store.Store, from, to string) (s signatures, err error) {
	if s.mine, err = backup.Signature(ctx, place, from); err != nil {
		return s, err
	}
	if s.their, err = backup.Signature(ctx, place, to); err != nil {
		return s, err
	}
	if s.mine != nil && !bytes.Equal(s.mine, s.their) {
		_, s.fault = checkNames(ctx, place, from, s.mine)
	}
	return s, nil
}

// differ reports whether a copy of the same content lacks the signature. One that only the
// copy has may stay.
func (s signatures) differ() bool { return s.mine != nil && !bytes.Equal(s.mine, s.their) }

// copySignature copies the signature, or removes that of another backup which the copy
// replaced.
func copySignature(ctx context.Context, i Item, o Options) error {
	place, from, to := o.Place, i.Backup.Path, i.To
	s, err := signaturesOf(ctx, place, from, to)
	if err == nil && s.differ() && s.fault == nil && o.Signers != nil {
		s.fault = checkSigner(ctx, i, o)
	}
	switch {
	case err != nil:
		return err
	case s.differ() && s.fault == nil:
		return place.Put(ctx, to, sign.Suffix, s.their, s.mine)
	case s.their != nil:
		var wrong bool
		if wrong, err = checkNames(ctx, place, to, s.their); wrong {
			err = place.Put(ctx, to, sign.Suffix, s.their, nil)
		}
	}
	if s.fault != nil {
		return s.fault
	}
	return err
}

// checkSigner fails unless one of the signers made the backup's signature: another one must not
// replace theirs.
func checkSigner(ctx context.Context, i Item, o Options) error {
	f, err := o.Place.Open(ctx, i.Backup.Path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = backup.OpenSigned(ctx, o.Place, i.Backup.Path, f, o.Signers)
	return err
}

// checkNames fails unless text is a signature for the backup at path, by its id. Text that
// cannot be compared with an envelope passes. wrong says that text is why.
func checkNames(ctx context.Context, place store.Store, path string, text []byte) (wrong bool, err error) {
	s, err := sign.Parse(text)
	if err == nil {
		f, openErr := place.Open(ctx, path)
		if openErr != nil {
			return false, openErr
		}
		defer f.Close()
		own, fault, parseErr := parse(f)
		if fault != nil {
			return false, fault
		}
		if parseErr == nil && own.ID != s.ID {
			err = sign.ErrOtherBackup
		}
	}
	if err != nil {
		return true, fmt.Errorf("%s: %w", store.Beside(path, sign.Suffix), err)
	}
	return false, nil
}
