package contracts

import "encoding/json"

// For the tests that hold this package against go-ethereum.
var (
	ProveValue = proveValue
	MaxState   = int64(maxState)
)

// EncodeHeader encodes the header that a node answers.
func EncodeHeader(answer []byte) ([]byte, Block, error) {
	var h header
	if err := json.Unmarshal(answer, &h); err != nil {
		return nil, Block{}, err
	}
	encoded, err := h.encode()
	if err != nil {
		return nil, Block{}, err
	}
	b, err := decodeHeader(encoded)
	return encoded, b, err
}
