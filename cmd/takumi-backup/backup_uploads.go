package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/internal/source/tree"
	"github.com/takumi-backup/takumi-backup/internal/store"
)

type backupUploads struct {
	sealing
	exclude []string
	oneFS   bool
	strict  bool

	patterns tree.Patterns
}

func newBackupUploads() *cobra.Command {
	b := new(backupUploads)
	b.mayBePlain = true
	cmd := &cobra.Command{
		Use:   "uploads [flags] [DIR]",
		Short: "Seal a folder with all that is in it",
		Long: `Seal the folder DIR, or $UPLOADS_DIR, with all that is in it, as
$BACKUP_ROOT/uploads/uploads_TIME.tar.zst.enc, and print that path.

The content is a tar archive (POSIX format): modes, times, owners, symbolic links,
hard links, devices, FIFOs and names of any bytes are kept; sparse files are zeros
in it, and sparse again when they are restored. Extended attributes, ACLs and
capabilities are not kept, and sockets are left out. No symbolic link is followed.

A file that changes or vanishes meanwhile, or cannot be read, is reported, and the
backup is made all the same. When something could not be read the exit code is
then 6, and with --strict also when something changed or vanished. A folder that is
missing or empty, as that of a volume that is not mounted, is exit code 3.

--exclude PATTERN leaves out what the pattern names, and what is below it: *, ?
and [a-z] stand for characters of a name, and ** for any number of folders. A
pattern with a slash at its beginning or in it counts from DIR on, one without
for a name at any depth.

DIR may not hold the folder where the backups go: each would hold all before.`,
		Example: `  takumi-backup backup uploads /srv/takumi/uploads
  UPLOADS_DIR=/srv/takumi/uploads takumi-backup backup uploads --exclude '*.tmp' --exclude /cache --strict`,
		Args: usageArgs(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error { return b.run(cmd, args) },
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringArrayVar(&b.exclude, "exclude", nil, "leave out what this pattern names (may be given again)")
	f.BoolVar(&b.oneFS, "one-file-system", false, "leave out what other file systems hold that are mounted in DIR")
	f.BoolVar(&b.strict, "strict", false, "exit code 6 also when a file changed or vanished; the backup is kept")
	f.StringVar(&b.name, "name", "", "name in the envelope, and base of a generated file name")
	f.BoolVar(&b.allowEmpty, "allow-empty", false, "accept an empty folder")
	b.sealing.add(cmd)
	return audited(cmd, "backup uploads", changes)
}

func (b *backupUploads) run(cmd *cobra.Command, args []string) error {
	dir, err := b.check(cmd, args)
	if err != nil {
		return err
	}
	ring, keys, err := b.begin(cmd)
	if err != nil {
		return err
	}
	defer ring.Close()
	b.kind = backup.Uploads
	ctx, stop := context.WithCancelCause(cmd.Context())
	defer stop(nil)
	src, err := tree.Open(ctx, dir, tree.Options{
		Exclude: b.patterns, OneFileSystem: b.oneFS, AllowEmpty: b.allowEmpty,
		Report: func(p tree.Problem) { warn(cmd, "%v", p) },
	})
	if errors.Is(err, tree.ErrEmpty) {
		err = fmt.Errorf("%w; is a volume not mounted? --allow-empty backs it up all the same", err)
	}
	if err != nil {
		return sourceError(err)
	}
	defer src.Close()
	if err := b.seal(cmd, stop, src, keys); err != nil {
		return err
	}
	stats := src.Stats()
	switch n := stats.Problems; {
	case stats.Unread > 0:
		warn(cmd, "the backup is made, without what the %d warnings above name: %d could not be read", n, stats.Unread)
		return errSome
	case n > 0 && b.strict:
		warn(cmd, "the backup is made, without what the %d warnings above name", n)
		return errSome
	case n > 0 && !b.progress.quiet:
		warn(cmd, "the backup is made, without what the %d warnings above name; --strict makes that exit code 6", n)
	}
	return nil
}

func (b *backupUploads) check(cmd *cobra.Command, args []string) (dir string, err error) {
	if err := b.sealing.check(cmd); err != nil {
		return "", err
	}
	if b.patterns, err = tree.ParsePatterns(b.exclude); err != nil {
		return "", usagef("--exclude: %w", err)
	}
	dir = os.Getenv("UPLOADS_DIR")
	if len(args) > 0 {
		dir = args[0]
	}
	switch {
	case dir == "":
		return "", usagef("name the folder, or set UPLOADS_DIR")
	case cmd.Flags().Changed("name") && b.name == "":
		return "", usagef("--name is empty")
	}
	to := b.roots()
	if to != nil {
		to = append(to, storeFolder(), backupFolder(backup.Uploads))
	}
	for _, folder := range to {
		if !store.IsRemote(folder) && holds(dir, folder) {
			return "", usagef("the backups in %s would stand in the folder that is backed up, %s: each would hold all before", folder, dir)
		}
	}
	return dir, nil
}

// holds reports whether folder, which need not exist, is dir or stands below it.
func holds(dir, folder string) bool {
	outer, err := os.Stat(dir)
	if err != nil {
		return false
	}
	if folder, err = filepath.Abs(folder); err != nil {
		return false
	}
	for {
		if real, err := filepath.EvalSymlinks(folder); err == nil {
			folder = real
		}
		if inner, err := os.Stat(folder); err == nil && os.SameFile(inner, outer) {
			return true
		}
		parent := filepath.Dir(folder)
		if parent == folder {
			return false
		}
		folder = parent
	}
}
