package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// life is a host for one user: a home that others can reach, with the program in it.
type life struct {
	*sandbox
	uid  uint32
	with []string // what runs the program
}

func newLife(t *testing.T, uid uint32, with ...string) *life {
	t.Helper()
	l := &life{newSandbox(t), uid, with}
	var err error
	if l.dir, err = os.MkdirTemp("", "life"); err != nil { // that of the test is for root alone
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(l.dir) })
	l.exe = l.path(program)
	if err := os.WriteFile(l.exe, readFile(t, releaseBuild(t)), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"documents", "documents/sub", "scratch"} {
		if err := os.Mkdir(l.path(dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	writeFile(t, l.path("documents/sub/a"), []byte("what must not be lost"))
	err = filepath.WalkDir(l.dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Chown(path, int(uid), int(uid))
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(l.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	l.env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + l.dir, "XDG_CONFIG_HOME=" + l.path(".config"), "XDG_STATE_HOME=" + l.path(".state")}
	return l
}

func (l *life) does(want int, args ...string) *running {
	l.Helper()
	words := append(append([]string{}, l.with...), append([]string{l.exe}, args...)...)
	cmd := l.command(words[0], words[1:]...)
	if l.uid != 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: l.uid, Gid: l.uid}}
	}
	return l.start(cmd).exits(want)
}

// TestWholeLife: from init to a restore from the paper kit, for a user who is not root,
// and for root in a container that may give no file away.
func TestWholeLife(t *testing.T) {
	needIntegration(t)
	for name, l := range map[string]*life{
		"a user":                 newLife(t, 65534),
		"root without CAP_CHOWN": newLife(t, 0, "setpriv", "--bounding-set=-chown", "--inh-caps=-chown"),
	} {
		t.Run(name, func(t *testing.T) {
			config := l.path(".config/takumi-backup")
			args := []string{
				"init", "--yes", "--dir", config, "--user", "root", "--store", l.path("store"), "--also", l.path("usb"), "--database=", "--contracts=",
				"--uploads", l.path("documents"), "--scratch-dir", l.path("scratch"),
			}
			first := l.does(exitOK, args...)
			if out := first.stdout.String(); !strings.Contains(out, "recovery-kit.pdf") || !strings.Contains(out, l.path("usb")) {
				t.Errorf("what to put in the safe:\n%s", out)
			}
			first.says("restored " + l.path("store/uploads/"))
			for _, path := range []string{"backup.toml", "backup.key", "recovery-kit.pdf", "crontab"} {
				info, err := os.Stat(filepath.Join(config, path))
				if err != nil || info.Mode().Perm() != 0o600 || info.Sys().(*syscall.Stat_t).Uid != l.uid {
					t.Errorf("%s: %v, %v", path, info, err)
				}
			}
			if left := entries(t, l.path("scratch")); len(left) > 0 {
				t.Errorf("the rehearsal left %q", left)
			}
			key := readFile(t, filepath.Join(config, "backup.key"))

			// Again: nothing is written over, and other answers are refused.
			l.does(exitOK, args...)
			if again := readFile(t, filepath.Join(config, "backup.key")); string(again) != string(key) {
				t.Error("there is another key")
			}
			l.does(exitUsage, append(args, "--network", "mainnet", "--contracts", l.path("documents"))...).says("says something else")

			// A person's settings are those of every command; root's are in /etc.
			if l.uid != 0 {
				if out := l.does(exitOK, "list").stdout.String(); !strings.Contains(out, l.path("store")) {
					t.Errorf("without --config:\n%s", out)
				}
				l.does(exitOK, "config", "validate")
			}

			// The night, as the crontab has it.
			for line := range strings.Lines(string(readFile(t, filepath.Join(config, "crontab")))) {
				fields := strings.Fields(line)
				l.does(exitOK, fields[6:]...)
			}
			made, _ := filepath.Glob(l.path("usb/uploads/*.enc"))
			if len(made) < 2 {
				t.Fatalf("%q", made)
			}

			// The host is gone; the kit and the copy are not.
			kit := l.path("kit.pdf")
			if err := os.Rename(filepath.Join(config, "recovery-kit.pdf"), kit); err != nil {
				t.Fatal(err)
			}
			for _, gone := range []string{config, l.path(".state"), l.path("store"), l.path("documents")} {
				if err := os.RemoveAll(gone); err != nil {
					t.Fatal(err)
				}
			}
			l.does(exitOK, "key", "scan", "-o", l.path("key"), kit)
			l.does(exitOK, "restore", "uploads", made[len(made)-1], "--key", "file:"+l.path("key"), "--to", l.path("documents"), "--yes")
			if got := string(readFile(t, l.path("documents/sub/a"))); got != "what must not be lost" {
				t.Errorf("restored: %q", got)
			}
		})
	}
}

// TestInitForAUser: root sets up for a user, whom everything belongs to, and what root
// runs later with the settings runs as that user.
func TestInitForAUser(t *testing.T) {
	needIntegration(t)
	if _, err := exec.LookPath("useradd"); err != nil {
		t.Fatal(err)
	}
	const nobody = 65534
	l := newLife(t, 0)
	if err := os.Chmod(l.path("documents/sub/a"), 0o644); err != nil {
		t.Fatal(err)
	}
	l.env = []string{"PATH=" + os.Getenv("PATH"), "HOME=/root"}
	config := l.path("etc")
	l.does(exitOK, "init", "--yes", "--dir", config, "--user", "nobody", "--store", l.path("store"), "--database=", "--contracts=",
		"--uploads", l.path("documents"), "--scratch-dir", l.path("scratch"), "--shares", "3", "--threshold", "2", "--state-home", l.path("state"))
	for _, dir := range []string{config, l.path("store")} {
		err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if info, err := d.Info(); err != nil || info.Sys().(*syscall.Stat_t).Uid != nobody {
				t.Errorf("%s belongs to another: %v", path, err)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if shares, _ := filepath.Glob(filepath.Join(config, "shares", "*")); len(shares) != 3 {
		t.Errorf("%q", shares)
	}
	if info, err := os.Stat(l.path("state/takumi-backup/audit")); err != nil || info.Sys().(*syscall.Stat_t).Uid != nobody {
		t.Errorf("the audit log: %v", err)
	}
	// What others have is not taken from them.
	writeFile(t, l.path("roots"), nil)
	l.does(exitUsage, "init", "--yes", "--dir", l.path("etc2"), "--user", "nobody", "--store", l.dir, "--database=", "--contracts=",
		"--uploads", l.path("documents"), "--scratch-dir", l.path("scratch"), "--state-home", l.path("state")).says("belongs to another than nobody")
	l.does(exitOK, "status", "--config", filepath.Join(config, "backup.toml"))
	l.does(exitOK, "backup", "all", "--quiet", "--config", filepath.Join(config, "backup.toml"))
}
