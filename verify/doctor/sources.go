package doctor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"time"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/backup/prune"
	stores "github.com/takumi-backup/takumi-backup/backup/store"
	"github.com/takumi-backup/takumi-backup/internal/config"
	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/postgres"
	"github.com/takumi-backup/takumi-backup/internal/secretenv"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/keystore"
	"github.com/takumi-backup/takumi-backup/keystore/history"
	"github.com/takumi-backup/takumi-backup/keystore/named"
	"github.com/takumi-backup/takumi-backup/verify"
	"github.com/takumi-backup/takumi-backup/verify/report"
	"github.com/takumi-backup/takumi-backup/verify/status"
)

// Examined is what an examination looks at that the settings do not say.
type Examined struct {
	Ring     func() (*keystore.Ring, error) // the keys
	Store    store.Store
	AuditDir string
	// AuditFault is why the folder of the audit log is not known.
	AuditFault error
	Warn       func(format string, args ...any) // nil is silent
}

func (x Examined) warn(format string, args ...any) {
	if x.Warn != nil {
		x.Warn(format, args...)
	}
}

// Examine runs the checks on what the settings name. What is wrong with the settings is a
// finding, and ends it where nothing else can be looked at. The error is the context's, or
// of the rules of prune.
func Examine(ctx context.Context, conf *config.Settings, x Examined) ([]Finding, error) {
	d := &doctor{
		Root: conf.StoreFolder(), Copies: conf.Also(), Store: x.Store, Now: time.Now(), AuditDir: x.AuditDir,
		Recipient: conf.Get("BACKUP_RECIPIENTS") != "" || conf.Get("BACKUP_RECIPIENTS_FILE") != "",
	}
	if err := CheckSettings(ctx, conf); err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		d.setting("settings", conf.Path, err)
		return d.found, nil
	}
	if _, err := report.New(conf.Get, conf.Production()); err != nil {
		d.add("settings", "warning", "notifications", "see docs/REPORTS.md, and give backup all --notify", "%v", err)
	}
	var err error
	if d.Ring, err = x.Ring(); err != nil {
		d.setting("keys", "", err)
		return d.found, nil
	}
	defer d.Ring.Close()
	if d.Policy, err = prune.FromSettings(conf); err != nil {
		return nil, err
	}
	d.Policy.Kinds = append(slices.Sorted(maps.Keys(d.Policy.ByKind)), prune.Kinds...)
	if d.StateDir, err = history.Dir(); err != nil {
		d.setting("settings", "", err)
	}
	if x.AuditFault != nil {
		d.setting("settings", "", x.AuditFault)
	}
	d.Open.Keys = d.Ring
	if _, err := os.Stat(d.Root); err == nil || store.IsRemote(d.Root) {
		o, err := status.FromSettings(conf, d.Root, d.Ring, x.Warn)
		if err == nil {
			d.Open = o.Open
			if d.Status, err = status.Of(ctx, x.Store, o); err != nil {
				err = fmt.Errorf("looking through the backups: %w", err)
			}
		}
		if err != nil {
			d.setting("stores", d.Root, err)
		}
	}
	if d.Timers, err = status.Timers(ctx); err != nil {
		x.warn("when the timers start next is not known: %v", err)
	}
	d.kinds(conf)
	d.sources(ctx, conf)
	if len(d.Databases)+len(d.Folders) == 0 {
		d.add("settings", "error", "", "takumi-backup init", "nothing is configured to be backed up")
	}
	d.run(ctx)
	return d.found, ctx.Err()
}

// kinds finds rules for a kind that is nearly one of this program, and that no backup has:
// those of the kind that was meant do not count, and its backups are deleted by others.
func (d *doctor) kinds(conf *config.Settings) {
	ages, _ := verify.MaxAges(conf, nil) // CheckSettings has read them
	named := slices.Concat(slices.Collect(maps.Keys(ages)), slices.Collect(maps.Keys(d.Policy.ByKind)))
	slices.Sort(named)
	known := []string{backup.KindDatabase, backup.KindUploads, backup.KindContracts, backup.KindManifest, backup.KindStream}
	for _, kind := range slices.Compact(named) {
		near := config.Nearest(kind, known)
		if kind == "" || near == "" || slices.Contains(known, kind) {
			continue
		}
		if d.Status != nil && slices.ContainsFunc(d.Status.Series, func(s status.Series) bool { return backup.Family(s.Kind) == kind }) {
			continue
		}
		d.add("settings", "warning", kind, "takumi-backup config show", "retention or max_age is for a kind of which there is no backup: did you mean %s?", near)
	}
}

// setting is fault for a mistake in the settings.
func (d *doctor) setting(check, subject string, err error) {
	class, hint := fail.Of(err)
	if class == fail.Usage {
		hint = "takumi-backup config show"
	}
	d.add(check, "error", subject, hint, "%v", err)
}

// sources adds what the settings have to be backed up.
func (d *doctor) sources(ctx context.Context, conf *config.Settings) {
	for _, t := range conf.Targets("database") {
		several := t.Database != nil && t.Database.Several()
		if several {
			t.Settings = t.Settings.WithDatabase("postgres")
		}
		settings, err := checked(t.Settings, conf.Production())
		if err == nil && several {
			err = d.several(ctx, settings, t.Database)
		} else if err == nil {
			d.Databases = append(d.Databases, source{Name: settings.Database(), Settings: settings})
		}
		if err != nil {
			d.Databases = append(d.Databases, source{Name: t.Name, Err: err})
		}
	}
	for _, kind := range []string{backup.KindContracts, backup.KindUploads} {
		for _, t := range conf.Targets(kind) {
			d.Folders = append(d.Folders, folder{kind, t.Settings.Get(config.Named(kind)[0])})
		}
	}
}

func (d *doctor) several(ctx context.Context, s *postgres.Settings, want *config.Database) error {
	chosen, err := backup.ChooseDatabases(ctx, s, want, d.StateDir)
	if err != nil {
		return err
	}
	for _, name := range chosen.Names {
		d.Databases = append(d.Databases, source{Name: name, Settings: s.On(name)})
	}
	for _, name := range chosen.Absent {
		d.Databases = append(d.Databases, source{Name: name, Err: fmt.Errorf("%s has no database %q", s.Server(), name)})
	}
	return nil
}

func checked(s *config.Settings, production bool) (*postgres.Settings, error) {
	settings, err := postgres.FromSettings(s.Get)
	return postgres.Checked(settings, err, production)
}

// CheckSettings reads each setting as who uses it does. The errors are fail.Usage, and
// the context's.
func CheckSettings(ctx context.Context, conf *config.Settings) error {
	checks := []func() error{
		conf.CheckEnvironment,
		func() error { _, err := conf.Encrypts(); return err },
		func() error { return conf.CheckCopies(conf.StoreFolder(), conf.Also()) },
		func() error { _, err := (&named.Keys{Settings: conf}).Sources(); return err },
		func() error { _, err := stores.Choice{}.Options(conf, store.Server{}); return err },
		func() error { _, err := conf.RetentionDays(); return err },
		func() error { _, err := verify.MaxAges(conf, nil); return err },
		func() error { _, err := conf.Syslog(); return err },
		func() error { _, err := conf.Pace(); return err },
		func() error { _, err := prune.FromSettings(conf); return err },
		func() error { return checkSchedule(ctx, conf.File) },
	}
	for _, root := range append([]string{conf.StoreFolder()}, conf.Also()...) {
		checks = append(checks, func() error {
			if err := store.Check(root); err != nil {
				return err
			}
			_, server, err := store.SplitURL(root)
			if err == nil {
				_, err = stores.Choice{}.Options(conf, server)
			}
			return err
		})
	}
	for _, t := range conf.Targets("database") {
		checks = append(checks, func() error { _, err := checked(t.Settings, conf.Production()); return err })
	}
	for _, check := range checks {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

// checkSchedule has systemd read the times that its timers get. A host without it has no
// timers.
func checkSchedule(ctx context.Context, file *config.File) error {
	tool, err := exec.LookPath("systemd-analyze")
	if file == nil || err != nil {
		return nil
	}
	s := file.Schedule
	for _, timer := range [][2]string{{"backup", s.Backup}, {"verify", s.Verify}, {"drill", s.Drill}} {
		name, when := timer[0], timer[1]
		if when == "" {
			continue
		}
		cmd := exec.CommandContext(ctx, tool, "calendar", "--", when)
		cmd.Env = secretenv.Environ()
		var refused *exec.ExitError
		switch err := cmd.Run(); {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.As(err, &refused):
			return fail.As(fail.Usage, "write a time as systemd.time(7) has it, as 02:00 or Sun 04:00, and try it by: systemd-analyze calendar TIME",
				fmt.Errorf("schedule.%s is %q, which systemd does not take for a time", name, when))
		case err != nil:
			return fmt.Errorf("checking schedule.%s: %w", name, err)
		}
	}
	return nil
}
