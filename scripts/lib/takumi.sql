-- A database like Takumi's, made up. psql -v scale=1 gives about 30 MB,
-- scale=16 about 450. The same scale gives the same rows every time.
\set ON_ERROR_STOP on
BEGIN;

CREATE TABLE profiles (
    id           bigserial PRIMARY KEY,
    wallet       text NOT NULL UNIQUE CHECK (wallet ~ '^0x[0-9a-f]{40}$'),
    display_name text NOT NULL,
    content_hash bytea NOT NULL,
    attributes   jsonb NOT NULL,
    created_at   timestamptz NOT NULL
);

CREATE TABLE endorsements (
    id         bigserial PRIMARY KEY,
    endorser   bigint NOT NULL REFERENCES profiles,
    endorsee   bigint NOT NULL REFERENCES profiles,
    skill      text NOT NULL,
    weight     numeric(5, 2),
    signature  text NOT NULL,
    created_at timestamptz NOT NULL,
    CHECK (endorser <> endorsee)
);
CREATE INDEX endorsements_endorsee ON endorsements (endorsee, skill);

CREATE TABLE api_keys (
    id         bigserial PRIMARY KEY,
    profile    bigint NOT NULL REFERENCES profiles ON DELETE CASCADE,
    prefix     text NOT NULL,
    hash       text NOT NULL,
    scopes     text[] NOT NULL,
    last_used  timestamptz
);

CREATE TABLE audit_log (
    id      bigserial PRIMARY KEY,
    at      timestamptz NOT NULL,
    actor   bigint REFERENCES profiles,
    action  text NOT NULL,
    address inet,
    detail  jsonb
);
CREATE INDEX audit_log_at ON audit_log (at);

INSERT INTO profiles (wallet, display_name, content_hash, attributes, created_at)
SELECT '0x' || md5(n::text) || substr(md5('w' || n), 1, 8),
       (ARRAY ['Aiko', 'Björn', '晴香', 'O''Neil', E'tab\there', 'Zoë 🎌'])[1 + n % 6] || ' ' || n,
       sha256(('profile ' || n)::bytea),
       jsonb_build_object('level', n % 7, 'verified', n % 3 = 0, 'tags', jsonb_build_array('solidity', 'go', 'tag ' || n % 50),
                          'links', jsonb_build_object('site', 'https://example.org/~' || md5('l' || n)), 'quote', E'a "quoted" \\ line\nand another'),
       timestamptz '2025-01-01 00:00:00Z' + n * interval '7 minutes'
FROM generate_series(1, :scale * 12000) AS n;

INSERT INTO endorsements (endorser, endorsee, skill, weight, signature, created_at)
SELECT 1 + n % (:scale * 12000), 1 + (n * 7 + 1 + n / (:scale * 12000)) % (:scale * 12000),
       (ARRAY ['solidity', 'rust', 'go', 'design', 'audit'])[1 + n % 5], CASE WHEN n % 11 > 0 THEN (n % 1000) / 10.0 END,
       '0x' || encode(sha256(('r' || n)::bytea), 'hex') || encode(sha256(('s' || n)::bytea), 'hex') || '1b',
       timestamptz '2025-02-01 00:00:00Z' + n * interval '3 minutes'
FROM generate_series(1, :scale * 30000) AS n
WHERE n % (:scale * 12000) <> (n * 7 + 1 + n / (:scale * 12000)) % (:scale * 12000);

INSERT INTO api_keys (profile, prefix, hash, scopes, last_used)
SELECT 1 + n % (:scale * 12000), 'tk_' || substr(md5('k' || n), 1, 8),
       '$2b$12$' || translate(substr(encode(sha512(('h' || n)::bytea), 'base64'), 1, 53), '+' || chr(10), './'),
       CASE WHEN n % 4 = 0 THEN '{}' ELSE ARRAY ['read', 'profiles:write', 'with, comma'] END,
       CASE WHEN n % 5 > 0 THEN timestamptz '2026-01-01 00:00:00Z' + n * interval '1 minute' END
FROM generate_series(1, :scale * 2000) AS n;

INSERT INTO audit_log (at, actor, action, address, detail)
SELECT timestamptz '2026-01-01 00:00:00Z' + n * interval '13 seconds', CASE WHEN n % 9 > 0 THEN 1 + n % (:scale * 12000) END,
       (ARRAY ['login', 'profile.update', 'endorse', 'key.create'])[1 + n % 4], inet '10.0.0.0' + n,
       CASE WHEN n % 2 = 0 THEN jsonb_build_object('request', md5('q' || n), 'ms', n % 400) END
FROM generate_series(1, :scale * 40000) AS n;

COMMIT;
ANALYZE;
