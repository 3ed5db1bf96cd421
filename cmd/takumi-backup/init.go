package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/fsutil"
	"github.com/takumi-backup/takumi-backup/internal/harden"
	"github.com/takumi-backup/takumi-backup/internal/postgres"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/internal/terminal"
	"github.com/takumi-backup/takumi-backup/scripts/systemd"
	"github.com/takumi-backup/takumi-backup/verify/setup"
	"github.com/takumi-backup/takumi-backup/verify/status"
)

type initCommand struct {
	setup.Choice
	yes               bool
	dir               string // of the settings and the key
	also              []string
	runAs             string
	shares, threshold int
	scratch           string
	timers            bool

	store    string
	settings string // the file
	owner    *user.User
}

func newInit() *cobra.Command {
	i := new(initCommand)
	cmd := &cobra.Command{
		Use:   "init [flags]",
		Short: "Set this host up, from nothing to a restored backup",
		Long: `Set this host up, from nothing to a backup that was restored once:

 1. find databases, uploads (/srv/*/uploads) and contracts (foundry.toml in /srv/*)
 2. write the settings, backup.toml, in /etc/takumi-backup, or for people in
    ~/.config/takumi-backup
 3. make the key, and its recovery kit, a PDF to print; with --shares and --threshold
    one page for each of several holders
 4. write and start the timers, where systemd runs the host and root runs this, and else
    write lines for the crontab
 5. make the first backup, and restore it in a rehearsal
 6. say what to put in the safe

It asks, and takes what a flag says for the answer; --yes asks nothing. Run again with the
same answers it goes on where it was: nothing that is there is written over.

Root sets it up for the user of --user (default takumi-backup, who is made), who then owns
settings, key and store: what root runs with these settings runs as that user. That user
has to be able to read what is backed up, and needs a role in PostgreSQL.`,
		Example: `  takumi-backup init
  takumi-backup init --yes --store /var/backups/takumi --database takumi
  takumi-backup init --yes --store ~/backups --uploads ~/documents`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return i.run(cmd) },
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.BoolVarP(&i.yes, "yes", "y", false, "ask nothing")
	f.StringVar(&i.dir, "dir", "", "folder of the settings and the key (default /etc/takumi-backup, or ~/.config/takumi-backup)")
	f.StringVar(&i.store, "store", "", "where backups go: a folder or s3://BUCKET/PREFIX (default: that of the other commands)")
	f.StringArrayVar(&i.also, "also", nil, "a store that gets each backup at the same time; may be repeated")
	f.StringArrayVar(&i.Databases, "database", nil, "back up this database; may be repeated; empty for none (default: all that are found)")
	f.StringVar(&i.Host, "db-host", "", "host of the server, or folder of its socket")
	f.StringVar(&i.User, "db-user", "", "role that connects")
	f.StringArrayVar(&i.Uploads, "uploads", nil, "back up this folder; may be repeated (default: all)")
	f.StringArrayVar(&i.Contracts, "contracts", nil, "back up this project of contracts; may be repeated (default: all)")
	f.StringVar(&i.Network, "network", "", "the chain of the contracts")
	f.IntVar(&i.shares, "shares", 0, "split the recovery kit among so many holders")
	f.IntVar(&i.threshold, "threshold", 0, "of whom so many together have the key")
	f.StringVar(&i.runAs, "user", "takumi-backup", "the user whom all belongs to, when root runs this; root for root itself")
	f.StringVar(&i.scratch, "scratch-dir", "/var/tmp", "folder in which the rehearsal restores for a moment, as plaintext")
	f.StringVar(&i.StateHome, "state-home", "", "folder in which the state folder takumi-backup is (default: the usual place)")
	f.BoolVar(&i.timers, "timers", true, "write and start timers, or lines for the crontab")
	return cmd
}

func (i *initCommand) run(cmd *cobra.Command) error {
	if (i.shares > 0) != (i.threshold > 0) {
		return usagef("--shares and --threshold go together")
	}
	if !i.yes && !terminal.Is(os.Stdin) {
		return usagef("standard input is not a terminal: give --yes, and say in flags what to do")
	}
	if err := i.place(); err != nil {
		return err
	}
	if err := i.find(cmd); err != nil {
		return err
	}
	if len(i.Databases)+len(i.Uploads)+len(i.Contracts) == 0 {
		return usagef("there is nothing to back up: name it by --database, --uploads or --contracts")
	}
	if err := i.write(); err != nil {
		return fmt.Errorf("writing the settings: %w", err)
	}
	papers, err := i.makeKey(cmd)
	if err != nil {
		return err
	}
	if i.timers {
		if err := i.clock(cmd); err != nil {
			return err
		}
	}
	if err := i.step(cmd, "backup", "all"); err != nil {
		return err
	}
	if err := i.rehearse(cmd); err != nil {
		return err
	}
	_, err = fmt.Fprint(cmd.OutOrStdout(), setup.Safe(i.Choice, i.settings, papers))
	return stdoutError(err)
}

func (i *initCommand) place() (err error) {
	root := os.Geteuid() == 0
	if i.dir == "" {
		i.dir = "/etc/takumi-backup"
		if !root {
			base, err := os.UserConfigDir()
			if err != nil {
				return usagef("--dir: %w", err)
			}
			i.dir = filepath.Join(base, "takumi-backup")
		}
	}
	if i.dir, err = filepath.Abs(i.dir); err != nil {
		return err
	}
	i.settings, i.KeyFile = filepath.Join(i.dir, "backup.toml"), filepath.Join(i.dir, "backup.key")
	if root && i.runAs != "root" {
		if i.owner, err = user.Lookup(i.runAs); errors.As(err, new(user.UnknownUserError)) {
			if out, err := exec.Command("useradd", "--system", "--no-create-home", "--home-dir", "/var/lib/takumi-backup", "--shell", "/usr/sbin/nologin", i.runAs).CombinedOutput(); err != nil {
				return fmt.Errorf("making the user %s (--user names another): %w: %s", i.runAs, err, bytes.TrimSpace(out))
			}
			i.owner, err = user.Lookup(i.runAs)
		}
	}
	return err
}

func (i *initCommand) find(cmd *cobra.Command) error {
	get := func(name string) string {
		switch {
		case name == "DB_NAME":
			return "postgres"
		case name == "DB_HOST" && i.Host != "":
			return i.Host
		case name == "DB_USER" && i.User != "":
			return i.User
		}
		return conf.Get(name)
	}
	settings, err := checkedSettings(postgres.FromSettings(get))
	if err != nil {
		return err
	}
	found := setup.Look(cmd.Context(), settings, "/srv")
	if found.Unreached != nil && len(i.Databases) == 0 {
		fmt.Fprintf(cmd.ErrOrStderr(), "no database: %v\n", found.Unreached)
	}
	changed := cmd.Flags().Changed
	for _, q := range []struct {
		flag, question string
		to             *[]string
		found          []string
	}{
		{"database", "Databases to back up", &i.Databases, found.Databases},
		{"uploads", "Folders to back up", &i.Uploads, found.Uploads},
		{"contracts", "Projects of contracts to back up", &i.Contracts, found.Contracts},
	} {
		if changed(q.flag) {
			*q.to = slices.DeleteFunc(*q.to, func(word string) bool { return word == "" }) // which asks for none
			continue
		}
		answer, err := i.ask(cmd, q.question, strings.Join(q.found, " "))
		if err != nil {
			return err
		}
		*q.to = strings.Fields(answer)
	}
	if i.store == "" {
		if i.store, err = i.ask(cmd, "Where backups go, a folder or s3://BUCKET/PREFIX", conf.StoreFolder()); err != nil {
			return err
		}
	}
	if !changed("also") {
		answer, err := i.ask(cmd, "A second place for each of them", "")
		if err != nil {
			return err
		}
		i.also = strings.Fields(answer)
	}
	if !changed("shares") {
		answer, err := i.ask(cmd, "Holders of the recovery kit, as 5 of whom 3: 5/3; none for one kit", "")
		if err != nil {
			return err
		}
		if _, err := fmt.Sscanf(answer, "%d/%d", &i.shares, &i.threshold); err != nil && answer != "" && answer != "none" {
			return usagef("%q is not as 5/3", answer)
		}
	}
	return i.absolute()
}

func (i *initCommand) absolute() (err error) {
	i.Stores = append([]string{i.store}, i.also...)
	for _, list := range [][]string{i.Stores, i.Uploads, i.Contracts} {
		for n, path := range list {
			if store.IsRemote(path) {
				continue
			}
			if list[n], err = filepath.Abs(path); err != nil {
				return err
			}
		}
	}
	return nil
}

func (i *initCommand) ask(cmd *cobra.Command, question, def string) (string, error) {
	if i.yes {
		return def, nil
	}
	if def != "" {
		question += " [" + printable(def) + "]"
	}
	answer, err := terminal.Question(cmd.Context(), cmd.ErrOrStderr(), question+": ")
	if answer == "" {
		answer = def
	}
	return answer, err
}

// write writes the settings, unless they are there just so.
func (i *initCommand) write() error {
	file := i.File()
	if err := file.Check(); err != nil {
		return usage(err)
	}
	text, err := file.Marshal()
	if err != nil {
		return err
	}
	if err := i.folder(i.dir); err != nil {
		return err
	}
	switch old, err := os.ReadFile(i.settings); {
	case err == nil && bytes.Equal(old, text):
		return nil
	case err == nil:
		return fail.As(fail.Usage, "takumi-backup config show, and doctor; or move the file away", fmt.Errorf("%s is there, and says something else", i.settings))
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if err := writeSettings(i.settings, text); err != nil {
		return err
	}
	if err := i.own(i.settings); err != nil {
		return err
	}
	for _, path := range i.Stores {
		if !store.IsRemote(path) {
			if err := i.folder(path); err != nil {
				return err
			}
		}
	}
	if i.owner != nil {
		return i.folder(filepath.Join(cmp.Or(i.StateHome, "/var/lib"), "takumi-backup"))
	}
	return nil
}

// folder makes a folder that belongs to whom all belongs to. One that is there is given
// to nobody else while there is something in it.
func (i *initCommand) folder(path string) error {
	entries, err := os.ReadDir(path)
	if err == nil && i.owner != nil && len(entries) > 0 {
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		if s, ok := info.Sys().(*syscall.Stat_t); ok && strconv.FormatUint(uint64(s.Uid), 10) != i.owner.Uid {
			return fail.As(fail.Usage, "chown -R "+i.runAs+": "+fsutil.ShellWord(path)+", if all in it is for that user; or give --user",
				fmt.Errorf("%s is there, belongs to another than %s, and is not empty", path, i.runAs))
		}
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { // which that user has to get through
		return err
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return err
	}
	return i.own(path)
}

func (i *initCommand) own(path string) error {
	if i.owner == nil {
		return nil
	}
	uid, err := strconv.Atoi(i.owner.Uid)
	if err != nil {
		return err
	}
	gid, err := strconv.Atoi(i.owner.Gid)
	if err != nil {
		return err
	}
	return os.Lchown(path, uid, gid)
}

// makeKey makes the key and its recovery kit, where they are not there yet, and returns
// the files of the kit.
func (i *initCommand) makeKey(cmd *cobra.Command) (papers []string, err error) {
	missing := func(path string) bool { _, err := os.Lstat(path); return errors.Is(err, fs.ErrNotExist) }
	if missing(i.KeyFile) {
		if err := i.step(cmd, "key", "generate", "-o", i.KeyFile); err != nil {
			return nil, err
		}
	}
	kit, shares := filepath.Join(i.dir, "recovery-kit.pdf"), filepath.Join(i.dir, "shares")
	if !missing(kit) {
		return []string{kit}, nil
	}
	args := []string{"key", "paper", "--key", "file:" + i.KeyFile, "-o", kit}
	if i.shares > 0 {
		if missing(shares) {
			err := i.step(cmd, "key", "split", "--key", "file:"+i.KeyFile, "--shares", strconv.Itoa(i.shares), "--threshold", strconv.Itoa(i.threshold), "-o", shares)
			if err != nil {
				return nil, err
			}
		}
		args = []string{"key", "paper", "--shares-of", shares, "-o", kit}
		papers = append(papers, shares)
	}
	return append(papers, kit), i.step(cmd, args...)
}

func (i *initCommand) clock(cmd *cobra.Command) error {
	if os.Geteuid() == 0 && i.settings == tomlSettings && i.runAs == "takumi-backup" && status.HasSystemd() {
		if err := i.step(cmd, "install-timers", "--apply"); err != nil {
			return err
		}
		return i.startTimers(cmd)
	}
	program, err := os.Executable()
	if err != nil {
		return err
	}
	path := filepath.Join(i.dir, "crontab")
	lines := []byte(setup.Crontab(program, i.settings, i.scratch))
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, lines) {
		return nil
	}
	if err := writeSettings(path, lines); err != nil {
		return fmt.Errorf("writing the lines for the crontab: %w", err)
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "%s has lines for the crontab: crontab %s\n", path, fsutil.ShellWord(path))
	return i.own(path)
}

func (i *initCommand) startTimers(cmd *cobra.Command) error {
	for _, args := range [][]string{{"daemon-reload"}, append([]string{"enable", "--now"}, systemd.Timers()...)} {
		fmt.Fprintf(cmd.ErrOrStderr(), "\n+ systemctl %s\n", strings.Join(args, " "))
		if out, err := exec.CommandContext(cmd.Context(), "systemctl", args...).CombinedOutput(); err != nil {
			return fail.As(fail.Failed, "start them by hand, and run init again with the same answers; or give --timers=false",
				fmt.Errorf("starting the timers: systemctl %s: %w: %s", args[0], err, bytes.TrimSpace(out)))
		}
	}
	return nil
}

func (i *initCommand) rehearse(cmd *cobra.Command) error {
	dir, err := os.MkdirTemp(i.scratch, "takumi-backup-init-")
	if err != nil {
		return fmt.Errorf("making the folder of the rehearsal: %w", err)
	}
	defer os.RemoveAll(dir)
	if err := i.own(dir); err != nil {
		return err
	}
	return i.step(cmd, "drill", "--latest", "--scratch-dir", dir)
}

// step runs a command of this program with the settings, as whom they belong to.
func (i *initCommand) step(cmd *cobra.Command, args ...string) error {
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
	fmt.Fprintf(cmd.ErrOrStderr(), "\n+ takumi-backup %s\n", strings.Join(words, " "))
	settings := i.settings
	if args[0] == "install-timers" {
		settings = "none" // root writes them
	}
	child := exec.CommandContext(cmd.Context(), program, append(args, "--config", settings)...)
	child.Args[0] = os.Args[0]
	child.Env = slices.DeleteFunc(os.Environ(), replaced)
	child.Cancel = func() error { return child.Process.Signal(syscall.SIGTERM) }
	child.WaitDelay = harden.Patience
	child.Stdin, child.Stdout, child.Stderr = os.Stdin, cmd.ErrOrStderr(), cmd.ErrOrStderr()
	if err := child.Run(); err != nil {
		if cmd.Context().Err() != nil {
			return context.Cause(cmd.Context())
		}
		return fail.As(classOf(err), "takumi-backup doctor --config "+fsutil.ShellWord(i.settings)+" says what is missing; then run init again with the same answers, and it goes on here",
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

// classOf is the class of an error of a step, by its exit code.
func classOf(err error) fail.Class {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		for class, code := range codes {
			if code == exit.ExitCode() {
				return fail.Class(class)
			}
		}
	}
	return fail.Failed
}
