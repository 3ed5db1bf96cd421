package contracts

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/takumi-backup/takumi-backup/internal/fail"
)

// Subject is an account to ask for.
type Subject struct {
	Address Address
	Names   []string // in metadata.json
	Slots   []Hash   // besides those of EIP-1967
}

// Query says what to read from a chain.
type Query struct {
	Network  string
	ChainID  uint64 // that the node must serve; 0 leaves it to Network, see [ChainID]
	Subjects []Subject
	// Block is finalized, safe, latest or a decimal number. For nodes without finalized
	// blocks, safe and then the twelfth before the latest is used.
	Block string
}

// ErrReorg is returned when the chain exchanged the pinned block meanwhile.
var ErrReorg = fail.New(fail.Failed, "run it again", "the chain was reorganised while it was read")

// maxSlots is asked for at once; nodes refuse more than 1,024.
const maxSlots = 1000

// Fetch reads all of a query at one block and verifies every answer before it
// returns: see [State.Verify]. Errors wrap ErrInconsistent, ErrReorg, ErrNetwork, ErrChainID or
// ErrHeader, are an *RPCError, or are those of the connection.
func Fetch(ctx context.Context, n *Node, q Query) (*State, error) {
	want, err := ChainID(q.Network, q.ChainID)
	if err != nil {
		return nil, err
	}
	s := &State{Version: StateVersion, Network: q.Network, Asked: true, Accounts: []Account{}}
	var id Quantity
	if err := n.call(ctx, &id, "eth_chainId"); err != nil {
		return nil, err
	}
	if !id.n.IsUint64() {
		return nil, fmt.Errorf("%w: its id is %v", ErrNetwork, id)
	}
	s.ChainID = id.n.Uint64()
	if err := checkChain(n, q.Network, want, s.ChainID); err != nil {
		return nil, err
	}
	block, err := pin(ctx, n, q.Block)
	if err != nil {
		return nil, fmt.Errorf("choosing a block: %w", err)
	}
	s.Block = block
	for _, subject := range q.Subjects {
		a, err := fetchAccount(ctx, n, block, subject)
		if err != nil {
			return nil, fmt.Errorf("account %s at block %d: %w", subject.Address, block.Number, err)
		}
		s.Accounts = append(s.Accounts, *a)
	}
	if err := s.Verify(); err != nil {
		return nil, err
	}
	// Last: until here another block of that number may have answered.
	again, err := blockAt(ctx, n, blockNumber(block.Number))
	if err != nil {
		return nil, fmt.Errorf("looking at block %d again: %w", block.Number, err)
	}
	if again.Hash != block.Hash {
		return nil, fmt.Errorf("%w: block %d was %s and is %s now", ErrReorg, block.Number, block.Hash, again.Hash)
	}
	return s, nil
}

func blockNumber(n uint64) string { return "0x" + strconv.FormatUint(n, 16) }

// depth is how far behind the latest a block is taken as final if none is known to be.
const depth = 12

func pin(ctx context.Context, n *Node, choice string) (*Block, error) {
	if err := CheckBlock(choice); err != nil {
		return nil, err
	}
	if number, err := strconv.ParseUint(choice, 10, 64); err == nil {
		return chosen("number")(blockAt(ctx, n, blockNumber(number)))
	}
	if choice != "finalized" {
		return chosen(choice)(blockAt(ctx, n, choice))
	}
	for _, tag := range []string{"finalized", "safe"} {
		b, err := chosen(tag)(blockAt(ctx, n, tag))
		// A node that knows no such block says so in one of these ways.
		if !errors.As(err, new(*RPCError)) && !errors.Is(err, errNothing) {
			return b, err
		}
	}
	latest, err := blockAt(ctx, n, "latest")
	if err != nil {
		return nil, err
	}
	return chosen(fmt.Sprintf("latest-%d", depth))(blockAt(ctx, n, blockNumber(latest.Number-min(depth, latest.Number))))
}

func chosen(how string) func(*Block, error) (*Block, error) {
	return func(b *Block, err error) (*Block, error) {
		if b != nil {
			b.Chosen = how
		}
		return b, err
	}
}

// blockAt returns a block whose header has proved to be that of its hash.
func blockAt(ctx context.Context, n *Node, which string) (*Block, error) {
	var raw json.RawMessage
	if err := n.call(ctx, &raw, "eth_getBlockByNumber", which, false); err != nil {
		return nil, err
	}
	b, err := readBlock(raw)
	if err != nil {
		return nil, err
	}
	if which[0] == '0' && blockNumber(b.Number) != which {
		return nil, fmt.Errorf("%w: the node gives block %d in place of %s", ErrInconsistent, b.Number, which)
	}
	return b, nil
}

// readBlock returns the proved block of an answer. Headers of other chains have errors of
// their own.
func readBlock(raw json.RawMessage) (*Block, error) {
	b, err := ParseBlock(raw)
	if err == nil {
		return b, nil
	}
	var fields map[string]any
	if json.Unmarshal(raw, &fields) == nil {
		if other := foreignHeader(fields); other != nil {
			return nil, other
		}
	}
	return nil, err
}

type proofAnswer struct {
	Address      Address  `json:"address"`
	AccountProof []Bytes  `json:"accountProof"`
	Balance      Quantity `json:"balance"`
	CodeHash     Hash     `json:"codeHash"`
	Nonce        Quantity `json:"nonce"`
	StorageHash  Hash     `json:"storageHash"`
	StorageProof []struct {
		Key   Quantity `json:"key"`
		Value Quantity `json:"value"`
		Proof []Bytes  `json:"proof"`
	} `json:"storageProof"`
}

func fetchAccount(ctx context.Context, n *Node, b *Block, subject Subject) (*Account, error) {
	slots := uniqueSlots(append([]Hash{implementationSlot, adminSlot, beaconSlot}, subject.Slots...))
	if len(slots) > maxSlots {
		return nil, fmt.Errorf("%d slots of one account are more than the %d that nodes give", len(slots), maxSlots)
	}
	at := blockNumber(b.Number)
	var p proofAnswer
	if err := n.call(ctx, &p, "eth_getProof", subject.Address, slots, at); err != nil {
		return nil, err
	}
	a := &Account{
		Address: subject.Address, Names: subject.Names, Proof: p.AccountProof,
		Nonce: p.Nonce, Balance: p.Balance, StorageHash: p.StorageHash, CodeHash: p.CodeHash,
	}
	// Nodes answer for missing accounts with zeros or with the hashes of nothing; the proof
	// decides.
	key := Keccak(a.Address[:])
	leaf, err := ProveValue(b.StateRoot, key[:], a.Proof)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInconsistent, err)
	}
	if a.Exists = leaf != nil; !a.Exists {
		if a.CodeHash == (Hash{}) {
			a.CodeHash = emptyCode
		}
		if a.StorageHash == (Hash{}) {
			a.StorageHash = emptyRoot
		}
	}
	if p.Address != a.Address || len(p.StorageProof) != len(slots) {
		return nil, fmt.Errorf("%w: the node gives the proof of something else", ErrInconsistent)
	}
	for i, slot := range slots {
		got := p.StorageProof[i]
		if got.Key.hash() != slot {
			return nil, fmt.Errorf("%w: the node gives slot %s in place of %s", ErrInconsistent, got.Key.hash(), slot)
		}
		a.Slots = append(a.Slots, Slot{Slot: slot, Value: got.Value.hash(), Proof: got.Proof})
	}
	a.Proxy = Proxy{addressIn(a.Slots[0].Value), addressIn(a.Slots[1].Value), addressIn(a.Slots[2].Value)}
	if err := n.call(ctx, &a.Code, "eth_getCode", subject.Address, at); err != nil {
		return nil, err
	}
	return a, nil
}

func uniqueSlots(slots []Hash) []Hash {
	seen := map[Hash]bool{}
	var unique []Hash
	for _, s := range slots {
		if !seen[s] {
			seen[s] = true
			unique = append(unique, s)
		}
	}
	return unique
}

// CheckBlock says whether a choice of a block can be one.
func CheckBlock(choice string) error {
	switch choice {
	case "finalized", "safe", "latest":
		return nil
	}
	if _, err := strconv.ParseUint(choice, 10, 64); err != nil {
		return fmt.Errorf("%q is not finalized, safe, latest or a number", choice)
	}
	return nil
}
