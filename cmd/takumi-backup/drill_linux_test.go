package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/takumi-backup/takumi-backup/internal/testkit/postgres"
	"github.com/takumi-backup/takumi-backup/verify/drill"
)

// scratchDir is a folder that the server's user can reach, and with a path that
// is short enough for a socket. In the end it must be empty.
func scratchDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "drill")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if left := entries(t, dir); len(left) != 0 {
			t.Errorf("the scratch folder holds %q", left)
		}
		os.RemoveAll(dir)
	})
	return dir
}

func entries(t *testing.T, dir string) (names []string) {
	t.Helper()
	found, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range found {
		names = append(names, e.Name())
	}
	return names
}

// apart is a sandbox with PostgreSQL's programs in PATH, and nothing that leads
// to the server whose backups it has.
func apart(t *testing.T, c *pgtest.Cluster, of *sandbox) *sandbox {
	t.Helper()
	b := newSandbox(t)
	for _, kv := range c.Env() {
		if strings.HasPrefix(kv, "PATH=") {
			b.env = append(b.env, kv)
		}
	}
	for _, kv := range of.env {
		if strings.HasPrefix(kv, "BACKUP_") {
			b.env = append(b.env, kv)
		}
	}
	b.env = append(b.env, "DB_HOST=192.0.2.1", "DB_NAME=live") // which nobody may ask
	return b
}

func (b *sandbox) drill(want int, scratch string, args ...string) (*running, drill.Report) {
	b.Helper()
	run := b.run(want, nil, append([]string{"drill", "--json", "--report", b.path("drills.md"), "--scratch-dir", scratch}, args...)...)
	var told drill.Report
	if run.stdout.Len() > 0 {
		if err := json.Unmarshal(run.stdout.Bytes(), &told); err != nil {
			b.Error(err)
		}
	}
	return run, told
}

// TestDrillDatabase rehearses backups of a database with owners, grants and all
// that a dump is hard to bring back with; then with a manifest that is wrong, and
// then with a backup that is damaged.
func TestDrillDatabase(t *testing.T) {
	c := database(t, "drilled", rich)
	c.Psql(t, "drilled", `DROP ROLE IF EXISTS "an owner"; DROP ROLE IF EXISTS reader; CREATE ROLE "an owner"; CREATE ROLE reader;
		ALTER TABLE people OWNER TO "an owner"; GRANT SELECT ON numbers TO reader`)
	t.Cleanup(func() { c.Psql(t, "postgres", `DROP DATABASE drilled; DROP ROLE "an owner"; DROP ROLE reader`) })
	for _, format := range []string{"plain", "custom"} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			of := withDatabase(t, c, "drilled")
			made := strings.Split(of.backupOf("--manifest", "--globals", "--format", format), "\n")
			path := made[len(made)-1]
			b, scratch := apart(t, c, of), scratchDir(t)

			run, told := b.drill(exitOK, scratch)
			if len(told.Results) != 1 || !told.Passed {
				t.Fatalf("%+v\n%s", told, &run.stderr)
			}
			r := told.Results[0]
			if r.Path != path || !r.Manifest || r.Tables != 7 || r.Rows < 6000 || r.RTO <= 0 || r.KeyID != keyID(t, mainKey) || r.Error != "" {
				t.Errorf("%+v", r)
			}
			run.says("2 roles were made for it")
			b.holds("drills.md")

			wrong, err := filepath.Glob(of.path("store/database/*.manifest.json.zst.enc"))
			if err != nil || len(wrong) != 1 {
				t.Fatalf("%q, %v", wrong, err)
			}
			text := of.run(exitOK, nil, "open", wrong[0]).stdout.String()
			forged := strings.Replace(text, `"rows": 500`, `"rows": 501`, 1)
			if forged == text {
				t.Fatal("the manifest has no table with 500 rows")
			}
			os.Remove(wrong[0])
			os.Remove(wrong[0] + ".sha256")
			of.run(exitOK, strings.NewReader(forged), "seal", "--kind", "manifest", "-o", wrong[0])
			run, told = b.drill(exitFailed, scratch, "--latest")
			run.says("table public.people: 500 rows, want 501")
			if told.Passed {
				t.Error("a drill against a wrong manifest passed")
			}

			found := b.run(exitSome, nil, "verify", "--level", "restore", "--scratch-dir", scratch, "--json").stdout.String()
			if n := strings.Count(found, `"code": "differs-from-manifest"`); n != 1 || strings.Contains(found, `"not-rehearsed"`) {
				t.Errorf("verify --level restore finds %s", found)
			}
			if format == "custom" {
				return // the rest is the same
			}
			os.Remove(wrong[0])
			run, told = b.drill(exitOK, scratch)
			run.says("has no manifest to compare with")
			if r := told.Results[0]; r.Manifest || r.Rows < 6000 || r.Tables != 7 {
				t.Errorf("without manifest: %+v", r)
			}

			sealed := readFile(t, path)
			sealed[len(sealed)/2] ^= 1
			writeFile(t, path, sealed)
			run, _ = b.drill(exitDamaged, scratch)
			run.says("chunk")
			page := string(readFile(t, b.path("drills.md")))
			if n, m := strings.Count(page, ": passed\n"), strings.Count(page, ": FAILED\n"); n != 2 || m != 2 || !strings.Contains(page, r.ID) {
				t.Errorf("%d passed and %d failed:\n%s", n, m, page)
			}
		})
	}
}

// TestDrillStopped stops a drill in the middle of a restore: by a signal, after
// which nothing is left, and by kill -9, after which the server is gone and the
// next drill removes the rest.
func TestDrillStopped(t *testing.T) {
	c := database(t, "drill stopped", longSchema)
	of := withDatabase(t, c, "drill stopped")
	of.backupOf("--format", "custom")
	small := t.TempDir()
	writeFile(t, filepath.Join(small, "file"), []byte("small"))
	of.run(exitOK, nil, "backup", "uploads", small)
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGKILL} {
		t.Run(sig.String(), func(t *testing.T) {
			b, scratch := apart(t, c, of), scratchDir(t)
			run := b.start(b.program("drill", "--kind", "database", "--scratch-dir", scratch, "--report", b.path("drills.md")))
			// A database has a number above 16383, and the restored one is the first.
			var server int
			eventually(t, "the dump is being restored", func() bool {
				found, _ := filepath.Glob(filepath.Join(scratch, "takumi-scratch-*/data/base/16384/*"))
				pids, _ := filepath.Glob(filepath.Join(scratch, "takumi-scratch-*/data/postmaster.pid"))
				if len(found) < 10 || len(pids) == 0 {
					return false
				}
				first, _, _ := strings.Cut(string(readFile(t, pids[0])), "\n")
				server, _ = strconv.Atoi(first)
				return server > 0
			})
			run.Process.Signal(sig)
			if sig == syscall.SIGINT {
				run.exits(exitSignal)
				b.holds()
				if syscall.Kill(server, 0) != syscall.ESRCH {
					t.Error("the server runs on")
				}
				return
			}
			run.exits(-1)
			if len(entries(t, scratch)) == 0 {
				t.Error("the drill was done before it was killed")
			}
			eventually(t, "the server ends", func() bool { return !alive(server) })
			b.drill(exitOK, scratch, "--kind", "uploads")
		})
	}
}

// alive says whether a process is there that is not a zombie.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, state, _ := bytes.Cut(stat, []byte(") "))
	return len(state) > 0 && state[0] != 'Z'
}

// TestDrillServer rehearses in a server that was set aside, in which nothing but
// the rehearsal's own database is touched.
func TestDrillServer(t *testing.T) {
	c := database(t, "drill source", schema)
	of := withDatabase(t, c, "drill source")
	of.backupOf("--manifest")
	b := apart(t, c, of)
	host := ""
	for _, kv := range c.Env() {
		if dir, ok := strings.CutPrefix(kv, "PGHOST="); ok {
			host = dir
		}
	}
	args := []string{"drill", "--quiet", "--kind", "database", "--report", b.path("drills.md"), "--database-url", "postgresql://" + pgtest.User + "@/postgres?host=" + host}
	before := databases(t, c, "")
	// A foreign one of that name, and then one that a killed drill has left.
	c.CreateDB(t, "takumi_rehearsal")
	b.run(exitFailed, nil, args...).says("no rehearsal has made it")
	if got := databases(t, c, "takumi_rehearsal"); len(got) != 1 || got[0] != "takumi_rehearsal" {
		t.Errorf("the foreign database: %q", got)
	}
	c.Psql(t, "postgres", "COMMENT ON DATABASE takumi_rehearsal IS 'takumi-backup: a rehearsal made this, and removes it'")
	b.run(exitOK, nil, args...)
	if got := databases(t, c, ""); strings.Join(got, " ") != strings.Join(before, " ") {
		t.Errorf("the server has the databases %q, and had %q", got, before)
	}
}

// TestDrillTrees rehearses contracts and uploads, as root or whoever tests.
func TestDrillTrees(t *testing.T) {
	t.Parallel()
	b, scratch := newSandbox(t), scratchDir(t)
	dir := b.path("tree")
	if err := os.MkdirAll(filepath.Join(dir, "shut"), 0o755); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, "a"), bytes.Repeat([]byte("a"), 200_000))
	writeFile(t, filepath.Join(dir, "shut/b"), nil)
	for _, err := range []error{
		os.Symlink("a", filepath.Join(dir, "link")), os.Symlink("/nowhere", filepath.Join(dir, "dangling")),
		os.Link(filepath.Join(dir, "a"), filepath.Join(dir, "hard")), os.Chmod(filepath.Join(dir, "shut"), 0o500),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { os.Chmod(filepath.Join(dir, "shut"), 0o700) })
	b.run(exitOK, nil, "backup", "uploads", dir)
	_, told := b.drill(exitOK, scratch)
	if r := told.Results[0]; r.Kind != "uploads" || r.Files != 5 || r.Bytes != 200_000 || len(r.Compared) != 1 || !strings.HasPrefix(r.Compared[0], "7 files") {
		t.Errorf("%+v", r)
	}
	// The archive leads out of its folder: nothing of that is made.
	bad := []byte("../evil")
	archive := make([]byte, 1536)
	copy(archive, bad)
	copy(archive[100:], "0000644\x00")
	copy(archive[124:], "00000000000\x00")
	copy(archive[136:], "00000000000\x00")
	archive[156] = '0'
	copy(archive[257:], "ustar\x0000")
	copy(archive[148:], "        ")
	sum := 0
	for _, c := range archive[:512] {
		sum += int(c)
	}
	copy(archive[148:], fmt.Sprintf("%06o\x00 ", sum))
	if err := os.Mkdir(b.path("bad"), 0o700); err != nil {
		t.Fatal(err)
	}
	b.run(exitOK, bytes.NewReader(archive), "seal", "--kind", "uploads", "--name", "bad_20300101_000000.tar", "-o", b.path("bad/evil.enc"))
	run, _ := b.drill(exitFailed, scratch, b.path("bad"))
	run.says("cannot be restored")
}

// TestDrillPlainUser: whoever is not root needs no other user.
func TestDrillPlainUser(t *testing.T) {
	c := database(t, "drill plain", schema)
	if os.Geteuid() != 0 {
		t.Skip("all other tests ran as a plain user")
	}
	of := withDatabase(t, c, "drill plain")
	of.backupOf("--manifest")
	const nobody = 65534
	home, err := os.MkdirTemp("/tmp", "home")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(home) })
	at := func(name string) string { return filepath.Join(home, name) }
	if err := os.CopyFS(at("store"), os.DirFS(of.path("store"))); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(at(program), readFile(t, releaseBuild(t)), 0o755); err != nil {
		t.Fatal(err)
	}
	writeFile(t, at("key"), []byte(mainKey+"\n"))
	if err := os.Mkdir(at("scratch"), 0o700); err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(home, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Chown(path, nobody, nobody)
	})
	if err != nil {
		t.Fatal(err)
	}
	cmd := of.command(at(program), "drill", "--scratch-dir", at("scratch"), "--key", "file:"+at("key"), "--report", at("drills.md"), at("store"))
	cmd.Dir = home
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "TAKUMI_AUDIT_DIR=" + at("audit")}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	of.start(cmd).exits(exitOK).says("with the manifest")
	if left := entries(t, at("scratch")); len(left) != 0 {
		t.Errorf("the scratch folder holds %q", left)
	}
}
