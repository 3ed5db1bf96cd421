package main

import (
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/backup/prune"
	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/keystore/history"
	"github.com/takumi-backup/takumi-backup/verify/doctor"
	reports "github.com/takumi-backup/takumi-backup/verify/report"
	"github.com/takumi-backup/takumi-backup/verify/status"
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
			findings, err := examine(cmd, &keys)
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

// examine collects what doctor looks at. What is wrong with the settings is a finding.
func examine(cmd *cobra.Command, keys *keyFlags) ([]doctor.Finding, error) {
	var findings []doctor.Finding
	add := func(check, subject string, err error) {
		_, hint := fail.Of(err)
		if is(err, fail.Usage) {
			hint = "takumi-backup config show"
		}
		findings = append(findings, doctor.Finding{Check: check, Class: "error", Subject: subject, Text: err.Error(), Cure: hint})
	}
	if err := doctor.CheckSettings(conf); err != nil {
		add("settings", conf.Path, err)
		return findings, nil
	}
	if _, err := reports.New(conf.Get, conf.Production()); err != nil {
		findings = append(findings, doctor.Finding{Check: "settings", Class: "warning", Subject: "notifications", Text: err.Error(), Cure: "see docs/REPORTS.md, and give backup all --notify"})
	}
	ring, err := keys.ring()
	if err != nil {
		add("keys", "", err)
		return findings, nil
	}
	defer ring.Close()
	o := doctor.Options{
		Root: conf.StoreFolder(), Copies: conf.Also(), Store: newPlace(), Ring: ring, Now: time.Now(), Open: backup.Options{Keys: ring, Doubt: doubter(cmd, "", provedIn(cmd, ""))},
		Recipient: conf.Get("BACKUP_RECIPIENTS") != "" || conf.Get("BACKUP_RECIPIENTS_FILE") != "",
	}
	if o.Policy, err = prune.FromSettings(conf); err != nil {
		return nil, err
	}
	o.Policy.Kinds = append(sortedKeys(o.Policy.ByKind), prune.Kinds...)
	if o.StateDir, err = history.Dir(); err != nil {
		add("settings", "", err)
	}
	if o.AuditDir, err = auditDir(cmd); err != nil {
		add("settings", "", err)
	}
	if _, err := os.Stat(o.Root); err == nil || store.IsRemote(o.Root) {
		if o.Status, err = statusOf(cmd, o.Root, ring); err != nil {
			add("stores", o.Root, err)
		}
	}
	if o.Timers, err = status.Timers(cmd.Context()); err != nil {
		warn(cmd, "when the timers start next is not known: %v", err)
	}
	o.Sources(cmd.Context(), conf)
	if len(o.Databases)+len(o.Folders) == 0 {
		findings = append(findings, doctor.Finding{Check: "settings", Class: "error", Text: "nothing is configured to be backed up", Cure: "takumi-backup init"})
	}
	findings = append(findings, doctor.Run(cmd.Context(), o)...)
	return findings, cmd.Context().Err()
}
