package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/internal/contracts"
	"github.com/takumi-backup/takumi-backup/internal/redact"
	"github.com/takumi-backup/takumi-backup/restore/tree"
)

// errDiffers is returned with --strict when the chain is not as the snapshot
// has it. Each difference has been reported by then.
var errDiffers = errors.New("the chain and the snapshot differ")

type restoreContracts struct {
	restoreUploads
	chain  contracts.Endpoint
	strict bool
}

func newRestoreContracts() *cobra.Command {
	r := &restoreContracts{restoreUploads: restoreUploads{opening: opening{mustFit: true}}}
	cmd := &cobra.Command{
		Use:   "contracts [flags] FILE|-|--latest --to DIR",
		Short: "Restore a snapshot of contracts, and compare it with the chain",
		Long: `Restore a sealed snapshot of contracts: DIR is then a folder that holds
snapshot_TIME with its files.

They go into a new folder next to DIR, and when all of the backup has proved
authentic, the two are exchanged in one step; the former is kept as
DIR.before-TIME. Nothing is written outside of the new folder. --include PATTERN
restores only what the pattern names, and what is below it, into a DIR that is
missing or empty. The path of DIR is printed in the end.

The proofs in contract_state.json are checked again. With an RPC URL, in
$RPC_URL_SEPOLIA or $RPC_URL_MAINNET by the network of the snapshot, or by
--rpc-url, the code and the EIP-1967 slots of every address are compared with the
chain of now, and the differences are printed. They do not change the exit code:
an upgraded proxy is not a mistake. With --strict it is then 1; the snapshot is
restored all the same.`,
		Example: `  takumi-backup restore contracts contract_snapshot_20261123_020000.tar.zst.enc --to /srv/restored
  RPC_URL_SEPOLIA=https://… takumi-backup restore contracts backup.enc --to /srv/restored --strict
  takumi-backup restore contracts backup.enc --to /tmp/found --include foundry.toml --offline`,
		Args: usageArgs(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return r.restored(cmd, args, backup.KindContracts, func(path string) error { return r.run(cmd, path) })
		},
	}
	f := cmd.Flags()
	f.StringVar(&r.to, "to", "", "the folder to restore")
	r.addLatest(cmd)
	f.StringArrayVar(&r.include, "include", nil, "restore only what this pattern names (may be given again)")
	r.addTarget(cmd)
	addChain(cmd, &r.chain, "latest")
	f.BoolVar(&r.strict, "strict", false, "exit code 1 when the chain and the snapshot differ")
	f.BoolVarP(&r.yes, "yes", "y", false, "do not ask before a folder is exchanged")
	f.BoolVarP(&r.dryRun, "dry-run", "n", false, "check the backup, print the paths in it, and restore and compare nothing")
	f.BoolVar(&r.json, "json", false, "print what was done, and the differences, as JSON")
	r.opening.add(cmd)
	return auditedBy(cmd, "restore contracts", r.effect)
}

func (r *restoreContracts) run(cmd *cobra.Command, path string) error {
	r.chain.Conf = conf
	if err := r.chain.Check(); err != nil {
		return err
	}
	var state *contracts.State
	readState := func(src io.Reader) (archive io.Reader, err error) {
		state, archive, err = contracts.ReadState(src)
		if errors.Is(err, contracts.ErrState) {
			warn(cmd, "%v", err)
			err = nil
		}
		return archive, err
	}
	j := tree.Job{Foreign: []string{backup.KindDatabase, backup.KindUploads, backup.KindIncrement}, Through: readState}
	return r.restore(cmd, path, j, func(res tree.Result) error {
		return r.finishSnapshot(cmd, path, res, r.chain.Compare(cmd.Context(), state))
	})
}

func (r *restoreContracts) finishSnapshot(cmd *cobra.Command, path string, s tree.Result, c *contracts.Comparison) error {
	words := cmd.ErrOrStderr()
	switch {
	case c.Fault != nil, r.progress.quiet || r.json:
	case c.Skipped != "":
		fmt.Fprintf(words, "not compared with the chain: %s\n", c.Skipped)
	case len(c.Differences) == 0:
		fmt.Fprintf(words, "the code of block %d is that of %s now, at block %d\n", c.SnapshotBlock, c.Network, c.ChainBlock)
	}
	for _, d := range c.Differences {
		// Not with warn, which takes the hash of a code for a key and hides it.
		fmt.Fprintf(words, "takumi-backup: warning: block %d and block %d of %s differ: %v\n", c.SnapshotBlock, c.ChainBlock, c.Network, d)
	}
	var err error
	if r.json {
		told := restoredContracts{restoredFolder{r.to, s, path}, c, c.Skipped}
		if c.Fault != nil {
			told.NotCompared = redact.Error(c.Fault)
		}
		if told.NotCompared != "" {
			told.Comparison = nil
		}
		if err = writeJSON(cmd.OutOrStdout(), told); err != nil {
			err = errors.Join(err, fmt.Errorf("%s is restored all the same", r.to))
		}
	} else {
		err = r.finish(cmd, path, s)
	}
	switch {
	case err != nil:
		return err
	case s.Failed > 0:
		return errSome
	case c.Fault != nil:
		return fmt.Errorf("%s is restored, and was not compared with the chain: %w", r.to, c.Fault)
	case r.strict && c.Skipped != "":
		return fmt.Errorf("%s is restored, and was not compared with the chain: %s", r.to, c.Skipped)
	case r.strict && len(c.Differences) > 0:
		return fmt.Errorf("%s is restored: %w", r.to, errDiffers)
	}
	return nil
}

// restoredContracts is what restore contracts --json prints.
type restoredContracts struct {
	restoredFolder
	Comparison  *contracts.Comparison `json:"comparison,omitempty"`
	NotCompared string                `json:"not_compared,omitempty"`
}
