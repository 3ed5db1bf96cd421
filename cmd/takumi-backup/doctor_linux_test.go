package main

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/takumi-backup/takumi-backup/verify/doctor"
)

// TestDoctorDatabase: doctor finds what a role may not read, and what it lacks for a
// restore, with the commands that help, and a server that does not answer; the list of
// a backup.toml is looked through, and backed up, by names and patterns.
func TestDoctorDatabase(t *testing.T) {
	c := database(t, "doctor one", "CREATE TABLE t (a int); CREATE TABLE u (a int); INSERT INTO t VALUES (1)")
	createDB(t, c, "doctor_two")
	c.Psql(t, "postgres", "DROP ROLE IF EXISTS doctor_reader; CREATE ROLE doctor_reader LOGIN")
	b := withCluster(t, c)
	b.env = append(b.env, "HEALTHCHECK_URL=http://127.0.0.1:1/")
	b.env = slices.DeleteFunc(b.env, func(pair string) bool {
		return strings.HasPrefix(pair, "PGUSER=") || strings.HasPrefix(pair, "PGDATABASE=")
	})
	list := func(name, user string) {
		t.Helper()
		writeFile(t, b.path("backup.toml"), fmt.Appendf(nil, "[[database]]\n%s\nuser = %q\n", name, user))
	}
	find := func() (texts, cures string) {
		t.Helper()
		r := b.start(b.program("doctor", "--json", "--config", b.path("backup.toml"))).exits(exitSome)
		for l := range strings.Lines(r.stdout.String()) {
			var f doctor.Finding
			if err := json.Unmarshal([]byte(l), &f); err != nil {
				t.Fatalf("%s: %v", l, err)
			}
			if f.Check == "database" && f.Class == "error" {
				texts += f.Text + "\n"
				cures += f.Cure + "\n"
			}
		}
		return texts, cures
	}
	list(`name = "doctor one"`, "doctor_reader")
	texts, cures := find()
	if !strings.Contains(texts, "doctor_reader may not read 2 tables or sequences, as public.t") || !strings.Contains(cures, "GRANT pg_read_all_data TO doctor_reader") {
		t.Errorf("%s\n%s", texts, cures)
	}
	if !strings.Contains(texts, "a restore would fail: ") {
		t.Errorf("a role that may make no database: %s", texts)
	}
	c.Psql(t, "postgres", "GRANT pg_read_all_data TO doctor_reader")
	if texts, _ = find(); strings.Contains(texts, "may not read") {
		t.Errorf("with the right granted: %s", texts)
	}
	list(`names = ["doctor*"]`, "takumi_nobody")
	if texts, _ = find(); !strings.Contains(texts, "takumi_nobody") {
		t.Errorf("a role that is not there: %s", texts)
	}

	// What the patterns mean is backed up, one database after the other.
	list(`names = ["doctor*"]`, "doctor_reader")
	r := b.run(exitOK, nil, "backup", "all", "--config", b.path("backup.toml"), "--globals=false")
	if made := r.stdout.String(); strings.Count(made, "/database/") != 2 || !strings.Contains(made, "doctor one_db_") || !strings.Contains(made, "doctor_two_db_") {
		t.Errorf("%s", made)
	}
	r.says("database doctor_two: done")
	list(`names = ["nothing_*"]`, "doctor_reader")
	b.run(exitSource, nil, "backup", "all", "--config", b.path("backup.toml")).says("is one of nothing_*")

	// Of several, a command for one has to be told which.
	writeFile(t, b.path("backup.toml"), []byte("[[database]]\nname = \"doctor one\"\nuser = \"doctor_reader\"\n[[database]]\nname = \"doctor_two\"\nuser = \"doctor_reader\"\n"))
	b.run(exitUsage, nil, "backup", "database", "--config", b.path("backup.toml")).says("lists several databases")
	cmd := b.program("backup", "database", "--config", b.path("backup.toml"))
	cmd.Env = append(b.env, "DB_NAME=doctor_two")
	if made := b.start(cmd).exits(exitOK).made(); len(made) != 1 || !strings.Contains(made[0], "doctor_two") {
		t.Errorf("%q", made)
	}
	if _, err := os.Stat(b.path("store")); err != nil {
		t.Error(err)
	}
}
