package database

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/internal/guard"
	"github.com/takumi-backup/takumi-backup/internal/postgres"
	"github.com/takumi-backup/takumi-backup/internal/testkit/postgres"
)

// settings lead to a database of a cluster.
func settings(t *testing.T, c *pgtest.Cluster, user, database string) *postgres.Settings {
	t.Helper()
	for _, kv := range c.Env() {
		if name, value, _ := strings.Cut(kv, "="); strings.HasPrefix(name, "PG") {
			t.Setenv(name, value)
		}
	}
	t.Setenv("DB_HOST", "")
	t.Setenv("DB_USER", user)
	t.Setenv("DB_NAME", database)
	s, err := postgres.FromEnv()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestPreflight: what would make a restore fail, or leave something out, is found
// before it, with what helps.
func TestPreflight(t *testing.T) {
	c := pgtest.Start(t, "cron.database_name=live")
	c.Psql(t, "postgres", `CREATE ROLE plain LOGIN; CREATE ROLE maker LOGIN CREATEDB; CREATE ROLE narrow LOGIN CREATEDB CONNECTION LIMIT 2;
		CREATE ROLE reader LOGIN CREATEDB; ALTER ROLE reader SET default_transaction_read_only = on; CREATE ROLE boss; CREATE DATABASE live; CREATE DATABASE mine OWNER maker`)
	c.Psql(t, "postgres", "SET allow_in_place_tablespaces = on; CREATE TABLESPACE shut LOCATION ''")
	needs := func(n postgres.Needs) *postgres.Manifest { return &postgres.Manifest{Needs: n, Server: 15} }
	was := func(change func(*postgres.Properties)) *postgres.Manifest {
		p := &postgres.Properties{Owner: "takumi", Encoding: "UTF8", Collate: "C", CType: "C", Provider: "c", Tablespace: "pg_default", Limit: -1}
		change(p)
		return &postgres.Manifest{Properties: p, Server: 15}
	}
	for name, tc := range map[string]struct {
		user, database string
		o              Options
		want           []string // weight, check, and words of each finding
	}{
		"nothing":         {"takumi", "new", Options{}, nil},
		"no rights":       {"plain", "new", Options{}, []string{`stop rights role "plain" may not make databases: ALTER ROLE "plain" CREATEDB`}},
		"not the owner":   {"maker", "live", Options{}, []string{`stop rights "live" belongs to "takumi"`, "note space takes about"}},
		"few connections": {"narrow", "new", Options{}, []string{"stop connections CONNECTION LIMIT -1"}},
		"read-only":       {"reader", "new", Options{}, []string{"stop server default_transaction_read_only = off"}},
		"make roles":      {"maker", "new", Options{CreateRoles: true}, []string{"stop rights CREATEROLE"}},
		"no manifest":     {"takumi", "new", Options{Sealed: true}, []string{"note dump --dry-run"}},
		"another's":       {"takumi", "new", Options{Source: "old"}, []string{`stop database it is of "old"`}},
		"roles": {"takumi", "new", Options{Manifest: needs(postgres.Needs{Roles: []string{"gone", "boss", "gone", "pg_of_the_future"}})},
			[]string{`stop roles role "gone" is missing: restore the roles`, `stop roles came with a later version`}},
		"roles, made":       {"takumi", "new", Options{CreateRoles: true, Manifest: needs(postgres.Needs{Roles: []string{"gone"}})}, nil},
		"roles, going on":   {"takumi", "new", Options{KeepGoing: true, Manifest: needs(postgres.Needs{Roles: []string{"gone"}})}, []string{"warning roles gone"}},
		"roles of the dump": {"takumi", "new", Options{Contents: &guard.Contents{Roles: []string{"gone"}, Server: "14.2"}}, []string{`stop roles role "gone"`}},
		"ownership":         {"maker", "new", Options{Manifest: needs(postgres.Needs{Roles: []string{"boss"}, Owners: []string{"boss", "pg_database_owner"}})}, []string{`stop ownership GRANT "boss" TO "maker"`}},
		"a superuser's": {"maker", "mine", Options{Manifest: needs(postgres.Needs{Superuser: []string{"an event trigger"}})},
			[]string{"stop rights an event trigger", "note space"}},
		"tablespaces": {"maker", "new", Options{Manifest: needs(postgres.Needs{Tablespaces: []string{"fast", "shut"}})},
			[]string{`stop tablespaces CREATE TABLESPACE "fast"`, `stop tablespaces GRANT CREATE ON TABLESPACE "shut"`}},
		"extensions": {"maker", "new", Options{Manifest: needs(postgres.Needs{Extensions: []postgres.Extension{{Name: "nowhere"}, {Name: "pgcrypto", Version: "0.1"}, {Name: "file_fdw"}}})},
			[]string{`stop extensions "nowhere" is missing`, `stop extensions "file_fdw" is made by superusers`, `warning extensions had version 0.1`}},
		"pg_cron": {"takumi", "live", Options{Manifest: needs(postgres.Needs{Extensions: []postgres.Extension{{Name: "pg_cron"}}})},
			[]string{`stop extensions in the database "live" alone`, `stop extensions "pg_cron" is missing`}},
		"a later server": {"takumi", "new", Options{Manifest: &postgres.Manifest{Server: 99}}, []string{"warning server PostgreSQL 99"}},
		"no such locale": {"takumi", "new", Options{Manifest: was(func(p *postgres.Properties) { p.Collate = "tlh_KL" })}, []string{`warning locale "tlh_KL"`}},
		"another locale": {"takumi", "new", Options{Manifest: was(func(p *postgres.Properties) { p.Provider = "b" })}, []string{"stop locale provider"}},
		"settings": {"maker", "new", Options{Manifest: was(func(p *postgres.Properties) {
			p.Owner, p.Settings = "maker", []postgres.Setting{{Name: "of_the_future"}, {Name: "session_replication_role"}, {Name: "app.user"}, {Name: "work_mem"}}
		})}, []string{`stop settings "of_the_future"`, "stop settings GRANT SET ON PARAMETER session_replication_role"}},
		"a big one": {"takumi", "new", Options{Manifest: &postgres.Manifest{Server: 15, Size: 1 << 60}}, []string{"warning space"}},
		"too big":   {"takumi", "new", Options{AtLeast: 1 << 59, Manifest: &postgres.Manifest{Server: 15, Size: 1 << 60}}, []string{"stop space"}},
		"many tables": {"takumi", "new", Options{Manifest: &postgres.Manifest{Server: 15, Contents: postgres.Contents{Tables: make([]postgres.Table, 10_000)}}},
			[]string{"warning locks max_locks_per_transaction = "}},
	} {
		t.Run(name, func(t *testing.T) {
			tc.o.Settings, tc.o.Time = settings(t, c, tc.user, tc.database), time.Now()
			got, err := Preflight(t.Context(), tc.o)
			if err != nil {
				t.Fatal(err)
			}
			if len(got) != len(tc.want) {
				t.Errorf("got %d findings, want %d", len(got), len(tc.want))
			}
			for i, f := range got {
				line := string(f.Weight) + " " + f.Check + " " + f.String()
				ok := i < len(tc.want)
				if ok {
					words := strings.SplitN(tc.want[i], " ", 3)
					ok = strings.HasPrefix(line, words[0]+" "+words[1]+" ") && (len(words) < 3 || strings.Contains(line, words[2]))
				}
				if !ok {
					t.Errorf("got %q", line)
				}
			}
			// A restore is begun unless something stops it, and shows the same.
			r, err := Begin(t.Context(), tc.o)
			stops := slices.ContainsFunc(got, func(f Finding) bool { return f.Weight == Stop })
			if unready := (*UnreadyError)(nil); stops != errors.As(err, &unready) || !stops && err != nil {
				t.Errorf("Begin: %v", err)
			}
			if err == nil {
				if len(r.Plan().Findings) != len(got) {
					t.Errorf("the plan has %v", r.Plan().Findings)
				}
				r.Close()
			}
		})
	}
}
