package setup

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/takumi-backup/takumi-backup/internal/config"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/internal/store/local"
	"github.com/takumi-backup/takumi-backup/scripts/systemd"
)

// TOML are what units go by where it is there.
const TOML = "/etc/takumi-backup/backup.toml"

// unitsProgram is where the units look for the program: where a package put it, when this
// is that one.
func unitsProgram() string {
	if exe, err := os.Executable(); err == nil && exe == "/usr/bin/takumi-backup" {
		return exe
	}
	return systemd.Program
}

// Timers installs the units of systemd.
type Timers struct {
	Root         string // write below this folder
	Apply, Force bool   // write, and over files that differ
}

// Install looks at each file of the units, calls seen with what it is and its path, and
// with Apply writes those that are missing. It returns the files that differ, over which it
// writes only with Force; without Apply it writes none.
func (t Timers) Install(seen func(what, path string) error) (differ []string, err error) {
	var files []systemd.File
	units := systemd.Files(unitsProgram())
	switch loaded, err := config.Load(filepath.Join(t.Root, TOML), nil); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("reading the settings that the units will go by: %w", err)
	default:
		s := loaded.File.Schedule
		units = systemd.ForTOML(units, map[string]string{"takumi-backup.timer": s.Backup, "takumi-backup-verify.timer": s.Verify, "takumi-backup-drill.timer": s.Drill})
	}
	for _, file := range units {
		packaged := filepath.Join(t.Root, "usr/lib", strings.TrimPrefix(file.Path, "etc/"))
		file.Path = filepath.Join(t.Root, file.Path)
		what := "new"
		switch old, err := os.ReadFile(file.Path); {
		case errors.Is(err, fs.ErrNotExist) && same(packaged, file.Text):
			what, file.Path = "as it is", packaged
		case errors.Is(err, fs.ErrNotExist):
			files = append(files, file)
		case err != nil:
			return nil, &store.Error{Op: "look for", Path: file.Path, Err: err}
		case bytes.Equal(old, file.Text):
			what = "as it is"
		default:
			what = "differs"
			files, differ = append(files, file), append(differ, file.Path)
		}
		if err := seen(what, file.Path); err != nil {
			return nil, err
		}
	}
	if !t.Apply {
		return differ, nil
	}
	if len(differ) > 0 && !t.Force {
		return differ, fmt.Errorf("nothing is written: there are other versions of %s (--force writes over them)", strings.Join(differ, ", "))
	}
	for _, file := range files {
		if err := writeUnit(file, t.Force); err != nil {
			return differ, fmt.Errorf("installing the timers: %w", err)
		}
	}
	return differ, nil
}

func same(path string, text []byte) bool {
	old, err := os.ReadFile(path)
	return err == nil && bytes.Equal(old, text)
}

func writeUnit(file systemd.File, force bool) error {
	if err := os.MkdirAll(filepath.Dir(file.Path), 0o755); err != nil {
		return err
	}
	if err := local.WriteFile(file.Path, file.Text, store.Options{Replace: force}); err != nil {
		return err
	}
	return os.Chmod(file.Path, 0o644)
}

// Next says what is to be done when the units are there, and warns when they run a program
// that is missing.
func (t Timers) Next(warn func(format string, args ...any)) string {
	program := unitsProgram()
	if _, err := os.Stat(filepath.Join(t.Root, program)); err != nil {
		warn("the units run %s, which is not there", program)
	}
	of := "the key in /etc/takumi-backup/backup.key and the settings in backup.conf next to it"
	if _, err := os.Stat(filepath.Join(t.Root, TOML)); err == nil {
		of = "the settings and the key belonging to takumi-backup"
	}
	return "then, with " + of + ":\n" + enableTimers
}

const enableTimers = `  systemd-sysusers && systemd-tmpfiles --create takumi-backup.conf && systemctl daemon-reload
  systemctl enable --now takumi-backup.timer takumi-backup-verify.timer takumi-backup-drill.timer
  systemctl start takumi-backup-verify.service   # once now, to see that it can
`

// WritePrivate makes a file that only its owner may read, and writes over none.
func WritePrivate(path string, text []byte) error {
	return local.WriteFile(path, text, store.Options{})
}
