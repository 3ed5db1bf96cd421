// Package store says what a place for backups does, whatever keeps them: a folder
// (package local) or a bucket (package s3). It has the interface, its types and
// errors, sidecars, and the paths that name what is in a store.
package store

import (
	"context"
	"errors"
	"io"
	"iter"
	"time"
)

// Store is where backups are kept: a folder of this host or a bucket. Every path
// that goes in or comes out is whole, as a user would write it. All methods may
// be called concurrently, and end early, with the context's cause, when the
// context ends. A file that is not there is an error that is [fs.ErrNotExist].
type Store interface {
	// Open opens a file for reading. The caller closes it.
	Open(ctx context.Context, path string) (Object, error)

	// Create begins a file, and fails with ErrExists when there is one, or with
	// ErrBusy while another is writing it.
	Create(ctx context.Context, path string, o Options) (Writer, error)

	// Walk finds the backups in and under root, or with all every file, also
	// what a writer has not finished yet. What cannot be looked at is an error
	// between them.
	Walk(ctx context.Context, root string, all bool) iter.Seq2[Backup, error]

	// Stat finds one file, whatever its name. isRoot says that path is a folder
	// (or a prefix of a bucket), which Walk looks through.
	Stat(ctx context.Context, path string) (b Backup, isRoot bool, err error)

	// Remove deletes a backup, its sidecar, and what belongs to it under a
	// further suffix. When another file has its path, the error is ErrChanged.
	Remove(ctx context.Context, b Backup, beside ...string) error

	// Put changes the small file at path+suffix, which belongs to the backup at
	// path, from was to now, for good; nil when there is none. When it holds something
	// else, it stays, and the error is ErrChanged; a file that is to go may be
	// gone already. The backup itself is not touched.
	Put(ctx context.Context, path, suffix string, was, now []byte) error

	// Replace begins a file that is to take the place of the one at path, and
	// finishes what a Swap left that was killed. Where the store has locks,
	// nobody else writes the file until Swap or Abort: the error is ErrBusy.
	Replace(ctx context.Context, path string) (Replacement, error)
}

// Object is a file that is open for reading. Read goes through it in order and
// is not safe for concurrent use; ReadAt goes anywhere, and is. All of them read
// the same file, even when another takes its path.
type Object interface {
	io.Reader
	io.ReaderAt
	io.Closer
	Size() int64
	ModTime() time.Time
}

// Writer is a file on its way into a store. It is not safe for concurrent use.
// It ends with Commit or Abort; Abort after Commit does nothing, so it can be
// deferred.
type Writer interface {
	io.Writer
	// Beside has Commit write path+suffix too, so that the file is never a
	// backup without it. What goes wrong with it fails Commit.
	Beside(suffix string, content []byte)
	// Commit makes the file durable and gives it its name, or leaves nothing.
	Commit() (Result, error)
	Abort() error
}

// Replacement is a file that is to take another's place, and its sidecar's. It
// is not safe for concurrent use. It ends with Swap or Abort; Abort after Swap
// does nothing, so it can be deferred.
type Replacement interface {
	io.Writer
	// CopyFrom appends what the old file has from its byte off on, as it was
	// when Replace was called: with shared blocks, in the kernel or within S3
	// where that can be done. seen gets those bytes, in order, as the new file
	// has them. Nothing is written after it. A store that has no room for them
	// says so before it copies.
	CopyFrom(ctx context.Context, off int64, seen io.Writer) error
	// Finish makes durable what was written. The old file is as it was.
	Finish() (Result, error)
	// Open opens what Finish made durable, so that it can be proved.
	Open(ctx context.Context) (Object, error)
	// Swap gives the new file and its sidecar the names of the old ones, which
	// are gone then. It fails with ErrChanged, and changes nothing, when the
	// file is no longer the one that was there when Replace was called. A kill
	// leaves the old file or the new one.
	Swap(ctx context.Context) error
	Abort() error
}

// CreateUnique is Create for the first of path(1), path(2), … that is neither
// taken nor being written by another.
func CreateUnique(ctx context.Context, s Store, path func(n int) string, o Options) (Writer, error) {
	// A name that carries the second of its making is free after a handful of
	// tries; far more means that path ignores n.
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
