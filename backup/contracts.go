package backup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/takumi-backup/takumi-backup/internal/contracts"
	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/fsutil"
)

// ContractsOptions say how contracts are backed up.
type ContractsOptions struct {
	Dir     string
	Network string
	Named   bool            // somebody said which network is meant
	Node    *contracts.Node // of the network; nil asks no chain
	// Configured reports whether another network has a node. It may be nil.
	Configured func(network string) bool
	ChainID    uint64                           // of the node; 0 takes that of metadata.json or of Network
	Block      string                           // to read at
	Slots      []string                         // further storage slots, as ADDRESS:SLOT or NAME:SLOT
	Warn       func(format string, args ...any) // nil is silent
	Asked      func(*contracts.State)           // sees what the chain said; may be nil
}

// Contracts backs up a snapshot of a contracts' project and of its state on the chain, by
// the given job with Source and Kind filled in. The backup is made even when it returns
// [ErrUnasked], because the Node had nothing to be asked for, or [ErrOthers], because
// several networks could have been meant.
func Contracts(ctx context.Context, job Job, run Runner, o ContractsOptions) error {
	if o.Warn == nil {
		o.Warn = silent
	}
	state, unasked := o.state(ctx)
	if unasked != nil && state == nil {
		return unasked
	}
	revision, err := contracts.ReadRevision(o.Dir)
	if err != nil {
		o.Warn("the snapshot goes without a git revision: %v", err)
	}
	job.Kind = KindContracts
	if job.Name == "" {
		job.To.Base = cmp.Or(job.To.Base, "contract_snapshot")
	}
	job.Source = func(ctx context.Context) (io.ReadCloser, error) {
		return contracts.Open(ctx, contracts.Snapshot{
			Dir: o.Dir, State: state,
			Metadata: contracts.Metadata{Network: o.Network, Time: job.Created, Revision: revision},
			Report:   func(path, why string) { o.Warn("%q was left out: %s", path, why) },
		}), nil
	}
	if _, err = run(ctx, job); err != nil {
		return err
	}
	return unasked
}

// ErrUnasked is returned for a complete backup without the chain's state.
var ErrUnasked = fail.New(fail.Some, "name in interfaces/metadata.json what was deployed, or give --offline", "the backup is made, and holds nothing of the chain")

// ErrOthers is returned for a backup of contracts without the state on other networks.
var ErrOthers = fail.New(fail.Some, "say with --network or NETWORK which is meant, and make a backup for each; --offline asks no chain", "the backup is made, and a chain that is configured was not asked")

// others is ErrOthers when another network with a node has contracts and none was chosen.
func (o ContractsOptions) others(chains []contracts.Chain) error {
	if o.Configured == nil || o.Named && o.Node != nil {
		return nil
	}
	var names []string
	for _, c := range chains {
		if c.Name != o.Network && len(c.Contracts) > 0 && o.Configured(c.Name) {
			names = append(names, c.Name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrOthers, strings.Join(names, ", "))
}

// state asks the chain, if any. A state with an error is incomplete.
func (o ContractsOptions) state(ctx context.Context) (*contracts.State, error) {
	unasked := func(why string) *contracts.State {
		return &contracts.State{Version: contracts.StateVersion, Network: o.Network, Note: why, Accounts: []contracts.Account{}}
	}
	chains, unread := o.chains()
	if o.Node == nil {
		return unasked("no chain was asked: there was no RPC URL"), o.others(chains)
	}
	if unread != nil && !errors.Is(unread, contracts.ErrNoChains) {
		return nil, unread
	}
	chain, err := o.chain(chains)
	if err != nil {
		return nil, err
	}
	if o.ChainID != 0 && chain.ChainID != 0 && o.ChainID != chain.ChainID {
		return nil, fail.Usagef("--chain-id is %d, and interfaces/metadata.json has %d for %s", o.ChainID, chain.ChainID, o.Network)
	}
	id, err := contracts.ChainID(o.Network, cmp.Or(o.ChainID, chain.ChainID))
	if err != nil {
		return nil, err
	}
	var chosen []contracts.ChosenSlot
	for _, text := range o.Slots {
		slot, err := chain.ParseSlot(text)
		if err != nil {
			return nil, fail.Usagef("--slot: %w", err)
		}
		chosen = append(chosen, slot)
	}
	subjects := chain.Subjects(chosen)
	if len(subjects) == 0 {
		why := "no chain was asked: interfaces/metadata.json lists no contract of this network"
		if unread != nil {
			why = "no chain was asked: " + unread.Error()
		}
		o.Warn("%s", why)
		return unasked(why), ErrUnasked
	}
	state, err := contracts.Fetch(ctx, o.Node, contracts.Query{Network: o.Network, ChainID: id, Subjects: subjects, Block: o.Block})
	if err != nil {
		return nil, SourceError(fmt.Errorf("asking %s what %s holds: %w", o.Node, o.Network, err))
	}
	for _, a := range state.Accounts {
		if len(a.Code) == 0 {
			o.Warn("%s holds no code on %s at block %d: %s", a.Address, o.Network, state.Block.Number, strings.Join(a.Names, ", "))
		}
	}
	if o.Asked != nil {
		o.Asked(state)
	}
	return state, o.others(chains)
}

func (o ContractsOptions) chains() ([]contracts.Chain, error) {
	f, err := fsutil.OpenRegular(o.metadata())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, SourceError(fmt.Errorf("reading what was deployed: %w", err))
	}
	defer f.Close()
	chains, err := contracts.ParseMetadata(f)
	if err != nil {
		return nil, SourceError(fmt.Errorf("reading %s: %w", o.metadata(), err))
	}
	return chains, nil
}

func (o ContractsOptions) metadata() string {
	return filepath.Join(o.Dir, "interfaces", "metadata.json")
}

// chain returns the network's part of metadata.json, empty without that file.
func (o ContractsOptions) chain(chains []contracts.Chain) (contracts.Chain, error) {
	var names []string
	for _, c := range chains {
		if c.Name == o.Network {
			return c, nil
		}
		names = append(names, c.Name)
	}
	none := contracts.Chain{Name: o.Network}
	if len(names) > 0 {
		return none, fail.Usagef("%s lists %s, and not the network %q: say which with --network or NETWORK", o.metadata(), strings.Join(names, ", "), o.Network)
	}
	return none, nil
}
