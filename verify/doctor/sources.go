package doctor

import (
	"context"
	"fmt"
	"strings"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/backup/prune"
	stores "github.com/takumi-backup/takumi-backup/backup/store"
	"github.com/takumi-backup/takumi-backup/internal/config"
	"github.com/takumi-backup/takumi-backup/internal/postgres"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/keystore/named"
	"github.com/takumi-backup/takumi-backup/verify"
)

// Sources adds what the settings have to be backed up.
func (o *Options) Sources(ctx context.Context, conf *config.Settings) {
	for _, t := range conf.Targets("database") {
		several := t.Database != nil && t.Database.Several()
		if several {
			t.Settings = t.Settings.WithDatabase("postgres")
		}
		settings, err := checked(t.Settings, conf.Production())
		if err == nil && several {
			err = o.several(ctx, settings, t.Database)
		} else if err == nil {
			o.Databases = append(o.Databases, Database{Name: settings.Database(), Settings: settings})
		}
		if err != nil {
			o.Databases = append(o.Databases, Database{Name: t.Name, Err: err})
		}
	}
	for _, kind := range []string{backup.KindContracts, backup.KindUploads} {
		for _, t := range conf.Targets(kind) {
			o.Folders = append(o.Folders, Folder{Kind: kind, Path: t.Settings.Get(config.Named(kind)[0])})
		}
	}
}

func (o *Options) several(ctx context.Context, s *postgres.Settings, want *config.Database) error {
	chosen, err := backup.ChooseDatabases(ctx, s, want, o.StateDir)
	if err != nil {
		return err
	}
	for _, name := range chosen.Names {
		o.Databases = append(o.Databases, Database{Name: name, Settings: s.On(name)})
	}
	for _, name := range chosen.Absent {
		o.Databases = append(o.Databases, Database{Name: name, Err: fmt.Errorf("%s has no database %q", s.Server(), name)})
	}
	return nil
}

func checked(s *config.Settings, production bool) (*postgres.Settings, error) {
	settings, err := postgres.FromSettings(s.Get)
	return postgres.Checked(settings, err, production)
}

// CheckSettings reads each setting as who uses it does.
func CheckSettings(conf *config.Settings) error {
	checks := []func() error{
		conf.CheckEnvironment,
		func() error { _, err := conf.Encrypts(); return err },
		func() error { return conf.CheckCopies(conf.StoreFolder(), conf.Also()) },
		func() error { _, err := (&named.Keys{Settings: conf}).Sources(); return err },
		func() error { _, err := stores.Choice{}.Options(conf, store.Server{}); return err },
		func() error { _, err := conf.RetentionDays(); return err },
		func() error { _, err := verify.ParseMaxAges(strings.Fields(conf.Get("TAKUMI_MAX_AGE"))); return err },
		func() error { _, err := conf.Syslog(); return err },
		func() error { _, err := conf.Pace(); return err },
		func() error { _, err := prune.FromSettings(conf); return err },
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
