package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/verify/status"
)

func newStatus() *cobra.Command {
	var keys keyFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status [flags] [ROOT]",
		Short: "Show on one screen how the backups are",
		Long: `Show how the backups in and under ROOT ($BACKUP_ROOT by default) are, one line for each
series:

  LAST GOOD  when the newest authentic backup was made (without a key: the newest)
  AGE        its age; LATE when that is more than max_age of the settings
  SIZE       its size, and TREND by how much that is more than the usual one
  VERIFIED   up to which level it was last proved, and how long ago
  DRILLED    how long ago one of the series was last restored in a rehearsal
  COPIES     how many of the other stores of the settings have it

and below it how the jobs last went, when systemd starts the next ones, and when keys are
due. doctor says what would stop a backup or a restore, and what helps.`,
		Example: "  takumi-backup status\n  takumi-backup status --json | jq '.series[] | select(.late)'",
		Args:    usageArgs(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			ring, err := keys.ring()
			if err != nil {
				return err
			}
			defer ring.Close()
			if len(ring.Sources()) > 0 {
				if _, err := ring.Current(cmd.Context()); err != nil {
					warn(cmd, "%v; what needs this key is not checked", err)
				}
			}
			o, err := status.FromSettings(conf, rootArg(args), ring, warner(cmd))
			if err != nil {
				return err
			}
			s, err := status.Of(cmd.Context(), newPlace(), o)
			if err != nil {
				return fmt.Errorf("looking through the backups: %w", err)
			}
			timers, err := status.Timers(cmd.Context())
			if err != nil {
				warn(cmd, "when the timers start next is not known: %v", err)
			}
			if asJSON {
				return writeJSON(cmd.OutOrStdout(), shownStatus{s, timers})
			}
			return printf(cmd, "%s", s.Text(timers))
		},
	}
	keys.add(cmd, "authenticate with this key")
	keys.addIdentities(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

// shownStatus is what status --json prints.
type shownStatus struct {
	*status.Status
	Timers []status.Timer `json:"timers,omitempty"`
}
