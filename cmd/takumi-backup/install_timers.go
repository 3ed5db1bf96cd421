package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/internal/config"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/internal/store/local"
	"github.com/takumi-backup/takumi-backup/scripts/systemd"
)

// tomlSettings are what units go by where it is there.
const tomlSettings = "/etc/takumi-backup/backup.toml"

// unitsProgram is where the units look for the program: where a package put it, when this
// is that one.
func unitsProgram() string {
	if exe, err := os.Executable(); err == nil && exe == "/usr/bin/takumi-backup" {
		return exe
	}
	return systemd.Program
}

type installTimers struct {
	root                 string
	dryRun, apply, force bool
}

func newInstallTimers() *cobra.Command {
	i := new(installTimers)
	cmd := &cobra.Command{
		Use:   "install-timers [flags]",
		Short: "Install systemd timers for backup, verify and drill",
		Long: `Write systemd's services and timers for the nightly backup, the weekly verify and
the quarterly drill, a service that mails root when one of them fails, the user that
they run as and the folder of the store.
Without --apply, what would be written is only shown. Nothing is started: what to do
then is said at the end.

Where there is an /etc/takumi-backup/backup.toml, the units go by it, and by the schedule in
it; it and the key belong to the user takumi-backup then, as init makes them.

A file that is there and differs is never written over, unless with --force. What a
package installed below /usr/lib is left out where it is the same. To change a unit, use
systemctl edit, which leaves the file alone.`,
		Example: `  takumi-backup install-timers
  takumi-backup install-timers --apply
  takumi-backup install-timers --apply --root /tmp/look`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return i.run(cmd) },
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.BoolVar(&i.dryRun, "dry-run", false, "only show, which is the default")
	f.BoolVar(&i.apply, "apply", false, "write, and not only show")
	f.BoolVar(&i.force, "force", false, "write over files that differ")
	f.StringVar(&i.root, "root", "/", "write below this folder")
	cmd.MarkFlagsMutuallyExclusive("dry-run", "apply")
	return cmd
}

func (i *installTimers) run(cmd *cobra.Command) error {
	var files []systemd.File
	var differ []string
	units := systemd.Files(unitsProgram())
	switch loaded, err := config.Load(filepath.Join(i.root, tomlSettings), nil); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return fmt.Errorf("reading the settings that the units will go by: %w", err)
	default:
		s := loaded.File.Schedule
		units = systemd.ForTOML(units, map[string]string{"takumi-backup.timer": s.Backup, "takumi-backup-verify.timer": s.Verify, "takumi-backup-drill.timer": s.Drill})
	}
	for _, file := range units {
		packaged := filepath.Join(i.root, "usr/lib", strings.TrimPrefix(file.Path, "etc/"))
		file.Path = filepath.Join(i.root, file.Path)
		what := "new"
		switch old, err := os.ReadFile(file.Path); {
		case errors.Is(err, fs.ErrNotExist) && same(packaged, file.Text):
			what, file.Path = "as it is", packaged
		case errors.Is(err, fs.ErrNotExist):
			files = append(files, file)
		case err != nil:
			return &store.Error{Op: "look for", Path: file.Path, Err: err}
		case bytes.Equal(old, file.Text):
			what = "as it is"
		default:
			what = "differs"
			files, differ = append(files, file), append(differ, file.Path)
		}
		if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%s\t%s\n", what, file.Path); err != nil {
			return stdoutError(err)
		}
	}
	if len(differ) > 0 && !i.force {
		err := fmt.Errorf("nothing is written: there are other versions of %s (--force writes over them)", strings.Join(differ, ", "))
		if i.apply {
			return err
		}
		warn(cmd, "with --apply, %v", err)
	}
	if !i.apply {
		fmt.Fprintln(cmd.ErrOrStderr(), "nothing was written; --apply does that")
		return nil
	}
	for _, file := range files {
		if err := writeUnit(file, i.force); err != nil {
			return fmt.Errorf("installing the timers: %w", err)
		}
	}
	i.next(cmd)
	return nil
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

func (i *installTimers) next(cmd *cobra.Command) {
	program := unitsProgram()
	if _, err := os.Stat(filepath.Join(i.root, program)); err != nil {
		warn(cmd, "the units run %s, which is not there", program)
	}
	if _, err := os.Stat(filepath.Join(i.root, tomlSettings)); err == nil {
		fmt.Fprint(cmd.ErrOrStderr(), `then, with the settings and the key belonging to takumi-backup:
`+enableTimers)
		return
	}
	fmt.Fprint(cmd.ErrOrStderr(), `then, with the key in /etc/takumi-backup/backup.key and the settings in backup.conf next to it:
`+enableTimers)
}

const enableTimers = `  systemd-sysusers && systemd-tmpfiles --create takumi-backup.conf && systemctl daemon-reload
  systemctl enable --now takumi-backup.timer takumi-backup-verify.timer takumi-backup-drill.timer
  systemctl start takumi-backup-verify.service   # once now, to see that it can
`
