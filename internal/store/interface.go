// Package store is the interface of a place for backups, such as a folder (package local)
// or a bucket (package s3): its types and errors, sidecars, and paths.
package store

import (
	"context"
	"errors"
	"io"
	"iter"
	"time"
)

// Store is a folder of this host or a bucket. All paths are whole, as a user writes them.
// All methods may be called concurrently, and end early, with the context's cause, when the
// context ends. The error for a missing file is [fs.ErrNotExist].
type Store interface {
	// Open opens a file for reading. The caller closes it.
	Open(ctx context.Context, path string) (Object, error)

	// Create begins a file. It fails with ErrExists when there is one, and with ErrBusy
	// while another process writes it.
	Create(ctx context.Context, path string, o Options) (Writer, error)

	// Walk finds the backups in and under root, or with all every file, unfinished ones
	// too. It yields an error for each thing it cannot look at.
	Walk(ctx context.Context, root string, all bool) iter.Seq2[Backup, error]

	// Stat finds one file of any name. isRoot says that path is a folder or a prefix, for
	// Walk.
	Stat(ctx context.Context, path string) (b Backup, isRoot bool, err error)

	// Remove deletes a backup, its sidecar and the files with the further suffixes. The
	// error is ErrChanged when another file has its path.
	Remove(ctx context.Context, b Backup, beside ...string) error

	// Put durably changes the small file at path+suffix, which belongs to the backup at
	// path, from was to now; nil means that there is none. When it holds something else it
	// stays, and the error is ErrChanged. The backup is not touched.
	Put(ctx context.Context, path, suffix string, was, now []byte) error

	// Replace begins a file that will replace the one at path, and finishes a Swap that was
	// killed. Where the store has locks, others get ErrBusy until Swap or Abort.
	Replace(ctx context.Context, path string) (Replacement, error)
}

// Object is a file open for reading. Read is sequential and not safe for concurrent use;
// ReadAt is. Both read the same file even when another takes its path.
type Object interface {
	io.Reader
	io.ReaderAt
	io.Closer
	Size() int64
	ModTime() time.Time
}

// Writer writes a file to a store. It is not safe for concurrent use. It ends with Commit
// or Abort; Abort after Commit does nothing, so it can be deferred.
type Writer interface {
	io.Writer
	// Beside has Commit write path+suffix too, and fail when it cannot.
	Beside(suffix string, content []byte)
	// Commit makes the file durable and gives it its name, or leaves nothing.
	Commit() (Result, error)
	Abort() error
}

// Replacement writes a file that replaces another and its sidecar. It is not safe for
// concurrent use. It ends with Swap or Abort; Abort after Swap does nothing, so it can be
// deferred.
type Replacement interface {
	io.Writer
	// CopyFrom appends the bytes of the old file from off on, as it was at Replace: with
	// shared blocks, in the kernel or within S3 where possible. seen gets the same bytes in
	// order. Nothing may be written after it. A store without room for them says so before
	// it copies.
	CopyFrom(ctx context.Context, off int64, seen io.Writer) error
	// Finish makes the new file durable. The old one is unchanged.
	Finish() (Result, error)
	// Open opens the finished file, so that it can be checked.
	Open(ctx context.Context) (Object, error)
	// Swap gives the new file and its sidecar the names of the old ones, which are deleted.
	// It fails with ErrChanged, and changes nothing, when the old file is no longer the one
	// of Replace. A kill leaves the old file or the new one.
	Swap(ctx context.Context) error
	Abort() error
}

// CreateUnique is Create for the first of path(1), path(2), … that is free.
func CreateUnique(ctx context.Context, s Store, path func(n int) string, o Options) (Writer, error) {
	// Names carry the second of their making, so a few tries do; more means that path
	// ignores n.
	const tries = 1000
	var w Writer
	var err error
	for n := 1; n <= tries; n++ {
		w, err = s.Create(ctx, path(n), o)
		if !errors.Is(err, ErrExists) && !errors.Is(err, ErrBusy) {
			break
		}
	}
	return w, err
}
