package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/internal/config"
	"github.com/takumi-backup/takumi-backup/internal/postgres"
)

// severalDatabases are the parts of a run that back up what an entry of the settings, or
// of a command line, means of a server: the roles once, and then each database. The
// caller calls Remember when they have run.
type severalDatabases struct {
	settings *postgres.Settings // of a database that is asked
	want     *config.Database
	globals  bool
	stateDir string
	// one backs up a database, or the roles alone, as part p.
	one func(p *part, s *postgres.Settings, rolesAlone bool) func(context.Context, *cobra.Command) error
}

func (d *severalDatabases) parts(ctx context.Context, cmd *cobra.Command) ([]*part, *backup.Chosen, error) {
	dir, err := stateDirOr(d.stateDir)
	if err != nil {
		return nil, nil, err
	}
	chosen, err := backup.ChooseDatabases(ctx, d.settings, d.want, dir)
	if err != nil {
		return nil, nil, err
	}
	var parts []*part
	add := func(name string, s *postgres.Settings, rolesAlone bool) *part {
		p := &part{Name: name, Kind: backup.KindDatabase}
		p.run = d.one(p, s, rolesAlone)
		parts = append(parts, p)
		return p
	}
	if d.globals && len(chosen.Names) > 0 {
		add("roles of "+d.settings.Server(), d.settings.On(chosen.Names[0]), true)
	}
	for _, name := range chosen.Names {
		add("database "+name, d.settings.On(name), false)
	}
	for _, name := range chosen.Absent {
		add("database "+name, nil, false).run = func(context.Context, *cobra.Command) error {
			return sourceError(fmt.Errorf("%s has no database %q", d.settings.Server(), name))
		}
	}
	for _, name := range chosen.Closed {
		warn(cmd, "database %q lets nobody in, and is not backed up", name)
	}
	for _, name := range chosen.Gone {
		warn(cmd, "database %q was there when this ran last, and is gone: its backups are kept as long as the rules of prune say", name)
		parts = append(parts, &part{Name: "database " + name, Kind: backup.KindDatabase, State: partLeftOut, Why: "the server has it no longer"})
	}
	return parts, chosen, nil
}
