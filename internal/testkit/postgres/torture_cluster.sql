-- What a cluster has besides the torture database: roles, a tablespace, and what the
-- database is.
CREATE ROLE "the ""owner""" LOGIN PASSWORD 'secret';
CREATE ROLE chief SUPERUSER;
CREATE ROLE "reader's" NOLOGIN NOINHERIT CONNECTION LIMIT 3 VALID UNTIL '2031-01-01 00:00:00+00';
CREATE ROLE writer ADMIN "the ""owner""";
CREATE ROLE "Ünï 🎯" BYPASSRLS;
GRANT "reader's" TO writer WITH ADMIN OPTION;
COMMENT ON ROLE writer IS E'writes\nmuch';
ALTER ROLE writer SET statement_timeout = '5min';
SET allow_in_place_tablespaces = on;
CREATE TABLESPACE "fast one" OWNER "the ""owner""" LOCATION '';
GRANT CREATE ON TABLESPACE "fast one" TO writer;
CREATE DATABASE torture OWNER "the ""owner""" TEMPLATE template0 ENCODING 'UTF8' LOCALE_PROVIDER icu ICU_LOCALE 'de-DE' LC_COLLATE 'C' LC_CTYPE 'C.UTF-8' CONNECTION LIMIT 42;
COMMENT ON DATABASE torture IS E'it''s "ours"\n🎯';
REVOKE ALL ON DATABASE torture FROM PUBLIC;
GRANT CONNECT, TEMPORARY ON DATABASE torture TO "reader's";
GRANT CREATE ON DATABASE torture TO writer WITH GRANT OPTION;
ALTER DATABASE torture SET search_path TO "my schema", public;
ALTER DATABASE torture SET "my.setting" TO E'a''b\\c';
ALTER DATABASE torture SET DateStyle TO 'German, DMY';
ALTER DATABASE torture SET IntervalStyle TO 'sql_standard';
ALTER DATABASE torture SET extra_float_digits TO -10;
ALTER DATABASE torture SET bytea_output TO escape;
ALTER DATABASE torture SET statement_timeout TO '20s';
ALTER DATABASE torture SET row_security TO off;
ALTER ROLE "reader's" IN DATABASE torture SET work_mem TO '5MB';
ALTER ROLE "reader's" IN DATABASE torture SET temp_tablespaces TO "fast one", pg_default;
