// Package doctor finds what would stop a backup or a restore tonight, each with the
// command that helps. It changes nothing for good. Call [Examine].
package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/backup/prune"
	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/fsutil"
	"github.com/takumi-backup/takumi-backup/internal/postgres"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/keystore"
	"github.com/takumi-backup/takumi-backup/restore/database"
	"github.com/takumi-backup/takumi-backup/verify/status"
)

// Finding is one thing that is wrong.
type Finding struct {
	Check   string `json:"check"`   // settings, keys, stores, space, clock, database, uploads, contracts, audit, jobs, copies, retention
	Class   string `json:"class"`   // error: a backup or a restore would fail; warning: it may, or nobody would notice
	Subject string `json:"subject"` // what it is about
	Text    string `json:"text"`
	Cure    string `json:"cure,omitempty"` // the command that helps
}

// source is a database that is backed up. Err says why its settings are of no use.
type source struct {
	Name     string
	Settings *postgres.Settings
	Err      error
}

// folder is one that is backed up.
type folder struct{ Kind, Path string }

type doctor struct {
	Root      string   // the store
	Copies    []string // further ones
	Store     store.Store
	Ring      *keystore.Ring
	Recipient bool // sealing needs no key of the ring
	Databases []source
	Folders   []folder
	Policy    prune.Policy
	Open      backup.Options
	StateDir  string
	AuditDir  string
	Status    *status.Status // nil where the store could not be looked through
	Timers    []status.Timer
	Now       time.Time

	found []Finding
}

// How long ago a job may have run. They are those of the alerts in scripts/monitoring.
const (
	nightly   = 26 * time.Hour
	weekly    = 8 * 24 * time.Hour
	quarterly = 100 * 24 * time.Hour
)

// run looks at everything, in the order of the checks. A check that cannot be made is a
// finding of its own.
func (d *doctor) run(ctx context.Context) {
	for _, check := range []func(context.Context){d.keys, d.stores, d.clock, d.databases, d.folders, d.folderOf, d.jobs, d.copies, d.retention} {
		if ctx.Err() == nil {
			check(ctx)
		}
	}
}

func (d *doctor) add(check, class, subject, cure, format string, args ...any) {
	d.found = append(d.found, Finding{check, class, subject, fmt.Sprintf(format, args...), cure})
}

// fault is an error of a check, with the hint that it has.
func (d *doctor) fault(check, subject string, err error) {
	_, hint := fail.Of(err)
	d.add(check, "error", subject, hint, "%v", err)
}

// keys fetches every key, and looks where they are and when they are due.
func (d *doctor) keys(ctx context.Context) {
	sources := d.Ring.Sources()
	if len(sources) == 0 && !d.Ring.Opens() {
		if d.Recipient {
			return
		}
		d.add("keys", "error", "", "takumi-backup key generate -o /etc/takumi-backup/backup.key, and name it in the settings", "no key is named, so that nothing can be sealed or opened")
		return
	}
	for _, src := range sources {
		one := keystore.NewRing(src)
		if _, err := one.Current(ctx); err != nil {
			d.fault("keys", src.String(), err)
		}
		one.Close()
		for _, root := range append([]string{d.Root}, d.Copies...) {
			if store.IsRemote(root) {
				continue
			}
			if err := keystore.CheckOutside(src, root); err != nil {
				d.fault("keys", src.String(), err)
			}
		}
	}
	if d.Status == nil {
		return
	}
	for _, k := range d.Status.Keys {
		if k.Overdue {
			d.add("keys", "warning", k.ID, "takumi-backup key rotate --key "+fsutil.ShellWord(k.Provider), "the key was due to be rotated on %s", k.Due.Format(time.DateOnly))
		}
	}
}

// stores tries to write to each, and looks whether the next night has room.
func (d *doctor) stores(ctx context.Context) {
	var need int64
	if d.Status != nil {
		for i := range d.Status.Series {
			need += d.Status.Series[i].Size
		}
	}
	for _, root := range append([]string{d.Root}, d.Copies...) {
		if _, err := os.Stat(root); !store.IsRemote(root) && errors.Is(err, fs.ErrNotExist) {
			if at, err := writable(root); err != nil {
				d.add("stores", "error", root, fsutil.OwnerFix(fsutil.ShellWord(at)), "it is missing, and %s cannot be written: %v", at, err)
			}
			continue
		}
		w, err := d.Store.Create(ctx, store.Join(root, ".doctor-"+d.Now.UTC().Format("20060102150405.000000000")+backup.Suffix), store.Options{Parents: true})
		if err == nil {
			err = w.Abort()
		}
		if err != nil {
			d.fault("stores", root, fmt.Errorf("trying to write: %w", err))
			continue
		}
		if !store.IsRemote(root) {
			d.space(root, need)
		}
	}
}

func (d *doctor) space(root string, need int64) {
	var stat unix.Statfs_t
	if err := unix.Statfs(root, &stat); err != nil {
		d.fault("space", root, fmt.Errorf("asking for the free space: %w", err))
		return
	}
	free := int64(stat.Bavail) * int64(stat.Bsize)
	if free < need+need/5 {
		d.add("space", "error", root, "takumi-backup prune --apply, or give the store more room",
			"%d MB are free, and the next night takes about %d MB", free/1e6, need/1e6)
	}
	if stat.Files > 0 && stat.Ffree < 1000 {
		d.add("space", "error", root, "takumi-backup prune --apply, or a file system with more inodes", "only %d more files fit", stat.Ffree)
	}
}

func (d *doctor) clock(ctx context.Context) {
	if d.Status == nil {
		return
	}
	for name, t := range d.Status.Jobs {
		if t.LastRun.After(d.Now.Add(prune.Skew)) {
			d.add("clock", "error", "this host", "timedatectl set-ntp true", "the clock is behind: %s ended at %s, and it is %s", name, t.LastRun.Format(time.RFC3339), d.Now.UTC().Format(time.RFC3339))
			return
		}
	}
}

// folders looks whether what is backed up is there, and can be read.
func (d *doctor) folders(context.Context) {
	for _, f := range d.Folders {
		entries, err := os.ReadDir(f.Path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			d.add(f.Kind, "error", f.Path, "mount it, or change the settings: takumi-backup config show", "the folder is missing")
		case err != nil:
			d.fault(f.Kind, f.Path, err)
		case len(entries) == 0 && f.Kind == backup.KindUploads:
			d.add(f.Kind, "error", f.Path, "mount "+fsutil.ShellWord(f.Path), "the folder is empty, as that of a volume that is not mounted; a backup refuses it")
		}
	}
}

func (d *doctor) folderOf(context.Context) {
	for _, dir := range []string{d.AuditDir, d.StateDir} {
		if at, err := writable(dir); dir != "" && err != nil {
			d.add("audit", "error", at, fsutil.OwnerFix(fsutil.ShellWord(at)), "no backup starts while this folder cannot be written: %v", err)
		}
	}
}

// writable returns the error of writing to a folder, or where it is yet to be made, to
// the folder above it, and which that is.
func writable(dir string) (at string, err error) {
	for {
		err := unix.Access(dir, unix.W_OK|unix.X_OK)
		if !errors.Is(err, fs.ErrNotExist) || dir == filepath.Dir(dir) {
			return dir, err
		}
		dir = filepath.Dir(dir)
	}
}

func (d *doctor) jobs(context.Context) {
	for _, t := range d.Timers {
		if t.Next.IsZero() {
			d.add("jobs", "error", t.Unit, "systemctl enable --now "+t.Unit, "the timer is off")
		}
	}
	if status.HasSystemd() && len(d.Timers) == 0 {
		d.add("jobs", "warning", "timers", "takumi-backup install-timers --apply", "systemd has no timer of this program")
	}
	if d.Status == nil {
		return
	}
	for _, job := range []struct {
		task, cure string
		within     time.Duration
		need       bool
	}{
		{"backup", "takumi-backup backup all", nightly, true},
		{"drill", "takumi-backup drill --scratch-dir /var/tmp", quarterly, true},
		{"replicate", "takumi-backup replicate SRC DST", weekly, false},
		{"prune", "takumi-backup prune --apply", weekly, false},
	} {
		t, known := d.Status.Jobs[job.task]
		switch ago := d.Now.Sub(t.LastRun); {
		case !known && job.need:
			d.add("jobs", "warning", job.task, job.cure, "it never ran, as far as this host knows")
		case known && t.Error != "":
			d.add("jobs", "error", job.task, "takumi-backup status", "the last run failed, %s ago: %s", prune.Span(ago), t.Error)
		case known && ago > job.within:
			d.add("jobs", "error", job.task, job.cure, "it last ran %s ago", prune.Span(ago))
		}
	}
	for i := range d.Status.Series {
		s := &d.Status.Series[i]
		switch {
		case s.Path == "":
			d.add("jobs", "error", s.Kind+" "+s.Name, "takumi-backup verify "+fsutil.ShellWord(s.Folder), "no backup of it is good")
		case s.Late:
			d.add("jobs", "error", s.Kind+" "+s.Name, "takumi-backup backup all", "its newest backup is %s old", prune.Span(d.Now.Sub(s.Created)))
		case s.VerifiedAt.IsZero() && s.Age > weekly.Seconds(), !s.VerifiedAt.IsZero() && d.Now.Sub(s.VerifiedAt) > weekly:
			d.add("jobs", "warning", s.Kind+" "+s.Name, "takumi-backup verify", "its newest backup was not verified for more than a week")
		}
	}
}

func (d *doctor) copies(context.Context) {
	if d.Status == nil {
		return
	}
	for i := range d.Status.Series {
		for _, c := range d.Status.Series[i].Copies {
			s := &d.Status.Series[i]
			cure := "takumi-backup replicate " + fsutil.ShellWord(d.Root) + " " + fsutil.ShellWord(c.Store)
			switch {
			case c.Error != "":
				d.add("copies", "error", c.Store, "takumi-backup list "+fsutil.ShellWord(c.Store), "whether it has %s is not known: %s", s.Path, c.Error)
			case !c.Has:
				d.add("copies", "error", c.Store, cure, "it lacks the newest of %s %s, %s", s.Kind, s.Name, s.Path)
			}
		}
	}
}

// retention looks whether the next prune would delete what no other store has, where
// there are others.
func (d *doctor) retention(ctx context.Context) {
	if len(d.Copies) == 0 || !d.Ring.Opens() {
		return
	}
	var alone []string
	o := prune.Options{Policy: d.Policy, Open: d.Open,
		Prove: func(context.Context, *backup.Backup) error { return nil }, // nothing is deleted
		Done: func(b *backup.Backup, decision prune.Decision, _ error) error {
			if decision.Action != prune.Delete {
				return nil
			}
			for _, root := range d.Copies {
				if _, _, err := d.Store.Stat(ctx, status.Counterpart(d.Root, root, b.Path)); err == nil {
					return nil
				}
			}
			alone = append(alone, b.Path)
			return nil
		},
	}
	if _, err := prune.Run(ctx, d.Store, d.Root, o); err != nil {
		d.fault("retention", d.Root, err)
		return
	}
	if len(alone) > 0 {
		d.add("retention", "warning", d.Root, "takumi-backup replicate "+fsutil.ShellWord(d.Root)+" "+fsutil.ShellWord(d.Copies[0]),
			"the next prune deletes %d backups that no other store has, as %s", len(alone), alone[0])
	}
}

func (d *doctor) databases(ctx context.Context) {
	for _, db := range d.Databases {
		if db.Err != nil {
			d.fault("database", db.Name, db.Err)
			continue
		}
		d.database(ctx, db)
	}
}

func (d *doctor) database(ctx context.Context, db source) {
	conn, err := db.Settings.Connect(ctx)
	if err != nil {
		d.fault("database", db.Name, err)
		return
	}
	defer conn.Close(context.WithoutCancel(ctx))
	version, err := postgres.Version(ctx, conn)
	if err != nil {
		d.fault("database", db.Name, err)
		return
	}
	for _, program := range []string{"pg_dump", "pg_dumpall", "psql", "pg_restore"} {
		if _, err := postgres.Program(ctx, program, version); err != nil {
			d.add("database", "error", db.Name, fmt.Sprintf("apt-get install postgresql-client-%d", version), "%v", err)
			break
		}
	}
	var now time.Time
	var unreadable int
	var example *string
	err = conn.QueryRow(ctx, `SELECT clock_timestamp(), count(c.oid)::int, min(format('%I.%I', n.nspname, c.relname))
		FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relkind IN ('r', 'S', 'm') AND n.nspname NOT LIKE 'pg\_%' AND n.nspname <> 'information_schema'
		AND NOT CASE c.relkind WHEN 'S' THEN has_sequence_privilege(c.oid, 'SELECT') ELSE has_table_privilege(c.oid, 'SELECT') END`).Scan(&now, &unreadable, &example)
	if err != nil {
		d.fault("database", db.Name, fmt.Errorf("asking what can be read: %w", err))
		return
	}
	if unreadable > 0 {
		d.add("database", "error", db.Name, fmt.Sprintf("psql -c 'GRANT pg_read_all_data TO %s'", db.Settings.User()), "the role %s may not read %d tables or sequences, as %s, and pg_dump fails", db.Settings.User(), unreadable, *example)
	}
	if apart := time.Since(now); apart > prune.Skew || apart < -prune.Skew {
		d.add("clock", "error", db.Name, "timedatectl set-ntp true", "the clocks of this host and of the database's server are %v apart", apart.Round(time.Second))
	}
	quiet := func(string, ...any) {}
	findings, err := database.Preflight(ctx, database.Options{Settings: db.Settings, Tell: quiet, Warn: quiet, Time: d.Now})
	if err != nil {
		d.fault("database", db.Name, fmt.Errorf("looking whether a restore can work: %w", err))
		return
	}
	for _, f := range findings {
		switch f.Weight {
		case database.Stop:
			d.add("database", "error", db.Name, f.Cure, "a restore would fail: %s", strings.ReplaceAll(f.Text, "\n", " "))
		case database.Warning:
			d.add("database", "warning", db.Name, f.Cure, "a restore: %s", strings.ReplaceAll(f.Text, "\n", " "))
		}
	}
}
