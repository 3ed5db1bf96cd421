// Package setup sets a host up ([Installation]): it finds what there is to back up, writes down
// how, in settings, timers or lines for cron, and says what to put in the safe.
package setup

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/takumi-backup/takumi-backup/internal/config"
	"github.com/takumi-backup/takumi-backup/internal/fsutil"
	"github.com/takumi-backup/takumi-backup/internal/postgres"
)

// Found is what there is to back up.
type Found struct {
	Databases []string
	// Unreached is why the server was not asked for its databases, or nil.
	Unreached error
	Uploads   []string // folders
	Contracts []string // projects of Foundry
}

// Look asks the server of the settings for its databases, and looks for folders where
// they usually are below each of the roots.
func Look(ctx context.Context, s *postgres.Settings, roots ...string) Found {
	var f Found
	all, err := s.Databases(ctx)
	f.Unreached = err
	for _, d := range all {
		if !d.System && !d.Closed && d.Name != "postgres" {
			f.Databases = append(f.Databases, d.Name)
		}
	}
	for _, root := range roots {
		for _, pattern := range []string{"uploads", "*/uploads"} {
			f.Uploads = append(f.Uploads, folders(filepath.Join(root, pattern))...)
		}
		for _, pattern := range []string{"foundry.toml", "*/foundry.toml", "*/contracts/foundry.toml"} {
			for _, path := range matches(filepath.Join(root, pattern)) {
				f.Contracts = append(f.Contracts, filepath.Dir(path))
			}
		}
	}
	return f
}

func matches(pattern string) []string {
	paths, _ := filepath.Glob(pattern) // the pattern is good
	return paths
}

func folders(pattern string) []string {
	return slices.DeleteFunc(matches(pattern), func(path string) bool {
		info, err := os.Stat(path)
		return err != nil || !info.IsDir()
	})
}

// Choice is what a person has chosen.
type Choice struct {
	Stores     []string // URLs, the first of which backups go to
	KeyFile    string
	Databases  []string
	Host, User string // of the database; "" for libpq's defaults
	Uploads    []string
	Contracts  []string
	Network    string
	StateHome  string // "" for the usual place
}

// File returns the settings that say so.
func (c Choice) File() config.File {
	f := config.File{StateHome: c.StateHome, MaxAge: map[string]string{"default": "26h"}, Schedule: config.Schedule{Backup: "*-*-* 02:00:00", Verify: "Sun *-*-* 04:00:00", Drill: "*-01,04,07,10-05 05:00:00"}}
	f.Keys.URIs = []string{"file:" + c.KeyFile}
	f.Retention.Days = 30
	for i, url := range c.Stores {
		name := []string{"main", "copy"}[min(i, 1)]
		if i > 1 {
			name = fmt.Sprintf("copy-%d", i)
		}
		f.Stores = append(f.Stores, config.Store{Name: name, URL: url})
	}
	for _, name := range c.Databases {
		f.Databases = append(f.Databases, config.Database{Name: name, Host: c.Host, User: c.User})
	}
	names := make(map[string]int)
	unique := func(path string, only bool) string {
		if only {
			return ""
		}
		name := filepath.Base(filepath.Dir(filepath.Clean(path))) + "-" + filepath.Base(path)
		if names[name]++; names[name] > 1 {
			name = fmt.Sprintf("%s-%d", name, names[name])
		}
		return name
	}
	for _, path := range c.Uploads {
		f.Uploads = append(f.Uploads, config.Uploads{Name: unique(path, len(c.Uploads) == 1), Path: path})
	}
	for _, path := range c.Contracts {
		f.Contracts = append(f.Contracts, config.Contracts{Name: unique(path, len(c.Contracts) == 1), Path: path, Network: c.Network})
	}
	return f
}

// Crontab is the lines that do what the timers of systemd do, for the crontab of the
// user whom the settings belong to.
func Crontab(program, settings, scratch string) string {
	with := fsutil.ShellWord(program) + " %s --config " + fsutil.ShellWord(settings) + "%s\n"
	return fmt.Sprintf("0 2 * * *         "+with, "backup all", " --prune --quiet") +
		fmt.Sprintf("0 4 * * 0         "+with, "verify", " --quiet") +
		fmt.Sprintf("0 5 5 1,4,7,10 *  "+with, "drill", " --quiet --scratch-dir "+fsutil.ShellWord(scratch))
}

// Safe says what to put in the safe. papers are the files to print.
func Safe(c Choice, settings string, papers []string) string {
	var b strings.Builder
	b.WriteString("What to put in the safe, away from this host:\n")
	for _, path := range papers {
		fmt.Fprintf(&b, "  print %s, read it back (takumi-backup key scan), and then delete it: it is the key\n", path)
	}
	fmt.Fprintf(&b, "  write down where the backups are: %s\n", strings.Join(c.Stores, ", "))
	if len(c.Stores) == 1 && !strings.HasPrefix(c.Stores[0], "s3://") {
		b.WriteString("  there is no copy elsewhere yet: a fire takes them with the host. Add a [[store]] to the settings\n")
	}
	fmt.Fprintf(&b, "  a copy of %s, which holds no secret\n", settings)
	b.WriteString("  this program, or scripts/recover.py, which opens backups without it\n")
	return b.String()
}
