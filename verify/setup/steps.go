package setup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/fsutil"
	"github.com/takumi-backup/takumi-backup/internal/harden"
	"github.com/takumi-backup/takumi-backup/keystore/written"
	"github.com/takumi-backup/takumi-backup/scripts/systemd"
	"github.com/takumi-backup/takumi-backup/verify/status"
)

// makeKey makes the key and its recovery kit, where they are not there yet, and returns
// the files of the kit.
func (c *Installation) makeKey(ctx context.Context) (papers []string, err error) {
	missing := func(path string) bool { _, err := os.Lstat(path); return errors.Is(err, fs.ErrNotExist) }
	kit, shares := filepath.Join(c.Dir, "recovery-kit.pdf"), filepath.Join(c.Dir, "shares")
	if missing(c.KeyFile) {
		for _, path := range []string{kit, shares} {
			if !missing(path) {
				return nil, fail.As(fail.Usage, "bring the key back by takumi-backup key scan or key combine; or move the kit away for a new key",
					fmt.Errorf("%s is there, and %s, the key it belongs to, is missing", path, c.KeyFile))
			}
		}
		if err := c.step(ctx, "key", "generate", "-o", c.KeyFile); err != nil {
			return nil, err
		}
	}
	if !missing(shares) {
		papers = append(papers, shares)
	}
	if !missing(kit) {
		return append(papers, kit), nil
	}
	args := []string{"key", "paper", "--key", "file:" + c.KeyFile, "-o", kit}
	if c.Shares > 0 {
		if missing(shares) {
			err := c.step(ctx, "key", "split", "--key", "file:"+c.KeyFile, "--shares", strconv.Itoa(c.Shares), "--threshold", strconv.Itoa(c.Threshold), "-o", shares)
			if err != nil {
				return nil, err
			}
			papers = append(papers, shares)
		} else if err := written.CheckWhole(shares); err != nil {
			return nil, err
		}
		args = []string{"key", "paper", "--shares-of", shares, "-o", kit}
	}
	return append(papers, kit), c.step(ctx, args...)
}

func (c *Installation) clock(ctx context.Context) error {
	if os.Geteuid() == 0 && c.settings == TOML && c.RunAs == "takumi-backup" && status.HasSystemd() {
		if err := c.step(ctx, "install-timers", "--apply"); err != nil {
			return err
		}
		return c.startTimers(ctx)
	}
	program, err := os.Executable()
	if err != nil {
		return err
	}
	path := filepath.Join(c.Dir, "crontab")
	lines := []byte(Crontab(program, c.settings, c.Scratch))
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, lines) {
		return nil
	}
	if err := WritePrivate(path, lines); err != nil {
		return fmt.Errorf("writing the lines for the crontab: %w", err)
	}
	fmt.Fprintf(c.Stderr, "%s has lines for the crontab: crontab %s\n", path, fsutil.ShellWord(path))
	return c.own(path)
}

func (c *Installation) startTimers(ctx context.Context) error {
	for _, args := range [][]string{{"daemon-reload"}, append([]string{"enable", "--now"}, systemd.Timers()...)} {
		fmt.Fprintf(c.Stderr, "\n+ systemctl %s\n", strings.Join(args, " "))
		if out, err := exec.CommandContext(ctx, "systemctl", args...).CombinedOutput(); err != nil {
			return fail.As(fail.Failed, "start them by hand, and run init again with the same answers; or give --timers=false",
				fmt.Errorf("starting the timers: systemctl %s: %w: %s", args[0], err, bytes.TrimSpace(out)))
		}
	}
	return nil
}

func (c *Installation) rehearse(ctx context.Context) error {
	dir, err := os.MkdirTemp(c.Scratch, "takumi-backup-init-")
	if err != nil {
		return fmt.Errorf("making the folder of the rehearsal: %w", err)
	}
	defer os.RemoveAll(dir)
	// The server of the rehearsal, another user where root runs it, passes through.
	if err := os.Chmod(dir, 0o711); err != nil {
		return fmt.Errorf("making the folder of the rehearsal: %w", err)
	}
	if err := c.own(dir); err != nil {
		return err
	}
	return c.step(ctx, "drill", "--latest", "--scratch-dir", dir)
}

// step runs a command of this program with the settings, as whom they belong to.
func (c *Installation) step(ctx context.Context, args ...string) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	words := make([]string, len(args))
	for n, arg := range args {
		if words[n] = arg; !strings.HasPrefix(arg, "-") {
			words[n] = fsutil.ShellWord(arg)
		}
	}
	fmt.Fprintf(c.Stderr, "\n+ takumi-backup %s\n", strings.Join(words, " "))
	settings := c.settings
	if args[0] == "install-timers" {
		settings = "none" // root writes them
	}
	child := exec.CommandContext(ctx, program, append(args, "--config", settings)...)
	child.Args[0] = os.Args[0]
	child.Env = slices.DeleteFunc(c.Environ, replaced)
	child.Cancel = func() error { return child.Process.Signal(syscall.SIGTERM) }
	child.WaitDelay = harden.Patience
	child.Stdin, child.Stdout, child.Stderr = os.Stdin, c.Stderr, c.Stderr
	if err := child.Run(); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return fail.As(c.classOf(err), "takumi-backup doctor --config "+fsutil.ShellWord(c.settings)+" says what is missing; then run init again with the same answers, and it goes on here",
			fmt.Errorf("takumi-backup %s: %w", strings.Join(words, " "), err))
	}
	return nil
}

// replaced says whether a variable says what the settings that were written say: no
// night will have it.
func replaced(pair string) bool {
	name, _, _ := strings.Cut(pair, "=")
	return slices.ContainsFunc([]string{"BACKUP_", "DB_", "UPLOADS_", "CONTRACTS_DIR", "RETENTION_DAYS", "CLOUD_BACKUP", "SECRETS_BACKEND"}, func(p string) bool { return strings.HasPrefix(name, p) })
}

func (c *Installation) classOf(err error) fail.Class {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return c.Class(exit.ExitCode())
	}
	return fail.Failed
}
