package keystore

import (
	"context"
	"time"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
)

// Version is one key that a place keeps.
type Version struct {
	Source  Source // loads this key even when another is current
	Name    string // in the place: a number, a stage, a file name
	Current bool
	Created time.Time // zero if unknown
	// Gone says how a deleted key can be brought back; nil for one that exists.
	Gone error
}

// Keeper is a Source that keeps former keys.
type Keeper interface {
	Source

	// Versions lists the available keys, the current one first, then from the newest to the
	// oldest, then those that are Gone. Its errors are those of Load.
	Versions(ctx context.Context) ([]Version, error)
}

// Placed is a Source whose URI does not suffice: it means another place under another
// server, account or namespace.
type Placed interface {
	Source

	// Place names the place: the same for every URI and version that leads to it,
	// printable, without secrets, and unchanged when the key changes. Its errors are those
	// of Load.
	Place(ctx context.Context) (string, error)
}

// Destroyable is a Source, as of a [Version], of one key that can be destroyed on its own.
type Destroyable interface {
	Source

	// DestroyCommand is the shell command by which people destroy that key; this program
	// never does. It is "" when the Source does not name exactly one key.
	DestroyCommand(id kek.ID) string
}

// Storer is a Keeper that takes new keys.
type Storer interface {
	Keeper

	// Store makes key the current one and keeps the one before it as a former version.
	// Before is the id of the current key as the caller knows it, "" for none; when the
	// place holds another, nothing is changed and the error's kind is ErrConflict. Storing
	// the current key again changes nothing and is not an error.
	//
	// Killed at any moment, Store leaves the current key either unchanged or new, and keeps
	// every former key.
	Store(ctx context.Context, key *kek.Key, before kek.ID) error
}
