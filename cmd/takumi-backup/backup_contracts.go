package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/internal/contracts"
	"github.com/takumi-backup/takumi-backup/internal/fsutil"
	"github.com/takumi-backup/takumi-backup/internal/netsafe"
)

type backupContracts struct {
	sealing
	rpc     rpcFlags
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

It takes out, src, test, script, foundry.toml, interfaces/metadata.json and
interfaces/deploy.json, those that exist, and adds snapshot_metadata.json with the
network, the time and the git revision, and contract_state.json.

With an RPC URL, in $RPC_URL_SEPOLIA or $RPC_URL_MAINNET by the network, or by
--rpc-url, contract_state.json holds of every address that metadata.json lists for
the network, all at one block: code, balance, nonce, storage hash, the EIP-1967
slots and those of --slot, with the proof of each. A node that gives anything that
its block does not prove leads to exit code 3, and no backup. Whether the chain
has that block is not proved: compare its hash with what another node says.

--rpc-url shows the URL, and an API key in it, to everybody who can list the
processes; the variables do not.`,
		Example: `  CONTRACTS_DIR=/srv/takumi/contracts NETWORK=sepolia takumi-backup backup contracts
  takumi-backup backup contracts ./contracts --network mainnet --slot SkillProfile:0,SkillProfile:0x5
  takumi-backup backup contracts ./contracts --network local --rpc-url http://127.0.0.1:8545 --block latest`,
		Args: usageArgs(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error { return b.run(cmd, args) },
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&b.network, "network", "", "the chain, as metadata.json names it (default $NETWORK, or sepolia)")
	b.rpc.add(cmd, "finalized")
	f.StringSliceVar(&b.slots, "slot", nil, "read this storage slot too: ADDRESS:SLOT or NAME:SLOT (may be given again, or as a list)")
	f.StringVar(&b.name, "name", "", "name in the envelope, and base of a generated file name")
	b.sealing.add(cmd)
	return audited(cmd, "backup contracts", changes)
}

func (b *backupContracts) run(cmd *cobra.Command, args []string) error {
	dir, err := b.check(cmd, args)
	if err != nil {
		return err
	}
	if err := b.rpc.check(); err != nil {
		return err
	}
	node, err := b.rpc.dial(b.network)
	if err != nil {
		return err
	}
	if node != nil {
		defer node.Close()
	}
	ring, keys, err := b.begin(cmd)
	if err != nil {
		return err
	}
	defer ring.Close()
	state, err := b.state(cmd, node, dir)
	if err != nil {
		return err
	}
	revision, err := contracts.ReadRevision(dir)
	if err != nil {
		warn(cmd, "the snapshot goes without a git revision: %v", err)
	}
	b.kind = backup.Contracts
	if b.name == "" {
		b.base = "contract_snapshot"
	}
	ctx, stop := context.WithCancelCause(cmd.Context())
	defer stop(nil)
	src := contracts.Open(ctx, contracts.Snapshot{
		Dir: dir, State: state,
		Metadata: contracts.Metadata{Network: b.network, Time: b.started, Revision: revision},
		Report:   func(path, why string) { warn(cmd, "%q was left out: %s", path, why) },
	})
	defer src.Close()
	return b.seal(cmd, stop, src, keys)
}

func (b *backupContracts) check(cmd *cobra.Command, args []string) (dir string, err error) {
	if err := b.sealing.check(cmd); err != nil {
		return "", err
	}
	dir = os.Getenv("CONTRACTS_DIR")
	if len(args) > 0 {
		dir = args[0]
	}
	b.network = cmp.Or(b.network, os.Getenv("NETWORK"), "sepolia")
	switch {
	case dir == "":
		return "", usagef("name the folder, or set CONTRACTS_DIR")
	case cmd.Flags().Changed("name") && b.name == "":
		return "", usagef("--name is empty")
	case strings.ContainsFunc(b.network, notInName):
		return "", usagef("--network or NETWORK is %q: a network's name is made of a-z, 0-9, - and _", b.network)
	}
	return dir, nil
}

// state asks the chain, if there is one to ask.
func (b *backupContracts) state(cmd *cobra.Command, node *contracts.Node, dir string) (*contracts.State, error) {
	unasked := func(why string) *contracts.State {
		return &contracts.State{Version: contracts.StateVersion, Network: b.network, Note: why, Accounts: []contracts.Account{}}
	}
	if node == nil {
		if len(b.slots) > 0 {
			return nil, usagef("--slot needs a chain to ask: set %s, or give --rpc-url", rpcVariable(b.network))
		}
		return unasked("no chain was asked: there was no RPC URL"), nil
	}
	chain, err := b.chain(dir)
	if err != nil {
		return nil, err
	}
	var chosen []contracts.ChosenSlot
	for _, text := range b.slots {
		slot, err := chain.ParseSlot(text)
		if err != nil {
			return nil, usagef("--slot: %w", err)
		}
		chosen = append(chosen, slot)
	}
	subjects := chain.Subjects(chosen)
	if len(subjects) == 0 {
		const why = "no chain was asked: interfaces/metadata.json lists no contract of this network"
		warn(cmd, "%s", why)
		return unasked(why), nil
	}
	state, err := contracts.Fetch(cmd.Context(), node, contracts.Query{Network: b.network, Subjects: subjects, Block: b.rpc.block})
	if err != nil {
		return nil, sourceError(fmt.Errorf("asking %s what %s holds: %w", node, b.network, err))
	}
	for _, a := range state.Accounts {
		if len(a.Code) == 0 {
			warn(cmd, "%s holds no code on %s at block %d: %s", a.Address, b.network, state.Block.Number, strings.Join(a.Names, ", "))
		}
	}
	if !b.progress.quiet {
		fmt.Fprintf(cmd.ErrOrStderr(), "verified %d accounts of %s at block %d (%s), %s\n",
			len(state.Accounts), b.network, state.Block.Number, state.Block.Chosen, state.Block.Hash)
	}
	return state, nil
}

// chain returns the network's part of metadata.json. Without that file it is
// empty.
func (b *backupContracts) chain(dir string) (contracts.Chain, error) {
	none := contracts.Chain{Name: b.network}
	path := filepath.Join(dir, "interfaces", "metadata.json")
	f, err := fsutil.OpenRegular(path)
	if errors.Is(err, fs.ErrNotExist) {
		return none, nil
	}
	if err != nil {
		return none, sourceError(fmt.Errorf("reading what was deployed: %w", err))
	}
	defer f.Close()
	chains, err := contracts.ParseMetadata(f)
	if err != nil {
		return none, sourceError(fmt.Errorf("reading %s: %w", path, err))
	}
	var names []string
	for _, c := range chains {
		if c.Name == b.network {
			return c, nil
		}
		names = append(names, c.Name)
	}
	if len(names) > 0 {
		return none, usagef("%s lists %s, and not the network %q: say which with --network or NETWORK", path, strings.Join(names, ", "), b.network)
	}
	return none, nil
}

// rpcFlags say which node to ask, and at which block.
type rpcFlags struct {
	url     string
	offline bool
	block   string
}

func (r *rpcFlags) add(cmd *cobra.Command, block string) {
	f := cmd.Flags()
	f.StringVar(&r.url, "rpc-url", "", "ask this node (default $RPC_URL_NETWORK, as RPC_URL_SEPOLIA)")
	f.StringVar(&r.block, "block", block, "read at this block: finalized, safe, latest or a number")
	f.BoolVar(&r.offline, "offline", false, "ask no node")
	cmd.MarkFlagsMutuallyExclusive("rpc-url", "offline")
}

// check finds the mistakes that can be found before anything starts.
func (r *rpcFlags) check() error {
	if err := contracts.CheckBlock(r.block); err != nil {
		return usagef("--block: %w", err)
	}
	if r.url != "" {
		_, err := r.dial("")
		return err
	}
	return nil
}

// rpcVariable names the variable that holds the URL for a network.
func rpcVariable(network string) string {
	return "RPC_URL_" + strings.ToUpper(strings.ReplaceAll(network, "-", "_"))
}

// dial returns the node to ask, or nil when there is none. The URL may hold an
// API key: nothing prints it.
func (r *rpcFlags) dial(network string) (*contracts.Node, error) {
	from, url := "--rpc-url", r.url
	if url == "" {
		from = rpcVariable(network)
		url = os.Getenv(from)
	}
	if r.offline || url == "" {
		return nil, nil
	}
	node, err := contracts.Dial(url, contracts.Options{RequireTLS: inProduction()})
	if errors.Is(err, contracts.ErrURL) || errors.Is(err, netsafe.ErrPlain) {
		return nil, usagef("%s: %w", from, err)
	}
	return node, err
}
