package setup

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/takumi-backup/takumi-backup/internal/config"
	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/fsutil"
	"github.com/takumi-backup/takumi-backup/internal/postgres"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/internal/terminal"
	"github.com/takumi-backup/takumi-backup/keystore/paper"
)

// Installation sets a host up: the settings, the key and its recovery kit, the timers, a first
// backup and its rehearsal, each by a command of this program. What is there already it
// leaves, and goes on behind it.
type Installation struct {
	Choice
	Yes               bool   // ask nothing
	Dir               string // of the settings and the key; "" for the usual one
	Store             string // where backups go; "" asks
	Also              []string
	RunAs             string // whom all belongs to, when root runs this
	Shares, Threshold int    // of the recovery kit; 0 for one kit
	Scratch           string // folder of the rehearsal
	Timers            bool
	Conf              *config.Settings
	// Given says whether a flag of that name answers its question.
	Given func(flag string) bool
	// Class is the class of an exit code of this program.
	Class   func(code int) fail.Class
	Environ []string // of the steps
	Stderr  io.Writer

	settings string // the file
	owner    *user.User
}

// Run does it all, and returns what to put in the safe.
func (c *Installation) Run(ctx context.Context) (string, error) {
	if err := c.holders(); err != nil {
		return "", err
	}
	if !c.Yes && !terminal.Is(os.Stdin) {
		return "", fail.Usagef("standard input is not a terminal: give --yes, and say in flags what to do")
	}
	if err := c.place(); err != nil {
		return "", err
	}
	if err := c.find(ctx); err != nil {
		return "", err
	}
	if len(c.Databases)+len(c.Uploads)+len(c.Contracts) == 0 {
		return "", fail.Usagef("there is nothing to back up: name it by --database, --uploads or --contracts")
	}
	for _, path := range slices.Concat(c.Uploads, c.Contracts) {
		if _, err := os.Stat(path); err != nil {
			return "", fail.Usagef("looking at what is to be backed up: %w; nothing was done", err)
		}
	}
	if err := c.write(); err != nil {
		return "", fmt.Errorf("writing the settings: %w", err)
	}
	papers, err := c.makeKey(ctx)
	if err != nil {
		return "", err
	}
	if c.Timers {
		if err := c.clock(ctx); err != nil {
			return "", err
		}
	}
	if err := c.step(ctx, "backup", "all"); err != nil {
		return "", err
	}
	if err := c.rehearse(ctx); err != nil {
		return "", err
	}
	return Safe(c.Choice, c.settings, papers), nil
}

func (c *Installation) place() (err error) {
	root := os.Geteuid() == 0
	if c.Dir == "" {
		c.Dir = "/etc/takumi-backup"
		if !root {
			if c.Dir, err = config.OwnDir(); err != nil {
				return fail.Usagef("--dir: %w", err)
			}
		}
	}
	if c.Dir, err = filepath.Abs(c.Dir); err != nil {
		return err
	}
	c.settings, c.KeyFile = filepath.Join(c.Dir, "backup.toml"), filepath.Join(c.Dir, "backup.key")
	if root && c.RunAs != "root" {
		if c.owner, err = user.Lookup(c.RunAs); errors.As(err, new(user.UnknownUserError)) {
			if out, err := exec.Command("useradd", "--system", "--no-create-home", "--home-dir", "/var/lib/takumi-backup", "--shell", "/usr/sbin/nologin", c.RunAs).CombinedOutput(); err != nil {
				return fmt.Errorf("making the user %s (--user names another): %w: %s", c.RunAs, err, bytes.TrimSpace(out))
			}
			c.owner, err = user.Lookup(c.RunAs)
		}
	}
	return err
}

func (c *Installation) find(ctx context.Context) error {
	conf := c.Conf
	get := func(name string) string {
		switch {
		case name == "DB_NAME":
			return "postgres"
		case name == "DB_HOST" && c.Host != "":
			return c.Host
		case name == "DB_USER" && c.User != "":
			return c.User
		}
		return conf.Get(name)
	}
	settings, err := postgres.FromSettings(get)
	settings, err = postgres.Checked(settings, err, conf.Production())
	if err != nil {
		return err
	}
	found := Look(ctx, settings, "/srv")
	if found.Unreached != nil && len(c.Databases) == 0 {
		fmt.Fprintf(c.Stderr, "no database: %v\n", found.Unreached)
	}
	// The user whom root sets this up for may have a role where root has none.
	if wanted := slices.ContainsFunc(c.Databases, func(name string) bool { return name != "" }); wanted && found.Unreached != nil && c.owner == nil {
		return fmt.Errorf("looking for the databases: %w; nothing was done", found.Unreached)
	}
	for _, q := range []struct {
		flag, question string
		to             *[]string
		found          []string
	}{
		{"database", "Databases to back up", &c.Databases, found.Databases},
		{"uploads", "Folders to back up", &c.Uploads, found.Uploads},
		{"contracts", "Projects of contracts to back up", &c.Contracts, found.Contracts},
	} {
		if c.Given(q.flag) {
			*q.to = slices.DeleteFunc(*q.to, func(word string) bool { return word == "" }) // which asks for none
			continue
		}
		all := strings.Join(q.found, " ")
		answer, err := c.ask(ctx, q.question, all)
		if err != nil {
			return err
		}
		if *q.to = strings.Fields(answer); answer == all {
			*q.to = q.found // names with blanks too
		}
	}
	if c.Store == "" {
		if c.Store, err = c.ask(ctx, "Where backups go, a folder or s3://BUCKET/PREFIX", conf.StoreFolder()); err != nil {
			return err
		}
	}
	if !c.Given("also") {
		answer, err := c.ask(ctx, "A second place for each of them", "")
		if err != nil {
			return err
		}
		c.Also = strings.Fields(answer)
	}
	if !c.Given("shares") {
		if err := c.askHolders(ctx); err != nil {
			return err
		}
	}
	return c.absolute()
}

// askHolders asks until the answer is one: it is the last of several questions.
func (c *Installation) askHolders(ctx context.Context) error {
	for {
		answer, err := c.ask(ctx, "Holders of the recovery kit, as 5 of whom 3: 5/3; none for one kit", "none")
		if err != nil || answer == "none" {
			c.Shares, c.Threshold = 0, 0
			return err
		}
		all, some, _ := strings.Cut(answer, "/")
		var wrong, wrongToo error
		c.Shares, wrong = strconv.Atoi(strings.TrimSpace(all))
		c.Threshold, wrongToo = strconv.Atoi(strings.TrimSpace(some))
		switch {
		case wrong != nil || wrongToo != nil || c.Shares == 0 || c.Threshold == 0:
			err = fmt.Errorf("%q is not as 5/3", answer)
		default:
			err = c.holders()
		}
		if err == nil {
			return nil
		}
		fmt.Fprintln(c.Stderr, err)
	}
}

// holders checks how the recovery kit is split, before anything is written.
func (c *Installation) holders() error {
	switch {
	case c.Shares == 0 && c.Threshold == 0:
		return nil
	case c.Shares == 0 || c.Threshold == 0:
		return fail.Usagef("--shares and --threshold go together")
	case c.Threshold < 2 || c.Threshold > c.Shares || c.Shares > paper.MaxShares:
		return fail.Usagef("%d of %d holders: 2 to all of at most %d can be needed", c.Threshold, c.Shares, paper.MaxShares)
	}
	return nil
}

func (c *Installation) absolute() (err error) {
	c.Stores = append([]string{c.Store}, c.Also...)
	for _, list := range [][]string{c.Stores, c.Uploads, c.Contracts} {
		for n, path := range list {
			if store.IsRemote(path) {
				continue
			}
			if strings.HasPrefix(path, "~") { // quoted, or typed as an answer: no shell saw it
				return fail.Usagef("%s: ~ is not expanded here: give the whole path", store.Printable(path))
			}
			if err := store.Check(path); err != nil {
				return err
			}
			if list[n], err = filepath.Abs(path); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *Installation) ask(ctx context.Context, question, def string) (string, error) {
	if c.Yes {
		return def, nil
	}
	if def != "" {
		question += " [" + store.Printable(def) + "]"
	}
	answer, err := terminal.Question(ctx, c.Stderr, question+": ")
	if answer == "" {
		answer = def
	}
	return answer, err
}

// write makes the folders, and writes the settings unless they are there just so. They come
// last: once they are there, other answers are refused. What a stop has left undone is done.
func (c *Installation) write() error {
	file := c.File()
	if err := file.Check(); err != nil {
		return fail.Usagef("%w", err)
	}
	text, err := file.Marshal()
	if err != nil {
		return err
	}
	if err := c.folder(c.Dir); err != nil {
		return err
	}
	old, err := os.ReadFile(c.settings)
	switch {
	case err == nil && !bytes.Equal(old, text):
		return fail.As(fail.Usage, "takumi-backup config show, and doctor; or move the file away", fmt.Errorf("%s is there, and says something else", c.settings))
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	}
	for _, path := range c.Stores {
		if !store.IsRemote(path) {
			if err := c.folder(path); err != nil {
				return fmt.Errorf("making a folder of the store: %w", err)
			}
		}
	}
	if c.owner != nil {
		if err := c.folder(filepath.Join(cmp.Or(c.StateHome, "/var/lib"), "takumi-backup")); err != nil {
			return err
		}
	}
	if old == nil {
		if err := WritePrivate(c.settings, text); err != nil {
			return err
		}
	}
	return c.own(c.settings)
}

// folder makes a folder that belongs to whom all belongs to. One that is there is given
// to nobody else while there is something in it.
func (c *Installation) folder(path string) error {
	entries, err := os.ReadDir(path)
	if err == nil && c.owner != nil && len(entries) > 0 {
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		if s, ok := info.Sys().(*syscall.Stat_t); ok && strconv.FormatUint(uint64(s.Uid), 10) != c.owner.Uid {
			return fail.As(fail.Usage, "chown -R "+c.RunAs+": "+fsutil.ShellWord(path)+", if all in it is for that user; or give --user",
				fmt.Errorf("%s is there, belongs to another than %s, and is not empty", path, c.RunAs))
		}
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { // which that user has to get through
		return err
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return err
	}
	return c.own(path)
}

func (c *Installation) own(path string) error {
	if c.owner == nil {
		return nil
	}
	uid, err := strconv.Atoi(c.owner.Uid)
	if err != nil {
		return err
	}
	gid, err := strconv.Atoi(c.owner.Gid)
	if err != nil {
		return err
	}
	return os.Lchown(path, uid, gid)
}
