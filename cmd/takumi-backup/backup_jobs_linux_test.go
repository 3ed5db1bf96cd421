package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/takumi-backup/takumi-backup/internal/testkit/postgres"
)

// TestJobsLeftToPgDump: where several connections cannot dump a database, pg_dump does it
// alone, and the backup says so.
func TestJobsLeftToPgDump(t *testing.T) {
	c := pgtest.Start(t, "wal_level=replica", "max_wal_senders=3")
	c.CreateDB(t, "jobs")
	c.Psql(t, "jobs", "CREATE TABLE t AS SELECT i FROM generate_series(1, 100) i")
	want := dumpOf(t, c, "jobs")
	standby := startStandby(t, c)
	for name, set := range map[string]func(b *sandbox) string{
		"standby": func(b *sandbox) string {
			b.env = append(b.env, "PGPORT="+standby)
			return "the server is a standby"
		},
		"later archive": func(b *sandbox) string {
			programs := b.T.TempDir()
			const later = `#!/bin/sh
case " $* " in *" --format=custom "*) printf 'PGDMP\001\143\000\004\010\001'; exec sleep 60;; esac
PATH=${PATH#*:} exec pg_dump "$@"
`
			writeFile(b.T, filepath.Join(programs, "pg_dump"), []byte(later))
			if err := os.Chmod(filepath.Join(programs, "pg_dump"), 0o700); err != nil {
				b.Fatal(err)
			}
			path := ""
			for _, kv := range b.env {
				if value, ok := strings.CutPrefix(kv, "PATH="); ok {
					path = value
				}
			}
			b.env = append(b.env, "PATH="+programs+":"+path)
			return "of a version that is not known"
		},
		"no files in memory": func(b *sandbox) string {
			b.exe = withoutMemfd
			return "this system has no files in memory"
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := withDatabase(t, c, "jobs")
			why := set(b)
			run := b.run(exitOK, nil, "backup", "database", "--jobs", "3")
			run.says("pg_dump dumps the database by itself, with one connection").says(why)
			if got := withoutTokens(b.run(exitOK, nil, "open", run.made()[0]).stdout.Bytes()); got != want {
				t.Errorf("the backup is not what pg_dump writes:\n%s", got)
			}
		})
	}
}

// startStandby makes a standby next to a server and returns its port.
func startStandby(t *testing.T, c *pgtest.Cluster) string {
	t.Helper()
	data := strings.TrimSpace(c.Psql(t, "postgres", "SHOW data_directory"))
	info, err := os.Stat(data)
	if err != nil {
		t.Fatal(err)
	}
	owner := info.Sys().(*syscall.Stat_t)
	const port = "5433"
	dir := filepath.Join(filepath.Dir(data), "standby")
	run := func(name string, args ...string) {
		cmd := c.Command(name, args...)
		cmd.Dir = filepath.Dir(data)
		if os.Geteuid() == 0 {
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: owner.Uid, Gid: owner.Gid}}
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	}
	run("pg_basebackup", "-D", dir, "-R", "--checkpoint=fast", "--no-sync")
	t.Cleanup(func() { run("pg_ctl", "-D", dir, "-s", "-m", "immediate", "stop") })
	run("pg_ctl", "-D", dir, "-w", "-s", "-l", filepath.Join(dir, "log"), "-o", fmt.Sprintf("-p %s -k %s -h '' -F", port, filepath.Dir(data)), "start")
	return port
}

// withoutMemfd is a command of the tests: the program, on a system that has no files in
// memory.
const withoutMemfd = program + "-without-memfd"

func runWithoutMemfd() {
	runtime.LockOSThread() // the filter is this thread's, and what it becomes
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS}, // the number of the system call
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: unix.SYS_MEMFD_CREATE},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	path, err := exec.LookPath(program)
	if err == nil {
		err = unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
	}
	if err == nil {
		err = unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]})), 0, 0)
	}
	if err == nil {
		err = unix.Exec(path, append([]string{program}, os.Args[1:]...), os.Environ())
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(exitFailed)
}
