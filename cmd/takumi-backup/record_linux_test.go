package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"filippo.io/age"
	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/backup/rekey"
	"github.com/takumi-backup/takumi-backup/internal/audit"
	"github.com/takumi-backup/takumi-backup/internal/values"
)

// records returns the audit log of a sandbox, whose chain it proves.
func (b *sandbox) records() (all []audit.Record) {
	b.Helper()
	err := audit.Read(b.Context(), b.log, func(e audit.Entry) error {
		all = append(all, e.Record)
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	return all
}

// TestUnrecorded: what cannot be recorded is not done, unless it changes
// nothing.
func TestUnrecorded(t *testing.T) {
	t.Parallel()
	b := newSandbox(t)
	content := []byte("content")
	b.seal(content, "-o", "x.enc")
	key := keyFile(t, otherKey)
	writeFile(t, b.tmp+"/file", nil)
	b.env = append(b.env, "TAKUMI_AUDIT_DIR="+b.tmp+"/file/audit", "XDG_STATE_HOME="+b.path("state"))
	for _, args := range [][]string{
		{"seal", "-o", "y.enc"}, {"seal"}, {"backup", "uploads", b.tmp}, {"prune", "--keep-last", "1", "--apply", "."},
		{"key", "generate", "-o", "k"}, {"key", "rotate", "--key", "file:" + key}, {"key", "store", "--key", "file:" + key, "--to", "file:" + b.path("k")},
		{"key", "split", "--shares", "3", "--threshold", "2", "-o", "shares"}, {"key", "export", "--passphrase", "-o", "k"},
		{"key", "paper", "-o", "k.png"},
	} {
		b.run(exitStore, bytes.NewReader(content), args...).says("nothing is done without a record; --audit=off works without one")
	}
	if got := string(readFile(t, key)); got != otherKey+"\n" {
		t.Error("the key was changed")
	}
	b.run(exitOK, nil, "open", "x.enc", "-o", "out").says("warning: what was done is not recorded: ")
	b.run(exitOK, nil, "prune", "--keep-last", "1", ".").says("warning: what was done is not recorded: ")
	b.run(exitOK, nil, "key", "rotate", "--key", "file:"+key, "--dry-run").says("warning: what was done is not recorded: ")
	b.seal(content, "-o", "z.enc", "--audit=off")
	os.Remove(b.tmp + "/file")
	os.RemoveAll(b.path("state")) // what status knows of the run is not a record
	b.holds("out", "x.enc", "x.enc.sha256", "z.enc", "z.enc.sha256")
}

// TestAuditFullDisk: a full disk stops what changes something, and the log is
// whole when there is space again.
func TestAuditFullDisk(t *testing.T) {
	t.Parallel()
	needIntegration(t)
	b := newSandbox(t)
	b.log = mount(t, "tmpfs", "tmpfs", 0, "size=64k")
	b.env = append(b.env, "TAKUMI_AUDIT_DIR="+b.log)
	b.seal([]byte("content"), "-o", "x.enc")
	fill, err := os.Create(b.log + "/fill")
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = fill.Write(make([]byte, 512))
	}
	// The last page of the log has room for some more.
	for n, full := 0, false; !full; n++ {
		seal := b.start(b.program("seal", "--allow-empty", "-o", fmt.Sprint("y", n, ".enc")))
		seal.Wait()
		if full = seal.ProcessState.ExitCode() == exitStore; n > 100 {
			t.Fatal("the disk is never full")
		}
	}
	const text = "no space left on device"
	b.run(exitStore, strings.NewReader("content"), "seal", "-o", "z.enc").says(text)
	b.run(exitOK, nil, "open", "x.enc", "-o", "out").says("warning: what was done is not recorded: ")
	fill.Close()
	os.Remove(b.log + "/fill")
	before := len(b.records())
	b.seal([]byte("content"), "-o", "z.enc")
	if got := len(b.records()); got != before+2 {
		t.Errorf("%d records, and %d before", got, before)
	}
}

// TestAuditReadOnly: as on a full disk, so on one that cannot be written.
func TestAuditReadOnly(t *testing.T) {
	t.Parallel()
	needIntegration(t)
	b := newSandbox(t)
	b.seal([]byte("content"), "-o", "x.enc")
	view := mount(t, b.log, "", syscall.MS_BIND, "")
	if err := syscall.Mount("", view, "", syscall.MS_REMOUNT|syscall.MS_BIND|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	b.env = append(b.env, "TAKUMI_AUDIT_DIR="+view)
	b.run(exitStore, strings.NewReader("content"), "seal", "-o", "y.enc").says("read-only file system")
	b.run(exitOK, nil, "open", "x.enc", "-o", "out").says("warning: what was done is not recorded: ")
	b.run(exitOK, nil, "audit", "verify", view)
	b.run(exitOK, nil, "audit", "show")
	b.holds("out", "x.enc", "x.enc.sha256")
}

// TestEndings: a command that is stopped says so in the log, and one that is
// killed has said that it began.
func TestEndings(t *testing.T) {
	t.Parallel()
	b := newSandbox(t)
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		cmd := b.program("seal", "-o", "x.enc")
		w := heldPipe(t, cmd)
		seal := b.start(cmd)
		eventually(t, "it reads", func() bool { return isTaken(w) })
		seal.Process.Signal(sig)
		seal.Wait()
	}
	all := b.records()
	var outcomes []audit.Outcome
	for _, r := range all {
		outcomes = append(outcomes, r.Outcome)
	}
	if want := []audit.Outcome{audit.Begun, audit.Stopped, audit.Begun}; !slices.Equal(outcomes, want) {
		t.Fatalf("%q, want %q", outcomes, want)
	}
	if all[0].Run != all[1].Run || all[1].Run == all[2].Run || *all[1].ExitCode != exitSignal || all[0].ExitCode != nil {
		t.Errorf("%+v", all)
	}
}

// changeAll runs a command that changes the backups in the folder store, one of
// them at a time or two, and returns how it ended.
func changeAll(t *testing.T, b *sandbox, workers values.Count, one func(path string) error) error {
	t.Helper()
	setting(t, "TAKUMI_AUDIT_DIR", b.log)
	c := &changing{verb: "rewrap", done: "rewrapped", workers: workers, place: newPlace(), progress: progressFlags{quiet: true}}
	cmd := &cobra.Command{Use: "rewrap", SilenceErrors: true, SilenceUsage: true, RunE: func(cmd *cobra.Command, args []string) error {
		return c.run(cmd, args, func(_ context.Context, path string) (rekey.Result, error) { return rekey.Result{}, one(path) })
	}}
	cmd.SetOut(io.Discard)
	cmd.SetErr(io.Discard)
	cmd.SetArgs([]string{b.path("store")})
	return audited(cmd, "rewrap", changes).ExecuteContext(t.Context())
}

// TestRecordedAtOnce: what is changed is recorded when it is done, also while the
// first backup takes long; and the first record has the path.
func TestRecordedAtOnce(t *testing.T) {
	b := newSandbox(t)
	os.Mkdir(b.path("store"), 0o700)
	b.seal([]byte("content"), "--audit=off", "-o", "store/a.enc")
	b.seal([]byte("content"), "--audit=off", "-o", "store/b.enc")
	err := changeAll(t, b, 2, func(path string) error {
		if path == b.path("store/a.enc") {
			eventually(t, "the other is recorded", func() bool { return len(b.records()) == 2 })
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, r := range b.records() {
		paths = append(paths, r.Path)
	}
	if want := []string{b.path("store"), b.path("store/b.enc"), b.path("store/a.enc"), ""}; !slices.Equal(paths, want) {
		t.Errorf("%q, want %q", paths, want)
	}
}

// TestStopsUnrecorded: when the record of a backup cannot be written, the next one
// is not changed.
func TestStopsUnrecorded(t *testing.T) {
	b := newSandbox(t)
	os.Mkdir(b.path("store"), 0o700)
	for _, name := range []string{"a", "b", "c"} {
		b.seal([]byte("content"), "--audit=off", "-o", "store/"+name+".enc")
	}
	calls := 0
	err := changeAll(t, b, 1, func(string) error {
		if calls++; calls == 2 {
			if err := os.Rename(b.log, b.log+".aside"); err != nil {
				t.Fatal(err)
			}
			writeFile(t, b.log, nil)
		}
		return nil
	})
	if code, _ := verdict(err); code != exitStore || calls != 2 || !strings.Contains(err.Error(), b.path("store/b.enc")) {
		t.Errorf("%d calls, exit code %d: %v", calls, code, err)
	}
}

// TestOpenBegun: an open that is killed has said which backup it opens.
func TestOpenBegun(t *testing.T) {
	t.Parallel()
	b := newSandbox(t)
	b.seal(bytes.Repeat([]byte("0123456789abcdef"), 1<<16), "--audit=off", "--codec", "none", "-o", "x.enc")
	cmd := b.program("open", "x.enc")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	open := b.start(cmd)
	io.ReadFull(out, make([]byte, 16)) // and no more: it waits
	open.Process.Kill()
	open.Wait()
	if all := b.records(); len(all) != 1 || all[0].Outcome != audit.Begun || all[0].Path != b.path("x.enc") {
		t.Errorf("%+v", all)
	}
}

// TestRestoreEffect: to replace what is live is a change, to restore next to it is none.
func TestRestoreEffect(t *testing.T) {
	t.Parallel()
	live := t.TempDir()
	writeFile(t, live+"/file", nil)
	for to, want := range map[string]effect{live: changes, live + ".beside": reads} {
		r := &restoreUploads{to: to, yes: true, onConflict: "refuse"}
		if got := r.effect([]string{"x.enc"}); got != want {
			t.Errorf("%s: %v, want %v", to, got, want)
		}
	}
}

// TestPruneRecords: each backup that is deleted has its own record.
func TestPruneRecords(t *testing.T) {
	t.Parallel()
	b := newSandbox(t)
	for _, name := range []string{"a", "b"} {
		b.seal([]byte(name), "-o", name+".enc", "--name", "db", "--kind", "database")
		time.Sleep(1100 * time.Millisecond) // the envelope's time has seconds
	}
	b.run(exitOK, nil, "prune", "--keep-within", "0", "--keep-last", "1", "--apply", ".")
	all := b.records()
	if r := all[len(all)-2]; r.Operation != "prune" || r.Outcome != audit.Done || r.Path != b.path("a.enc") || len(r.BackupID) != 32 || r.KeyIDs[0] != keyID(t, mainKey) {
		t.Errorf("%+v", r)
	}
}

// TestLooksRecorded: the record of a look by the index counts what was read, and a warning
// is printed once, however often the file is opened.
func TestLooksRecorded(t *testing.T) {
	t.Parallel()
	b := newSandbox(t)
	if err := os.Mkdir(b.path("up"), 0o755); err != nil {
		t.Fatal(err)
	}
	writeFile(t, b.path("up/a"), []byte("a"))
	up := strings.TrimSuffix(b.run(exitOK, nil, "backup", "uploads", b.path("up")).stdout.String(), "\n")
	for _, args := range [][]string{{"ls", up}, {"find", "a"}, {"open", "--member", "a", up}} {
		b.run(exitOK, nil, args...)
		all := b.records()
		if r := all[len(all)-1]; r.Operation != args[0] || r.BytesIn == 0 {
			t.Errorf("%q: %+v", args, r)
		}
	}
	x, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	id := b.tmp + "/id"
	if err := os.WriteFile(id, []byte(x.String()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	archive, err := exec.Command("tar", "-C", b.dir, "-c", "up").Output()
	if err != nil {
		t.Fatal(err)
	}
	b.seal(archive, "--codec", "none", "-r", x.Recipient().String(), "-o", "x.enc")
	if got := b.run(exitOK, nil, "ls", "-i", id, "x.enc").stderr.String(); strings.Count(got, "anybody may have made it") != 1 {
		t.Error(got)
	}
}

// TestSyslog: the records are copied, one datagram each, and a daemon that is
// gone or hangs stops nothing.
func TestSyslog(t *testing.T) {
	t.Parallel()
	b := newSandbox(t)
	path := filepath.Join(b.tmp, "log.socket")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	b.env = append(b.env, "TAKUMI_AUDIT_SYSLOG="+path)
	b.seal([]byte("content"), "-o", "x.enc")
	b.run(exitKey, nil, "open", "--key", "file:"+keyFile(t, otherKey), "x.enc", "-o", "out")
	for _, want := range []string{"<86> [INFO] seal begun", "<86> [INFO] seal done, path " + b.path("x.enc"),
		"<86> [INFO] open begun, path " + b.path("x.enc"), "<83> [ERROR] open failed, exit code 4"} {
		buf := make([]byte, 64<<10)
		socket.SetReadDeadline(time.Now().Add(time.Minute))
		n, err := socket.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		pri, text, _ := strings.Cut(want, " ")
		if got := string(buf[:n]); !strings.HasPrefix(got, pri) || !strings.Contains(got, "]: "+text) || !strings.Contains(got, " takumi-backup[") {
			t.Errorf("%q, want %q", got, want)
		}
	}
	// Nobody reads any more: the queue fills, and the program does not wait.
	for range 6 {
		b.seal([]byte("content"), "-o", "y.enc")
		os.Remove(b.path("y.enc"))
		os.Remove(b.path("y.enc.sha256"))
	}
	socket.Close()
	os.Remove(path)
	b.run(exitOK, nil, "open", "x.enc", "-o", "out").says("the record was not copied")
	b.env = append(b.env, "TAKUMI_AUDIT_SYSLOG=maybe")
	b.run(exitUsage, nil, "open", "x.enc", "-o", "out2")
}

// TestRecordLine: whatever a record holds, for people it is one line that a
// terminal does not obey.
func TestRecordLine(t *testing.T) {
	t.Parallel()
	hostile := "a\nb\x1b[2J\u202e\x9b" + string([]byte{0xff})
	code := exitFailed
	line := (&audit.Record{
		Operation: hostile, Outcome: audit.Outcome(hostile), ExitCode: &code, Error: hostile, User: hostile, SudoUser: hostile, Host: hostile, Run: hostile,
		Path: hostile, Kind: hostile, Name: hostile, BackupID: hostile, Detail: hostile, KeyIDs: []string{hostile}, OldIDs: []string{hostile},
		Keys: []string{hostile},
	}).Line()
	text, ended := strings.CutSuffix(line, "\n")
	if !ended || !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		t.Errorf("%q", line)
	}
}

// TestWhoIsAudited: every command leaves records, but for those that neither use
// a key on a backup nor change one.
func TestWhoIsAudited(t *testing.T) {
	t.Parallel()
	silent := strings.Fields("inspect list version man key/id key/check audit/show audit/verify audit/checkpoint backup/all verify/merge install-timers config/migrate config/schema config/show config/validate status doctor init")
	var found []string
	var walk func(cmd *cobra.Command, path string)
	walk = func(cmd *cobra.Command, path string) {
		for _, c := range cmd.Commands() {
			walk(c, strings.TrimPrefix(path+"/"+c.Name(), "/"))
		}
		if !cmd.HasSubCommands() && cmd.Annotations[auditedAs] == "" {
			found = append(found, path)
		}
	}
	walk(newRoot(), "")
	slices.Sort(silent)
	slices.Sort(found)
	if !slices.Equal(found, silent) {
		t.Errorf("no records are left by %q, want %q", found, silent)
	}
}

// TestCurrentCheckpoint: what a report carries proves the log.
func TestCurrentCheckpoint(t *testing.T) {
	b := newSandbox(t)
	b.seal([]byte("content"), "-o", "x.enc")
	setting(t, "TAKUMI_AUDIT_DIR", b.log)
	cmd := newRoot()
	cmd.SetContext(t.Context())
	if text, err := currentCheckpoint(cmd); text != nil || err != nil {
		t.Errorf("without a key: %s, %v", text, err)
	}
	setting(t, "TAKUMI_AUDIT_KEY", "file:"+keyFile(t, otherKey))
	text, err := currentCheckpoint(cmd)
	if err != nil {
		t.Fatal(err)
	}
	var at audit.Checkpoint
	if err := json.Unmarshal(text, &at); err != nil || at.Lines != 2 || at.CheckSignature("") != nil {
		t.Errorf("%s: %v", text, err)
	}
}
