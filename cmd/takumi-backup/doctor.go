package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/verify/doctor"
)

func newDoctor() *cobra.Command {
	var keys keyFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor [flags]",
		Short: "Find what would stop a backup or a restore tonight",
		Long: `Check everything that a backup and a restore need: the settings, the keys (each is
fetched), the stores (a file is begun and removed), the room in them, the clock, the
databases (versions, rights to read them, and what a restore needs), the folders, the
audit log, the timers and how the jobs last went, copies elsewhere, and whether prune
would delete what no other store has.

Each finding is a line, followed by the command that helps. The exit code is 6 when
there is one.`,
		Example: "  takumi-backup doctor\n  takumi-backup doctor --json | jq -r .cure",
		Args:    usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			where, _, fault := findAudit(cmd)
			findings, err := doctor.Examine(cmd.Context(), conf, doctor.Examined{Ring: keys.ring, Store: newPlace(), AuditDir: where, AuditFault: fault, Warn: warner(cmd)})
			if err != nil {
				return err
			}
			for _, f := range findings {
				if asJSON {
					err = writeJSON(cmd.OutOrStdout(), f)
				} else {
					err = printFinding(cmd, f)
				}
				if err != nil {
					return stdoutError(err)
				}
			}
			if len(findings) > 0 {
				return errSome
			}
			if !asJSON {
				_, err = fmt.Fprintln(cmd.OutOrStdout(), "nothing was found that would stop a backup or a restore")
			}
			return stdoutError(err)
		},
	}
	keys.Seals = true
	keys.add(cmd, "the key that backups are sealed and opened with")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object per finding and line")
	return cmd
}

func printFinding(cmd *cobra.Command, f doctor.Finding) error {
	subject := ""
	if f.Subject != "" {
		subject = " " + printable(f.Subject)
	}
	text := fmt.Sprintf("%s: %s%s: %s\n", f.Class, f.Check, subject, f.Text)
	if f.Cure != "" {
		text += "  " + f.Cure + "\n"
	}
	_, err := fmt.Fprint(cmd.OutOrStdout(), text)
	return err
}
