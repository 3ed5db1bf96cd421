package doctor

import (
	"context"
	"fmt"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/internal/config"
	"github.com/takumi-backup/takumi-backup/internal/postgres"
)

// Sources adds what the settings have to be backed up.
func (o *Options) Sources(ctx context.Context, conf *config.Settings) {
	for _, t := range conf.Targets("database") {
		several := t.Database != nil && t.Database.Several()
		if several {
			t.Settings = t.Settings.WithDatabase("postgres")
		}
		settings, err := postgres.FromSettings(t.Settings.Get)
		settings, err = postgres.Checked(settings, err, conf.Production())
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
