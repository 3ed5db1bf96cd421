package chain_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/rawdb"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/ethdb/memorydb"
	"github.com/ethereum/go-ethereum/rlp"
	"github.com/ethereum/go-ethereum/trie"
	"github.com/ethereum/go-ethereum/triedb"

	"github.com/takumi-backup/takumi-backup/internal/contracts"
)

// nodeList keeps a proof in the order in which go-ethereum gives it.
type nodeList []contracts.Bytes

func (l *nodeList) Put(_, value []byte) error {
	*l = append(*l, bytes.Clone(value))
	return nil
}

func (l *nodeList) Delete([]byte) error { panic("a proof takes nothing back") }

// theirs is the second opinion.
func theirs(root contracts.Hash, key []byte, proof []contracts.Bytes) ([]byte, error) {
	db := memorydb.New()
	for _, node := range proof {
		db.Put(crypto.Keccak256(node), node)
	}
	return trie.VerifyProof(common.Hash(root), key, db)
}

// TestProofsAgainstGoEthereum makes random tries of go-ethereum's, proves keys
// that are there and keys that are not, and damages every proof.
func TestProofsAgainstGoEthereum(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 11))
	random := func(n int) []byte {
		p := make([]byte, n)
		for i := range p {
			p[i] = byte(r.Uint32())
		}
		return p
	}
	present, absent, refused := 0, 0, 0
	for round := range 60 {
		tr := trie.NewEmpty(triedb.NewDatabase(rawdb.NewMemoryDatabase(), nil))
		// As the state has them, and short keys with short values, whose nodes
		// stand inside one another.
		keyLen, valueLen := 32, 80
		if round%2 == 1 {
			keyLen, valueLen = 2, 3
		}
		held := map[string][]byte{}
		for range 1 + r.IntN(300) {
			k, v := random(keyLen), random(1+r.IntN(valueLen))
			tr.MustUpdate(k, v)
			held[string(k)] = v
		}
		root := contracts.Hash(tr.Hash())
		keys := [][]byte{random(keyLen), random(keyLen), random(keyLen)}
		for k := range held {
			if keys = append(keys, []byte(k)); len(keys) == 12 {
				break
			}
		}
		for _, key := range keys {
			var proof nodeList
			if err := tr.Prove(key, &proof); err != nil {
				t.Fatal(err)
			}
			got, err := contracts.ProveValue(root, key, proof)
			want, theirErr := theirs(root, key, proof)
			if err != nil || theirErr != nil || !bytes.Equal(got, want) || !bytes.Equal(got, held[string(key)]) {
				t.Fatalf("round %d, key %x: %x, %v; go-ethereum %x, %v; held %x", round, key, got, err, want, theirErr, held[string(key)])
			}
			if got == nil {
				absent++
			} else {
				present++
			}
			for what, damaged := range damage(r, proof) {
				if got, err := contracts.ProveValue(root, key, damaged); err == nil {
					t.Errorf("round %d, key %x: a proof with %s proves %x", round, key, what, got)
				}
				refused++
			}
			otherRoot := root
			otherRoot[r.IntN(32)] ^= 1 << r.IntN(8)
			if _, err := contracts.ProveValue(otherRoot, key, proof); err == nil {
				t.Errorf("round %d: a proof from another root holds", round)
			}
			// A proof of one key says nothing false of another one.
			for _, other := range keys {
				if got, err := contracts.ProveValue(root, other, proof); err == nil && !bytes.Equal(got, held[string(other)]) {
					t.Errorf("round %d: the proof of %x proves %x of %x", round, key, got, other)
				}
			}
		}
	}
	t.Logf("%d keys proved, %d proved absent, %d damaged proofs refused", present, absent, refused)
	if present < 200 || absent < 50 {
		t.Error("too few of a kind")
	}
}

// damage returns proofs that are not this one.
func damage(r *rand.Rand, proof nodeList) map[string][]contracts.Bytes {
	at := r.IntN(len(proof))
	edit := func(change func(node contracts.Bytes) contracts.Bytes) []contracts.Bytes {
		damaged := slices.Clone(proof)
		damaged[at] = change(bytes.Clone(damaged[at]))
		return damaged
	}
	cases := map[string][]contracts.Bytes{
		"a flipped bit":      edit(func(n contracts.Bytes) contracts.Bytes { n[r.IntN(len(n))] ^= 1 << r.IntN(8); return n }),
		"a cut node":         edit(func(n contracts.Bytes) contracts.Bytes { return n[:r.IntN(len(n))] }),
		"a longer node":      edit(func(n contracts.Bytes) contracts.Bytes { return append(n, 0) }),
		"an empty node":      edit(func(contracts.Bytes) contracts.Bytes { return nil }),
		"a node too few":     slices.Delete(slices.Clone(proof), at, at+1),
		"a node twice":       slices.Insert(slices.Clone(proof), at, proof[at]),
		"a node at the end":  append(slices.Clone(proof), proof[at]),
		"a node at the head": slices.Insert(slices.Clone(proof), 0, contracts.Bytes{0x80}),
		"no node":            nil,
	}
	if len(proof) > 1 {
		turned := slices.Clone(proof)
		slices.Reverse(turned)
		cases["its nodes turned round"] = turned
	}
	return cases
}

// TestMadeUpNodes has nodes that hash well and are not nodes.
func TestMadeUpNodes(t *testing.T) {
	encode := func(v any) contracts.Bytes {
		data, err := rlp.EncodeToBytes(v)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	big32 := bytes.Repeat([]byte{7}, 32)
	for name, node := range map[string]contracts.Bytes{
		"a string":             encode([]byte("no list")),
		"three items":          encode([][]byte{{1}, {2}, {3}}),
		"an empty path":        encode([][]byte{{}, big32}),
		"an unknown flag":      encode([][]byte{{0x45}, big32}),
		"one item":             encode([][]byte{{0x21}}),
		"padding not zero":     encode([][]byte{{0x05, 0x12}, big32}),
		"extension by nothing": encode([][]byte{{0x00}, big32}),
		"extension to nothing": encode([][]byte{{0x11}, {}}),
		"a short hash":         encode([][]byte{{0x11}, big32[:31]}),
		"a list as a value":    encode([]any{append([]byte{0x20}, bytes.Repeat([]byte{0x11}, 32)...), []any{big32, big32}}),
		"a list as a path":     encode([]any{[]any{[]byte{1}}, big32}),
		"a size not minimal":   {0xf8, 0x02, 0x01, 0x02},
		"a size too large":     {0xfb, 0xff, 0xff, 0xff, 0xff, 1},
		"a huge size":          {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
		"a byte in two":        {0xc2, 0x81, 0x01},
		"rest behind":          append(encode([][]byte{{0x20}, {1}}), 0),
		"nothing":              {},
	} {
		got, err := contracts.ProveValue(contracts.Keccak(node), bytes.Repeat([]byte{0x11}, 32), []contracts.Bytes{node})
		if err == nil {
			t.Errorf("%s: proves %x", name, got)
		}
	}
}

// TestChangedNodes changes bytes of a node and makes the result the root, so that
// what is read is what was changed.
func TestChangedNodes(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 5))
	seeds := [][]byte{{0xc2, 0x20, 0x01}, {0xc4, 0x82, 0x20, 0x11, 0x05}, {0xc6, 0x11, 0xc4, 0x82, 0x20, 0x11, 0x05}, {0x80}}
	branch := append([]byte{0xd1}, bytes.Repeat([]byte{0x80}, 17)...)
	seeds = append(seeds, branch, append([]byte{0xd3, 0xc2, 0x31, 0x07}, branch[2:]...))
	agreed := 0
	for range 40_000 {
		node := bytes.Clone(seeds[r.IntN(len(seeds))])
		for range 1 + r.IntN(3) {
			node[r.IntN(len(node))] = byte(r.Uint32())
		}
		key := [][]byte{{}, {0x11}, {0x01}, {0x11, 0x11}}[r.IntN(4)]
		root, proof := contracts.Keccak(node), []contracts.Bytes{node}
		got, err := contracts.ProveValue(root, key, proof)
		want, theirErr := theirs(root, key, proof)
		// Where both have an opinion, it is the same one.
		if err == nil && theirErr == nil {
			if agreed++; !bytes.Equal(got, want) {
				t.Errorf("node %x, key %x: %x, go-ethereum %x", node, key, got, want)
			}
		}
	}
	t.Logf("both had an opinion %d times", agreed)
}

// TestHeadersAgainstGoEthereum has a header of every fork, and each field of it
// changed.
func TestHeadersAgainstGoEthereum(t *testing.T) {
	number := func(n uint64) *uint64 { return &n }
	hash := func(b byte) *common.Hash { return &common.Hash{b, 31: 1} }
	h := types.Header{
		ParentHash: *hash(1), UncleHash: types.EmptyUncleHash, Coinbase: common.Address{2}, Root: *hash(3),
		TxHash: *hash(4), ReceiptHash: *hash(5), Bloom: types.Bloom{6}, Difficulty: big.NewInt(0), Number: big.NewInt(9_000_000),
		GasLimit: 30_000_000, GasUsed: 0, Time: 1_700_000_000, Extra: []byte("geth"), MixDigest: *hash(7),
	}
	forks := []struct {
		name string
		add  func()
	}{
		{"frontier", func() { h.Difficulty = big.NewInt(1 << 40); h.Nonce = types.BlockNonce{1} }},
		{"london", func() { h.BaseFee = big.NewInt(7) }},
		{"shanghai", func() { h.WithdrawalsHash = hash(8) }},
		{"cancun", func() { h.BlobGasUsed, h.ExcessBlobGas, h.ParentBeaconRoot = number(0), number(1<<20), hash(9) }},
		{"prague", func() { h.RequestsHash = hash(10) }},
		{"amsterdam", func() { h.BlockAccessListHash, h.SlotNumber = hash(11), number(5) }},
	}
	for _, fork := range forks {
		fork.add()
		answer, err := json.Marshal(&h)
		if err != nil {
			t.Fatal(err)
		}
		want, err := rlp.EncodeToBytes(&h)
		if err != nil {
			t.Fatal(err)
		}
		b, err := contracts.ParseBlock(answer)
		if err != nil || !bytes.Equal(b.Header, want) || b.Hash != contracts.Hash(h.Hash()) || b.StateRoot != contracts.Hash(h.Root) ||
			b.Number != h.Number.Uint64() || b.Time != h.Time {
			t.Fatalf("%s: %+v, %v; want %x", fork.name, b, err, want)
		}
		var fields map[string]any
		if err := json.Unmarshal(answer, &fields); err != nil {
			t.Fatal(err)
		}
		for field, value := range fields {
			text, isText := value.(string)
			if !isText {
				continue // null: a later fork's
			}
			fields[field] = otherDigit(text)
			changed, err := json.Marshal(fields)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := contracts.ParseBlock(changed); !errors.Is(err, contracts.ErrInconsistent) {
				t.Errorf("%s: with another %s: %v", fork.name, field, err)
			}
			fields[field] = nil
			if changed, err = json.Marshal(fields); err != nil {
				t.Fatal(err)
			}
			if _, err := contracts.ParseBlock(changed); err == nil {
				t.Errorf("%s: without %s it passes", fork.name, field)
			}
			fields[field] = text
		}
	}
}

// otherDigit changes the last digit of a number.
func otherDigit(text string) string {
	last := byte('1')
	if text[len(text)-1] == '1' {
		last = '2'
	}
	return text[:len(text)-1] + string(last)
}
