package contracts

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/takumi-backup/takumi-backup/internal/config"
	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/fsutil"
	"github.com/takumi-backup/takumi-backup/internal/netsafe"
)

// Finalized is the block that a backup reads at by default.
const Finalized = "finalized"

// Endpoint says which node is asked, and at which block, as flags and settings have it.
type Endpoint struct {
	URL     string // "" for the settings' own, RPC_URL_NETWORK
	Offline bool   // ask none
	Block   string // finalized, safe, latest or a number
	ID      string // that the node's chain must have; "" for what CHAIN_ID or the network says
	Conf    *config.Settings

	id uint64 // 0 when it is not said
}

// Check finds the mistakes that can be found before anything starts.
func (c *Endpoint) Check() error {
	if err := CheckBlock(c.Block); err != nil {
		return fail.Usagef("--block: %w", err)
	}
	if id := cmp.Or(c.ID, c.Conf.Get("CHAIN_ID")); id != "" {
		var err error
		if c.id, err = ParseChainID(id); err != nil {
			return fail.Usagef("--chain-id or CHAIN_ID: %w", err)
		}
	}
	if c.URL != "" {
		_, err := c.Dial("")
		return err
	}
	return nil
}

// Configured says whether the settings name a node for a network.
func (c *Endpoint) Configured(network string) bool {
	name := config.RPCVariable(network)
	return !c.Offline && (c.Conf.Get(name) != "" || c.Conf.Get(name+"_FILE") != "")
}

// Dial returns the node, or nil without one. The URL may hold an API key and is never
// printed.
func (c *Endpoint) Dial(network string) (*Node, error) {
	from, url := "--rpc-url", c.URL
	if url == "" {
		from = config.RPCVariable(network)
		url = c.Conf.Get(from)
	}
	if path := c.Conf.Get(from + "_FILE"); url == "" && path != "" && c.URL == "" && !c.Offline && network != "" {
		secret, err := fsutil.ReadPrivate(path, 4096)
		if err != nil {
			return nil, fmt.Errorf("reading the URL of the node, %s_FILE: %w", from, err)
		}
		url = strings.TrimSpace(string(secret))
	}
	if c.Offline || url == "" {
		return nil, nil
	}
	node, err := Dial(url, Options{RequireTLS: c.Conf.Production()})
	if errors.Is(err, ErrURL) || errors.Is(err, netsafe.ErrPlain) {
		return nil, fail.Usagef("%s: %w", from, err)
	}
	return node, err
}

// ChainID is the id that the chain must have, or 0 when nobody said.
func (c *Endpoint) ChainID() uint64 { return c.id }

// Comparison is what holding a snapshot against its chain gave.
type Comparison struct {
	Network       string       `json:"network"`
	ChainID       uint64       `json:"chain_id"`
	SnapshotBlock uint64       `json:"snapshot_block"`
	ChainBlock    uint64       `json:"chain_block"`
	Differences   []Difference `json:"differences"`

	Skipped string `json:"-"` // why nothing was compared
	Fault   error  `json:"-"` // why nothing could be
}

// Compare checks the state of a snapshot and holds it against the chain.
func (c *Endpoint) Compare(ctx context.Context, state *State) *Comparison {
	switch {
	case state == nil:
		return &Comparison{Skipped: "the snapshot has no " + StateName + " that this program can read"}
	case !state.Asked:
		return &Comparison{Skipped: "the snapshot holds nothing of the chain (" + state.Note + ")"}
	}
	if err := state.Verify(); err != nil {
		return &Comparison{Fault: fmt.Errorf("the %s of the snapshot: %w", StateName, err)}
	}
	node, err := c.Dial(state.Network)
	if err != nil {
		return &Comparison{Fault: err}
	}
	if node == nil {
		return &Comparison{Skipped: "no node was named: set " + config.RPCVariable(state.Network) + ", or give --rpc-url"}
	}
	defer node.Close()
	now, err := Fetch(ctx, node, Query{
		Network: state.Network, ChainID: cmp.Or(c.id, state.ChainID), Subjects: state.Subjects(), Block: c.Block,
	})
	if err != nil {
		return &Comparison{Fault: fmt.Errorf("asking %s what %s holds now: %w", node, state.Network, err)}
	}
	return &Comparison{
		Network: state.Network, ChainID: state.ChainID, SnapshotBlock: state.Block.Number, ChainBlock: now.Block.Number,
		Differences: Compare(state, now),
	}
}
