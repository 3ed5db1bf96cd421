package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/takumi-backup/takumi-backup/internal/testkit/postgres"
)

// operator is a sandbox as an operator of Takumi's scripts has it.
func operator(t *testing.T, c *pgtest.Cluster, db string) *sandbox {
	t.Helper()
	b := withCluster(t, c)
	b.env = append(b.env, "DB_NAME="+db, "DB_USER="+pgtest.User, "XDG_STATE_HOME="+t.TempDir())
	return b
}

// script runs one of scripts/*.sh.
func (b *sandbox) script(want int, name string, args ...string) *running {
	b.Helper()
	path, err := filepath.Abs("../../scripts/" + name)
	if err != nil {
		b.Fatal(err)
	}
	return b.start(b.command(path, args...)).exits(want)
}

// children returns the processes that a process has started, each of which
// belongs to one of its threads.
func children(t *testing.T, pid int) []int {
	t.Helper()
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil || len(lists) == 0 {
		t.Fatalf("process %d, or what its threads have started, is not to be found: %v", pid, err)
	}
	var pids []int
	for _, list := range lists {
		text, err := os.ReadFile(list)
		if err != nil {
			continue // the thread is gone
		}
		for _, word := range strings.Fields(string(text)) {
			n, err := strconv.Atoi(word)
			if err != nil {
				t.Fatal(err)
			}
			pids = append(pids, n)
		}
	}
	return pids
}

// TestAutomatedBackup: the nightly script, as an operator's crontab has it.
func TestAutomatedBackup(t *testing.T) {
	c := database(t, "takumi", schema)
	b := operator(t, c, "takumi")
	old, older := b.aged(40, mainKey), b.aged(50, mainKey)
	recent := b.aged(10, mainKey)

	// A night on which the dump fails changes nothing.
	before := files(t, b.dir)
	b.env = append(b.env, "DB_NAME=missing")
	b.script(exitSource, "automated-backup.sh").says("prune: left out (a backup failed")
	b.env = append(b.env, "DB_NAME=takumi")
	b.holds(before...)

	night := b.script(exitOK, "automated-backup.sh").says("database: done in ").says("contracts: left out").says("prune: done in ")
	made := strings.Fields(night.stdout.String())
	if len(made) != 2 || !strings.HasPrefix(filepath.Base(made[0]), "takumi_globals_") || !strings.HasPrefix(filepath.Base(made[1]), "takumi_db_") {
		t.Fatalf("standard output: %q", night.stdout.String())
	}
	made = made[1:]
	left := files(t, b.path("store/database"))
	for _, path := range []string{made[0], recent} {
		if !slices.Contains(left, filepath.Base(path)) || !slices.Contains(left, filepath.Base(path)+".sha256") {
			t.Errorf("%s is not there: %q", path, left)
		}
	}
	for _, path := range []string{old, older} {
		if slices.Contains(left, filepath.Base(path)) || slices.Contains(left, filepath.Base(path)+".sha256") {
			t.Errorf("%s is still there: %q", path, left)
		}
	}
	b.env = append(b.env, "CLOUD_BACKUP=true")
	b.script(exitSome, "automated-backup.sh", "--quiet").says("no target is named")
	b.run(exitOK, nil, "open", made[0], "-o", "dump.sql")

	// Unencrypted, nothing is pruned.
	b.env = append(b.env, "CLOUD_BACKUP=", "BACKUP_ENCRYPTION_ENABLED=false")
	b.script(exitOK, "automated-backup.sh").says("prune: left out (BACKUP_ENCRYPTION_ENABLED is false")
}

// TestBackupAllCrash: a pg_dump that is killed does not keep the next part from
// running; and while it runs, no other run starts.
func TestBackupAllCrash(t *testing.T) {
	c := database(t, "long", longSchema)
	b := operator(t, c, "long")
	b.env = append(b.env, "CONTRACTS_DIR="+b.path("missing"))
	yesterday := b.aged(40, mainKey)
	b.aged(50, mainKey)
	before := files(t, b.dir)

	all := b.start(b.program("backup", "all", "--prune", "--globals=false"))
	pid := partOf(b, all)
	syscall.Kill(pid, syscall.SIGSTOP)
	b.run(exitFailed, nil, "backup", "all").says("another run holds the lock")
	syscall.Kill(pid, syscall.SIGKILL)
	all.exits(exitSome).says("database: FAILED").says("killed").says("contracts: FAILED").says("prune: left out")
	if all.stdout.Len() != 0 {
		t.Errorf("standard output: %q", all.stdout.String())
	}
	if got := files(t, b.dir); !slices.Equal(got, before) {
		t.Errorf("the folder holds %q, want %q", got, before)
	}
	b.run(exitOK, nil, "open", yesterday, "-o", "yesterday")
}

// partOf returns the process of the pg_dump whose dump is being sealed.
func partOf(b *sandbox, all *running) (pid int) {
	b.Helper()
	eventually(b, "the part writes", func() bool {
		partial, err := filepath.Glob(b.path("store/database/.*.partial"))
		return err == nil && len(partial) > 0
	})
	pids := children(b.T, all.Process.Pid)
	if len(pids) != 1 {
		b.Fatalf("children: %v", pids)
	}
	return pids[0]
}

// TestBackupAllStopped: a signal ends the run and its pg_dump, and nothing is left.
func TestBackupAllStopped(t *testing.T) {
	c := database(t, "long_stopped", longSchema)
	b := operator(t, c, "long_stopped")
	all := b.start(b.program("backup", "all", "--globals=false"))
	pid := partOf(b, all)
	all.Process.Signal(syscall.SIGTERM)
	all.exits(exitSignal)
	if err := syscall.Kill(pid, 0); err != syscall.ESRCH {
		t.Errorf("the part is still there: %v", err)
	}
	if done := files(t, b.dir); len(done) > 0 {
		t.Errorf("the folder holds %q", done)
	}
}

// TestBackupAllKilled: the pg_dump of a run that is killed ends too: the lock is
// free then, and two of them must not run at once.
func TestBackupAllKilled(t *testing.T) {
	c := database(t, "long_killed", longSchema)
	b := operator(t, c, "long_killed")
	all := b.start(b.program("backup", "all", "--globals=false"))
	pid := partOf(b, all)
	all.Process.Kill()
	eventually(t, "the part ends", func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		return err != nil || strings.Contains(string(stat), ") Z ")
	})
	all.exits(-1)
}

// TestRehearsal: test-encrypted-backup-restore.sh restores a copy and drops the
// copy, and verify-encrypted-backups.sh finds the backup good.
func TestRehearsal(t *testing.T) {
	c := database(t, "rehearsed", schema)
	b := operator(t, c, "rehearsed")
	databases := func() string {
		return c.Psql(t, "postgres", "SELECT datname FROM pg_database WHERE datname LIKE 'rehearsed%' ORDER BY 1")
	}
	b.script(exitOK, "test-encrypted-backup-restore.sh").says("restored, compared and dropped again: 2 tables from ")
	if got := databases(); got != "rehearsed\n" {
		t.Errorf("databases: %q", got)
	}
	b.script(exitOK, "verify-encrypted-backups.sh").says("2 good, 0 bad")

	// A backup that does not restore is told, and its copy is gone too.
	b.env = append(b.env, "BACKUP_ENCRYPTION_KEY_FILE="+b.path("missing"))
	b.script(exitKey, "test-encrypted-backup-restore.sh")
	if r := b.script(exitKey, "verify-encrypted-backups.sh").says("loading the key, without which "); r.stdout.Len() > 0 {
		t.Errorf("said of backups that could not be read: %q", r.stdout.String())
	}
	if got := databases(); got != "rehearsed\n" {
		t.Errorf("databases: %q", got)
	}
}

// TestBackupEverything: all parts, each with its own script, and back.
func TestBackupEverything(t *testing.T) {
	c := database(t, "everything", schema)
	b := operator(t, c, "everything")
	b.env = append(b.env, "CONTRACTS_DIR="+b.path("contracts"), "UPLOADS_DIR="+b.path("uploads"))
	for name, text := range map[string]string{"contracts/foundry.toml": "[profile.default]\n", "uploads/a/photo": "bytes"} {
		if err := os.MkdirAll(filepath.Dir(b.path(name)), 0o700); err != nil {
			t.Fatal(err)
		}
		writeFile(t, b.path(name), []byte(text))
	}
	all := b.run(exitOK, nil, "backup", "all", "--globals", "--manifest", "--prune").says("uploads: done in ").says("prune: done in ")
	made := strings.Fields(all.stdout.String())
	var names []string
	for _, path := range made {
		names = append(names, regexp.MustCompile(`_\d{8}_\d{6}`).ReplaceAllString(strings.TrimPrefix(path, b.path("store")+"/"), ""))
	}
	want := []string{
		"database/everything_globals.sql.zst.enc", "database/everything_db.sql.zst.enc", // and its manifest, which is part of it
		"contracts/contract_snapshot.tar.zst.enc", "uploads/uploads.tar.zst.enc",
	}
	if !slices.Equal(names, want) {
		t.Errorf("made %q, want %q", names, want)
	}
	b.script(exitOK, "verify-encrypted-backups.sh").says("5 good, 0 bad")
	b.script(exitOK, "snapshot-contracts.sh", "--quiet")

	c.Psql(t, "everything", "DROP TABLE endorsements CASCADE")
	b.script(exitOK, "restore-database-encrypted.sh", made[1], "--yes")
	if got := c.Psql(t, "everything", "SELECT count(*) FROM endorsements"); got != "20000\n" {
		t.Errorf("%q rows came back", got)
	}
	restored := strings.TrimSpace(b.script(exitOK, "restore-contracts-encrypted.sh", made[2]).stdout.String())
	if got, err := filepath.Glob(restored + "/snapshot_*/foundry.toml"); err != nil || len(got) != 1 || !strings.HasPrefix(restored, b.path("contracts_restore_")) {
		t.Errorf("the contracts came back to %q: %q, %v", restored, got, err)
	}
}
