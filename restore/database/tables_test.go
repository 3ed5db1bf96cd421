package database

import (
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/backup/tables"
	"github.com/takumi-backup/takumi-backup/internal/postgres"
	dumpkit "github.com/takumi-backup/takumi-backup/internal/testkit/dump"
	"github.com/takumi-backup/takumi-backup/internal/testkit/postgres"
	"github.com/takumi-backup/takumi-backup/restore/database/pick"
)

const shop = `
CREATE ROLE clerk;
CREATE SCHEMA "Odd one"; CREATE SCHEMA parts;
CREATE TYPE public.state AS ENUM ('new', 'paid');
CREATE DOMAIN public.amount AS numeric(10, 2) CHECK (VALUE >= 0);
CREATE FUNCTION public.slug(t text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT lower(t) $$;
CREATE SEQUENCE public.shared;
CREATE TABLE public.customers (id serial PRIMARY KEY, name text);
CREATE TABLE public.orders (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, number int DEFAULT nextval('public.shared') UNIQUE, old int,
  customer int REFERENCES public.customers, state public.state DEFAULT 'new', total public.amount DEFAULT 1.5,
  note text, slug text GENERATED ALWAYS AS (public.slug(note)) STORED, CONSTRAINT positive CHECK (total > 0));
ALTER TABLE public.orders DROP COLUMN old;
ALTER TABLE public.orders OWNER TO clerk; GRANT SELECT ON public.orders TO PUBLIC;
CREATE INDEX orders_slug ON public.orders (public.slug(note)) WHERE state = 'new';
COMMENT ON TABLE public.orders IS E'it''s; all\nCOPY public.orders FROM stdin;'; COMMENT ON COLUMN public.orders.note IS 'said';
COMMENT ON INDEX public.orders_slug IS 'for looking'; CREATE STATISTICS public.orders_s ON state, total FROM public.orders;
CREATE FUNCTION public.touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE TRIGGER touch BEFORE UPDATE ON public.orders FOR EACH ROW EXECUTE FUNCTION public.touch();
ALTER TABLE public.orders ENABLE ROW LEVEL SECURITY; CREATE POLICY own ON public.orders USING (total > 1);
INSERT INTO public.customers (name) SELECT 'c' || i FROM generate_series(1, 50) i;
INSERT INTO public.orders (customer, note) SELECT 1 + i % 50, E'Tab\there \\ ' || repeat(md5(i::text), 40) FROM generate_series(1, 3000) i;
CREATE TABLE parts.events (at date, what text) PARTITION BY RANGE (at);
CREATE TABLE parts.events_a PARTITION OF parts.events FOR VALUES FROM ('2026-01-01') TO ('2026-07-01');
CREATE TABLE parts.events_b PARTITION OF parts.events DEFAULT;
CREATE INDEX events_at ON parts.events (at);
INSERT INTO parts.events SELECT date '2026-01-01' + i % 365, 'event ' || i FROM generate_series(1, 2000) i;
CREATE TABLE "Odd one"."a.b ""c""" (LIKE public.customers INCLUDING ALL); INSERT INTO "Odd one"."a.b ""c""" VALUES (7, 'x');
CREATE TABLE public.child () INHERITS (public.customers);
CREATE TABLE public.composite (c public.customers);
`

// leading leads libpq's variables to the cluster.
func leading(t *testing.T, c *pgtest.Cluster, db string) *postgres.Settings {
	t.Helper()
	for _, kv := range c.Env() {
		if name, value, _ := strings.Cut(kv, "="); strings.HasPrefix(name, "PG") {
			t.Setenv(name, value)
		}
	}
	t.Setenv("DB_NAME", db)
	t.Setenv("DB_HOST", "")
	s, err := postgres.FromEnv()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func pgDump(t *testing.T, c *pgtest.Cluster, args ...string) []byte {
	t.Helper()
	out, err := c.Command("pg_dump", args...).Output()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// statements are those of a dump, without what every dump has of its own.
func statements(dump []byte) string {
	return regexp.MustCompile(`(?m)^(--.*|\\(un)?restrict .*|)\n`).ReplaceAllString(string(dump), "")
}

type tableRun struct {
	names    []string
	into, to string
	from     string
}

func (run tableRun) begin(t *testing.T, s *postgres.Settings, d *tables.Dump) (*TablesRestore, error) {
	t.Helper()
	j := TablesJob{Dump: d, To: run.to, Options: Options{Settings: s, Into: run.into, From: run.from, Source: "shop", Time: time.Now(), Stderr: os.Stderr, Tell: t.Logf, Warn: t.Logf}}
	for _, text := range run.names {
		n, err := postgres.ParseTableName(text)
		if err != nil {
			t.Fatal(err)
		}
		j.Names = append(j.Names, n)
	}
	r, err := j.Begin(t.Context())
	if err == nil {
		t.Cleanup(r.Close)
	}
	return r, err
}

func (run tableRun) do(t *testing.T, s *postgres.Settings, d *tables.Dump) (TablesPlan, TablesResult) {
	t.Helper()
	r, err := run.begin(t, s, d)
	if err != nil {
		t.Fatal(err)
	}
	result, err := r.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	return r.Plan(), result
}

func TestOneTable(t *testing.T) {
	c := pgtest.Shared(t)
	c.CreateDB(t, "shop")
	c.Psql(t, "shop", shop)
	d := dumpkit.Indexed(t, pgDump(t, c, "shop"), nil, nil)
	s := leading(t, c, "shop")
	of := func(db, table string) string {
		return statements(pgDump(t, c, "--no-privileges", "--table="+table, db))
	}

	t.Run("that is there is not touched", func(t *testing.T) {
		if _, err := (tableRun{names: []string{"public.orders"}}).begin(t, s, d); !errors.Is(err, ErrTableExists) {
			t.Error(err)
		}
	})
	t.Run("into another schema", func(t *testing.T) {
		before := statements(pgDump(t, c, "shop"))
		plan, result := tableRun{names: []string{"orders"}, to: "Res cued"}.do(t, s, d)
		if result.Rows != 3000 || strings.Join(result.Tables, " ") != `"Res cued".orders` {
			t.Errorf("%+v", result)
		}
		for _, what := range []string{"CREATE TRIGGER touch", "CREATE POLICY own", "GRANT SELECT ON TABLE public.orders", "FOREIGN KEY (customer)"} {
			if !strings.Contains(strings.Join(plan.Rest, "\n"), what) {
				t.Errorf("left out without a word: %s, of %q", what, plan.Rest)
			}
		}
		if got := strings.Join(plan.Uses, ", "); got != "function public.slug, sequence public.shared, type public.amount, type public.state" {
			t.Errorf("uses %s", got)
		}
		if got := c.Psql(t, "shop", `SELECT count(*) FROM (TABLE public.orders EXCEPT TABLE "Res cued".orders) x; SELECT count(*) FROM "Res cued".orders;
			INSERT INTO "Res cued".orders (note, number) VALUES ('next', -1) RETURNING id;
			SELECT obj_description('"Res cued".orders_slug'::regclass), tableowner FROM pg_tables WHERE schemaname = 'Res cued'`); got != "0\n3000\n3001\nfor looking|clerk\n" {
			t.Errorf("%q", got)
		}
		c.Psql(t, "shop", `DROP SCHEMA "Res cued" CASCADE`)
		if after := statements(pgDump(t, c, "shop")); after != before {
			t.Error("something else has changed")
		}
	})
	t.Run("that was dropped", func(t *testing.T) {
		c.Psql(t, "shop", "CREATE DATABASE dropped TEMPLATE shop; ")
		c.Psql(t, "dropped", "DROP TABLE public.orders; DROP TABLE parts.events")
		tableRun{names: []string{"public.orders", "parts.events"}, into: "dropped"}.do(t, s, d)
		left := regexp.MustCompile(`(?m)^ALTER TABLE ONLY public.orders\n    ADD CONSTRAINT orders_customer_fkey.*\n|^CREATE (TRIGGER|POLICY).*\n`)
		for _, table := range []string{"public.orders", "parts.events*"} {
			if want, got := left.ReplaceAllString(of("shop", table), ""), of("dropped", table); got != want {
				t.Errorf("%s is\n%s\nand was\n%s", table, got[:min(len(got), 2000)], want[:min(len(want), 2000)])
			}
		}
	})
	t.Run("into a database that is made, with what it needs", func(t *testing.T) {
		plan, result := tableRun{names: []string{"public.orders", "public.customers", `"Odd one"."a.b ""c"""`}, into: "fresh"}.do(t, s, d)
		if !plan.Makes || result.Database != "fresh" || result.Rows != 3051 {
			t.Errorf("%+v", result)
		}
		left := regexp.MustCompile(`(?m)^CREATE (TRIGGER|POLICY).*\n`)
		for _, table := range []string{"public.orders", "public.customers", `"Odd one"."a.b ""c"""`, "public.shared"} {
			if want, got := left.ReplaceAllString(of("shop", table), ""), of("fresh", table); got != want {
				t.Errorf("%s is\n%s\nand was\n%s", table, got[:min(len(got), 2000)], want[:min(len(want), 2000)])
			}
		}
		if got := c.Psql(t, "fresh", "SELECT string_agg(relname, ' ' ORDER BY 1) FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"); got != "customers orders\n" {
			t.Errorf("tables: %s", got)
		}
	})
	t.Run("that is not alone", func(t *testing.T) {
		for _, name := range []string{"public.child", "public.composite"} {
			if _, err := (tableRun{names: []string{name}, into: "other"}).begin(t, s, d); !errors.Is(err, pick.ErrAlone) || !strings.Contains(err.Error(), "public.customers") {
				t.Errorf("%s: %v", name, err)
			}
		}
		tableRun{names: []string{"public.child", "public.customers"}, into: "family"}.do(t, s, d)
	})
	t.Run("of another database", func(t *testing.T) {
		other := leading(t, c, "fresh")
		if _, err := (tableRun{names: []string{"public.composite"}}).begin(t, other, d); !errors.Is(err, ErrForeign) {
			t.Error(err)
		}
		tableRun{names: []string{"parts.events"}, from: "shop", to: "parts"}.do(t, other, d)
	})
	t.Run("that fails leaves nothing", func(t *testing.T) {
		before := statements(pgDump(t, c, "fresh"))
		bad := dumpkit.Indexed(t, []byte(strings.Replace(string(pgDump(t, c, "shop")), "\tnew\t", "\tbad\t", 1)), nil, nil)
		for into, want := range map[string]string{"fresh": before, "unmade": ""} {
			r, err := tableRun{names: []string{"orders"}, into: into, to: "x"}.begin(t, s, bad)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := r.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "bad") {
				t.Error(err)
			}
			r.Close()
			if want != "" && statements(pgDump(t, c, into)) != want {
				t.Error("something of it is left")
			}
		}
		if got := c.Psql(t, "shop", "SELECT count(*) FROM pg_database WHERE datname LIKE 'unmade%'"); got != "0\n" {
			t.Errorf("%s databases are left", got)
		}
	})
}
