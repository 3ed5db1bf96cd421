package main

import (
	"context"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/internal/audit"
	"github.com/takumi-backup/takumi-backup/internal/values"
)

type backupUploads struct {
	sealing
	backup.Folder
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
hard links, devices, FIFOs, extended attributes with ACLs, and names of any bytes are
kept; sparse files are zeros in it, and sparse again when they are restored. Sockets
are left out. No symbolic link is followed.

A file that changes while it is read is read again, at most twice; if it changed each
time, it is in the backup as it was read last, and reported. Files that vanish or
cannot be read are reported too, and the backup is made all the same. When something could
not be read the exit code is then 6, and with --strict also when something changed or
vanished. A folder that is missing or empty, as that of a volume that is not mounted,
is exit code 3.

--exclude PATTERN leaves out what the pattern names, and what is below it, as
gitignore(5) has it: *, ? and [a-z] or [!a-z] stand for characters of a name, and **
for any number of folders; a pattern with a slash at its beginning or in it counts
from DIR on, one without for a name at any depth, one with a slash at its end for
folders alone; !PATTERN takes back what patterns before it left out. --exclude-from
FILE reads such lines. A pattern that matches nothing is reported.

--incremental stores what is new or has changed since the night before, by size, times,
inode, mode and owner, and with --checksum by content too: an archive of kind
uploads-increment. It and those before it are a chain, which begins with a full backup,
and holds one for each night of --full-every. restore, ls, find, diff, verify and drill
take an increment for the whole tree as it was that night; prune keeps what is needed of
a chain, and replicate copies it. The state folder keeps the list of files
of the night before, sealed. A file or folder that can't be read stays as it was in the
backup before, and is reported. Without it, or when a store lacks a part of the chain, or
when the keys have changed, the backup is full, and the reason is printed.

UPLOADS_EXCLUDE holds patterns, with blanks between them, UPLOADS_EXCLUDE_FROM names
such a file, UPLOADS_STRICT=true is --strict, UPLOADS_INCREMENTAL=true --incremental,
and UPLOADS_FULL_EVERY is --full-every, here and in backup all.

DIR may not hold the folder where the backups go: each would hold all before.`,
		Example: `  takumi-backup backup uploads /srv/takumi/uploads
  takumi-backup backup uploads /srv/takumi/uploads --incremental --full-every 7d
  UPLOADS_DIR=/srv/takumi/uploads takumi-backup backup uploads --exclude '*.tmp' --exclude /cache --strict`,
		Annotations: records("backup uploads"),
		Args:        usageArgs(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return session(cmd, "backup uploads", changes, nil, func(ctx context.Context, _ *audit.Session) error { return b.run(ctx, cmd, args) })
		},
	}
	f := cmd.Flags()
	f.StringArrayVar(&b.Exclude, "exclude", nil, "leave out what this pattern names (may be given again)")
	f.StringArrayVar(&b.ExcludeFrom, "exclude-from", nil, "leave out what the patterns in this file name, one a line (may be given again)")
	f.BoolVar(&b.Tree.ExcludeCaches, "exclude-caches", false, "leave out what is in folders with a CACHEDIR.TAG")
	f.StringArrayVar(&b.Tree.ExcludeIfPresent, "exclude-if-present", nil, "leave out what is in folders that hold a file of this name, as .nobackup")
	f.BoolVar(&b.Tree.NoXattrs, "no-xattrs", false, "leave out extended attributes and ACLs")
	f.BoolVar(&b.Tree.OneFileSystem, "one-file-system", false, "leave out what other file systems hold that are mounted in DIR")
	f.BoolVar(&b.Strict, "strict", false, "exit code 6 also when a file changed or vanished; the backup is kept")
	f.BoolVar(&b.Incremental, "incremental", false, "store what has changed since the last backup of this folder, with a full one now and then")
	f.Var((*values.Within)(&b.FullEvery), "full-every", "with --incremental: how often all of it is stored (default 7d)")
	f.Lookup("full-every").DefValue = ""
	f.BoolVar(&b.Tree.Checksum, "checksum", false, "with --incremental: read every file, and do not go by times alone")
	f.StringVar(&b.name, "name", "", "name in the envelope, and base of a generated file name")
	f.BoolVar(&b.Tree.AllowEmpty, "allow-empty", false, "accept an empty folder")
	b.sealing.add(cmd)
	return cmd
}

// lowMemory collects memory more eagerly until its result is called: what lives while a
// folder is backed up is buffers, and the index of the archive, which grows with it.
func lowMemory() func() {
	before := debug.SetGCPercent(40)
	return func() { debug.SetGCPercent(before) }
}

func (b *backupUploads) run(ctx context.Context, cmd *cobra.Command, args []string) error {
	defer lowMemory()()
	job, err := b.job(cmd)
	if err != nil {
		return err
	}
	b.Quiet, b.Warn, b.Say = b.progress.quiet, warner(cmd), printer(cmd, false)
	if err := b.Choose(b.conf(), cmd.Flags().Changed, &job); err != nil {
		return err
	}
	dir, err := dirOf(b.conf(), args, "UPLOADS_DIR")
	if err != nil {
		return err
	}
	if to := b.roots(); to != nil {
		err = backup.CheckApart(dir, append(to, conf.StoreFolder(), conf.Folder(backup.KindUploads))...)
	}
	if err == nil && b.Incremental {
		b.StateDir, err = stateDirOr("")
	}
	if err != nil {
		return err
	}
	ring, err := b.start(ctx, &job)
	if err != nil {
		return err
	}
	defer ring.Close()
	return b.Backup(ctx, job, b.runner(cmd), dir)
}
