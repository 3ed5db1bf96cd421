-- One of every kind of object that a database of PostgreSQL 15 can have, and values
-- that are hard to write down. It is made by a superuser.
SET statement_timeout = 0; SET search_path = public; SET DateStyle = 'ISO'; SET IntervalStyle = 'postgres';
SET client_min_messages = error;

-- Schemas, extensions, languages
CREATE SCHEMA "my schema" AUTHORIZATION "the ""owner""";
CREATE SCHEMA "new
line" AUTHORIZATION writer;
CREATE SCHEMA empty;
COMMENT ON SCHEMA "my schema" IS E'COPY t FROM stdin;\n1\n\\.\n--\n-- PostgreSQL database dump complete\n--\n';
GRANT USAGE ON SCHEMA "my schema" TO "reader's" WITH GRANT OPTION;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO PUBLIC;
CREATE EXTENSION hstore WITH SCHEMA "my schema";
CREATE EXTENSION pgcrypto; CREATE EXTENSION btree_gist; CREATE EXTENSION file_fdw; CREATE EXTENSION cube; CREATE EXTENSION earthdistance;
COMMENT ON EXTENSION cube IS 'ours';

-- Collations, types, domains, ranges, casts, operators
CREATE COLLATION german (provider = icu, locale = 'de-u-co-phonebk', deterministic = true);
CREATE COLLATION "no case" (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE TYPE mood AS ENUM ('calm', '花', '🎯', 'it''s');
ALTER TYPE mood ADD VALUE 'first' BEFORE 'calm';
CREATE TYPE pair AS (a int, b text COLLATE "no case");
CREATE TYPE "shell";
CREATE DOMAIN positive AS int DEFAULT 1 CHECK (VALUE > 0);
CREATE DOMAIN words AS text[] CONSTRAINT "some of them" CHECK (cardinality(VALUE) > 0) NOT NULL;
ALTER DOMAIN positive ADD CONSTRAINT small CHECK (VALUE < 1000000) NOT VALID;
CREATE FUNCTION fdiff(float8, float8) RETURNS float8 LANGUAGE sql IMMUTABLE STRICT AS 'SELECT $1 - $2';
CREATE TYPE floats AS RANGE (subtype = float8, subtype_diff = fdiff, multirange_type_name = many_floats);
CREATE FUNCTION mood_int(mood) RETURNS int LANGUAGE sql STABLE AS $f$ SELECT enumsortorder::int FROM pg_catalog.pg_enum WHERE enumlabel = $1::text $f$;
CREATE CAST (mood AS int) WITH FUNCTION mood_int(mood) AS ASSIGNMENT;
CREATE FUNCTION pair_eq(pair, pair) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT ($1).a = ($2).a';
CREATE OPERATOR === (LEFTARG = pair, RIGHTARG = pair, FUNCTION = pair_eq, COMMUTATOR = ===);
CREATE OPERATOR FAMILY own_family USING btree;
CREATE OPERATOR CLASS own_ints FOR TYPE int USING btree FAMILY own_family AS
  OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >, FUNCTION 1 btint4cmp(int, int);
CREATE ACCESS METHOD own_heap TYPE TABLE HANDLER heap_tableam_handler;
CREATE AGGREGATE longest(text) (SFUNC = textcat, STYPE = text, INITCOND = '');
CREATE AGGREGATE "percent'ile"(float8 ORDER BY anyelement) (SFUNC = ordered_set_transition, STYPE = internal, FINALFUNC = percentile_disc_final, FINALFUNC_EXTRA);
CREATE CONVERSION own_conversion FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8;
CREATE TEXT SEARCH DICTIONARY plainly (TEMPLATE = simple, STOPWORDS = english);
CREATE TEXT SEARCH CONFIGURATION ours (COPY = english);
ALTER TEXT SEARCH CONFIGURATION ours ALTER MAPPING FOR asciiword WITH plainly, english_stem;
CREATE TEXT SEARCH PARSER own_parser (START = prsd_start, GETTOKEN = prsd_nexttoken, END = prsd_end, LEXTYPES = prsd_lextype, HEADLINE = prsd_headline);
CREATE TEXT SEARCH TEMPLATE own_template (LEXIZE = dsimple_lexize, INIT = dsimple_init);

-- Functions that a dump has to quote, and one that needs another search_path
CREATE FUNCTION "odd ""name"""(INOUT a int DEFAULT 1, VARIADIC b text[] DEFAULT '{}') LANGUAGE plpgsql AS $body$
BEGIN -- $$ COPY x FROM stdin; ' \.
  a := a + cardinality(b); END $body$;
CREATE FUNCTION helper() RETURNS int LANGUAGE sql IMMUTABLE SET search_path = public AS 'SELECT 42';
CREATE FUNCTION modern(a int, b int DEFAULT 2) RETURNS int IMMUTABLE PARALLEL SAFE LEAKPROOF COST 7 BEGIN ATOMIC SELECT a + b; END;
CREATE PROCEDURE work(x int) LANGUAGE plpgsql AS $$ BEGIN NULL; END $$;
CREATE FUNCTION many() RETURNS TABLE (x int, y text) LANGUAGE sql ROWS 7 SECURITY DEFINER AS $$ SELECT 1, E'\\.' $$;
GRANT EXECUTE ON FUNCTION many() TO "reader's"; REVOKE ALL ON FUNCTION many() FROM PUBLIC;
CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.note := coalesce(NEW.note, '') || '!'; RETURN NEW; END $$;
CREATE FUNCTION tell() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN END $$;

-- Tables: odd names and values, identities, generated and dropped columns, storage
CREATE TABLE people (id int GENERATED ALWAYS AS IDENTITY (START 100 INCREMENT 7 MAXVALUE 900000 CYCLE) PRIMARY KEY, gone_1 text,
  name text COLLATE "no case" NOT NULL UNIQUE DEFERRABLE INITIALLY DEFERRED, mood mood DEFAULT 'calm', tags words, gone_2 int DEFAULT 5,
  matrix int[][], about jsonb, raw json, extra "my schema".hstore, proof bytea, p pair, ps pair[], pos positive, r floats, rs many_floats, x xml,
  v tsvector GENERATED ALWAYS AS (to_tsvector('ours', name)) STORED, note text COMPRESSION pglz DEFAULT NULL,
  CONSTRAINT "a ""check""" CHECK (id > 0 AND name <> E'\\.'), CONSTRAINT later CHECK (pos < 10) NOT VALID NO INHERIT)
  WITH (fillfactor = 70, autovacuum_enabled = false);
ALTER TABLE people DROP COLUMN gone_1, DROP COLUMN gone_2;
ALTER TABLE people ALTER COLUMN proof SET STORAGE EXTERNAL, ALTER COLUMN name SET STATISTICS 17, ALTER COLUMN name SET (n_distinct = -0.5), REPLICA IDENTITY FULL;
INSERT INTO people (name, mood, tags, matrix, about, raw, extra, proof, p, ps, pos, r, rs, x)
  SELECT 'naïve 🎯𝔘 ' || i || E'\t\\\n\r\b\f\v', (enum_range(NULL::mood))[1 + i % 5], ARRAY['a,b', NULL, E'"q"\\', '🧪', 'NULL', ''], ARRAY[[i, 2], [3, NULL]],
    jsonb_build_object('n', i, 'deep', jsonb_build_array(1.50, NULL, '🐘')), '{"b": 1,  "a": 1, "a": 2}', "my schema".hstore('k"=>', i::text),
    digest(i::text, 'sha256'), ROW(i, E'(",)\\')::pair, ARRAY[ROW(1, NULL)::pair, NULL], 1 + i % 9, floats(i, i + 0.1), many_floats(floats(1, 2), floats(3, NULL)),
    '<a b="&lt;">text</a>' FROM generate_series(1, 300) i;
COMMENT ON COLUMN people.note IS E'a ''note''\\\n';
GRANT SELECT (id, name), UPDATE (note) ON people TO "reader's"; GRANT ALL ON people TO writer; GRANT INSERT ON people TO PUBLIC;
ALTER TABLE people OWNER TO "the ""owner""";
CREATE TABLE numbers (id bigserial PRIMARY KEY, f8 float8, f4 float4, n numeric, nn numeric(5, -2), t timestamptz, ts timestamp, tt timetz, d date, i interval, b bit(5), vb varbit,
  net inet, c cidr, m macaddr8, g point, poly polygon, money money, o oid, rc regclass, u uuid, ch char(5), one "char", tsq tsquery, lsn pg_lsn);
INSERT INTO numbers (f8, f4, n, nn, t, ts, tt, d, i, b, vb, net, c, m, g, poly, money, o, rc, u, ch, one, tsq, lsn) VALUES
  ('NaN', 'NaN', 'NaN', 12345, 'infinity', '-infinity', '24:00:00-15:59', '-infinity', '1 mon -2 days 3.000001 s', B'10101', B'1', '::1/64', '10.0.0.0/8', '08:00:2b:01:02:03:04:05', '(1e-300,-0)', '((0,0),(1,1e10))', '-12.34', 4294967295, 'people', gen_random_uuid(), 'ab', 'x', 'a & !b:*A', 'FFFFFFFF/FFFFFFFF'),
  ('Infinity', '-Infinity', 'Infinity', 99, '-infinity', 'infinity', '00:00:00.000001+15:59', 'infinity', '-178000000 years', B'00000', B'', '10.0.0.1', '::/0', NULL, NULL, NULL, NULL, 0, NULL, NULL, '', '', '', '0/0'),
  (0.1::float8 + 0.2, 1.17549435e-38, 123456789012345678901234567890.123456789, NULL, '4713-01-01 00:00:00 BC', '294276-12-31 23:59:59.999999', NULL, '0044-03-15 BC', '0', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 'ü', NULL, NULL, NULL),
  ('-0', 1e-45::float4, -0.00, NULL, 'epoch', NULL, NULL, '5874897-12-31', '-0.000001 s', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
  (5e-324, 3.4028235e38, 1e-200, NULL, NULL, NULL, NULL, NULL, '1 year -1 day', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
CREATE TABLE nothing (); INSERT INTO nothing DEFAULT VALUES; INSERT INTO nothing DEFAULT VALUES;
CREATE TABLE "my schema"."Odd ""name"", a.b" ("select" int, " " text, "new
line" text, "x'y" int GENERATED BY DEFAULT AS IDENTITY, "a\b" text DEFAULT E'\\.');
INSERT INTO "my schema"."Odd ""name"", a.b" ("select", " ", "new
line") VALUES (1, E'\\.', ''), (2, '', NULL), (3, NULL, E'\\N'), (4, E'-- PostgreSQL database dump complete', E'\n\\.\n');
CREATE TABLE "new
line".t ("tab	name" text) USING own_heap; INSERT INTO "new
line".t VALUES (E'\r\n');
CREATE UNLOGGED TABLE unlogged_one AS SELECT i FROM generate_series(1, 3) i;
CREATE TABLE elsewhere (i int PRIMARY KEY USING INDEX TABLESPACE "fast one", t text) TABLESPACE "fast one"; INSERT INTO elsewhere VALUES (1, repeat('long ', 100000));
CREATE TABLE typed OF pair (a PRIMARY KEY, b WITH OPTIONS DEFAULT 'x'); INSERT INTO typed VALUES (1);
CREATE TABLE parent (i int NOT NULL, t text DEFAULT 'p', CHECK (i > 0)); CREATE TABLE other_parent (z int);
CREATE TABLE child (own int, t text DEFAULT 'c') INHERITS (parent, other_parent); CREATE TABLE grandchild () INHERITS (child);
ALTER TABLE child ADD CHECK (own < 10);
INSERT INTO parent VALUES (1); INSERT INTO child (i, z, own) VALUES (2, 3, 4); INSERT INTO grandchild (i) VALUES (5);

-- Partitions: by range of ranges of hashes, by list of an enum, detached, with other columns
CREATE TABLE events (at timestamptz NOT NULL, person int REFERENCES people ON DELETE CASCADE, what text, dropped int, PRIMARY KEY (at, what)) PARTITION BY RANGE (at);
ALTER TABLE events DROP COLUMN dropped;
CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM (MINVALUE) TO ('2026-06-01') PARTITION BY HASH (what);
CREATE TABLE events_1a PARTITION OF events_1 FOR VALUES WITH (MODULUS 2, REMAINDER 0) TABLESPACE "fast one";
CREATE TABLE events_1b PARTITION OF events_1 FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE TABLE events_2 (what text NOT NULL, extra int, at timestamptz NOT NULL, person int); ALTER TABLE events_2 DROP COLUMN extra;
ALTER TABLE events ATTACH PARTITION events_2 FOR VALUES FROM ('2026-06-01') TO ('2027-01-01');
CREATE TABLE events_rest PARTITION OF events DEFAULT;
CREATE INDEX "by person" ON events (person) INCLUDE (what) WHERE person > 3; CREATE INDEX ON ONLY events (what);
INSERT INTO events SELECT timestamptz '2026-01-01 UTC' + i * interval '4 hours', 100 + 7 * (i % 250), 'what ' || i FROM generate_series(1, 3000) i;
CREATE TABLE moods (m mood, i int) PARTITION BY HASH (m); CREATE TABLE moods_0 PARTITION OF moods FOR VALUES WITH (MODULUS 3, REMAINDER 0);
CREATE TABLE moods_1 PARTITION OF moods FOR VALUES WITH (MODULUS 3, REMAINDER 1); CREATE TABLE moods_2 PARTITION OF moods FOR VALUES WITH (MODULUS 3, REMAINDER 2);
INSERT INTO moods SELECT (enum_range(NULL::mood))[1 + i % 5], i FROM generate_series(1, 50) i;
CREATE TABLE listed (k text, i int) PARTITION BY LIST (lower(k)); CREATE TABLE listed_a PARTITION OF listed FOR VALUES IN ('a', NULL); CREATE TABLE no_partitions (i int) PARTITION BY RANGE (i, (i + 1));
INSERT INTO listed VALUES ('A', 1), (NULL, 2);

-- Constraints: cycles of foreign keys, exclusion, deferred, not valid, to and from partitions
CREATE TABLE hen (id int PRIMARY KEY, egg int); CREATE TABLE egg (id int PRIMARY KEY, hen int NOT NULL REFERENCES hen DEFERRABLE INITIALLY DEFERRED);
INSERT INTO hen VALUES (1, 1), (2, 2); INSERT INTO egg VALUES (1, 2), (2, 1); ALTER TABLE hen ADD FOREIGN KEY (egg) REFERENCES egg ON UPDATE SET NULL NOT VALID;
CREATE TABLE self (id int PRIMARY KEY, up int REFERENCES self MATCH FULL ON DELETE SET DEFAULT); BEGIN; INSERT INTO self VALUES (1, NULL), (2, 1), (3, 2); UPDATE self SET up = 3 WHERE id = 1; COMMIT;
CREATE TABLE rooms (room int, during tstzrange, EXCLUDE USING gist (room WITH =, during WITH &&) WHERE (room > 0) DEFERRABLE);
INSERT INTO rooms VALUES (1, '[2026-01-01, 2026-01-02)'), (1, '[2026-01-02, 2026-01-03)'), (2, 'empty');
CREATE TABLE refers (at timestamptz, what text, FOREIGN KEY (at, what) REFERENCES events); INSERT INTO refers SELECT at, what FROM events ORDER BY at LIMIT 5;
ALTER TABLE people ADD CONSTRAINT nulls_too UNIQUE NULLS NOT DISTINCT (note, id);

-- Indexes and statistics
CREATE INDEX ON people USING gin (about jsonb_path_ops, v); CREATE INDEX ON people USING brin (id) WITH (pages_per_range = 7); CREATE INDEX ON people USING hash (name);
CREATE UNIQUE INDEX "expr'" ON people ((lower(name)) COLLATE german DESC NULLS LAST, id own_ints) WHERE helper() = 42; CREATE INDEX ON people USING spgist (r);
CREATE TABLE places (lat float8, lon float8); INSERT INTO places VALUES (1, 2), (52.5, 13.4); CREATE INDEX places_index ON places USING gist (cube(lat));
CREATE INDEX own_stats ON people ((id % 7)); ALTER INDEX own_stats ALTER COLUMN 1 SET STATISTICS 99; ALTER TABLE places CLUSTER ON places_index;
CREATE STATISTICS both_columns (ndistinct, dependencies, mcv) ON id, mood FROM people; ALTER STATISTICS both_columns SET STATISTICS 55; CREATE STATISTICS expressed ON (id % 2), (lower(name)) FROM people;

-- Views, rules, triggers
CREATE VIEW calm WITH (security_barrier, security_invoker = true) AS SELECT id, name FROM people WHERE mood = 'calm' WITH CASCADED CHECK OPTION;
CREATE RECURSIVE VIEW up_to (n) AS VALUES (1) UNION ALL SELECT n + 1 FROM up_to WHERE n < 5;
CREATE VIEW of_itself AS SELECT 1 AS a; CREATE OR REPLACE VIEW of_itself AS SELECT a FROM (SELECT 1 AS a) x; ALTER VIEW of_itself ALTER COLUMN a SET DEFAULT 7;
CREATE MATERIALIZED VIEW counts AS SELECT person, count(*), helper() AS h FROM events GROUP BY person; CREATE UNIQUE INDEX ON counts (person);
CREATE MATERIALIZED VIEW of_counts TABLESPACE "fast one" AS SELECT sum(count) FROM counts; CREATE MATERIALIZED VIEW never_filled AS SELECT * FROM counts WITH NO DATA;
CREATE RULE as_well AS ON INSERT TO of_itself DO INSTEAD INSERT INTO parent VALUES (NEW.a); CREATE RULE notes AS ON DELETE TO parent DO ALSO NOTIFY "a ""channel""";
ALTER TABLE parent DISABLE RULE notes;
CREATE TRIGGER stamp BEFORE INSERT OR UPDATE OF name ON people FOR EACH ROW WHEN (NEW.id > 5) EXECUTE FUNCTION stamp('an ''arg', E'\\');
CREATE CONSTRAINT TRIGGER late AFTER INSERT ON elsewhere DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION stamp();
CREATE TRIGGER seen AFTER UPDATE ON elsewhere REFERENCING OLD TABLE AS was NEW TABLE AS is_now FOR EACH STATEMENT EXECUTE FUNCTION stamp();
CREATE TRIGGER on_all AFTER INSERT ON events FOR EACH ROW EXECUTE FUNCTION stamp(); ALTER TABLE events_2 DISABLE TRIGGER on_all; ALTER TABLE people ENABLE ALWAYS TRIGGER stamp;
CREATE EVENT TRIGGER told ON ddl_command_end WHEN TAG IN ('CREATE TABLE', 'DROP TABLE') EXECUTE FUNCTION tell(); ALTER EVENT TRIGGER told OWNER TO chief; ALTER EVENT TRIGGER told ENABLE REPLICA;
COMMENT ON TRIGGER stamp ON people IS 'stamps';

-- Row security
ALTER TABLE people ENABLE ROW LEVEL SECURITY; ALTER TABLE people FORCE ROW LEVEL SECURITY; ALTER TABLE rooms ENABLE ROW LEVEL SECURITY;
CREATE POLICY "own rows" ON people AS RESTRICTIVE FOR UPDATE TO "reader's", writer USING (name = current_user) WITH CHECK (id > 0); CREATE POLICY all_rows ON people USING (true);

-- Sequences
CREATE SEQUENCE down AS smallint INCREMENT -3 MINVALUE -100 MAXVALUE 50 START 20 CACHE 5 OWNED BY numbers.n; SELECT nextval('down'), nextval('down'); CREATE SEQUENCE untouched; CREATE UNLOGGED SEQUENCE lost;
SELECT setval('numbers_id_seq', 4711, false); GRANT USAGE ON SEQUENCE down TO "reader's";

-- Foreign data, publications, subscriptions
CREATE FOREIGN DATA WRAPPER idle OPTIONS (a 'b''c'); ALTER FOREIGN DATA WRAPPER idle OWNER TO chief;
CREATE SERVER files TYPE 't' VERSION '1.0' FOREIGN DATA WRAPPER file_fdw; CREATE SERVER "idle one" FOREIGN DATA WRAPPER idle OPTIONS (host 'x "y"');
CREATE USER MAPPING FOR "reader's" SERVER "idle one" OPTIONS (password 'it''s'); CREATE USER MAPPING FOR PUBLIC SERVER "idle one";
CREATE FOREIGN TABLE far (a int OPTIONS (name 'A') NOT NULL, b text DEFAULT 'x' CHECK (b <> '')) SERVER "idle one" OPTIONS (t 'u'); GRANT USAGE ON FOREIGN SERVER "idle one" TO writer;
CREATE PUBLICATION everything FOR ALL TABLES WITH (publish = 'insert', publish_via_partition_root = true); CREATE PUBLICATION part FOR TABLE people (id, name) WHERE (id > 5); CREATE PUBLICATION of_schema FOR TABLES IN SCHEMA "my schema"; ALTER PUBLICATION part OWNER TO chief;
CREATE SUBSCRIPTION asleep CONNECTION 'dbname=''no where'' password=x' PUBLICATION p, "q""r" WITH (connect = false, slot_name = NONE, binary = true, streaming = true, two_phase = true, disable_on_error = true);
CREATE TRANSFORM FOR int LANGUAGE sql (FROM SQL WITH FUNCTION prsd_lextype(internal), TO SQL WITH FUNCTION int4recv(internal));

-- Default rights, large objects
ALTER DEFAULT PRIVILEGES FOR ROLE writer IN SCHEMA "my schema" GRANT SELECT ON TABLES TO "reader's"; ALTER DEFAULT PRIVILEGES FOR ROLE "the ""owner""" REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC; ALTER DEFAULT PRIVILEGES GRANT USAGE ON TYPES TO writer;
SELECT lo_from_bytea(4000000001, 'small'), lo_from_bytea(77, ''), lo_from_bytea(78, decode(repeat('00ff5c0a', 300000), 'hex'));
SELECT lo_create(79), lo_put(79, 5000, 'behind a hole'); COMMENT ON LARGE OBJECT 77 IS 'empty 🎯'; GRANT SELECT ON LARGE OBJECT 77 TO "reader's"; GRANT UPDATE ON LARGE OBJECT 78 TO PUBLIC; ALTER LARGE OBJECT 78 OWNER TO writer;
ALTER FUNCTION helper() OWNER TO writer; ALTER TYPE mood OWNER TO writer; GRANT SELECT ON events TO writer; ALTER MATERIALIZED VIEW counts OWNER TO writer; REFRESH MATERIALIZED VIEW counts; REFRESH MATERIALIZED VIEW of_counts;
