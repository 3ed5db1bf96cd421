package systemd_test

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/takumi-backup/takumi-backup/scripts/systemd"
)

const (
	program = systemd.Program
	told    = "takumi-backup-failed@.service" // runs for each of the others that failed
)

// TestTold runs what tells of a failure, with a mail server and without.
func TestTold(t *testing.T) {
	t.Parallel()
	unit, err := os.ReadFile(told)
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^ExecStart=/bin/sh -c '(.*)'$`).FindSubmatch(unit)
	if m == nil {
		t.Fatalf("%s runs something else", told)
	}
	words := strings.NewReplacer("%i", "a.service", "%H", "here", `\n`, "\n").Replace(string(m[1]))
	dir := t.TempDir()
	sh := func() string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "/bin/sh", "-c", words)
		cmd.Env = []string{"PATH=" + dir}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("%v: %s", err, out)
		}
		return string(out)
	}
	if out := sh(); out != "<1>a.service failed on here: systemctl status a.service says more\n" {
		t.Errorf("without a mail server: %q", out)
	}
	for name, text := range map[string]string{"sendmail": `test "$1" = -t && while read -r line; do echo "$line"; done`, "systemctl": `echo "$@"; exit 3`} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if out := sh(); out != "To: root\nSubject: a.service failed on here\n\nstatus --full --lines=50 a.service\n" {
		t.Errorf("with a mail server: %q", out)
	}
}

// TestUnits: each timer has its service, and each service is confined, takes the
// key by LoadCredential, and runs what the program knows.
func TestUnits(t *testing.T) {
	t.Parallel()
	text := make(map[string]string)
	for _, f := range systemd.Files(program) {
		text[filepath.Base(f.Path)] = string(f.Text)
	}
	timers := 0
	for name, unit := range text {
		if base, ok := strings.CutSuffix(name, ".timer"); ok {
			timers++
			if text[base+".service"] == "" || !strings.Contains(unit, "Persistent=yes") || !strings.Contains(unit, "WantedBy=timers.target") {
				t.Errorf("%s is not whole", name)
			}
		}
		if !strings.HasSuffix(name, ".service") || name == told {
			continue
		}
		for _, line := range []string{
			"User=takumi-backup", "ProtectSystem=strict", "NoNewPrivileges=yes", "PrivateTmp=yes", "CapabilityBoundingSet=",
			"SystemCallFilter=@system-service", "OnFailure=takumi-backup-failed@%n.service", "LoadCredential=key:/etc/takumi-backup/backup.key", "LimitCORE=0",
		} {
			if !strings.Contains(unit, "\n"+line+"\n") {
				t.Errorf("%s lacks %s", name, line)
			}
		}
		command := regexp.MustCompile(`(?m)^ExecStart=(.*)$`).FindStringSubmatch(unit)
		if command == nil || !strings.HasPrefix(command[1], program+" ") || !strings.Contains(command[1], "--key file:${CREDENTIALS_DIRECTORY}/key") {
			t.Errorf("%s runs %q", name, command)
		}
	}
	if timers != 3 || text[told] == "" {
		t.Errorf("there are %d timers, and %s is %q", timers, told, text[told])
	}
	if !strings.Contains(text["takumi-backup-verify.service"], " --max-age 26h ") {
		t.Error("verify does not look whether backups are made")
	}
}

// TestAnalyze: systemd takes the units without a word, finds them confined, and
// does find what is wrong with others.
func TestAnalyze(t *testing.T) {
	if os.Getenv("TAKUMI_TEST_INTEGRATION") != "1" {
		t.Skip("set TAKUMI_TEST_INTEGRATION=1, as scripts/test does, to run this test")
	}
	for _, tool := range []string{"systemd-analyze", "systemd-sysusers", "systemd-tmpfiles"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("%s is missing: apt-get install systemd, as scripts/test does", tool)
		}
	}
	root := t.TempDir()
	put := func(path, text string, mode fs.FileMode) {
		t.Helper()
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	put(program, "#!/bin/sh\n", 0o755)
	put("bin/sh", "#!/bin/sh\n", 0o755)
	put("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n", 0o644)
	put("etc/group", "root:x:0:\n", 0o644)
	if err := os.CopyFS(filepath.Join(root, "usr/lib/systemd/system"), targets{os.DirFS("/usr/lib/systemd/system")}); err != nil {
		t.Fatal(err)
	}
	var units, services []string
	for _, f := range systemd.Files(program) {
		put(f.Path, string(f.Text), 0o644)
		if filepath.Dir(f.Path) == "etc/systemd/system" {
			units = append(units, filepath.Join(root, f.Path))
		}
		if filepath.Ext(f.Path) == ".service" && filepath.Base(f.Path) != told { // which runs a mail server
			services = append(services, filepath.Base(f.Path))
		}
	}
	run := func(name string, args ...string) (string, error) {
		out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
		return string(out), err
	}
	if out, err := run("systemd-sysusers", "--root="+root); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	if passwd, err := os.ReadFile(filepath.Join(root, "etc/passwd")); err != nil || !strings.Contains(string(passwd), "\ntakumi-backup:") {
		t.Errorf("the user was not made: %s, %v", passwd, err)
	}
	if os.Geteuid() == 0 {
		if out, err := run("systemd-tmpfiles", "--root="+root, "--create", "takumi-backup.conf"); err != nil {
			t.Errorf("%v: %s", err, out)
		}
		if info, err := os.Stat(filepath.Join(root, "var/backups/takumi")); err != nil || info.Mode() != fs.ModeDir|0o700 {
			t.Errorf("the store was not made: %v, %v", info, err)
		}
	}
	if out, err := run("systemd-analyze", append([]string{"verify", "--man=no", "--root=" + root}, units...)...); err != nil || out != "" {
		t.Errorf("%v:\n%s", err, out)
	}
	// 2.0 of 10; a service without any of this has 9.6.
	security := []string{"security", "--offline=true", "--no-pager", "--root=" + root, "--threshold=20"}
	if out, err := run("systemd-analyze", append(security, services...)...); err != nil {
		t.Errorf("%v:\n%s", err, out)
	}
	put("etc/systemd/system/broken.service", "[Service]\nExecStart=/does/not/exist\nProtectSytem=strict\n", 0o644)
	if out, _ := run("systemd-analyze", "verify", "--man=no", "--root="+root, filepath.Join(root, "etc/systemd/system/broken.service")); !strings.Contains(out, "ProtectSytem") {
		t.Errorf("a broken unit passes: %s", out)
	}
	if out, err := run("systemd-analyze", append(security, "broken.service")...); err == nil {
		t.Errorf("a service that may do everything passes: %s", out)
	}
}

// targets are the units of the system without its links, which lead out of it.
type targets struct{ fs.FS }

func (t targets) ReadDir(name string) ([]fs.DirEntry, error) {
	all, err := fs.ReadDir(t.FS, name)
	var files []fs.DirEntry
	for _, e := range all {
		if e.Type().IsRegular() {
			files = append(files, e)
		}
	}
	return files, err
}
