package main

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	stores "github.com/takumi-backup/takumi-backup/backup/store"
	"github.com/takumi-backup/takumi-backup/internal/config"
	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/postgres"
	"github.com/takumi-backup/takumi-backup/internal/values"
)

// newPlace returns the place of all paths that a command is given, which writes as the
// settings say.
func newPlace() *stores.Router { return stores.Choice{}.Place(conf) }

// addPlace adds the flags that say how backups are kept in a bucket.
func addPlace(c *stores.Choice, f *pflag.FlagSet) {
	f.StringVar(&c.Lock, "object-lock", "", "lock what is written to S3: governance or compliance (default $TAKUMI_S3_OBJECT_LOCK)")
	f.Var((*values.Age)(&c.Retain), "retain", "keep that lock for this time, as 30d (default $TAKUMI_S3_RETAIN)")
	f.Lookup("retain").DefValue = ""
	f.StringVar(&c.StorageClass, "storage-class", "", "S3 storage class of backups, as STANDARD_IA (default $TAKUMI_S3_STORAGE_CLASS)")
	f.StringVar(&c.SSE, "sse", "", "let S3 encrypt as well: AES256 or aws:kms (default $TAKUMI_S3_SSE)")
	f.StringVar(&c.PartSize, "part-size", "", "size of S3's parts, from 5M to 1G (default $TAKUMI_S3_PART_SIZE, or 16M): 10,000 of them are one backup on a server that wants equal parts; two are kept in memory")
	f.StringVar(&c.KMSKey, "sse-kms-key", "", "KMS key for that (default $TAKUMI_S3_SSE_KMS_KEY)")
}

// aboutPath wraps an error with what was attempted on path, which the errors of
// a place name already.
func aboutPath(doing, path string, err error) error {
	if class, hint := fail.Of(err); class == fail.Failed && hint == "" && errors.Is(err, fs.ErrNotExist) {
		err = fail.As(fail.Failed, "see takumi-backup list for the backups", err)
	}
	if strings.Contains(err.Error(), path) {
		return fmt.Errorf("%s: %w", doing, err)
	}
	return fmt.Errorf("%s %s: %w", doing, path, err)
}

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
