package database

import (
	"context"
	"errors"
	"fmt"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/backup/tables"
	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/envelope/sign"
	"github.com/takumi-backup/takumi-backup/internal/guard"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/keystore"
)

// Job restores one sealed backup: [Job.Begin] finds what it would do, and [Job.Run] does
// it. The caller opens the backup, which authenticates its head, and closes it; nothing of
// its payload counts before all of it is authentic.
type Job struct {
	Backup  *backup.Handle
	Stop    func() // ends a Read of Backup that waits, as of a pipe; may be nil
	Path    string // of the backup in Store; "-" for standard input
	Store   store.Store
	Keys    *keystore.Ring // opens the manifest next to the backup
	Signers *sign.Signers  // have to have signed that too
	Rescue  bool           // see [backup.Options]
	Meter   *backup.Meter  // counts what is restored
	// Look has Begin read a backup without a manifest once, to know its needs; it must be a
	// file.
	Look bool
	// Options are what to restore where; Begin adds what the backup says.
	Options
}

// Begin reads the manifest next to the backup, if any, and begins as the function Begin
// does: it changes nothing. A useless manifest is reported and does not prevent the
// restore.
func (j Job) Begin(ctx context.Context) (*Restore, error) {
	o := j.Options
	if j.Backup.Envelope.Kind == backup.KindManifest {
		return nil, fmt.Errorf("restoring %s: %w: it is the manifest of one, and the backup is next to it", j.Path, ErrNotADump)
	}
	if j.Path != "-" {
		m, useless := backup.FindManifest(ctx, j.Store, j.Path, j.Backup.Envelope, backup.Options{Keys: j.Keys, Rescue: j.Rescue, Signers: j.Signers})
		for _, why := range useless {
			o.warn("a manifest is not used: %v", why)
		}
		if o.Manifest = m; m == nil && j.Look && o.Contents == nil {
			var err error
			if o.Contents, err = look(ctx, j.Store, j.Path, backup.Options{Keys: j.Keys, Rescue: j.Rescue}, o.Unguarded); err != nil {
				return nil, err
			}
		}
	}
	o.Of(j.Backup.Envelope)
	o.Sealed = true
	if j.Backup.Envelope.Codec != "none" {
		o.AtLeast = j.Backup.Size() / 2 // of what packs well much more
	}
	return Begin(ctx, o)
}

// look reads a backup to its end, and returns what its dump says of itself.
func look(ctx context.Context, st store.Store, path string, o backup.Options, unguarded bool) (*guard.Contents, error) {
	judge := judge{unguarded: unguarded}
	o.Content = judge.read
	if err := backup.Prove(ctx, st, path, o); err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	return judge.contents, nil
}

// Needs reads a backup to its end, and returns what its dump needs of a server.
func Needs(ctx context.Context, st store.Store, path string, o backup.Options) (backup.Needs, error) {
	c, err := look(ctx, st, path, o, false)
	if err != nil || c == nil {
		return backup.Needs{}, err
	}
	return backup.NeedsOf(c, nil), nil
}

// Run restores the backup as planned by at, of Begin; see [Restore.Run]. With an error and
// a Result with a Database, that is restored, and later steps failed.
func (j Job) Run(ctx context.Context, at *Restore) (Result, error) {
	result, err := j.restore(ctx, at)
	if at.compares() && errors.Is(err, ErrDiffers) {
		err = fmt.Errorf("%w\n--ignore-manifest restores without this comparison", err)
	}
	if err != nil {
		return result, fmt.Errorf("restoring %s: %w", j.Path, err)
	}
	if j.DropPrevious && result.Previous != "" && result.Failed == 0 {
		result.Dropped, err = at.DropPrevious(ctx, []string{result.Previous})
		if err == nil {
			result.Previous = ""
		}
	}
	return result, err
}

func (j Job) restore(ctx context.Context, at *Restore) (Result, error) {
	if j.Jobs > 1 {
		h, dump, err := j.parts(ctx)
		switch {
		case errors.Is(err, errInOrder):
			j.warn("it is restored by one connection: %v", err)
		case err != nil:
			return Result{}, err
		default:
			defer h.Close()
			return at.RunParts(ctx, dump, j.Meter)
		}
	}
	content := backup.NewPlaintext(j.Backup.Reader, j.Meter)
	defer content.Close()
	if j.Stop != nil {
		defer j.Stop() // for which Close would wait
	}
	return at.Run(ctx, content)
}

var errInOrder = errors.New("the backup is read in order")

// parts opens the backup for reading its parts. The error is errInOrder when that is
// impossible.
func (j Job) parts(ctx context.Context) (*backup.HandleAt, *tables.Dump, error) {
	switch {
	case j.Path == "-":
		return nil, nil, fmt.Errorf("%w: it comes without a file", errInOrder)
	case j.Signers != nil:
		return nil, nil, fmt.Errorf("%w: the signature of all of it is checked", errInOrder)
	case j.KeepGoing || j.Unguarded:
		return nil, nil, fmt.Errorf("%w: --keep-going and --guard=off take what comes", errInOrder)
	}
	h, err := backup.OpenAt(ctx, j.Store, j.Path, backup.Options{Keys: j.Keys, Rescue: j.Rescue, ID: j.Backup.Envelope.ID})
	if err != nil {
		return nil, nil, err
	}
	dump, err := h.Tables()
	if err != nil {
		h.Close()
	}
	if errors.Is(err, tables.ErrNoIndex) {
		return nil, nil, fmt.Errorf("%w: it has no index of a plain dump", errInOrder)
	}
	return h, dump, err
}

// Of sets Source to the database that the label names.
func (o *Options) Of(e *envelope.Envelope) {
	o.Source = backup.SourceOf(e)
	for _, name := range []string{o.Settings.Database(), o.From} {
		if o.Source != "" && o.Source == backup.FileNameOf(name) { // of which a file's name may be a simpler form
			o.Source = name
		}
	}
}
