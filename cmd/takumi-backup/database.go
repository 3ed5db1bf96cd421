package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/internal/backup"
	"github.com/takumi-backup/takumi-backup/internal/postgres"
	"github.com/takumi-backup/takumi-backup/stream/pack"
)

const databaseHelp = `The database is named by DB_HOST (a host, or the folder of a socket), DB_PORT,
DB_NAME, DB_USER and DB_PASSWORD, and what they leave open by libpq's own PGHOST,
PGDATABASE and so on, ~/.pgpass, and its defaults; or by --db URI, and then not by
DB_*.`

// manifestKind is the kind of what stands beside a database's backup and says
// what the database held.
const manifestKind = "manifest"

// databaseFlags name a database.
type databaseFlags struct{ uri string }

func (d *databaseFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&d.uri, "db", "", "the database as postgresql://USER@HOST:PORT/NAME (default: DB_* and PG* variables)")
}

func (d *databaseFlags) settings(cmd *cobra.Command) (*postgres.Settings, error) {
	s, err := postgres.FromEnv()
	if cmd.Flags().Changed("db") {
		if postgres.HasPassword(d.uri) {
			warn(cmd, "whoever lists the processes of this machine can read the password in --db: leave it out, and set PGPASSWORD or PGPASSFILE")
		}
		s, err = postgres.FromURI(d.uri)
	}
	if errors.Is(err, postgres.ErrSettings) {
		return nil, usageError{err}
	}
	return s, err
}

// databaseFileName returns a database's name as it can stand in a file's.
func databaseFileName(name string) string {
	name = strings.Map(func(r rune) rune {
		if r < ' ' || strings.ContainsRune(`/\`, r) || r == 0x7f {
			return '_'
		}
		return r
	}, name)
	if strings.HasPrefix(name, ".") || strings.HasPrefix(name, "-") {
		name = "_" + name[1:]
	}
	return name
}

// manifestTries is how many names a manifest may have: a plain and a custom dump
// of one second would share the first.
const manifestTries = 3

// manifestPath returns the n-th name, from 1, for the manifest of the backup at
// path.
func manifestPath(path string, n int, codec pack.Codec) string {
	dir, name := filepath.Split(path)
	name = strings.TrimSuffix(name, backup.Suffix)
	for _, codec := range []pack.Codec{pack.Zstd, pack.Gzip} {
		name = strings.TrimSuffix(name, codec.Extension())
	}
	name = strings.TrimSuffix(strings.TrimSuffix(name, ".sql"), ".dump") + ".manifest"
	if n > 1 {
		name += fmt.Sprintf("-%d", n)
	}
	return dir + name + ".json" + codec.Extension() + backup.Suffix
}
