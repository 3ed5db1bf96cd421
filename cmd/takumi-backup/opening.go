package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/internal/backup"
	"github.com/takumi-backup/takumi-backup/internal/catalogue"
	"github.com/takumi-backup/takumi-backup/internal/source"
	"github.com/takumi-backup/takumi-backup/kek"
	"github.com/takumi-backup/takumi-backup/keystore"
)

// opening gets at the content of a backup: what every command that reads one
// has in common.
type opening struct {
	keys     keyFlags
	progress progressFlags
	rescue   bool

	meter backup.Meter
}

func (o *opening) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.SortFlags = false
	o.keys.add(cmd, "open with this key")
	f.BoolVar(&o.rescue, "rescue", false, "open although the envelope was altered; the payload is authenticated all the same")
	o.progress.add(cmd)
}

// openedBackup is a backup whose key was found. Nothing of its payload has been
// read. Close wipes the keys.
type openedBackup struct {
	*envelope.Reader
	size int64 // of the file, or -1
	ring *keystore.Ring
	src  io.Closer
}

func (b *openedBackup) Close() error {
	b.ring.Close()
	return b.src.Close()
}

// open opens the backup at path, or on standard input with "-".
func (o *opening) open(cmd *cobra.Command, path string) (_ *openedBackup, err error) {
	b := new(openedBackup)
	if b.ring, err = o.keys.ring(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			b.ring.Close()
		}
	}()
	// Before the backup is touched: a key that cannot be had is the first thing
	// to know. With several, one may do.
	if sources := b.ring.Sources(); len(sources) < 2 {
		if _, err := b.ring.Current(cmd.Context()); err != nil {
			return nil, fmt.Errorf("loading the key: %w", err)
		}
	}
	src, size, err := openBackup(cmd.Context(), path)
	if err != nil {
		return nil, err
	}
	b.src, b.size = src, size
	defer func() {
		if err != nil {
			src.Close()
		}
	}()
	opts := envelope.Options{Rescue: o.rescue, Find: func(wanted []kek.ID) ([]*kek.Key, error) {
		return b.ring.Find(cmd.Context(), wanted)
	}}
	if path != "-" {
		warnPlacement(cmd, b.ring.Sources(), filepath.Dir(path))
		if opts.Detached, err = catalogue.Detached(path); err != nil {
			warn(cmd, "%s%s was passed over: %v", path, envelope.DetachedSuffix, err)
		}
	}
	if b.Reader, err = envelope.Open(o.meter.Metered(src), opts); err != nil {
		return nil, fmt.Errorf("opening %s: %w", path, err)
	}
	if b.Altered != nil {
		warn(cmd, "%s: %v; opened because of --rescue", path, b.Altered)
	}
	if b.Detached != nil {
		warn(cmd, "%s%s was passed over: %v", path, envelope.DetachedSuffix, b.Detached)
	}
	return b, nil
}

// openBackup opens a backup for reading in order, and tells its size, or -1.
func openBackup(ctx context.Context, path string) (io.ReadCloser, int64, error) {
	if path == "-" {
		src, err := source.Stdin(ctx, os.Stdin)
		return src, -1, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, fmt.Errorf("opening the backup: %w", err)
	}
	info, err := f.Stat()
	if err == nil && info.IsDir() {
		err = fmt.Errorf("%s is a folder", path)
	}
	if err != nil {
		f.Close()
		return nil, 0, fmt.Errorf("opening the backup: %w", err)
	}
	return interruptible{ctx, f}, info.Size(), nil
}

// interruptible ends reading a file when the context ends.
type interruptible struct {
	ctx context.Context
	*os.File
}

func (i interruptible) Read(p []byte) (int, error) {
	if err := context.Cause(i.ctx); err != nil {
		return 0, err
	}
	return i.File.Read(p)
}

// warnPlacement says when a key stands with the backups. Who reads a backup
// needs it now, so it is no more than a warning.
func warnPlacement(cmd *cobra.Command, sources []keystore.Source, folder string) {
	for _, src := range sources {
		if err := keystore.CheckApart(src, folder); err != nil {
			warn(cmd, "%v", err)
		}
	}
}
