package main

import (
	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/internal/config"
	"github.com/takumi-backup/takumi-backup/internal/postgres"
)

const databaseHelp = `The database is named by DB_HOST (a host, or the folder of a socket), DB_PORT,
DB_NAME, DB_USER and DB_PASSWORD, and what they leave open by libpq's own PGHOST,
PGDATABASE and so on, ~/.pgpass, and its defaults; or by --db URI, with libpq's
parameters, and then not by DB_*.

DB_SSL=true asks for TLS, and verifies the server's certificate unless
DB_SSL_REJECT_UNAUTHORIZED=false; both count for a URI without sslmode as well. In
production TLS with verification is required, but for a socket of this machine.`

type databaseFlags struct{ uri string }

func (d *databaseFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&d.uri, "db", "", "the database as postgresql://USER@HOST:PORT/NAME (default: DB_* and PG* variables)")
}

func (d *databaseFlags) settings(cmd *cobra.Command) (*postgres.Settings, error) {
	if cmd.Flags().Changed("db") {
		return settingsFromURI(cmd, "--db", d.uri)
	}
	if len(conf.Targets("database")) > 1 {
		return nil, usagef("%s lists several databases: say which, as DB_NAME=NAME in the environment, or by --db", conf.Path)
	}
	return databaseSettings(conf)
}

// named are the settings of the database of this name: of the server that --db names, or
// of the entry of the settings that means it.
func (d *databaseFlags) named(cmd *cobra.Command, name string) (*postgres.Settings, error) {
	if name == "" {
		return nil, usagef("the name of the database is empty")
	}
	if !cmd.Flags().Changed("db") {
		for _, t := range conf.Targets("database") {
			if t.Database != nil && t.Database.Means(name) {
				return databaseSettings(t.Settings.WithDatabase(name))
			}
		}
	}
	s, err := d.settings(cmd)
	if err != nil {
		return nil, err
	}
	return s.On(name), nil
}

func databaseSettings(s *config.Settings) (*postgres.Settings, error) {
	return checkedSettings(postgres.FromSettings(s.Get))
}

func checkedSettings(s *postgres.Settings, err error) (*postgres.Settings, error) {
	return postgres.Checked(s, err, conf.Production())
}

func settingsFromURI(cmd *cobra.Command, flag, uri string) (*postgres.Settings, error) {
	if postgres.HasPassword(uri) {
		warn(cmd, "whoever lists the processes of this machine can read the password in %s: leave it out, and set PGPASSWORD or PGPASSFILE", flag)
	}
	return checkedSettings(postgres.FromURI(uri))
}
