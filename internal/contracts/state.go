package contracts

import (
	"errors"
	"fmt"
	"math/big"

	"github.com/takumi-backup/takumi-backup/internal/fail"
)

// ErrInconsistent is returned when a node's answers disagree with the hashes of the block it named,
// or a stored state with itself.
var ErrInconsistent = fail.New(fail.Failed, "ask another node", "the answers do not fit together")

// StateVersion is the version of contract_state.json that this package writes.
const StateVersion = 1

// State is contract_state.json: what a chain says of some accounts at one
// block, with the proof of it.
type State struct {
	Version int    `json:"version"`
	Network string `json:"network"`
	// Asked is false when there was no chain to ask; Note then says so, and the
	// rest is empty.
	Asked    bool      `json:"asked"`
	Note     string    `json:"note,omitempty"`
	ChainID  uint64    `json:"chain_id,omitempty"`
	Block    *Block    `json:"block,omitempty"`
	Accounts []Account `json:"accounts"`
}

// Block is the block that a state was read at.
type Block struct {
	Number    uint64 `json:"number"`
	Hash      Hash   `json:"hash"`
	StateRoot Hash   `json:"state_root"`
	Time      uint64 `json:"time"`
	// Chosen says how: finalized, safe, latest, latest-12 or number.
	Chosen string `json:"chosen"`
	// Header is the encoded header, whose Keccak hash is Hash.
	Header Bytes `json:"header"`
}

// Account is one address at the block.
type Account struct {
	Address Address  `json:"address"`
	Names   []string `json:"names,omitempty"` // in metadata.json
	// Exists is false when the chain proves that the address holds nothing.
	Exists      bool     `json:"exists"`
	Nonce       Quantity `json:"nonce"`
	Balance     Quantity `json:"balance"` // in wei
	StorageHash Hash     `json:"storage_hash"`
	CodeHash    Hash     `json:"code_hash"`
	Code        Bytes    `json:"code"`
	Proof       []Bytes  `json:"account_proof"`
	// Proxy is the three slots of EIP-1967, which are also among Slots, with proofs.
	Proxy Proxy  `json:"eip1967"`
	Slots []Slot `json:"slots"`
}

// Proxy is where a proxy of EIP-1967 points. The zero address means nowhere.
type Proxy struct {
	Implementation Address `json:"implementation"`
	Admin          Address `json:"admin"`
	Beacon         Address `json:"beacon"`
}

// Slot is one slot of an account's storage.
type Slot struct {
	Slot  Hash    `json:"slot"`
	Value Hash    `json:"value"`
	Proof []Bytes `json:"proof"`
}

// The slots of EIP-1967: the hash of a name, less one.
var (
	implementationSlot = eip1967("eip1967.proxy.implementation")
	adminSlot          = eip1967("eip1967.proxy.admin")
	beaconSlot         = eip1967("eip1967.proxy.beacon")
)

func eip1967(name string) Hash {
	sum := Keccak([]byte(name))
	n := new(big.Int).SetBytes(sum[:])
	n.Sub(n, big.NewInt(1))
	n.FillBytes(sum[:])
	return sum
}

// Verify checks everything that a state of an asked chain says against the hash
// of its block: the header against that hash, each account against the state
// root in the header, its code and slots against the account. What it cannot
// know is whether the chain has such a block. Errors wrap ErrInconsistent.
func (s *State) Verify() error {
	if !s.Asked {
		return nil
	}
	if s.Block == nil {
		return fmt.Errorf("%w: the state names no block", ErrInconsistent)
	}
	if err := s.Block.verify(); err != nil {
		return fmt.Errorf("%w: block %d: %w", ErrInconsistent, s.Block.Number, err)
	}
	for i := range s.Accounts {
		if err := s.Accounts[i].verify(s.Block.StateRoot); err != nil {
			return fmt.Errorf("%w: account %s at block %d: %w", ErrInconsistent, s.Accounts[i].Address, s.Block.Number, err)
		}
	}
	return nil
}

func (b *Block) verify() error {
	want, err := decodeHeader(b.Header)
	if err != nil {
		return err
	}
	switch {
	case want.Hash != b.Hash:
		return fmt.Errorf("its header has the hash %s, not %s", want.Hash, b.Hash)
	case want.StateRoot != b.StateRoot:
		return fmt.Errorf("its header has the state root %s, not %s", want.StateRoot, b.StateRoot)
	case want.Number != b.Number:
		return fmt.Errorf("its header is that of block %d", want.Number)
	case want.Time != b.Time:
		return fmt.Errorf("its header has the time %d, not %d", want.Time, b.Time)
	}
	return nil
}

func (a *Account) verify(stateRoot Hash) error {
	key := Keccak(a.Address[:])
	leaf, err := ProveValue(stateRoot, key[:], a.Proof)
	if err != nil {
		return err
	}
	if err := a.checkLeaf(leaf); err != nil {
		return err
	}
	if got := Keccak(a.Code); got != a.CodeHash {
		return fmt.Errorf("its code has the hash %s, not %s", got, a.CodeHash)
	}
	values := map[Hash]Hash{}
	for i := range a.Slots {
		if err := a.Slots[i].verify(a.StorageHash); err != nil {
			return fmt.Errorf("slot %s: %w", a.Slots[i].Slot, err)
		}
		values[a.Slots[i].Slot] = a.Slots[i].Value
	}
	for slot, want := range map[Hash]Address{implementationSlot: a.Proxy.Implementation, adminSlot: a.Proxy.Admin, beaconSlot: a.Proxy.Beacon} {
		if got, read := values[slot]; !read || addressIn(got) != want {
			return fmt.Errorf("slot %s of EIP-1967 is not what was read", slot)
		}
	}
	return nil
}

func (a *Account) checkLeaf(leaf []byte) error {
	want := Account{StorageHash: emptyRoot, CodeHash: emptyCode}
	if leaf != nil {
		fields, err := rlpList(leaf)
		if err != nil || len(fields) != 4 {
			return fmt.Errorf("%w: the state holds something else than an account", errProof)
		}
		nonce, nonceErr := fields[0].number()
		balance, balanceErr := fields[1].number()
		storage, storageErr := fields[2].hash()
		code, codeErr := fields[3].hash()
		if err := errors.Join(nonceErr, balanceErr, storageErr, codeErr); err != nil {
			return fmt.Errorf("%w: the state holds something else than an account", errProof)
		}
		want = Account{Exists: true, StorageHash: storage, CodeHash: code}
		want.Nonce.n.Set(nonce)
		want.Balance.n.Set(balance)
	}
	differs := func(what string, got, want any) error {
		return fmt.Errorf("its %s is %v, where the state has %v", what, got, want)
	}
	switch {
	case a.Exists != want.Exists:
		return differs("existence", a.Exists, want.Exists)
	case a.Nonce.n.Cmp(&want.Nonce.n) != 0:
		return differs("nonce", a.Nonce, want.Nonce)
	case a.Balance.n.Cmp(&want.Balance.n) != 0:
		return differs("balance", a.Balance, want.Balance)
	case a.StorageHash != want.StorageHash:
		return differs("storage hash", a.StorageHash, want.StorageHash)
	case a.CodeHash != want.CodeHash:
		return differs("code hash", a.CodeHash, want.CodeHash)
	}
	return nil
}

func (s *Slot) verify(storageHash Hash) error {
	key := Keccak(s.Slot[:])
	leaf, err := ProveValue(storageHash, key[:], s.Proof)
	if err != nil {
		return err
	}
	var want Hash
	if leaf != nil {
		digits, err := rlpString(leaf)
		if err != nil || len(digits) > len(want) || len(digits) == 0 || digits[0] == 0 {
			return fmt.Errorf("%w: the storage holds something else than a value", errProof)
		}
		copy(want[len(want)-len(digits):], digits)
	}
	if s.Value != want {
		return fmt.Errorf("it is said to hold %s, where the storage has %s", s.Value, want)
	}
	return nil
}

// addressIn returns the address in the last 20 bytes of a slot's value.
func addressIn(value Hash) Address { return Address(value[12:]) }
