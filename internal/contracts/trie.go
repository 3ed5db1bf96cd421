package contracts

import (
	"bytes"
	"errors"
	"fmt"
)

// errProof is what every refusal of a Merkle proof wraps.
var errProof = errors.New("the proof does not hold")

// emptyRoot is the root of a trie that holds nothing, and emptyCode the hash of
// no code.
var (
	emptyRoot = Keccak([]byte{0x80})
	emptyCode = Keccak()
)

// ProveValue follows key from root down the nodes of a Merkle-Patricia proof,
// in the order in which it meets them, and returns the value of key, or nil when
// the proof shows that the trie holds no such key. Every node must be the one
// that the hash above it names, and none may be left over.
func ProveValue(root Hash, key []byte, proof []Bytes) ([]byte, error) {
	if root == emptyRoot && (len(proof) == 0 || len(proof) == 1 && bytes.Equal(proof[0], []byte{0x80})) {
		return nil, nil
	}
	w := proofWalk{proof: proof, path: nibbles(key)}
	value, err := w.follow(root)
	if err == nil && w.used < len(proof) {
		err = fmt.Errorf("%w: %d nodes are left over", errProof, len(proof)-w.used)
	}
	if err != nil {
		return nil, err
	}
	return value, nil
}

type proofWalk struct {
	proof []Bytes
	used  int
	path  []byte // what is left of the key, in nibbles
}

func (w *proofWalk) follow(root Hash) ([]byte, error) {
	node, err := w.take(root)
	for err == nil {
		var items []rlpItem
		if items, err = rlpList(node); err != nil {
			break
		}
		var next rlpItem
		switch len(items) {
		case 17:
			if len(w.path) == 0 {
				return leafValue(items[16])
			}
			next, w.path = items[w.path[0]], w.path[1:]
		case 2:
			part, leaf, pathErr := decodePath(items[0])
			if pathErr != nil {
				return nil, pathErr
			}
			if leaf && bytes.Equal(part, w.path) {
				return leafValue(items[1])
			}
			if leaf || !bytes.HasPrefix(w.path, part) {
				return nil, nil // another key is where this one would
			}
			next, w.path = items[1], w.path[len(part):]
		default:
			return nil, fmt.Errorf("%w: a node of %d items", errProof, len(items))
		}
		switch {
		case next.list && len(next.raw) < len(root): // small nodes stand inside the one above
			node = next.raw
		case next.list:
			return nil, fmt.Errorf("%w: a node of %d bytes is inside another", errProof, len(next.raw))
		case len(next.content) == 0 && len(items) == 17:
			return nil, nil
		default:
			var hash Hash
			if hash, err = next.hash(); err == nil {
				node, err = w.take(hash)
			}
		}
	}
	return nil, fmt.Errorf("%w: %w", errProof, err)
}

// take returns the next node of the proof, which must have this hash.
func (w *proofWalk) take(hash Hash) ([]byte, error) {
	if w.used == len(w.proof) {
		return nil, errors.New("it ends early")
	}
	node := w.proof[w.used]
	if Keccak(node) != hash {
		return nil, fmt.Errorf("the hash of node %d differs", w.used+1)
	}
	w.used++
	return node, nil
}

// leafValue returns what an end of the trie holds. An empty one holds nothing.
func leafValue(item rlpItem) ([]byte, error) {
	if item.list {
		return nil, fmt.Errorf("%w: a node where a value belongs", errProof)
	}
	if len(item.content) == 0 {
		return nil, nil
	}
	return item.content, nil
}

func decodePath(item rlpItem) (part []byte, leaf bool, err error) {
	c := item.content
	if item.list || len(c) == 0 || c[0] >= 0x40 || c[0]&0x10 == 0 && c[0]&0x0f != 0 {
		return nil, false, fmt.Errorf("%w: an invalid path", errProof)
	}
	part = nibbles(c)[1:]
	if c[0]&0x10 == 0 { // an even number of them
		part = part[1:]
	}
	leaf = c[0]&0x20 != 0
	if !leaf && len(part) == 0 {
		return nil, false, fmt.Errorf("%w: an extension by nothing", errProof)
	}
	return part, leaf, nil
}

func nibbles(key []byte) []byte {
	out := make([]byte, 0, 2*len(key))
	for _, c := range key {
		out = append(out, c>>4, c&15)
	}
	return out
}
