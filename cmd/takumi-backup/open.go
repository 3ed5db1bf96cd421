package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/internal/backup"
	"github.com/takumi-backup/takumi-backup/internal/source"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/keystore"
)

type openCommand struct {
	keys     keyFlags
	progress progressFlags
	out      string
	packed   bool
	force    bool
	forceTTY bool
	rescue   bool

	meter backup.Meter
}

func newOpen() *cobra.Command {
	o := new(openCommand)
	cmd := &cobra.Command{
		Use:   "open [flags] FILE|-",
		Short: "Open a sealed backup: its original bytes on standard output or in a file",
		Long: `Open a sealed backup and write its original bytes to standard output, or with
-o to a file, which appears only when all of the backup has proved authentic.

On standard output every byte is authentic, and in its place, but the backup is
whole only when the exit code is 0: feed it to something that can be undone, as
psql --single-transaction.`,
		Example: `  takumi-backup open takumi_db_20261123_020000.sql.zst.enc | psql --single-transaction -v ON_ERROR_STOP=1 takumi_test
  takumi-backup open backup.enc -o dump.sql
  takumi-backup open --packed backup.enc | zstd -d | less`,
		Args: usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd, args[0]) },
	}
	f := cmd.Flags()
	f.SortFlags = false
	o.keys.add(cmd, "open with this key")
	f.StringVarP(&o.out, "output", "o", "", "write to this file (default: standard output)")
	f.BoolVar(&o.packed, "packed", false, "leave the content packed, as a .zst or .gz file")
	f.BoolVar(&o.force, "force", false, "let -o replace a file")
	f.BoolVar(&o.forceTTY, "force-tty", false, "write to a terminal")
	f.BoolVar(&o.rescue, "rescue", false, "open although the envelope was altered; the payload is authenticated all the same")
	o.progress.add(cmd)
	return cmd
}

func (o *openCommand) run(cmd *cobra.Command, path string) error {
	switch toStdout := o.out == "" || o.out == "-"; {
	case cmd.Flags().Changed("output") && o.out == "":
		return usagef("--output is empty")
	case toStdout && !o.forceTTY && isTerminal(os.Stdout):
		return usagef("standard output is a terminal: give -o FILE, a pipe, or --force-tty")
	case toStdout && o.force:
		return usagef("--force goes with -o FILE")
	case path == "-" && isTerminal(os.Stdin):
		return usagef("standard input is a terminal: pipe a backup in, or name a file")
	}
	sources, keys, err := o.keys.required(cmd.Context())
	if err != nil {
		return err
	}
	defer wipe(keys)

	src, size, err := openBackup(cmd.Context(), path)
	if err != nil {
		return err
	}
	defer src.Close()
	if o.force && sameFile(path, o.out) {
		return usagef("%s is the backup itself: -o --force would put its content in its place", o.out)
	}
	opts := envelope.Options{Rescue: o.rescue}
	if path != "-" {
		warnPlacement(cmd, sources, filepath.Dir(path))
		if opts.Detached, err = detached(path); err != nil {
			warn(cmd, "%v", err)
		}
	}
	r, err := envelope.Open(o.meter.Metered(src), opts, keys...)
	if err != nil {
		return fmt.Errorf("opening %s: %w", path, err)
	}
	if r.Altered != nil {
		warn(cmd, "%s: %v; opened because of --rescue", path, r.Altered)
	}
	if r.Detached != nil {
		warn(cmd, "%s%s was passed over: %v", path, envelope.DetachedSuffix, r.Detached)
	}
	hide := o.progress.start(cmd.ErrOrStderr(), "opening", size, &o.meter)
	err = o.write(r)
	hide()
	if err != nil {
		return fmt.Errorf("opening %s: %w", path, err)
	}
	return nil
}

// write sends the content to its destination. A file gets its name only after
// the last byte has proved authentic.
func (o *openCommand) write(r *envelope.Reader) error {
	if o.out == "" || o.out == "-" {
		return backup.Unseal(stdout{os.Stdout}, r, o.packed, &o.meter)
	}
	f, err := store.Create(o.out, store.Options{Replace: o.force})
	if err != nil {
		return err
	}
	defer f.Abort()
	if err := backup.Unseal(f, r, o.packed, &o.meter); err != nil {
		return err
	}
	_, err = f.Commit()
	return err
}

// sameFile tells whether both paths lead to one file.
func sameFile(a, b string) bool {
	infoA, errA := os.Stat(a)
	infoB, errB := os.Stat(b)
	return errA == nil && errB == nil && os.SameFile(infoA, infoB)
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

// detached reads the envelope that may stand beside the backup at path.
func detached(path string) (*envelope.Envelope, error) {
	f, err := os.Open(path + envelope.DetachedSuffix)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	e, err := envelope.Parse(f)
	if err != nil {
		return nil, fmt.Errorf("%s was passed over: %w", f.Name(), err)
	}
	return e, nil
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
