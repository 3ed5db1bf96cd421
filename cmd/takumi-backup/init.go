package main

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/verify/setup"
)

func newInit() *cobra.Command {
	c := &setup.Installation{Class: classOf}
	cmd := &cobra.Command{
		Use:   "init [flags]",
		Short: "Set this host up, from nothing to a restored backup",
		Long: `Set this host up, from nothing to a backup that was restored once:

 1. find databases, uploads (/srv/*/uploads) and contracts (/srv/*/foundry.toml)
 2. write the settings, backup.toml, in /etc/takumi-backup, or for people in
    ~/.config/takumi-backup
 3. make the key, and its recovery kit, a PDF to print; with --shares and
    --threshold a page for each of several holders
 4. write and start timers, as root on a host with systemd, or else write lines
    for the crontab
 5. make the first backup, and restore it in a rehearsal
 6. say what to put in the safe

It asks for what no flag answers; --yes asks nothing. Repeated with the same answers
it continues where it stopped, and overwrites nothing.

Root sets it up for the user of --user (default takumi-backup, who is made), who then owns settings, key and store: with these settings root runs everything as
that user, who must be able to read the data, and needs a role in PostgreSQL.`,
		Example: `  takumi-backup init
  takumi-backup init --yes --store /var/backups/takumi --database takumi
  takumi-backup init --yes --store ~/backups --uploads ~/documents`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c.Conf, c.Environ, c.Given, c.Stderr = conf, os.Environ(), cmd.Flags().Changed, cmd.ErrOrStderr()
			safe, err := c.Run(cmd.Context())
			if err == nil {
				err = printf(cmd, "%v", safe)
			}
			return err
		},
	}
	f := cmd.Flags()
	f.BoolVarP(&c.Yes, "yes", "y", false, "ask nothing")
	f.StringVar(&c.Dir, "dir", "", "folder of the settings and the key (default /etc/takumi-backup, or ~/.config/takumi-backup)")
	f.StringVar(&c.Store, "store", "", "where backups go: a folder or s3://BUCKET/PREFIX (default: that of the other commands)")
	f.StringArrayVar(&c.Also, "also", nil, "a store that gets each backup at the same time; may be repeated")
	f.StringArrayVar(&c.Databases, "database", nil, "back up this database; may be repeated; empty for none (default: all that are found)")
	f.StringVar(&c.Host, "db-host", "", "host of the server, or folder of its socket")
	f.StringVar(&c.User, "db-user", "", "role that connects")
	f.StringArrayVar(&c.Uploads, "uploads", nil, "back up this folder; may be repeated (default: all)")
	f.StringArrayVar(&c.Contracts, "contracts", nil, "back up this project of contracts; may be repeated (default: all)")
	f.StringVar(&c.Network, "network", "", "the chain of the contracts")
	f.IntVar(&c.Shares, "shares", 0, "split the recovery kit among so many holders")
	f.IntVar(&c.Threshold, "threshold", 0, "of whom so many together have the key")
	f.StringVar(&c.RunAs, "user", "takumi-backup", "the user who owns everything, when root runs this; root for root itself")
	f.StringVar(&c.Scratch, "scratch-dir", "/var/tmp", "folder in which the rehearsal restores for a moment, as plaintext")
	f.StringVar(&c.StateHome, "state-home", "", "folder in which the state folder takumi-backup is (default: the usual place)")
	f.BoolVar(&c.Timers, "timers", true, "write and start timers, or lines for the crontab")
	return cmd
}

// classOf is the class that an exit code is of.
func classOf(code int) fail.Class {
	return fail.Class(max(slices.Index(codes[:], code), 0))
}

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
