package local

import (
	"context"
	"fmt"
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/takumi-backup/takumi-backup/internal/store"
)

// copyStep is copied before it is read back.
const copyStep = 8 << 20

// CopyFrom shares the blocks of the old file where the file system can, and else has the
// kernel copy them. Each step is read back while the next is copied.
func (r *replacement) CopyFrom(ctx context.Context, off int64, seen io.Writer) error {
	f := r.file
	if f.ended || r.result != nil {
		return os.ErrClosed
	}
	if f.err == nil {
		f.err = r.copyFrom(ctx, off, seen)
	}
	return f.err
}

func (r *replacement) copyFrom(ctx context.Context, off int64, seen io.Writer) error {
	f := r.file
	old, err := os.OpenFile(f.path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return fault("read", f.path, err)
	}
	defer old.Close()
	if now, err := old.Stat(); err != nil || !r.isOld(now) {
		return fmt.Errorf("copy %s: %w", f.path, store.ErrChanged)
	}
	if _, err := old.Seek(off, io.SeekStart); err != nil {
		return fault("read", f.path, err)
	}
	begin, size := f.size, r.was.Size()-off
	shared := sys.share(f.data.file, begin, old, off, size) == nil
	if !shared {
		if free, known := sys.free(f.data.file); known && free < size {
			return &store.Error{Op: fmt.Sprintf("find room for %d bytes more", size), Path: f.path, Err: unix.ENOSPC}
		}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	copied := make(chan int64, 2) // up to where
	go func() {
		defer close(copied)
		for at := int64(0); at < size && ctx.Err() == nil; {
			n := min(copyStep, size-at)
			if !shared {
				if n, err := sys.copy(f.data.file, old, n); err != nil {
					if err == io.EOF {
						err = store.ErrChanged
					}
					cancel(fault("copy", f.path, err))
					return
				} else {
					f.back.advance(begin + at + n)
				}
			}
			at += n
			copied <- begin + at
		}
	}()
	for upTo := range copied {
		if ctx.Err() == nil {
			if err := f.readBack(upTo, seen); err != nil {
				cancel(err)
			}
		}
	}
	return context.Cause(ctx)
}

// readBack adds the file up to there to the sum and to seen.
func (f *File) readBack(upTo int64, seen io.Writer) error {
	buf := make([]byte, min(1<<20, upTo-f.size))
	for f.size < upTo {
		piece := buf[:min(int64(len(buf)), upTo-f.size)]
		if n, err := f.data.file.ReadAt(piece, f.size); n < len(piece) {
			return fault("read back", f.path, err)
		}
		f.hash.Begin(piece)
		_, err := seen.Write(piece)
		f.hash.Wait()
		if err != nil {
			return err
		}
		f.size += int64(len(piece))
	}
	return nil
}
