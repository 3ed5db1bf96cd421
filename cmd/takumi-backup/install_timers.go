package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/verify/setup"
)

func newInstallTimers() *cobra.Command {
	var t setup.Timers
	cmd := &cobra.Command{
		Use:   "install-timers [flags]",
		Short: "Install systemd timers for backup, verify and drill",
		Long: `Write systemd's services and timers for the nightly backup, the weekly verify and
the quarterly drill, a service that mails root when one of them fails, the user that
they run as and the folder of the store.
Without --apply it only shows what it would write. It starts nothing, and says at the
end what to do next.

Where there is an /etc/takumi-backup/backup.toml, the units go by it, and by the schedule in
it; it and the key belong to the user takumi-backup then, as init makes them.

A file that exists and differs is overwritten only with --force. Units that a package
installed below /usr/lib are skipped when they are equal. To change a unit, use
systemctl edit, which leaves the file alone.`,
		Example: `  takumi-backup install-timers
  takumi-backup install-timers --apply
  takumi-backup install-timers --apply --root /tmp/look`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			differ, err := t.Install(func(what, path string) error {
				return printf(cmd, "%s\t%s\n", what, path)
			})
			if err != nil {
				return err
			}
			if t.Apply {
				fmt.Fprint(cmd.ErrOrStderr(), t.Next(warner(cmd)))
				return nil
			}
			if len(differ) > 0 && !t.Force {
				warn(cmd, "with --apply, nothing is written: there are other versions of %s (--force writes over them)", strings.Join(differ, ", "))
			}
			fmt.Fprintln(cmd.ErrOrStderr(), "nothing was written; --apply does that")
			return nil
		},
	}
	f := cmd.Flags()
	f.Bool("dry-run", false, "only show, which is the default")
	f.BoolVar(&t.Apply, "apply", false, "write, and not only show")
	f.BoolVar(&t.Force, "force", false, "write over files that differ")
	f.StringVar(&t.Root, "root", "/", "write below this folder")
	cmd.MarkFlagsMutuallyExclusive("dry-run", "apply")
	return cmd
}
