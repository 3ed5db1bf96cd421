package main

import (
	"encoding/base64"
	"encoding/hex"
	"io"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"
)

// The plain dump is what pg_dump makes of a database like Takumi's
// (scripts/lib/takumi.sql has the schema): rows whose wallets, hashes,
// signatures and request ids nothing can compress, among names, times, numbers
// and JSON keys that compress well.

// table is one table of the dump: its columns, the part of the whole that its
// rows fill, and how a row is made.
type table struct {
	name    string
	columns string
	share   float64
	row     func(r *rows, b []byte, id int) []byte
}

var tables = []table{
	{"api_keys", "id, profile, prefix, hash, scopes, last_used", 0.03, (*rows).apiKey},
	{"audit_log", "id, at, actor, action, address, detail", 0.33, (*rows).auditEntry},
	{"endorsements", "id, endorser, endorsee, skill, weight, signature, created_at", 0.34, (*rows).endorsement},
	{"profiles", "id, wallet, display_name, content_hash, attributes, created_at", 0.30, (*rows).profile},
}

const dumpHead = `--
-- PostgreSQL database dump
--

\restrict benchBENCHbench

-- Dumped from database version 15.18 (Debian 15.18-0+deb12u1)
-- Dumped by pg_dump version 15.18 (Debian 15.18-0+deb12u1)

SET statement_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);

CREATE TABLE public.api_keys (id bigint NOT NULL, profile bigint NOT NULL, prefix text NOT NULL, hash text NOT NULL, scopes text[] NOT NULL, last_used timestamp with time zone);
CREATE TABLE public.audit_log (id bigint NOT NULL, at timestamp with time zone NOT NULL, actor bigint, action text NOT NULL, address inet, detail jsonb);
CREATE TABLE public.endorsements (id bigint NOT NULL, endorser bigint NOT NULL, endorsee bigint NOT NULL, skill text NOT NULL, weight numeric(5,2), signature text NOT NULL, created_at timestamp with time zone NOT NULL);
CREATE TABLE public.profiles (id bigint NOT NULL, wallet text NOT NULL, display_name text NOT NULL, content_hash bytea NOT NULL, attributes jsonb NOT NULL, created_at timestamp with time zone NOT NULL);


`

const dumpTail = `--
-- Name: profiles profiles_pkey; Type: CONSTRAINT; Schema: public; Owner: takumi
--

ALTER TABLE ONLY public.profiles
    ADD CONSTRAINT profiles_pkey PRIMARY KEY (id);


--
-- PostgreSQL database dump complete
--

\unrestrict benchBENCHbench

`

// writePlainDump writes a whole dump of about size bytes. The same size gives
// the same bytes every time.
func writePlainDump(w io.Writer, size int64) error {
	if _, err := io.WriteString(w, dumpHead); err != nil {
		return err
	}
	for _, t := range tables {
		head := "--\n-- Data for Name: " + t.name + "; Type: TABLE DATA; Schema: public; Owner: takumi\n--\n\n" +
			"COPY public." + t.name + " (" + t.columns + ") FROM stdin;\n"
		if _, err := io.WriteString(w, head); err != nil {
			return err
		}
		if err := t.write(w, int64(float64(size)*t.share)); err != nil {
			return err
		}
		if _, err := io.WriteString(w, "\\.\n\n\n"); err != nil {
			return err
		}
	}
	_, err := io.WriteString(w, dumpTail)
	return err
}

// write writes rows until they fill size bytes.
func (t table) write(w io.Writer, size int64) error {
	const piece = 256 << 10
	r := newRows(t.name)
	buf := make([]byte, 0, piece+4<<10)
	for id := 1; size > 0; {
		buf = buf[:0]
		for ; len(buf) < piece && int64(len(buf)) < size; id++ {
			buf = append(t.row(r, buf, id), '\n')
		}
		if _, err := w.Write(buf); err != nil {
			return err
		}
		size -= int64(len(buf))
	}
	return nil
}

type rows struct {
	random *rand.ChaCha8
	at     time.Time
	raw    [72]byte // scratch
}

func newRows(seed string) *rows {
	var key [32]byte
	copy(key[:], seed)
	return &rows{random: rand.NewChaCha8(key), at: time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)}
}

func (r *rows) n(limit int) int { return int(r.random.Uint64() % uint64(limit)) }

// hex appends 2n random hex digits.
func (r *rows) hex(b []byte, n int) []byte {
	r.random.Read(r.raw[:n]) // never fails
	return hex.AppendEncode(b, r.raw[:n])
}

func (r *rows) pick(b []byte, words []string) []byte { return append(b, words[r.n(len(words))]...) }

// later moves the clock by up to limit and appends it as PostgreSQL prints it.
func (r *rows) later(b []byte, limit time.Duration) []byte {
	r.at = r.at.Add(time.Duration(r.n(int(limit))))
	return r.at.AppendFormat(b, "2006-01-02 15:04:05.999999+00")
}

func integer(b []byte, n int) []byte { return strconv.AppendInt(b, int64(n), 10) }

var (
	givenNames = strings.Fields("Aiko Björn 晴香 Zoë Priya Kwame Lucía Jürgen Noor Tomasz Mei Omar Ingrid Ravi Chloé Yuki Ana Dmitri Fatima Sven")
	lastNames  = strings.Fields("Tanaka Lindqvist 佐藤 Okafor García Müller Haddad Kowalski Chen Osei Larsen Iyer Dubois Sato Silva Ivanov Rahman Berg O'Neil Novak")
	skills     = strings.Fields("solidity rust go design audit typescript governance treasury writing research devops zk-circuits")
	actions    = strings.Fields("login logout profile.view profile.update endorse endorse.revoke key.create key.revoke export.request snapshot.view")
	agents     = []string{"Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
		"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Safari/605.1.15",
		"takumi-cli/2.3.1", "python-requests/2.32.3"}
	words = strings.Fields("builds smart contract tooling and reviews protocol code for teams that ship often open source maintainer of several small libraries " +
		"writes about markets incentives games and cities loves typed languages formal methods good coffee long walks runs a study group every other week")
)

func (r *rows) profile(b []byte, id int) []byte {
	b = append(integer(b, id), "\t0x"...)
	b = append(r.hex(b, 20), '\t')
	b = append(r.pick(b, givenNames), ' ')
	b = append(r.pick(b, lastNames), "\t\\\\x"...)
	b = append(r.hex(b, 32), `	{"bio": "`...)
	for i := 4 + r.n(12); i > 0; i-- {
		b = append(r.pick(b, words), ' ')
	}
	b = append(b, `", "tags": ["`...)
	b = append(r.pick(b, skills), `", "`...)
	b = append(r.pick(b, skills), `"], "level": `...)
	b = append(integer(b, r.n(50)), `, "links": {"site": "https://example.org/~`...)
	b = append(r.hex(b, 4), `", "avatar": "ipfs://baf`...)
	b = append(r.hex(b, 16), `"}, "verified": `...)
	b = append(strconv.AppendBool(b, r.n(3) == 0), "}\t"...)
	return r.later(b, 20*time.Minute)
}

func (r *rows) endorsement(b []byte, id int) []byte {
	b = append(integer(b, id), '\t')
	b = append(integer(b, 1+r.n(900_000)), '\t')
	b = append(integer(b, 1+r.n(900_000)), '\t')
	b = append(r.pick(b, skills), '\t')
	if r.n(11) == 0 {
		b = append(b, `\N`...)
	} else {
		b = integer(b, r.n(100))
		b = append(b, '.')
		b = append(b, byte('0'+r.n(10)), '0')
	}
	b = append(b, "\t0x"...)
	b = append(r.hex(b, 64), "1b\t"...)
	return r.later(b, 5*time.Minute)
}

// bcrypt's alphabet.
var bcrypt = base64.NewEncoding("./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789").WithPadding(base64.NoPadding)

func (r *rows) apiKey(b []byte, id int) []byte {
	b = append(integer(b, id), '\t')
	b = append(integer(b, 1+r.n(900_000)), "\ttk_"...)
	b = append(r.hex(b, 4), "\t$2b$12$"...)
	r.random.Read(r.raw[:39]) // never fails
	b = bcrypt.AppendEncode(b, r.raw[:39])
	b = append(b, 'y', '\t')
	b = r.pick(b, []string{"{}", "{read}", "{read,profiles:write}", "{read,profiles:write,endorse}"})
	b = append(b, '\t')
	if r.n(5) == 0 {
		return append(b, `\N`...)
	}
	return r.later(b, time.Hour)
}

func (r *rows) auditEntry(b []byte, id int) []byte {
	b = append(integer(b, id), '\t')
	b = append(r.later(b, 10*time.Second), '\t')
	if r.n(9) == 0 {
		b = append(b, `\N`...)
	} else {
		b = integer(b, 1+r.n(900_000))
	}
	b = append(b, '\t')
	b = append(r.pick(b, actions), "\t10."...)
	for range 2 {
		b = append(integer(b, r.n(256)), '.')
	}
	b = append(integer(b, r.n(256)), '\t')
	if r.n(4) == 0 {
		return append(b, `\N`...)
	}
	b = append(b, `{"ms": `...)
	b = append(integer(b, r.n(400)), `, "agent": "`...)
	b = append(r.pick(b, agents), `", "status": `...)
	b = append(r.pick(b, []string{"200", "200", "200", "204", "404", "500"}), `, "request": "`...)
	return append(r.hex(b, 8), `"}`...)
}

// writeRows writes lines alone, as between COPY and its end.
func writeRows(name string, row func(*rows, []byte, int) []byte) func(io.Writer, int64) error {
	return table{name: name, row: row}.write
}

func (r *rows) account(b []byte, id int) []byte {
	b = append(integer(b, id), '\t')
	b = append(integer(b, 1+id/100_000), '\t')
	b = append(integer(b, r.n(10_000)-5000), '\t')
	return append(b, strings.Repeat(" ", 84)...)
}

func (r *rows) numbers(b []byte, id int) []byte {
	b = integer(b, id)
	for i := range 18 {
		limit := 10
		for range r.n(8) {
			limit *= 10
		}
		b = integer(append(b, '\t'), r.n(limit))
		if i >= 12 {
			b = integer(append(b, '.'), 1000+r.n(9000))
		}
	}
	return b
}

func (r *rows) document(b []byte, id int) []byte {
	b = append(integer(b, id), "\t{\"id\": "...)
	b = append(integer(b, id), `, "name": "`...)
	b = append(r.pick(b, givenNames), ' ')
	b = append(r.pick(b, lastNames), `", "score": 0.`...)
	b = append(integer(b, r.n(1<<50)), `, "address": {"street": "`...)
	b = append(integer(b, r.n(999)), ' ')
	b = append(r.pick(b, words), `", "zip": `...)
	b = append(integer(b, r.n(99_999)), `}, "tags": ["`...)
	b = append(r.pick(b, skills), `"], "note": "`...)
	for range r.n(20) {
		b = append(r.pick(b, words), ' ')
	}
	return append(b, `"}`...)
}
