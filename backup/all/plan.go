package all

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/internal/config"
	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/postgres"
)

// Plan makes the parts of a run.
type Plan struct {
	StateDir string // of what is remembered of databases
	Globals  bool   // back up the roles of servers
	// Database returns what backs up a database as part p, and with rolesAlone the roles
	// of its server alone; t is zero where no entry of the settings means it.
	Database func(p *Part, t config.Target, s *postgres.Settings, globals, rolesAlone bool) func(context.Context) error
	// Folder returns what backs up contracts or uploads.
	Folder func(p *Part, t config.Target) func(context.Context) error
	Warn   func(format string, args ...any) // nil is silent

	// Chosen are the databases of entries that mean several. The caller has them
	// remembered when all has run.
	Chosen []*backup.Chosen
}

// Parts lists what is configured, and what is not with the reason.
func (pl *Plan) Parts(ctx context.Context, conf *config.Settings) []*Part {
	var parts []*Part
	for _, kind := range []string{backup.KindDatabase, backup.KindContracts, backup.KindUploads} {
		targets := conf.Targets(kind)
		var of []*Part
		for _, t := range targets {
			name := t.Kind
			if t.Name != t.Kind {
				name += " " + t.Name
			}
			p := &Part{Name: name, Kind: t.Kind}
			if t.Kind == backup.KindDatabase {
				of = append(of, pl.entry(ctx, t, p, of, conf.Production())...)
				continue
			}
			p.Run = pl.Folder(p, t)
			of = append(of, p)
		}
		parts = append(parts, of...)
		if len(targets) == 0 {
			why := strings.Join(config.Named(kind), ", ") + ": not set"
			if conf.File != nil {
				why += ", and not in " + conf.Path
			}
			parts = append(parts, &Part{Name: kind, Kind: kind, State: LeftOut, Why: why})
		}
	}
	return parts
}

// entry are the parts of an entry that means one database or several, behind those of the
// entries before it; a part that fails, when that cannot be known. The roles of a server
// are backed up once, and a database that an entry before it means is left to that.
func (pl *Plan) entry(ctx context.Context, t config.Target, p *Part, before []*Part, production bool) []*Part {
	several := t.Database != nil && t.Database.Several()
	if several {
		t.Settings = t.Settings.WithDatabase("postgres")
	}
	settings, err := postgres.FromSettings(t.Settings.Get)
	if settings, err = postgres.Checked(settings, err, production); err != nil {
		return []*Part{failing(p, err)}
	}
	globals := pl.Globals && !slices.ContainsFunc(before, func(other *Part) bool { return other.server == settings.Address() })
	parts := []*Part{p}
	if several {
		if parts, err = pl.Several(ctx, settings, t, t.Database, globals); err != nil {
			return []*Part{failing(p, err)}
		}
	} else {
		p.Run = pl.Database(p, t, settings, globals, false)
	}
	var left []*Part
	for _, p := range parts {
		p.server = settings.Address()
		at := slices.IndexFunc(before, func(other *Part) bool { return other.Name == p.Name })
		switch {
		case at >= 0 && before[at].server == p.server && several:
			continue
		case at >= 0:
			failing(p, fail.Usagef("%s is in the settings twice, and backups of one name are one series: give the second one settings and a store of its own", p.Name))
		}
		left = append(left, p)
	}
	return left
}

func failing(p *Part, err error) *Part {
	p.Run = func(context.Context) error { return err }
	return p
}

// Several are the parts that back up what want means of the server of s: the roles once,
// and then each database.
func (pl *Plan) Several(ctx context.Context, s *postgres.Settings, t config.Target, want *config.Database, globals bool) ([]*Part, error) {
	chosen, err := backup.ChooseDatabases(ctx, s, want, pl.StateDir)
	if err != nil {
		return nil, err
	}
	pl.Chosen = append(pl.Chosen, chosen)
	var parts []*Part
	add := func(name string) *Part {
		parts = append(parts, &Part{Name: name, Kind: backup.KindDatabase})
		return parts[len(parts)-1]
	}
	if globals && len(chosen.Names) > 0 {
		p := add("roles of " + s.Server())
		p.Run = pl.Database(p, t, s.On(chosen.Names[0]), false, true)
	}
	for _, name := range chosen.Names {
		p := add("database " + name)
		p.Run = pl.Database(p, t, s.On(name), false, false)
	}
	for _, name := range chosen.Absent {
		failing(add("database "+name), backup.SourceError(fmt.Errorf("%s has no database %q", s.Server(), name)))
	}
	for _, name := range chosen.Closed {
		pl.warn("database %q lets nobody in, and is not backed up", name)
	}
	for _, name := range chosen.Gone {
		pl.warn("database %q was there when this ran last, and is gone: its backups are kept as long as the rules of prune say", name)
		p := add("database " + name)
		p.State, p.Why = LeftOut, "the server has it no longer"
	}
	return parts, nil
}

func (pl *Plan) warn(format string, args ...any) {
	if pl.Warn != nil {
		pl.Warn(format, args...)
	}
}

// Remember keeps the list of the databases that were chosen for the next run.
func (pl *Plan) Remember() {
	for _, c := range pl.Chosen {
		if err := c.Remember(); err != nil {
			pl.warn("%v", err)
		}
	}
}
