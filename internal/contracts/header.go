package contracts

import (
	"encoding/json"
	"errors"
	"fmt"
)

// header is a block's header as a node answers it. Its fields are in the
// order in which they are encoded.
type header struct {
	Parent       *Hash     `json:"parentHash"`
	Uncles       *Hash     `json:"sha3Uncles"`
	Miner        *Bytes    `json:"miner"`
	StateRoot    *Hash     `json:"stateRoot"`
	Transactions *Hash     `json:"transactionsRoot"`
	Receipts     *Hash     `json:"receiptsRoot"`
	Bloom        *Bytes    `json:"logsBloom"`
	Difficulty   *Quantity `json:"difficulty"`
	Number       *Quantity `json:"number"`
	GasLimit     *Quantity `json:"gasLimit"`
	GasUsed      *Quantity `json:"gasUsed"`
	Time         *Quantity `json:"timestamp"`
	Extra        *Bytes    `json:"extraData"`
	Mix          *Hash     `json:"mixHash"`
	Nonce        *Bytes    `json:"nonce"`

	// Each fork added some; a header has all before its last one.
	BaseFee       *Quantity `json:"baseFeePerGas"`
	Withdrawals   *Hash     `json:"withdrawalsRoot"`
	BlobGasUsed   *Quantity `json:"blobGasUsed"`
	ExcessBlobGas *Quantity `json:"excessBlobGas"`
	BeaconRoot    *Hash     `json:"parentBeaconBlockRoot"`
	Requests      *Hash     `json:"requestsHash"`
	AccessList    *Hash     `json:"blockAccessListHash"`
	Slot          *Quantity `json:"slotNumber"`

	Hash *Hash `json:"hash"` // not part of the encoding
}

// ParseBlock reads a block's header as a node answers it, in JSON. It fails with
// ErrInconsistent unless every field is bound to the hash in the answer.
func ParseBlock(answer []byte) (*Block, error) {
	var h header
	if err := json.Unmarshal(answer, &h); err != nil {
		return nil, fmt.Errorf("reading the block's header: %w", err)
	}
	return h.block()
}

func (h *header) block() (*Block, error) {
	encoded, err := h.encode()
	if err != nil {
		return nil, err
	}
	b, err := decodeHeader(encoded)
	if err != nil {
		return nil, err
	}
	b.Header = encoded
	return &b, nil
}

// encode returns the bytes whose hash is the block's, and fails unless that is
// the hash the node gave. With it, every field is bound to that hash.
func (h *header) encode() ([]byte, error) {
	fields := []any{h.Parent, h.Uncles, h.Miner, h.StateRoot, h.Transactions, h.Receipts, h.Bloom, h.Difficulty,
		h.Number, h.GasLimit, h.GasUsed, h.Time, h.Extra, h.Mix, h.Nonce, h.BaseFee, h.Withdrawals, h.BlobGasUsed,
		h.ExcessBlobGas, h.BeaconRoot, h.Requests, h.AccessList, h.Slot}
	var content []byte
	for i, field := range fields {
		var value []byte
		absent := false
		switch f := field.(type) {
		case *Hash:
			if absent = f == nil; !absent {
				value = f[:]
			}
		case *Bytes:
			if absent = f == nil; !absent {
				value = *f
			}
		case *Quantity:
			if absent = f == nil; !absent {
				value = f.n.Bytes()
			}
		}
		if absent {
			if i < requiredFields {
				return nil, errors.New("the node's block header is incomplete")
			}
			break // the hash says when one that follows is there all the same
		}
		content = rlpEncodeString(content, value)
	}
	encoded := rlpEncodeList(content)
	if h.Hash == nil || Keccak(encoded) != *h.Hash {
		return nil, fmt.Errorf("%w: the block's header has another hash than the node says", ErrInconsistent)
	}
	return encoded, nil
}

// The places of fields in an encoded header.
const (
	stateRootField = 3
	numberField    = 8
	timeField      = 11
	requiredFields = 15
)

func decodeHeader(encoded []byte) (Block, error) {
	fields, err := rlpList(encoded)
	if err == nil && len(fields) < requiredFields {
		err = errRLP
	}
	b := Block{Hash: Keccak(encoded)}
	if err == nil {
		b.StateRoot, err = fields[stateRootField].hash()
	}
	for field, dst := range map[int]*uint64{numberField: &b.Number, timeField: &b.Time} {
		if err != nil {
			break
		}
		n, numberErr := fields[field].number()
		if err = numberErr; err == nil && !n.IsUint64() {
			err = errRLP
		} else if err == nil {
			*dst = n.Uint64()
		}
	}
	if err != nil {
		return Block{}, fmt.Errorf("reading the block's header: %w", err)
	}
	return b, nil
}
