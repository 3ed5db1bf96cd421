package backup

import (
	"context"
	"errors"

	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/store"
)

// ForeignError is envelope.ErrNotSealed for a file of another tool that reencrypt
// --from-legacy imports.
type ForeignError struct {
	how string
	err error
}

// Error names the tool.
func (e *ForeignError) Error() string { return e.err.Error() + ": " + e.how }

// Unwrap returns envelope.ErrNotSealed.
func (e *ForeignError) Unwrap() error { return e.err }

func (e *ForeignError) Fail() (fail.Class, string) {
	return fail.Damaged, "takumi-backup reencrypt --from-legacy openssl-cbc imports it: --legacy-passphrase-file FILE has its passphrase, --from URI the key of one with an IV"
}

// foreign adds to err what the beginning of the file, or the file next to it, shows.
func foreign(ctx context.Context, st store.Store, path string, file store.Object, err error) error {
	if !errors.Is(err, envelope.ErrNotSealed) {
		return err
	}
	head := make([]byte, len("Salted__"))
	if n, _ := file.ReadAt(head, 0); string(head[:n]) == "Salted__" {
		return &ForeignError{"openssl enc has encrypted it under a passphrase", err}
	}
	if _, root, statErr := st.Stat(ctx, store.Beside(path, ".iv")); statErr == nil && !root {
		return &ForeignError{"its IV is next to it, so another tool has encrypted it under a key", err}
	}
	return err
}
