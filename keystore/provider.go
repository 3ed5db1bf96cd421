package keystore

import (
	"context"
	"time"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
)

// Version is one of the keys that a place keeps.
type Version struct {
	Source  Source // loads this very key, whichever is current
	Name    string // what the place calls it: a number, a stage, a file name
	Current bool
	Created time.Time // zero where the place does not say
	// Gone says of a key that was deleted and can be brought back how that is done;
	// nil for one that can be had.
	Gone error
}

// Keeper is a Source that keeps former keys next to the current one.
type Keeper interface {
	Source

	// Versions lists the keys that can still be had, the current one first and
	// then from the newest to the oldest, and behind them those that are Gone. Its
	// errors are those of Load.
	Versions(ctx context.Context) ([]Version, error)
}

// Placed is a Source whose URI alone does not say where it is: the same URI names
// another place under another server, account or namespace.
type Placed interface {
	Source

	// Place names the place, and the same for every URI that leads to it,
	// whichever version that names. It is printable, holds no secret, and goes on
	// being the name when the key there changes. Its errors are those of Load.
	Place(ctx context.Context) (string, error)
}

// Destroyable is a Source, as a [Version] has it, of one key that can be destroyed on
// its own.
type Destroyable interface {
	Source

	// DestroyCommand is the shell command that destroys the key of that id there,
	// for people to run: nothing in this program does. It is "" where the Source
	// does not name one key alone.
	DestroyCommand(id kek.ID) string
}

// Storer is a Keeper that a new key can be put in.
type Storer interface {
	Keeper

	// Store makes key the current one, and keeps the one before it as a former
	// version. Before is the id of the key that the caller takes to be the
	// current one, or "" when there should be none; when the place holds
	// another, nothing is changed and the error's kind is ErrConflict. Storing
	// the key that is current already changes nothing and is not an error.
	//
	// Killed at any moment, Store leaves the current key either as it was or
	// changed, and in both cases every former key in its place.
	Store(ctx context.Context, key *kek.Key, before kek.ID) error
}
