package main

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/internal/audit"
	"github.com/takumi-backup/takumi-backup/internal/config"
	"github.com/takumi-backup/takumi-backup/internal/contracts"
)

type backupContracts struct {
	sealing
	chain   contracts.Endpoint
	network string
	slots   []string
}

func newBackupContracts() *cobra.Command {
	b := new(backupContracts)
	b.mayBePlain = true
	cmd := &cobra.Command{
		Use:   "contracts [flags] [DIR]",
		Short: "Seal a snapshot of contracts: their project, and what the chain says of them",
		Long: `Seal a snapshot of the contracts in DIR, or $CONTRACTS_DIR, as
$BACKUP_ROOT/contracts/contract_snapshot_TIME.tar.zst.enc, and print that path.

It takes out, src, test, script, lib, broadcast, foundry.toml, foundry.lock,
remappings.txt, .gitmodules, interfaces/metadata.json and interfaces/deploy.json,
those that exist, and adds snapshot_metadata.json with the
network, the time and the git revision, and contract_state.json.

With an RPC URL, in $RPC_URL_SEPOLIA or $RPC_URL_MAINNET by the network, or by
--rpc-url, contract_state.json holds of every address that metadata.json lists for
the network, all at one block: code, balance, nonce, storage hash, the EIP-1967
slots and those of --slot, with the proof of each. A node that gives anything that
its block does not prove leads to exit code 3, and no backup. Whether the chain
has that block is not proved: compare its hash with what another node says.

The node has to serve the chain of the network: its id is that of a known name, or
"chain_id" in metadata.json, or --chain-id. When there is a URL and metadata.json
names no contract to ask for, or when it is the URL of another network in it and no
--network or NETWORK says which is meant, the snapshot is made and the exit code is 6. A node
without eth_getProof or without the state of the block is no use: ask another, or an
archive node, or give --block latest, or --offline.

--rpc-url shows the URL, and an API key in it, to everybody who can list the
processes; the variables do not.`,
		Example: `  CONTRACTS_DIR=/srv/takumi/contracts NETWORK=sepolia takumi-backup backup contracts
  takumi-backup backup contracts ./contracts --network mainnet --slot SkillProfile:0,SkillProfile:0x5
  takumi-backup backup contracts ./contracts --network local --rpc-url http://127.0.0.1:8545 --block latest`,
		Annotations: records("backup contracts"),
		Args:        usageArgs(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return session(cmd, "backup contracts", changes, nil, func(ctx context.Context, _ *audit.Session) error { return b.run(ctx, cmd, args) })
		},
	}
	f := cmd.Flags()
	f.StringVar(&b.network, "network", "", "the chain, as metadata.json names it (default $NETWORK, or sepolia)")
	addChain(cmd, &b.chain, contracts.Finalized)
	f.StringSliceVar(&b.slots, "slot", nil, "read this storage slot too: ADDRESS:SLOT or NAME:SLOT (may be given again, or as a list)")
	f.StringVar(&b.name, "name", "", "name in the envelope, and base of a generated file name")
	b.sealing.add(cmd)
	return cmd
}

func (b *backupContracts) run(ctx context.Context, cmd *cobra.Command, args []string) error {
	job, err := b.job(cmd)
	if err != nil {
		return err
	}
	dir, err := dirOf(b.conf(), args, "CONTRACTS_DIR")
	if err != nil {
		return err
	}
	b.network = cmp.Or(b.network, b.conf().Get("NETWORK"))
	named := b.network != ""
	b.network = cmp.Or(b.network, "sepolia")
	if strings.ContainsFunc(b.network, notInName) {
		return usagef("--network or NETWORK is %q: a network's name is made of a-z, 0-9, - and _", b.network)
	}
	b.chain.Conf = b.conf()
	if err := b.chain.Check(); err != nil {
		return err
	}
	node, err := b.chain.Dial(b.network)
	if err != nil {
		return err
	}
	if node != nil {
		defer node.Close()
	} else if len(b.slots) > 0 {
		return usagef("--slot needs a chain to ask: set %s, or give --rpc-url", config.RPCVariable(b.network))
	}
	ring, err := b.start(ctx, &job)
	if err != nil {
		return err
	}
	defer ring.Close()
	return backup.Contracts(ctx, job, b.runner(cmd), backup.ContractsOptions{
		Dir: dir, Network: b.network, Named: named, Configured: b.chain.Configured, Node: node, ChainID: b.chain.ChainID(), Block: b.chain.Block, Slots: b.slots, Warn: warner(cmd),
		Asked: func(s *contracts.State) {
			if !b.progress.quiet {
				fmt.Fprintf(cmd.ErrOrStderr(), "verified %d accounts of %s at block %d (%s), %s\n",
					len(s.Accounts), b.network, s.Block.Number, s.Block.Chosen, s.Block.Hash)
			}
		},
	})
}

// addChain adds the flags that say which node is asked.
func addChain(cmd *cobra.Command, c *contracts.Endpoint, block string) {
	f := cmd.Flags()
	f.StringVar(&c.URL, "rpc-url", "", "ask this node (default $RPC_URL_NETWORK, as RPC_URL_SEPOLIA)")
	f.StringVar(&c.Block, "block", block, "read at this block: finalized, safe, latest or a number")
	f.BoolVar(&c.Offline, "offline", false, "ask no node")
	f.StringVar(&c.ID, "chain-id", "", "the id that the node's chain must have (default $CHAIN_ID, that in metadata.json, or that of a known network)")
	cmd.MarkFlagsMutuallyExclusive("rpc-url", "offline")
}
