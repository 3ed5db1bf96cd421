package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/backup/rekey"
	"github.com/takumi-backup/takumi-backup/internal/store"
)

func newRewrap() *cobra.Command {
	c := &changing{verb: "rewrap", done: "rewrapped"}
	var o rekey.RewrapOptions
	cmd := &cobra.Command{
		Use:   "rewrap [flags] PATH...",
		Short: "Change the keys that open backups, and leave the payload as it is",
		Long: `Give each backup at PATH a slot for every key of --to, in the place of those that
it has. A PATH is a backup, or a folder with backups in and under it.

This is for keys that are changed on schedule. It takes nothing back: whoever has
an old key and a copy of the backup from before, or has held its data key, can open
that backup for ever. When a key may be in other hands, reencrypt.

Each file is read once, and must match its .sha256 sidecar: what has rotted is left
as it is, and told. The new envelope is written beside the file, then over the old
one, then the sidecar is renewed; killed in between, it still opens, and the same
command finishes. A backup without a sidecar is authenticated to its end, and gets
one. A file that has hard links is refused. With --detached nothing of that
happens: the file stays untouched, its old slots with it, and the new envelope
beside it, as FILE.envelope, is part of the backup from then on.

Before anything is touched, every key of --to is read twice from where it is kept,
and what was sealed for it is opened with it.`,
		Example: `  takumi-backup key rotate --key file:/etc/takumi-backup/backup.key
  takumi-backup rewrap /var/backups/takumi --from file:/etc/takumi-backup/backup.key --to file:/etc/takumi-backup/backup.key
  takumi-backup rewrap --dry-run --json s3://backups/takumi --to vault:secret/takumi/production/backup-encryption`,
		Args: usageArgs(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := c.begin(cmd, args); err != nil {
				return err
			}
			defer c.close()
			o.Store, o.StateDir, o.From, o.To, o.DryRun, o.Meter = c.place, c.stateDir, c.ring, c.to, c.dryRun, &c.meter
			if !o.Detached && !o.DryRun {
				c.passes = 1
			}
			return c.run(cmd, args, func(ctx context.Context, b store.Backup) (rekey.Result, error) {
				return rekey.Rewrap(ctx, b.Path, o)
			})
		},
	}
	c.add(cmd)
	f := cmd.Flags()
	f.Lookup("dry-run").Usage = "open and authenticate, look that the sidecar has a good form, say what would be done, and change nothing; the file is not compared with its sidecar"
	f.BoolVar(&o.KeepOld, "keep-old", false, "keep the slots of the keys that open the backups now")
	f.BoolVar(&o.DropOther, "drop-other", false, "drop the slots that are not for a key of this program's kind")
	f.BoolVar(&o.Detached, "detached", false, "leave the file untouched for good, and the new envelope beside it: for storage that is written once")
	return audited(cmd, "rewrap", changes)
}

// noCommand is what the program says to words that are none of its commands.
func noCommand(cmd *cobra.Command, args []string) error {
	if len(args) > 0 && args[0] == "rotate" {
		return usagef("there is no command rotate, for it could be two: takumi-backup rewrap changes the keys of backups on schedule, and takumi-backup reencrypt after a compromise, when rewrapping is not enough; takumi-backup key rotate makes the new key")
	}
	return cobra.NoArgs(cmd, args)
}
