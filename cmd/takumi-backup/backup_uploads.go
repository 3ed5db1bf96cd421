package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/internal/audit"
	"github.com/takumi-backup/takumi-backup/internal/config"
	"github.com/takumi-backup/takumi-backup/internal/fsutil"
	"github.com/takumi-backup/takumi-backup/internal/source/tree"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/internal/values"
	"github.com/takumi-backup/takumi-backup/stream/pack"
)

type backupUploads struct {
	sealing
	exclude  []string
	excludes []string // files of patterns
	strict   bool
	tree     tree.Options

	incremental bool
	fullEvery   time.Duration
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
backup before, and is reported. Without it, or when the store lacks a part of the chain, or
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
	f.StringArrayVar(&b.exclude, "exclude", nil, "leave out what this pattern names (may be given again)")
	f.StringArrayVar(&b.excludes, "exclude-from", nil, "leave out what the patterns in this file name, one a line (may be given again)")
	f.BoolVar(&b.tree.ExcludeCaches, "exclude-caches", false, "leave out what is in folders with a CACHEDIR.TAG")
	f.StringArrayVar(&b.tree.ExcludeIfPresent, "exclude-if-present", nil, "leave out what is in folders that hold a file of this name, as .nobackup")
	f.BoolVar(&b.tree.NoXattrs, "no-xattrs", false, "leave out extended attributes and ACLs")
	f.BoolVar(&b.tree.OneFileSystem, "one-file-system", false, "leave out what other file systems hold that are mounted in DIR")
	f.BoolVar(&b.strict, "strict", false, "exit code 6 also when a file changed or vanished; the backup is kept")
	f.BoolVar(&b.incremental, "incremental", false, "store what has changed since the last backup of this folder, with a full one now and then")
	f.Var((*values.Within)(&b.fullEvery), "full-every", "with --incremental: how often all of it is stored (default 7d)")
	f.Lookup("full-every").DefValue = ""
	f.BoolVar(&b.tree.Checksum, "checksum", false, "with --incremental: read every file, and do not go by times alone")
	f.StringVar(&b.name, "name", "", "name in the envelope, and base of a generated file name")
	f.BoolVar(&b.tree.AllowEmpty, "allow-empty", false, "accept an empty folder")
	b.sealing.add(cmd)
	return cmd
}

func (b *backupUploads) run(ctx context.Context, cmd *cobra.Command, args []string) error {
	job, err := b.job(cmd)
	if err != nil {
		return err
	}
	job.Guard.AllowEmpty = b.tree.AllowEmpty
	if err := b.patterns(cmd); err != nil {
		return err
	}
	if err := b.nights(cmd, &job); err != nil {
		return err
	}
	dir, err := b.dir(args)
	if err != nil {
		return err
	}
	ring, err := b.start(ctx, &job)
	if err != nil {
		return err
	}
	defer ring.Close()
	b.tree.Report = func(p tree.Problem) { warn(cmd, "%v", p) }
	stats, err := b.backup(ctx, cmd, job, dir)
	if err != nil {
		return err
	}
	for _, words := range b.tree.Exclude.Unused() {
		warn(cmd, "--exclude: %s", words)
	}
	return b.judge(cmd, *stats)
}

func (b *backupUploads) nights(cmd *cobra.Command, job *backup.Job) error {
	on, err := b.conf().Bool("UPLOADS_INCREMENTAL", false)
	if err != nil {
		return err
	}
	if !cmd.Flags().Changed("incremental") {
		b.incremental = on && b.out == "" // one into a named file is by itself
	}
	switch every := b.conf().Get("UPLOADS_FULL_EVERY"); {
	case cmd.Flags().Changed("full-every"):
	case every != "":
		if err := (*values.Within)(&b.fullEvery).Set(every); err != nil {
			return usagef("UPLOADS_FULL_EVERY: %w", err)
		}
	default:
		b.fullEvery = 7 * 24 * time.Hour
	}
	switch {
	case !b.incremental && (cmd.Flags().Changed("full-every") || b.tree.Checksum):
		return usagef("--full-every and --checksum go with --incremental")
	case !b.incremental:
		return nil
	case b.fullEvery <= 0:
		return usagef("--full-every is %v: it is how often a full backup is made, as 7d", b.fullEvery)
	case b.out != "" || job.Plain || job.Pack.Codec != pack.Zstd:
		return usagef("--incremental makes sealed backups, packed with zstd, below --store or $BACKUP_ROOT: it does not go with -o, --codec or BACKUP_ENCRYPTION_ENABLED=false")
	}
	return nil
}

func (b *backupUploads) backup(ctx context.Context, cmd *cobra.Command, job backup.Job, dir string) (*tree.Stats, error) {
	if !b.incremental {
		return backup.Uploads(ctx, job, b.runner(cmd), dir, b.tree)
	}
	state, err := stateDirOr("")
	if err != nil {
		return nil, err
	}
	return backup.UploadsIncremental(ctx, job, b.runner(cmd), dir, b.tree, backup.Incremental{
		StateDir: state, FullEvery: b.fullEvery,
		Full: func(why string) {
			if !b.progress.quiet {
				fmt.Fprintf(cmd.ErrOrStderr(), "a full backup is made: %s\n", why)
			}
		},
	})
}

// judge says what of the folder is not in the backup as it is.
func (b *backupUploads) judge(cmd *cobra.Command, s tree.Stats) error {
	if s.Problems == 0 {
		return nil
	}
	words := fmt.Sprintf("the backup is made: %d changed each time they were read and are in it as they were read last, %d vanished and %d could not be read",
		s.Changed, s.Vanished, s.Unread)
	switch {
	case s.Unread > 0 || b.strict:
		warn(cmd, "%s", words)
		return errSome
	case !b.progress.quiet:
		warn(cmd, "%s; --strict makes that exit code 6", words)
	}
	return nil
}

// patterns reads what is to be left out, from flags, files and the environment.
func (b *backupUploads) patterns(cmd *cobra.Command) error {
	exclude := append(config.List(b.conf().Get("UPLOADS_EXCLUDE")), b.exclude...)
	files := b.excludes
	if path := b.conf().Get("UPLOADS_EXCLUDE_FROM"); path != "" {
		files = append([]string{path}, files...)
	}
	strict, err := b.conf().Bool("UPLOADS_STRICT", false)
	if err != nil {
		return err
	}
	b.strict = b.strict || strict && !cmd.Flags().Changed("strict")
	for _, path := range files {
		f, err := fsutil.OpenRegular(path)
		if err != nil {
			return usagef("--exclude-from: %w", err)
		}
		more, err := tree.ReadPatterns(f)
		f.Close()
		if err != nil {
			return usagef("--exclude-from: %s: %w", path, err)
		}
		exclude = append(exclude, more...)
	}
	if b.tree.Exclude, err = tree.ParsePatterns(exclude); err != nil {
		return usagef("--exclude: %w", err)
	}
	return nil
}

// dir is the folder to back up, which may not hold the backups.
func (b *backupUploads) dir(args []string) (string, error) {
	dir, err := dirOf(b.conf(), args, "UPLOADS_DIR")
	if err != nil {
		return "", err
	}
	to := b.roots()
	if to != nil {
		to = append(to, conf.StoreFolder(), conf.Folder(backup.KindUploads))
	}
	for _, folder := range to {
		if !store.IsRemote(folder) && backup.Holds(dir, folder) {
			return "", usagef("the backups in %s would be in the folder that is backed up, %s: each would hold all before", folder, dir)
		}
	}
	return dir, nil
}
