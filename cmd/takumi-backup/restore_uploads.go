package main

import (
	"archive/tar"
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/backup/members"
	"github.com/takumi-backup/takumi-backup/backup/prune"
	source "github.com/takumi-backup/takumi-backup/internal/source/tree"
	"github.com/takumi-backup/takumi-backup/internal/terminal"
	"github.com/takumi-backup/takumi-backup/restore/tree"
)

type restoreUploads struct {
	opening
	to         string
	latest     bool
	name       string // of a series, with latest
	include    []string
	files      tree.Options // Special and what follows it
	onConflict string
	yes        bool
	dryRun     bool
	json       bool

	patterns source.Patterns
}

func newRestoreUploads() *cobra.Command {
	r := &restoreUploads{opening: opening{mustFit: true}}
	cmd := &cobra.Command{
		Use:   "uploads [flags] FILE|-|--latest --to DIR",
		Short: "Restore a folder from a sealed backup",
		Long: `Restore a folder from a sealed backup of one, or from any sealed tar archive.

The files go into a new folder next to DIR, DIR.restore-TIME. When all of the
backup has proved authentic and is on the disk, the two folders are exchanged in
one step, and the former is kept as DIR.before-TIME. A failure, a signal or a
damaged backup before that leaves DIR as it was, and the new folder is removed.
(Where the file system cannot exchange two names, as on NFS, two renames stand for
it.) Where DIR is a mount point, the volume of a container or a subvolume, or where
nothing may be made next to it, the new folder is DIR/.restore-TIME; the entries of
both are renamed one by one, and the former ones are kept in DIR/.before-TIME. The
path of DIR is printed in the end.

Nothing is written outside of the new folder, whatever the archive holds; what
tries to is refused, and a slash at the beginning of names is left out. Devices and
FIFOs, the setuid and setgid bits of files and attributes that give rights are left
out unless --special asks for them. As root, files get the owners that they had, by
name, or by number where nobody has that name; owners that this user cannot give,
and attributes that the file system does not take, are reported once and counted.

When the target takes two names for one, as file systems do that fold case, or does
not keep modes, nothing is restored: --on-conflict rename gives the second file
another name, also one whose name the target forbids, and --no-modes goes without
modes. --keep-going restores the rest when a file cannot be made or is refused; each
is named, and the exit code is 6.

An archive that was compressed with gzip, zstd, xz or bzip2 before it was sealed is
unpacked.

--include PATTERN restores what the pattern names, and what is below it, into a
DIR that is missing or empty. Patterns are those of backup uploads --exclude. A file
that has another first name in the archive comes too; the backup is read twice then.
Of a backup that this program made only what is named is read, also from S3, and every
byte of that is authentic; that the rest of the backup is whole is not proved.`,
		Example: `  takumi-backup restore uploads uploads_20261123_020000.tar.zst.enc --to /srv/takumi/uploads
  takumi-backup restore uploads backup.enc --to /tmp/found --include '/avatars/alice.png'
  takumi-backup restore uploads --latest --to /srv/takumi/uploads --dry-run`,
		Args: usageArgs(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return r.restored(cmd, args, backup.KindUploads, func(path string) error { return r.run(cmd, path) })
		},
	}
	f := cmd.Flags()
	f.StringVar(&r.to, "to", "", "the folder to restore")
	r.addLatest(cmd)
	f.StringArrayVar(&r.include, "include", nil, "restore only what this pattern names (may be given again)")
	f.BoolVar(&r.files.Special, "special", false, "restore devices, FIFOs, setuid and setgid files, and attributes that give rights too")
	f.BoolVar(&r.files.NumericOwner, "numeric-owner", false, "as root: owners by number, not by name")
	r.addTarget(cmd)
	f.BoolVarP(&r.yes, "yes", "y", false, "do not ask before a folder is exchanged")
	f.BoolVarP(&r.dryRun, "dry-run", "n", false, "check the backup, print the paths in it, and restore nothing")
	f.BoolVar(&r.json, "json", false, "print what was done as JSON")
	r.opening.add(cmd)
	return auditedBy(cmd, "restore uploads", r.effect)
}

func (r *restoreUploads) addLatest(cmd *cobra.Command) {
	f := cmd.Flags()
	f.BoolVar(&r.latest, "latest", false, "restore the newest backup of this kind in $BACKUP_ROOT that is whole and authentic")
	f.StringVar(&r.name, "name", "", "with --latest, of the series of this name: where there are several")
}

// restored has restore work on the backup that is named, or on the newest: in one pass,
// since nothing live has changed by the time a backup shows to be damaged. A dry run has
// printed its paths by then, so that it proves the backup first.
func (r *restoreUploads) restored(cmd *cobra.Command, args []string, kind string, restore func(path string) error) error {
	switch {
	case len(args) > 0 && r.latest:
		return usagef("--latest finds the backup by itself: leave %q out", args[0])
	case len(args) == 0 && !r.latest:
		return usagef("name a backup, or give --latest")
	case r.name != "" && !r.latest:
		return usagef("--name goes with --latest")
	case !r.latest:
		return restore(args[0])
	}
	if _, err := r.check(""); err != nil { // before hours of proving
		return err
	}
	use := func(b *backup.Backup) error {
		r.pinned = b.ID
		return restore(b.Path)
	}
	if r.dryRun {
		use = nil
	}
	path, err := r.newest(cmd, func(how backup.Options) (*backup.Backup, error) {
		return backup.LatestOf(cmd.Context(), newPlace(), conf.Folder(kind), backup.Filter{Kinds: []string{kind}, Name: r.name}, time.Now().Add(prune.Skew), how, use)
	})
	if err == nil && r.dryRun {
		err = restore(path)
	}
	return err
}

// addTarget adds the flags for targets that cannot hold everything.
func (r *restoreUploads) addTarget(cmd *cobra.Command) {
	f := cmd.Flags()
	f.BoolVar(&r.files.NoOwner, "no-owner", false, "set no owners")
	f.BoolVar(&r.files.NoModes, "no-modes", false, "set no modes")
	f.BoolVar(&r.files.NoXattrs, "no-xattrs", false, "set no extended attributes and no ACLs")
	f.BoolVar(&r.files.KeepGoing, "keep-going", false, "restore the rest when a file cannot be restored; exit code 6 then")
	f.StringVar(&r.onConflict, "on-conflict", "refuse", "names that the target cannot tell apart or cannot hold: refuse, or rename")
}

// check finds the mistakes that can be found before anything starts, and whether
// DIR is there.
func (r *restoreUploads) check(path string) (exists bool, err error) {
	if r.patterns, err = source.ParsePatterns(r.include); err != nil {
		return false, usagef("--include: %w", err)
	}
	r.files.Rename = r.onConflict == "rename"
	switch {
	case !r.files.Rename && r.onConflict != "refuse":
		return false, usagef("--on-conflict is %q: it is refuse or rename", r.onConflict)
	case r.to == "":
		return false, usagef("say with --to DIR which folder to restore")
	case path == "-" && terminal.Is(os.Stdin):
		return false, usagef("standard input is a terminal: pipe a backup in, or name a file")
	}
	if _, exists, err = tree.Check(r.to, r.replaces()); err != nil {
		return false, err
	}
	if exists && r.replaces() && !r.yes && !r.dryRun && (!terminal.Is(os.Stdin) || !terminal.Is(os.Stderr)) {
		return false, usagef("%s exists, and there is no terminal to ask on: give --yes, or --dry-run to see what would be done", r.to)
	}
	return exists, nil
}

// effect is that of replacing a folder that is live, or of making one beside.
func (r *restoreUploads) effect(args []string) effect {
	if exists, err := r.check(strings.Join(args, "")); err == nil && exists && r.replaces() {
		return changes
	}
	return reads
}

func (r *restoreUploads) replaces() bool { return len(r.include) == 0 }

func (r *restoreUploads) run(cmd *cobra.Command, path string) error {
	j := tree.Job{Foreign: []string{backup.KindDatabase, backup.KindContracts}, Inherit: true}
	return r.restore(cmd, path, j, func(res tree.Result) error { return r.finish(cmd, path, res) })
}

// restore does the job, of which the flags say the rest; done says what happened.
func (r *restoreUploads) restore(cmd *cobra.Command, path string, j tree.Job, done func(tree.Result) error) error {
	if _, err := r.check(path); err != nil {
		return err
	}
	b, err := r.open(cmd, path)
	if err != nil {
		return err
	}
	defer b.Close()
	if j.Open, err = r.options(cmd, b.ring); err != nil {
		return err
	}
	j.Backup, j.Stop, j.Path, j.Store, j.Meter, j.To = b.Handle, b.stop, path, newPlace(), &r.meter, r.to
	j.Options = r.files
	j.Include = r.patterns
	j.Report = func(path string, why error) { warn(cmd, "%q: %v", path, why) }
	j.Stray = func(path string) {
		warn(cmd, "%s is left by a killed restore, or in use by another one", path)
	}
	out := bufio.NewWriter(cmd.OutOrStdout())
	if r.dryRun {
		j.Each = func(h *tar.Header) { fmt.Fprintln(out, members.PathText(h.Name)) } // Flush has the error
	}
	at, err := j.Begin(cmd.Context())
	if err != nil {
		return aboutPath("opening", path, err)
	}
	defer at.Close()
	if r.dryRun {
		return r.show(cmd, path, at, out)
	}
	if at.Plan().Replaces {
		if err := r.confirm(cmd, path, b); err != nil {
			return err
		}
	}
	hide := r.progress.start(cmd.ErrOrStderr(), "restoring", b.Size(), &r.meter)
	res, err := at.Run(cmd.Context())
	hide()
	if err != nil {
		return fmt.Errorf("restoring %s: %w", path, err)
	}
	r.unused(cmd)
	return done(res)
}

func (r *restoreUploads) unused(cmd *cobra.Command) {
	for _, words := range r.patterns.Unused() {
		warn(cmd, "--include: %s", words)
	}
}

// show is the dry run: paths on standard output, words on standard error.
func (r *restoreUploads) show(cmd *cobra.Command, path string, at *tree.Restore, out *bufio.Writer) error {
	hide := r.progress.start(cmd.ErrOrStderr(), "restoring", at.Backup.Size(), &r.meter)
	stats, err := at.Look(cmd.Context())
	hide()
	written := out.Flush()
	if err != nil {
		return fmt.Errorf("checking %s: %w", path, err)
	}
	r.unused(cmd)
	if !r.progress.quiet {
		words := fmt.Sprintf("would restore %s to %s", stats, r.to)
		if p := at.Plan(); p.Replaces {
			words += ", and keep the former as " + p.Former
		}
		fmt.Fprintln(cmd.ErrOrStderr(), words)
	}
	return stdoutError(written)
}

// confirm asks a person before a folder is exchanged.
func (r *restoreUploads) confirm(cmd *cobra.Command, path string, b *openedBackup) error {
	if r.yes {
		return nil
	}
	answer, err := terminal.Question(cmd.Context(), cmd.ErrOrStderr(), fmt.Sprintf("%s exists. Put the backup %s, made %s, in its place, and keep it as %s? [y/N] ",
		r.to, path, b.Envelope.Created.UTC().Format(time.RFC3339), tree.Former(r.to)))
	if err != nil {
		return err
	}
	switch strings.ToLower(answer) {
	case "y", "yes":
		return nil
	}
	return errors.New("not confirmed: nothing was done")
}

type restoredFolder struct {
	Path string `json:"path"`
	tree.Result
	Backup string `json:"backup"`
}

func (r *restoreUploads) finish(cmd *cobra.Command, path string, s tree.Result) error {
	if !r.progress.quiet && !r.json {
		words := fmt.Sprintf("restored %s from %s", s.Stats, path)
		if s.Former != "" {
			words += "; the former is kept as " + s.Former
		}
		fmt.Fprintln(cmd.ErrOrStderr(), words)
	}
	var err error
	if r.json {
		err = writeJSON(cmd.OutOrStdout(), restoredFolder{r.to, s, path})
	} else {
		err = printf(cmd, "%v\n", r.to)
	}
	if err != nil {
		return errors.Join(err, fmt.Errorf("%s is restored all the same", r.to))
	}
	if s.Failed > 0 {
		warn(cmd, "%s is restored without the %d that are named above", r.to, s.Failed)
		return errSome
	}
	return nil
}
