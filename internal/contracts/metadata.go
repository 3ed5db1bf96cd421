package contracts

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// ErrMetadata is what every error of ParseMetadata wraps.
var ErrMetadata = errors.New("unfit metadata.json")

// ErrNoChains is returned by ParseMetadata for an unknown form.
var ErrNoChains = fmt.Errorf("%w: what was deployed is not said in a form that is known", ErrMetadata)

const (
	maxMetadata  = 16 << 20
	maxContracts = 10_000
)

// Chain is one chain in metadata.json, with its contracts in the order of their
// names.
type Chain struct {
	Name      string
	ChainID   uint64 // 0 when it is not said
	Contracts []Contract
}

// Contract is a name and where it was deployed.
type Contract struct {
	Name    string
	Address Address
}

// ParseMetadata reads metadata.json:
//
//	{"chains": [{"name": "sepolia", "contracts": {"SkillProfile": "0x…"}}]}
//
// A chain may have a "chain_id" or "chainId", a number or the text of one. Other fields
// are passed over, but a document without "chains" that has something of that sort under
// another name is refused. What could hide a contract is refused: a name
// that comes twice, an address that is none or whose EIP-55 checksum is wrong,
// anything behind the document. Errors wrap ErrMetadata.
func ParseMetadata(r io.Reader) ([]Chain, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxMetadata+1))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMetadata, err)
	}
	if len(data) > maxMetadata {
		return nil, fmt.Errorf("%w: it is larger than %d bytes", ErrMetadata, maxMetadata)
	}
	var doc struct {
		Chains []struct {
			Name      string       `json:"name"`
			ID        chainID      `json:"chain_id"`
			CamelID   chainID      `json:"chainId"`
			Contracts contractList `json:"contracts"`
		} `json:"chains"`
	}
	if err := json.Unmarshal(data, &doc); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMetadata, err)
	}
	if doc.Chains == nil {
		if err := otherName(data); err != nil {
			return nil, err
		}
	}
	var chains []Chain
	for i, c := range doc.Chains {
		switch {
		case c.Name == "":
			return nil, fmt.Errorf("%w: chain %d has no name", ErrMetadata, i+1)
		case slices.ContainsFunc(chains, func(other Chain) bool { return other.Name == c.Name }):
			return nil, fmt.Errorf("%w: chain %q comes twice", ErrMetadata, clip(c.Name))
		}
		if c.ID != 0 && c.CamelID != 0 && c.ID != c.CamelID {
			return nil, fmt.Errorf("%w: chain %q has two chain ids", ErrMetadata, clip(c.Name))
		}
		chain := Chain{Name: c.Name, ChainID: uint64(cmp.Or(c.ID, c.CamelID))}
		for _, named := range c.Contracts {
			address, err := ParseAddress(named[1])
			if err != nil {
				return nil, fmt.Errorf("%w: %s on %s: %w", ErrMetadata, clip(named[0]), clip(c.Name), err)
			}
			chain.Contracts = append(chain.Contracts, Contract{named[0], address})
		}
		slices.SortFunc(chain.Contracts, func(a, b Contract) int { return cmp.Compare(a.Name, b.Name) })
		chains = append(chains, chain)
	}
	return chains, nil
}

// otherName fails when a document names its deployments by another field than "chains".
func otherName(data []byte) error {
	var fields map[string]json.RawMessage
	if json.Unmarshal(data, &fields) != nil {
		return nil
	}
	for _, name := range []string{"networks", "network", "chain", "deployments", "addresses", "contracts"} {
		if _, ok := fields[name]; ok {
			return fmt.Errorf("%w: it has %q, and no \"chains\": [{\"name\": …, \"contracts\": {NAME: ADDRESS}}]", ErrNoChains, name)
		}
	}
	return nil
}

// chainID reads a number, or the text of one in decimal or with 0x.
type chainID uint64

// UnmarshalJSON implements json.Unmarshaler.
func (c *chainID) UnmarshalJSON(data []byte) error {
	if string(data) == "null" {
		return nil
	}
	n, err := ParseChainID(strings.Trim(string(data), `"`))
	*c = chainID(n)
	return err
}

// ParseChainID reads the id of a chain, in decimal or with 0x.
func ParseChainID(text string) (uint64, error) {
	n, err := strconv.ParseUint(text, 0, 64)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("%q is not a chain id", clip(text))
	}
	return n, nil
}

// contractList is an object of names and addresses, in which encoding/json would let a
// repeated name win silently.
type contractList [][2]string

// UnmarshalJSON implements json.Unmarshaler.
func (l *contractList) UnmarshalJSON(data []byte) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	if open, err := dec.Token(); err != nil || open != json.Delim('{') {
		return errors.New(`"contracts" is not an object of names and addresses`)
	}
	seen := map[string]bool{}
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return err
		}
		name := token.(string) // what else a key cannot be
		if seen[name] {
			return fmt.Errorf("contract %q comes twice", clip(name))
		}
		if seen[name] = true; len(seen) > maxContracts {
			return fmt.Errorf("more than %d contracts", maxContracts)
		}
		value, err := dec.Token()
		if err != nil {
			return err
		}
		address, isText := value.(string)
		if !isText {
			return fmt.Errorf("the address of contract %q is not a string", clip(name))
		}
		*l = append(*l, [2]string{name, address})
	}
	return nil
}

// Subjects returns what to ask a chain for: its contracts, those of one address
// under all their names, and with them the slots that were chosen. An address
// that has a chosen slot and no name comes last.
func (c Chain) Subjects(chosen []ChosenSlot) []Subject {
	var subjects []Subject
	at := map[Address]int{}
	subject := func(a Address) *Subject {
		i, known := at[a]
		if !known {
			i = len(subjects)
			at[a] = i
			subjects = append(subjects, Subject{Address: a})
		}
		return &subjects[i]
	}
	for _, contract := range c.Contracts {
		s := subject(contract.Address)
		s.Names = append(s.Names, contract.Name)
	}
	for _, choice := range chosen {
		s := subject(choice.Address)
		s.Slots = append(s.Slots, choice.Slot)
	}
	return subjects
}

// ChosenSlot is a slot of an account that somebody asked for.
type ChosenSlot struct {
	Address Address
	Slot    Hash
}

// ParseSlot reads ADDRESS:SLOT, or NAME:SLOT with a name of the chain's
// contracts. SLOT is a number, in decimal or with 0x in hexadecimal.
func (c Chain) ParseSlot(text string) (ChosenSlot, error) {
	where, number, found := strings.Cut(text, ":")
	if !found {
		return ChosenSlot{}, fmt.Errorf("%q is not ADDRESS:SLOT", clip(text))
	}
	slot, err := parseSlotNumber(number)
	if err != nil {
		return ChosenSlot{}, err
	}
	for _, contract := range c.Contracts {
		if contract.Name == where {
			return ChosenSlot{contract.Address, slot}, nil
		}
	}
	address, err := ParseAddress(where)
	if err != nil {
		return ChosenSlot{}, fmt.Errorf("%w, nor the name of a contract", err)
	}
	return ChosenSlot{address, slot}, nil
}
