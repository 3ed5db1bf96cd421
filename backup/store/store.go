// Package store keeps backups in folders and in buckets. [Open] gives the store
// that a path or a URL is in, and a [Router] is the store of all paths:
// "s3://bucket/key" goes to S3, any other to the folders of this host.
//
// The types are those of the program's own stores; to keep backups elsewhere,
// implement [Store].
package store

import (
	"bytes"

	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/internal/store"
	s3store "github.com/takumi-backup/takumi-backup/internal/store/s3"
)

type (
	// Store is where backups are kept.
	Store = store.Store
	// Object is a file that is open for reading.
	Object = store.Object
	// Writer is a file on its way into a store.
	Writer = store.Writer
	// Replacement is a file that is to take another's place.
	Replacement = store.Replacement
	// Options say what Create makes.
	Options = store.Options
	// Result describes a committed file.
	Result = store.Result
	// Backup is a file that Walk found.
	Backup = store.Backup
	// Error is a failure of the store itself.
	Error = store.Error
	// Bucket is a store of S3, and what only such a one does.
	Bucket  = s3store.Store
	Deleted = s3store.Deleted
	Swept   = s3store.Swept
	// Identity is which backup a file is.
	Identity = s3store.Identity
	// Server says which S3 server a path is meant for.
	Server = store.Server
	// S3Options say where a bucket is, and how it is written.
	S3Options = s3store.Options
)

var (
	// ErrExists: the final name is taken.
	ErrExists = store.ErrExists
	// ErrBusy: another live process writes the same name.
	ErrBusy = store.ErrBusy
	// ErrName: the name cannot be stored, or a sidecar could not name it.
	ErrName = store.ErrName
	// ErrChanged: another file is where the backup was.
	ErrChanged = store.ErrChanged
	// ErrArchived: the file has to be fetched back from an archive first.
	ErrArchived = store.ErrArchived
	// ErrScheme: the path looks like one of a remote store, and is none.
	ErrScheme = store.ErrScheme
)

// Open returns the store that path is in, and fails when there is none such.
// Nothing is asked of a server yet. o is for buckets; its zero value is AWS, with
// what the environment says.
func Open(path string, o S3Options) (Store, error) {
	if o.Identify == nil {
		o.Identify = Identify
	}
	return New(func(server Server) (Store, error) {
		s, err := s3store.New(o.At(server))
		if err != nil {
			return nil, err
		}
		return s, nil
	}).at(path)
}

// Limited returns a store that writes at most so many bytes a second.
func Limited(s Store, bytesPerSecond int64) Store { return store.Limited(s, bytesPerSecond) }

// Identify reads from the first bytes of a file which backup it is, for
// S3Options. What it returns is not authenticated.
func Identify(head []byte) (Identity, bool) {
	e, err := envelope.Parse(bytes.NewReader(head))
	if err != nil {
		return Identity{}, false
	}
	return Identity{Kind: e.Kind, Name: e.Name, Created: e.Created}, true
}
