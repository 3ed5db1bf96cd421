package main

import (
	"fmt"
	"regexp"
	"time"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/backup/rekey"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/internal/audit"
	"github.com/takumi-backup/takumi-backup/internal/values"
	"github.com/takumi-backup/takumi-backup/keystore"
	"github.com/takumi-backup/takumi-backup/keystore/history"
)

var keyIDForm = regexp.MustCompile(`^[0-9a-f]{16}$`)

type keyRetire struct {
	state stateFlags
	keys  keyFlags
	rekey.Retirement
	grace values.Age
	json  bool
}

func newKeyRetire() *cobra.Command {
	r := &keyRetire{grace: values.Age(history.DefaultGrace)}
	cmd := &cobra.Command{
		Use:   "retire KEYID|HINT",
		Short: "Say whether a former key may be destroyed, and how",
		Long: `Look whether a former key may be destroyed: it is current nowhere, its grace period
is over, and every backup under the root opens without it. The claims of slots do
not count: all other keys that the history has in use are fetched, and one of them,
or of the identities of -i, has to open the backup. When one cannot be fetched, or none
opens a backup, it says which backups need the key, and the exit code is 1. Otherwise it
records that the key may be destroyed, and prints the command that destroys it. This
program destroys no key.

A key that the history does not know is refused too: key history --add makes it known.
The HINT of a recipient of age, as key history shows it, is looked at in the same way,
for its identity.

Where hosts seal for recipients from now on, and no new key follows, --end-use takes
the last key out of use, once what -i names opens all the backups. It may be destroyed
when --grace is over; call key retire again then.

Destroying a key takes nothing back. Another copy of the key opens any copy of a
backup from before it was rewrapped; and a backup that was
rewrapped with --detached still has its old slots. It keeps you from opening what no
other key opens, so look at copies of backups elsewhere first: on other disks, with
another --root, off-site. Paper, shares and exported copies of the key are to be
destroyed too.`,
		Example: `  takumi-backup key history
  takumi-backup key retire 0123456789abcdef
  takumi-backup key retire --end-use -i /media/stick/restore.age 0123456789abcdef`,
		Args: usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error { return r.run(cmd, args[0]) },
	}
	f := cmd.Flags()
	r.keys.addIdentities(cmd)
	f.BoolVar(&r.End, "end-use", false, "take a key out of use that is current, because identities took over")
	f.Var(&r.grace, "grace", "with --end-use: how long the key is kept at the least")
	f.BoolVar(&r.DryRun, "dry-run", false, "say whether it may be destroyed, and record nothing")
	f.BoolVar(&r.json, "json", false, "print the result as JSON")
	r.keys.passphrase.add(cmd)
	r.state.add(cmd)
	return audited(cmd, "key retire", changes)
}

func (r *keyRetire) run(cmd *cobra.Command, text string) (err error) {
	id := kek.ID(text)
	if !keyIDForm.MatchString(text) {
		return usagef("KEYID is the 16 hex digits that key history shows; what was given is not repeated here, it may be secret")
	}
	if err := r.state.resolve(cmd); err != nil {
		return err
	}
	identities := keystore.NewRing()
	if err := r.keys.keys().Join(identities); err != nil {
		return err
	}
	if identities.Opens() {
		if r.Identities, err = identities.Identities(cmd.Context(), nil); err != nil {
			return err
		}
	}
	if r.History, err = r.state.history(r.DryRun); err != nil {
		return err
	}
	defer r.History.Close()
	recordOf(cmd).KeyIDs = audit.IDs(id)
	if r.Backups, err = r.state.backups(cmd.Context()); err != nil {
		return fmt.Errorf("looking through the backups: %w", err)
	}
	r.Store, r.Source, r.Grace = newPlace(), r.keys.parseKey, time.Duration(r.grace)
	out, err := r.Run(cmd.Context(), id)
	if err != nil {
		return err
	}
	return r.tell(cmd, out)
}

func (r *keyRetire) tell(cmd *cobra.Command, out *rekey.Retired) error {
	if out.OnlyBeside > 0 {
		warn(cmd, "%d backups are opened by a current key only through the envelope next to them (FILE.envelope): when one of those gets lost, this key is what opens the backup", out.OnlyBeside)
	}
	if out.Opens > 0 {
		warn(cmd, "%d backups still have a slot for it, next to that of another key: who has a copy of the key can read them", out.Opens)
	}
	if r.json {
		return writeJSON(cmd.OutOrStdout(), out)
	}
	if r.End {
		return printf(cmd, "key %s is no longer in use, and may not be destroyed before %s\n", out.ID, out.After.Format(time.RFC3339))
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "key %s may be destroyed: no backup under the root needs it; copies of backups elsewhere, on paper and in safes are up to you\n", out.ID)
	for _, p := range out.Places {
		line := p.Command
		if line == "" {
			line = "# " + p.Provider + ": " + p.Reason
		}
		if err := printf(cmd, "%v\n", line); err != nil {
			return err
		}
	}
	return nil
}
