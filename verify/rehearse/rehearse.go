// Package rehearse brings a backup back to life where it does no harm, compares
// what came of it with what it should be, and takes it away again.
//
// A caller makes a [Stage] with [New], lets [Stage.Run] restore one backup after
// the other, and ends it with [Stage.Close]. Databases go into a scratch server
// that the stage starts by itself when the first one comes, or into a server that
// was set aside; trees of files go into a scratch folder. That is plaintext on a
// disk, and so the disk is named by the user and never chosen here.
package rehearse

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"sync"
	"time"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/envelope/sign"
	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/postgres"
	"github.com/takumi-backup/takumi-backup/internal/postgres/scratch"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/keystore"
)

var (
	// ErrNoPlace is wrapped when no place was named for what is restored.
	ErrNoPlace = errors.New("no place was named for what is restored")
	// ErrKind is wrapped for a backup that no restore is known for; see Can.
	ErrKind = errors.New("there is no restore for such a backup")
	// ErrNotRestorable is wrapped when a backup is authentic to its end, and what
	// it holds cannot be brought back: an incomplete dump, an unsafe archive, a
	// dump that the server refuses.
	ErrNotRestorable = fail.New(fail.Failed, "rehearse the backup before this one, to find out since when it is so, and make a new one now", "the backup is authentic, and cannot be restored")
	// ErrDiffers is wrapped when what was restored is not what was backed up.
	ErrDiffers = fail.New(fail.Failed, "rehearse the backup before this one, to find out since when it is so, and make a new one now", "what was restored is not what was backed up")
	// ErrForeign is wrapped when the server that was set aside has a database of
	// the name that rehearsals use, and no rehearsal has made it.
	ErrForeign = errors.New("no rehearsal has made it")
)

// Options say where to rehearse.
type Options struct {
	Place store.Store
	Keys  *keystore.Ring
	// Signers have to have signed what is restored. Without them a database that anybody
	// may have made who knows a public recipient is restored only if it is Unsigned on
	// purpose: a server runs what a dump says.
	Signers  *sign.Signers
	Unsigned bool
	// ScratchDir is the folder in which scratch folders and servers are made.
	ScratchDir string
	// Database leads to a server that was set aside, for databases; nil means a
	// scratch server in ScratchDir. The database that it names is not touched.
	Database *postgres.Settings
}

// Stage is where backups are rehearsed. Its methods are safe for concurrent use;
// databases are restored one after the other.
type Stage struct {
	o Options

	mu       sync.Mutex // held while a database is restored
	cluster  *scratch.Cluster
	settings *postgres.Settings
	silent   *os.File // takes what psql says: the errors have the end of it
}

// New returns a stage. Nothing is started before it is needed.
func New(o Options) *Stage { return &Stage{o: o} }

// Close stops the scratch server and removes it.
func (s *Stage) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.silent != nil {
		s.silent.Close()
	}
	var err error
	if s.cluster != nil {
		err = s.cluster.Stop()
	}
	s.cluster, s.settings, s.silent = nil, nil, nil
	return err
}

// Outcome is what a rehearsal has found. Everything in it is authentic when Run
// returned no error, and as far as it came otherwise.
type Outcome struct {
	Kind    string
	Name    string
	Created time.Time
	KeyID   kek.ID // of the key that opened it

	Began    time.Time     // when the restore began
	Restored time.Duration // until it was usable: the time to restore, RTO

	Tables int   // of a database
	Rows   int64 // of all its tables
	Files  int   // of a tree, without folders
	Bytes  int64 // of the files

	Manifest bool     // the database was compared with one
	Compared []string // what was compared, in words
	Notes    []string // what else a person should know
}

// globals is how the roles of a server are named by the program.
var globals = regexp.MustCompile(`_globals_\d{8}_\d{6}(-\d+)?\.sql`)

// Can says whether Run knows how to restore a backup of this kind and name: a
// database, but not the roles of a server, contracts or uploads.
func Can(kind, name string) bool {
	switch kind {
	case backup.KindDatabase:
		return !globals.MatchString(name)
	case backup.KindContracts, backup.KindUploads, backup.KindIncrement:
		return true
	}
	return false
}

// Check returns ErrNoPlace when a backup of this kind has nowhere to go.
func (s *Stage) Check(kind string) error {
	switch {
	case s.o.ScratchDir != "", kind == backup.KindDatabase && s.o.Database != nil:
		return nil
	case kind == backup.KindDatabase:
		return fmt.Errorf("restoring a database: %w: neither a scratch folder nor a server that is set aside", ErrNoPlace)
	}
	return fmt.Errorf("restoring %s: %w: no scratch folder", kind, ErrNoPlace)
}

// Run restores the backup at path, compares, and removes what it has made. The
// meter counts what is read. Errors that wrap ErrNotRestorable or ErrDiffers
// backupFault the backup, and so do those of [backup.Open] and of reading what it
// opens; others say that the rehearsal could not be held. The outcome is not nil
// when the backup could be opened.
func (s *Stage) Run(ctx context.Context, path string, m *backup.Meter) (*Outcome, error) {
	f, err := s.open(ctx, path, new(backup.Meter))
	if err != nil {
		return nil, err
	}
	out := &Outcome{
		Kind: f.Envelope.Kind, Name: f.Envelope.Name, Created: f.Envelope.Created,
		KeyID: kek.ID(f.Opened.Holder.Name),
	}
	for _, passed := range f.PassedOver() {
		out.note("the envelope next to the backup was passed over: %v", passed)
	}
	f.Close()
	if !Can(out.Kind, out.Name) {
		return out, fmt.Errorf("%s, of kind %s: %w", path, out.Kind, ErrKind)
	}
	if err := s.Check(out.Kind); err != nil {
		return out, err
	}
	if out.Kind == backup.KindDatabase {
		err = s.database(ctx, path, f, out, m)
	} else {
		err = s.tree(ctx, path, out, m)
	}
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return out, err
}

func (o *Outcome) note(format string, args ...any) {
	o.Notes = append(o.Notes, fmt.Sprintf(format, args...))
}

func (s *Stage) open(ctx context.Context, path string, m *backup.Meter) (*backup.Handle, error) {
	f, err := backup.Open(ctx, s.o.Place, path, backup.Options{Keys: s.o.Keys, Meter: m, Signers: s.o.Signers})
	if err == nil && f.Envelope.Kind == backup.KindDatabase && s.o.Signers == nil && !s.o.Unsigned && backup.Anonymous(f.Holder) {
		f.Close()
		err = backup.ErrAnonymous
	}
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", path, err)
	}
	return f, nil
}

// backupFault marks an error as one that speaks against the backup, not the stage.
func backupFault(verdict, err error) error { return fmt.Errorf("%w: %w", verdict, err) }
