package main

import (
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/internal/audit"
	"github.com/takumi-backup/takumi-backup/keystore"
	"github.com/takumi-backup/takumi-backup/keystore/history"
	"github.com/takumi-backup/takumi-backup/keystore/paper"
	"github.com/takumi-backup/takumi-backup/keystore/paper/kit"
)

// auditInit begins MACs. It makes the first key, and the pages and shares of it
// as key paper and key split do.
type auditInit struct {
	split    splitCommand
	out      string
	stateDir string
	replace  bool
}

func newAuditInit() *cobra.Command {
	a := &auditInit{split: splitCommand{verify: true}}
	cmd := &cobra.Command{
		Use:   "init -o FIRST.key|KIT.pdf|KIT.html|KIT.png | --shares N --threshold K -o DIR",
		Short: "Add MACs to the audit log that a later intruder on this host cannot forge",
		Long: `Begin MACs in the audit log: from now on each record carries one, under a key that
is wiped when the record is on the disk. Only the next key stays on this host, in
the state folder, and no former one follows from it. So who takes over the host can
neither change nor forge, add or move what was recorded before, and what they cut
off leaves a gap.

The first key is the proof. It goes to a file, to pages to print (.pdf, .html,
.png) or, with --shares, to a file for each share in DIR, and is kept nowhere else:
take it off this host and delete it here. audit verify --first-key FILE proves the log
with it; key scan makes such a file again of a page, key combine of shares.

Earlier records stay without MACs, and cannot be changed any more either.
The log can still be cut off at its end where nobody appends any more, and be turned
back together with the whole machine: against that keep checkpoints elsewhere (audit
checkpoint).

--replace begins MACs anew under another first key, because the former one was seen by
others or the key on this host was lost. To prove the whole log takes both then.`,
		Example: `  takumi-backup audit init -o /media/stick/first.key
  takumi-backup audit init --shares 5 --threshold 3 -o /media/stick/shares`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.run(cmd) },
	}
	f := cmd.Flags()
	f.StringVarP(&a.out, "output", "o", "", "the new file, or the folder for shares")
	f.IntVar(&a.split.shares, "shares", 0, "split the first key into so many shares: 2 to 255")
	f.IntVar(&a.split.threshold, "threshold", 0, "how many of them restore it: 2 to all")
	f.StringVar(&a.stateDir, "state-dir", "", "folder of the key of the next record (default: the state folder)")
	f.BoolVar(&a.replace, "replace", false, "begin MACs anew under another first key")
	// The records of the log itself say when this began; with a key that was lost
	// there is no other.
	return audited(cmd, "audit init", reads)
}

func (a *auditInit) run(cmd *cobra.Command) error {
	if flagText(cmd, "audit") == "off" {
		return usagef("--audit=off leaves nothing to begin")
	}
	log, err := auditDir(cmd)
	if err != nil {
		return err
	}
	if a.stateDir, err = stateDirOr(a.stateDir); err != nil {
		return err
	}
	if err := a.check(cmd, log); err != nil {
		return err
	}
	key := kek.Generate()
	defer key.Wipe()
	if err := a.hand(cmd, key); err != nil {
		return err
	}
	recordKey(cmd, a.out, key.ID())
	first := audit.FirstKey{ID: string(key.ID()), Secret: key.Bytes()}
	current := filepath.Join(audit.Absolute(a.stateDir), "audit-"+first.ID+".key")
	if err := audit.New(log).Init(cmd.Context(), first, current); err != nil {
		return fmt.Errorf("%w; the key in %s proves nothing: delete it", err, a.out)
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "the audit log in %s carries MACs from now on; take %s off this host and delete it here: audit verify --first-key proves the log with it\n", log, a.out)
	_, err = fmt.Fprintln(cmd.OutOrStdout(), key.ID())
	return unprinted(err, "the MACs have begun")
}

// check refuses what is not to begin.
func (a *auditInit) check(cmd *cobra.Command, log string) error {
	began, err := audit.FirstKeyOf(log)
	if err == nil && began != "" && !a.replace {
		return usagef("the MACs of the log in %s began with first key %s: --replace begins them anew", log, began)
	}
	if err := history.CheckOutside(a.stateDir, conf.StoreFolder()); err != nil {
		return fmt.Errorf("checking where the key of the next record will be: %w", err)
	}
	if a.isSplit(cmd) {
		if a.split.out = a.out; a.out == "" {
			return usagef("-o DIR is missing: where do the shares go?")
		}
		if err := a.split.check(cmd); err != nil {
			return err
		}
	} else if err := checkNewFile("-o FILE", a.out); err != nil {
		return err
	}
	for _, dir := range []string{log, a.stateDir} {
		inside, err := keystore.File{Path: filepath.Join(a.out, "share")}.Inside(dir)
		if err != nil {
			return fmt.Errorf("checking where the first key will be: %w", err)
		}
		if inside {
			return usagef("the first key would be in %s, with what it is to prove: name a place off this host", dir)
		}
	}
	return nil
}

func (*auditInit) isSplit(cmd *cobra.Command) bool {
	return cmd.Flags().Changed("shares") || cmd.Flags().Changed("threshold")
}

// hand writes the first key to its file, its pages or its shares.
func (a *auditInit) hand(cmd *cobra.Command, key *kek.Key) error {
	if a.isSplit(cmd) {
		sum, err := a.split.write(cmd, key)
		if err != nil {
			return err
		}
		return a.split.report(cmd, sum)
	}
	if !kit.Writes(a.out) {
		return keystore.WriteFile(a.out, key)
	}
	blocks := []*paper.Block{paper.NewKey(key)}
	defer paper.Wipe(blocks)
	return kit.Save(a.out, blocks)
}
