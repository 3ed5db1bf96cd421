package backup

import (
	"context"
	"fmt"
	"time"

	"github.com/takumi-backup/takumi-backup/internal/config"
	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/fsutil"
	"github.com/takumi-backup/takumi-backup/internal/source/tree"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/internal/values"
	"github.com/takumi-backup/takumi-backup/stream/pack"
)

// Folder is how a folder is backed up.
type Folder struct {
	Tree        tree.Options
	Exclude     []string // patterns, as [TreeOptions] has them
	ExcludeFrom []string // files of such, one a line
	Strict      bool     // what changed or vanished fails it too
	Incremental bool
	FullEvery   time.Duration // with Incremental
	StateDir    string        // with Incremental

	Quiet bool // Say is not called, nor Warn of what is in the backup all the same
	// Warn and Say get what is worth knowing; nil is silent.
	Warn func(format string, args ...any)
	Say  func(format string, args ...any)
}

// Choose adds to what flags say, of which changed reports whether they were given, what the
// settings say, and finds what does not go together in a job.
func (f *Folder) Choose(conf *config.Settings, changed func(flag string) bool, job *Job) error {
	if err := f.chooseFiles(conf, changed); err != nil {
		return err
	}
	named := job.To.Path != "" || job.To.Sink != nil
	on, err := conf.Bool("UPLOADS_INCREMENTAL", false)
	if err != nil {
		return err
	}
	if !changed("incremental") {
		f.Incremental = on && !named // one into a named file is by itself
	}
	switch every := conf.Get("UPLOADS_FULL_EVERY"); {
	case changed("full-every"):
	case every != "":
		if err := (*values.Within)(&f.FullEvery).Set(every); err != nil {
			return fail.Usagef("UPLOADS_FULL_EVERY: %w", err)
		}
	default:
		f.FullEvery = 7 * values.Day
	}
	switch {
	case !f.Incremental && (changed("full-every") || f.Tree.Checksum):
		return fail.Usagef("--full-every and --checksum go with --incremental")
	case !f.Incremental:
		return nil
	case f.FullEvery <= 0:
		return fail.Usagef("--full-every is %v: it is how often a full backup is made, as 7d", f.FullEvery)
	case named || job.Plain || job.Pack.Codec != pack.Zstd:
		return fail.Usagef("--incremental makes sealed backups, packed with zstd, below --store or $BACKUP_ROOT: it does not go with -o, --codec or BACKUP_ENCRYPTION_ENABLED=false")
	}
	return nil
}

func (f *Folder) chooseFiles(conf *config.Settings, changed func(flag string) bool) error {
	exclude := append(config.List(conf.Get("UPLOADS_EXCLUDE")), f.Exclude...)
	files := f.ExcludeFrom
	if path := conf.Get("UPLOADS_EXCLUDE_FROM"); path != "" {
		files = append([]string{path}, files...)
	}
	strict, err := conf.Bool("UPLOADS_STRICT", false)
	if err != nil {
		return err
	}
	f.Strict = f.Strict || strict && !changed("strict")
	for _, path := range files {
		file, err := fsutil.OpenRegular(path)
		if err != nil {
			return fail.Usagef("--exclude-from: %w", err)
		}
		more, err := tree.ReadPatterns(file)
		file.Close()
		if err != nil {
			return fail.Usagef("--exclude-from: %s: %w", path, err)
		}
		exclude = append(exclude, more...)
	}
	if f.Tree.Exclude, err = tree.ParsePatterns(exclude); err != nil {
		return fail.Usagef("--exclude: %w", err)
	}
	return nil
}

// CheckApart fails when dir holds one of the folders in which its backups are.
func CheckApart(dir string, stores ...string) error {
	for _, folder := range stores {
		if !store.IsRemote(folder) && Holds(dir, folder) {
			return fail.Usagef("the backups in %s would be in the folder that is backed up, %s: each would hold all before", folder, dir)
		}
	}
	return nil
}

// Backup backs up dir by job. The error is [fail.ErrSome] when something of it is not in the
// backup, which is made all the same.
func (f *Folder) Backup(ctx context.Context, job Job, run Runner, dir string) error {
	if f.Warn == nil {
		f.Warn = silent
	}
	if f.Say == nil {
		f.Say = silent
	}
	o := f.Tree
	o.Report = func(p tree.Problem) { f.Warn("%v", p) }
	job.Guard.AllowEmpty = o.AllowEmpty
	var stats *tree.Stats
	var err error
	if f.Incremental {
		stats, err = UploadsIncremental(ctx, job, run, dir, o, Incremental{StateDir: f.StateDir, FullEvery: f.FullEvery, Full: func(why string) {
			if !f.Quiet {
				f.Say("a full backup is made: %s", why)
			}
		}})
	} else {
		stats, err = Uploads(ctx, job, run, dir, o)
	}
	if err != nil {
		return err
	}
	for _, words := range o.Exclude.Unused() {
		f.Warn("--exclude: %s", words)
	}
	if stats.Problems == 0 {
		return nil
	}
	words := fmt.Sprintf("the backup is made: %d changed each time they were read and are in it as they were read last, %d vanished and %d could not be read",
		stats.Changed, stats.Vanished, stats.Unread)
	switch {
	case stats.Unread > 0 || f.Strict:
		f.Warn("%s", words)
		return fail.ErrSome
	case !f.Quiet:
		f.Warn("%s; --strict makes that exit code 6", words)
	}
	return nil
}
