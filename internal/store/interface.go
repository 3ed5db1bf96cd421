// Package store says what a place for backups does, whatever keeps them: a folder
// (package local) or a bucket (package s3). It has the interface, its types and
// errors, sidecars, and the paths that name what is in a store.
package store

import (
	"context"
	"crypto/sha256"
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

	// Create begins a file, and CreateUnique one under the first of path(1),
	// path(2), … that is free, as [Create] and [CreateUnique] do in a folder.
	Create(ctx context.Context, path string, o Options) (Writer, error)
	CreateUnique(ctx context.Context, path func(n int) string, o Options) (Writer, error)

	// Walk finds the backups in and under root, and Files every file, as [Walk]
	// and [Files] do in a folder.
	Walk(ctx context.Context, root string) iter.Seq2[Backup, error]
	Files(ctx context.Context, root string) iter.Seq2[Backup, error]

	// Stat finds one file, whatever its name. isRoot says that path is a folder
	// (or a prefix of a bucket), which Walk looks through.
	Stat(ctx context.Context, path string) (b Backup, isRoot bool, err error)

	// Remove deletes a backup, its sidecar, and what stands beside it under a
	// further suffix, as [Remove] does in a folder.
	Remove(ctx context.Context, b Backup, beside ...string) error

	// PutBeside writes path+suffix for good, in the place of one that is there.
	// The backup itself is not touched.
	PutBeside(ctx context.Context, path, suffix string, content []byte) error
	// RemoveBeside deletes path+suffix, which may be missing. When it does not
	// hold content, it stays, and the error is ErrChanged.
	RemoveBeside(ctx context.Context, path, suffix string, content []byte) error

	// Reserve keeps other writers of this host off the file at path and what
	// stands beside it, until release is called, and settles what one that was
	// killed has left. The error is ErrBusy when one is at work. In a place that
	// has no such right it does nothing.
	Reserve(ctx context.Context, path string) (release func() error, err error)

	// Overwrite puts head over the first len(head) bytes of the file at path,
	// which stays as long as it is, and gives it the sidecar for sum, that of
	// the whole file afterwards. was is the file as it was read; when another
	// stands there, nothing happens and the error is ErrChanged. A kill leaves
	// the old file, the new one, or one whose head is torn: the caller has put
	// beside it what mends that, and calls Overwrite again. The caller holds the
	// reservation of path.
	Overwrite(ctx context.Context, path string, was Object, head []byte, sum [sha256.Size]byte) error

	// Replace begins a file that is to take the place of the one at path.
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

// Writer is a file on its way into a place; see [File].
type Writer interface {
	io.Writer
	Commit() (Result, error)
	Abort() error
}

// Replacement is a file that is to take another's place, and its sidecar's. It
// is not safe for concurrent use. It ends with Swap or Abort; Abort after Swap
// does nothing, so it can be deferred.
type Replacement interface {
	io.Writer
	// Finish makes durable what was written, beside the old file, which stands
	// as it was.
	Finish() (Result, error)
	// Open opens what Finish made durable, so that it can be proved.
	Open(ctx context.Context) (Object, error)
	// Swap gives the new file and its sidecar the names of the old ones, which
	// are gone then. It fails with ErrChanged, and changes nothing, when the
	// file is no longer the one that stood there when Replace was called.
	Swap(ctx context.Context) error
	Abort() error
}
