package main

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/backup/members"
	source "github.com/takumi-backup/takumi-backup/internal/source/tree"
	"github.com/takumi-backup/takumi-backup/restore/tree"
)

type restoreUploads struct {
	opening
	to         string
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
		Use:   "uploads [flags] FILE|- --to DIR",
		Short: "Restore a folder from a sealed backup",
		Long: `Restore a folder from a sealed backup of one, or from any sealed tar archive.

The files go into a new folder beside DIR, DIR.restore-TIME. When all of the
backup has proved authentic and is on the disk, the two folders are exchanged in
one step, and the former is kept as DIR.before-TIME. A failure, a signal or a
damaged backup before that leaves DIR as it was, and the new folder is removed.
(Where the file system cannot exchange two names, as on NFS, two renames stand for
it.) Where DIR is a mount point, the volume of a container or a subvolume, or where
nothing may be made beside it, the new folder is DIR/.restore-TIME; the entries of
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
  takumi-backup restore uploads backup.enc --to /srv/takumi/uploads --dry-run`,
		Args: usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error { return r.run(cmd, args[0]) },
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&r.to, "to", "", "the folder to restore")
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
	case path == "-" && isTerminal(os.Stdin):
		return false, usagef("standard input is a terminal: pipe a backup in, or name a file")
	}
	if _, exists, err = tree.Check(r.to, r.replaces()); err != nil {
		return false, err
	}
	if exists && r.replaces() && !r.yes && !r.dryRun && (!isTerminal(os.Stdin) || !isTerminal(os.Stderr)) {
		return false, usagef("%s exists, and there is no terminal to ask on: give --yes, or --dry-run to see what would be done", r.to)
	}
	return exists, nil
}

// effect is that of replacing a folder that is live, or of making one beside.
func (r *restoreUploads) effect(args []string) effect {
	if exists, err := r.check(args[0]); err == nil && exists && r.replaces() {
		return changes
	}
	return reads
}

// replaces reports whether a folder that holds something may be exchanged.
func (r *restoreUploads) replaces() bool { return len(r.include) == 0 }

func (r *restoreUploads) run(cmd *cobra.Command, path string) error {
	fill := func(cancel func(), b *openedBackup, to *tree.Fresh) (tree.Stats, error) {
		stats, err := r.extract(cmd, cancel, path, b, to, nil, nil)
		if err == nil && !stats.Root {
			err = to.Inherit()
		}
		return stats, err
	}
	return r.restore(cmd, path, []string{backup.KindDatabase, backup.KindContracts}, fill, func(former string, stats tree.Stats) error {
		return r.finish(cmd, path, former, stats)
	})
}

// restore exchanges DIR for a fresh folder, which fill fills; done tells what
// happened. Backups of the foreign kinds have a command of their own.
func (r *restoreUploads) restore(cmd *cobra.Command, path string, foreign []string,
	fill func(cancel func(), b *openedBackup, to *tree.Fresh) (tree.Stats, error), done func(former string, stats tree.Stats) error) error {
	exists, err := r.check(path)
	if err != nil {
		return err
	}
	// What reads standard input has to end with this command.
	whole := cmd.Context()
	ctx, cancel := context.WithCancel(whole)
	defer cancel()
	cmd.SetContext(ctx)
	defer cmd.SetContext(whole)
	b, err := r.open(cmd.Context(), cmd, path)
	if err != nil {
		return err
	}
	defer b.Close()
	if slices.Contains(foreign, b.Envelope.Kind) {
		return fmt.Errorf("%s is a backup of kind %s: takumi-backup restore %[2]s restores it", path, b.Envelope.Kind)
	}
	if r.dryRun {
		return r.show(cmd, cancel, path, b, exists)
	}
	if exists && r.replaces() {
		if err := r.confirm(cmd, path, b); err != nil {
			return err
		}
	}
	// What is compressed takes at least as much when it is unpacked.
	if err := tree.CheckRoom(r.to, b.size); err != nil && len(r.patterns) == 0 {
		return fmt.Errorf("restoring %s: %w", path, err)
	}
	to, err := tree.Begin(r.to, tree.Target{Replace: r.replaces(), NoModes: r.files.NoModes}, time.Now())
	if err != nil {
		return err
	}
	defer to.Abort()
	for _, stray := range to.Strays {
		warn(cmd, "%s is what a killed restore has left, or what another one works on", stray)
	}
	stats, err := fill(cancel, b, to)
	if err != nil {
		return errors.Join(fmt.Errorf("restoring %s: %w", path, err), to.Abort())
	}
	if whole.Err() != nil {
		return context.Cause(whole)
	}
	former, err := to.Commit()
	if err != nil {
		return fmt.Errorf("restoring %s: %w", path, err)
	}
	cmd.SetContext(whole)
	return done(former, stats)
}

// extract reads the whole backup and fills the fresh folder. Without one it only
// looks. Through, if there is one, stands between the backup and the archive.
func (r *restoreUploads) extract(cmd *cobra.Command, cancel func(), path string, b *openedBackup, to *tree.Fresh,
	each func(*tar.Header), through func(io.Reader) (io.Reader, error)) (tree.Stats, error) {
	o := r.files
	o.Include, o.Each = r.patterns, each
	o.Report = func(path string, why error) { warn(cmd, "%q: %v", path, why) }
	if path != "-" {
		o.Again = func() (io.ReadCloser, error) { return r.again(cmd, path, b) }
		if len(r.patterns) > 0 && through == nil {
			stats, err := r.extractPart(cmd, path, b, to, o)
			if !errors.Is(err, members.ErrNoIndex) && !errors.Is(err, members.ErrLength) {
				return stats, err
			}
		}
	}
	hide := r.progress.start(cmd.ErrOrStderr(), "restoring", b.size, &r.meter)
	defer hide()
	content := backup.NewPlaintext(b.Reader, &r.meter)
	defer content.Close()
	defer cancel()
	whole, err := tree.Open(content)
	if err != nil {
		return tree.Stats{}, err
	}
	defer whole.Close()
	var archive io.Reader = whole
	if through != nil {
		if archive, err = through(whole); err != nil {
			return tree.Stats{}, err
		}
	}
	return r.fill(cmd, archive, to, o)
}

// extractPart reads what the patterns name, by the archive's index.
func (r *restoreUploads) extractPart(cmd *cobra.Command, path string, b *openedBackup, to *tree.Fresh, o tree.Options) (tree.Stats, error) {
	a, h, err := r.membersBy(cmd.Context(), b.ring, path)
	if err != nil {
		return tree.Stats{}, err
	}
	defer h.Close()
	if h.Envelope.ID != b.Envelope.ID {
		return tree.Stats{}, errReplaced
	}
	part, err := a.Select(r.patterns.MatchAbove)
	if err != nil {
		return tree.Stats{}, err
	}
	return r.fill(cmd, part, to, o)
}

var errReplaced = errors.New("another backup is there by now")

// fill makes what is in the archive.
func (r *restoreUploads) fill(cmd *cobra.Command, archive io.Reader, to *tree.Fresh, o tree.Options) (tree.Stats, error) {
	var root *os.Root
	if to != nil {
		root = to.Root()
	}
	stats, err := tree.Extract(cmd.Context(), root, archive, o)
	if err == nil {
		for _, words := range r.patterns.Unused() {
			warn(cmd, "--include: %s", words)
		}
	}
	return stats, err
}

// again opens the archive a second time.
func (r *restoreUploads) again(cmd *cobra.Command, path string, first *openedBackup) (io.ReadCloser, error) {
	b, err := r.open(cmd.Context(), cmd, path)
	if err != nil {
		return nil, err
	}
	content := backup.NewPlaintext(b.Reader, new(backup.Meter))
	closers := closeAll{content, b}
	if b.Envelope.ID != first.Envelope.ID {
		return nil, errors.Join(errReplaced, closers.Close())
	}
	whole, err := tree.Open(content)
	if err != nil {
		return nil, errors.Join(err, closers.Close())
	}
	return struct {
		io.Reader
		io.Closer
	}{whole, append(closeAll{whole}, closers...)}, nil
}

// closeAll closes one after the other.
type closeAll []io.Closer

func (c closeAll) Close() (err error) {
	for _, closer := range c {
		err = errors.Join(err, closer.Close())
	}
	return err
}

// show is the dry run: paths on standard output, words on standard error.
func (r *restoreUploads) show(cmd *cobra.Command, cancel func(), path string, b *openedBackup, exists bool) error {
	out := bufio.NewWriter(cmd.OutOrStdout())
	var written error
	stats, err := r.extract(cmd, cancel, path, b, nil, func(h *tar.Header) {
		if _, err := fmt.Fprintln(out, pathText(h.Name)); err != nil && written == nil {
			written = err
		}
	}, nil)
	if err := out.Flush(); err != nil && written == nil {
		written = err
	}
	if err != nil {
		return fmt.Errorf("checking %s: %w", path, err)
	}
	if !r.progress.quiet {
		words := fmt.Sprintf("would restore %s to %s", statsText(stats), r.to)
		if exists && r.replaces() {
			words += ", and keep the former as " + tree.Former(r.to)
		}
		fmt.Fprintln(cmd.ErrOrStderr(), words)
	}
	return stdoutError(written)
}

// pathText quotes what would not be one line, or not be readable, as it is.
func pathText(path string) string {
	if quoted := strconv.Quote(path); quoted != `"`+path+`"` {
		return quoted
	}
	return path
}

func statsText(s tree.Stats) string {
	words := fmt.Sprintf("%d files, %d folders, %d links", s.Files, s.Folders, s.Links)
	if s.Others > 0 {
		words += fmt.Sprintf(", %d devices and FIFOs", s.Others)
	}
	words += ", " + bytesText(s.Bytes)
	for _, more := range []struct {
		n    int
		what string
	}{{s.Failed, "failed"}, {s.LeftOut, "left out"}, {s.Renamed, "renamed"}, {s.NoOwner, "without their owner"}, {s.NoAttributes, "without all their attributes"}} {
		if more.n > 0 {
			words += fmt.Sprintf(", %d %s", more.n, more.what)
		}
	}
	return words
}

// confirm asks a person before a folder is exchanged.
func (r *restoreUploads) confirm(cmd *cobra.Command, path string, b *openedBackup) error {
	if r.yes {
		return nil
	}
	answer, err := ask(cmd, fmt.Sprintf("%s exists. Put the backup %s, made %s, in its place, and keep it as %s? [y/N] ",
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

// restoredFolder is what restore tells a script.
type restoredFolder struct {
	Path    string `json:"path"`
	Former  string `json:"former,omitempty"`
	Backup  string `json:"backup"`
	Files   int    `json:"files"`
	Folders int    `json:"folders"`
	Links   int    `json:"links"`
	Others  int    `json:"others"`
	Bytes   int64  `json:"bytes"`
	LeftOut int    `json:"left_out"`
	Failed  int    `json:"failed"`
	Renamed int    `json:"renamed"`
	// How many did not get their owner, or all of their attributes.
	NoOwner      int `json:"no_owner"`
	NoAttributes int `json:"no_attributes"`
}

func (r *restoreUploads) result(path, former string, s tree.Stats) restoredFolder {
	return restoredFolder{r.to, former, path, s.Files, s.Folders, s.Links, s.Others, s.Bytes, s.LeftOut, s.Failed, s.Renamed, s.NoOwner, s.NoAttributes}
}

func (r *restoreUploads) finish(cmd *cobra.Command, path, former string, s tree.Stats) error {
	if !r.progress.quiet && !r.json {
		words := fmt.Sprintf("restored %s from %s", statsText(s), path)
		if former != "" {
			words += "; the former is kept as " + former
		}
		fmt.Fprintln(cmd.ErrOrStderr(), words)
	}
	var err error
	if r.json {
		err = writeJSON(cmd.OutOrStdout(), r.result(path, former, s))
	} else {
		_, err = fmt.Fprintln(cmd.OutOrStdout(), r.to)
		err = stdoutError(err)
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
