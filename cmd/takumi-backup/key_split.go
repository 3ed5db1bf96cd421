package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/internal/redact"
	"github.com/takumi-backup/takumi-backup/internal/terminal"
	"github.com/takumi-backup/takumi-backup/keystore"
	"github.com/takumi-backup/takumi-backup/keystore/paper"
	"github.com/takumi-backup/takumi-backup/keystore/shares"
	"github.com/takumi-backup/takumi-backup/keystore/written"
)

type splitCommand struct {
	keys      keyFlags
	shares    int
	threshold int
	out       string
	verify    bool
	json      bool
}

func newKeySplit() *cobra.Command {
	s := new(splitCommand)
	cmd := &cobra.Command{
		Use:   "split --shares N --threshold K [-o DIR]",
		Short: "Split a key into shares, some of which restore it",
		Long: `Split a key, or an age identity (age:PATH), into shares: any K of the N restore it,
fewer say nothing about it.

With -o each share goes into a file of its own in DIR, which is made if it is
missing; the paths are printed. Give each file, or the page that key paper makes
of it, to another custodian, and delete them there. Without -o the shares are
shown on the terminal; they are not written to a pipe or a file together.

Before anything is shown or written every combination of K shares has given the
key back, or where there are more than 5,000 a random sample in which each share
occurs (fewer for thresholds above 8). --verify=false leaves that out.`,
		Example: `  takumi-backup key split --key file:/etc/takumi-backup/backup.key --shares 5 --threshold 3 -o /media/shares
  takumi-backup key paper --shares-of /media/shares -o /media/shares/kit.pdf`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return s.run(cmd) },
	}
	f := cmd.Flags()
	s.keys.add(cmd, "the key to split")
	f.IntVar(&s.shares, "shares", 0, "how many shares to make: 2 to 255")
	f.IntVar(&s.threshold, "threshold", 0, "how many of them restore the key: 2 to all")
	f.StringVarP(&s.out, "output", "o", "", "write a file for each share into this folder")
	f.BoolVar(&s.verify, "verify", true, "prove first that the shares give the key")
	f.BoolVar(&s.json, "json", false, "with -o: print a summary as JSON, in place of the paths")
	return audited(cmd, "key split", changes)
}

func (s *splitCommand) run(cmd *cobra.Command) error {
	if err := s.check(cmd); err != nil {
		return err
	}
	key, err := s.keys.keys().Secret(cmd.Context())
	if err != nil {
		return err
	}
	defer key.Wipe()
	recordKey(cmd, s.out, key.ID())
	sum, err := s.write(cmd, key)
	if err != nil || s.out == "" {
		return err
	}
	return s.report(cmd, sum)
}

// write splits a key into files, or shows the shares on the terminal.
func (s *splitCommand) write(cmd *cobra.Command, key paper.Secret) (written.Split, error) {
	return written.SplitOptions{
		Shares: s.shares, Threshold: s.threshold, Dir: s.out, Verify: s.verify, Say: printer(cmd, false),
		Show: func(blocks []*paper.Block) error { return show(cmd, blocks) },
	}.Split(cmd.Context(), key)
}

func (s *splitCommand) check(cmd *cobra.Command) error {
	f := cmd.Flags()
	switch {
	case !f.Changed("shares") || !f.Changed("threshold"):
		return usagef("give --shares N and --threshold K, as --shares 5 --threshold 3")
	case s.threshold < 2 || s.threshold > s.shares || s.shares > paper.MaxShares:
		return usagef("--shares %d --threshold %d: %w", s.shares, s.threshold, shares.ErrLimits)
	case f.Changed("output") && (s.out == "" || s.out == "-"):
		return usagef("--output is not a folder")
	case redact.HasKey(s.out):
		return usagef("--output is %q, which looks like a key itself", s.out)
	case s.out == "" && s.json:
		return usagef("--json goes with -o DIR")
	case s.out == "" && !terminal.Is(os.Stdout):
		return usagef("standard output is not a terminal, and shares in one file or pipe are not shares: give -o DIR")
	}
	if s.out == "" {
		return nil
	}
	if err := keystore.CheckOutside(keystore.File{Path: filepath.Join(s.out, "share")}, conf.StoreFolder()); err != nil {
		return fmt.Errorf("checking where the shares will be: %w", err)
	}
	return nil
}

func (s *splitCommand) report(cmd *cobra.Command, sum written.Split) error {
	var err error
	if s.json {
		err = writeJSON(cmd.OutOrStdout(), sum)
	}
	for i := 0; i < len(sum.Files) && !s.json && err == nil; i++ {
		err = printf(cmd, "%v\n", sum.Files[i])
	}
	if err != nil {
		return errors.Join(err, fmt.Errorf("the shares are complete all the same, in %s", s.out))
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "%d shares of key %s, set %s: any %d restore it; give each to another custodian and delete it here\n",
		sum.Shares, sum.KeyID, sum.Set, sum.Threshold)
	return nil
}

func show(cmd *cobra.Command, blocks []*paper.Block) error {
	for i, b := range blocks {
		text := b.Text()
		if i > 0 {
			fmt.Fprintln(cmd.OutOrStdout())
		}
		_, err := cmd.OutOrStdout().Write(text)
		clear(text)
		if err != nil {
			return stdoutError(err)
		}
	}
	return nil
}

func newKeyCombine() *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use:   "combine -o KEYFILE [SHARE...|-]",
		Short: "Restore a key from its shares",
		Long: `Restore a key, or an age identity, from the shares that key split made, and write it
to KEYFILE as key generate does. Its id, or recipient, proves that it is the right
one, and is printed.

SHARE is a file with one share or several; - is standard input. Without SHARE
the lines are asked for on the terminal, and each is checked as it is typed.
Otherwise the error says which line of which share is mistyped.

With enough good shares a further one that is given twice, of another set or false
is named and ignored.`,
		Example: `  takumi-backup key combine -o /etc/takumi-backup/backup.key
  takumi-backup key combine -o restored.key share-1.txt share-4.txt share-5.txt`,
		Args: usageArgs(cobra.ArbitraryArgs),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkKeyFile("-o KEYFILE", out); err != nil {
				return err
			}
			blocks, unread, err := writtenKeys(cmd).Gather(cmd.Context(), args)
			defer paper.Wipe(blocks)
			if err != nil {
				return err
			}
			key, err := writtenKeys(cmd).Restore("from shares", blocks)
			if err != nil && len(unread) > 0 {
				return unread[0]
			}
			if err != nil {
				return err
			}
			for _, fault := range unread {
				warn(cmd, "%v", fault)
			}
			return writeKey(cmd, out, key)
		},
	}
	cmd.Flags().StringVarP(&out, "output", "o", "", newKeyFileHelp)
	return audited(cmd, "key combine", changes)
}
