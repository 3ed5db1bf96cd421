package chain_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/internal/contracts"
	"github.com/takumi-backup/takumi-backup/internal/testkit/chain"
)

var (
	runtimeCode = []byte{0x60, 0x2a, 0x5f, 0x52, 0x60, 0x20, 0x5f, 0xf3} // returns 42
	otherCode   = []byte{0x60, 0x2b, 0x5f, 0x52, 0x60, 0x20, 0x5f, 0xf3}

	// By their definition in EIP-1967, digit for digit.
	implementation = hash("0x360894a13ba1a3210667c828492db98dca3e2076cc3735a920a3ca505d382bbc")
	admin          = hash("0xb53127684a568b3173ae13b9f8a6016e243e63b6e8ee1178d6a717850b5d6103")
	beacon         = hash("0xa3f0ad74e5423aebfd80d3ef4346578335a9a72aeaee59ff6cb3582b35133d50")
)

func hash(text string) (h contracts.Hash) {
	if err := h.UnmarshalText([]byte(text)); err != nil {
		panic(err)
	}
	return h
}

func address(t testing.TB, text string) contracts.Address {
	t.Helper()
	a, err := contracts.ParseAddress(text)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func dial(t testing.TB, url string) *contracts.Node {
	t.Helper()
	n, err := contracts.Dial(url, contracts.Options{FirstPause: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	return n
}

// world is a chain with a proxy, a plain contract, an account without code and
// an address that holds nothing.
type world struct {
	*chain.Chain
	proxy, plain, paid, nothing contracts.Address
	query                       contracts.Query
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{Chain: chain.Start(t)}
	slots := map[[32]byte][32]byte{
		implementation: {12: 0xaa, 31: 1}, admin: {12: 0xbb, 31: 2}, beacon: {12: 0xcc, 31: 3},
		{31: 5}: {31: 42}, {0: 9}: {0: 0xff, 31: 0xff},
	}
	w.proxy = address(t, w.Deploy(t, runtimeCode, slots))
	w.plain = address(t, w.Deploy(t, runtimeCode, nil))
	w.paid = contracts.Address{0: 0x77, 19: 7}
	w.Pay(t, w.paid.String(), 12345)
	w.nothing = contracts.Address{0: 0x66, 19: 6}
	w.query = contracts.Query{Network: "local", Block: "latest", Subjects: []contracts.Subject{
		{Address: w.proxy, Names: []string{"SkillProfile"}, Slots: []contracts.Hash{{31: 5}, {0: 9}, {31: 6}, implementation}},
		{Address: w.plain, Names: []string{"Registry", "RegistryV1"}},
		{Address: w.paid},
		{Address: w.nothing, Slots: []contracts.Hash{{31: 1}}},
	}}
	return w
}

func TestFetch(t *testing.T) {
	w := newWorld(t)
	s, err := contracts.Fetch(t.Context(), dial(t, w.URL), w.query)
	if err != nil {
		t.Fatal(err)
	}
	if s.ChainID != chain.ID || s.Block.Number != 3 || s.Block.Chosen != "latest" || len(s.Accounts) != 4 {
		t.Fatalf("%+v", s)
	}
	head, err := w.Backend.Client().HeaderByNumber(t.Context(), nil)
	if err != nil || s.Block.Hash != contracts.Hash(head.Hash()) {
		t.Errorf("block %s, want %s, %v", s.Block.Hash, head.Hash(), err)
	}
	proxy, plain, paid, nothing := s.Accounts[0], s.Accounts[1], s.Accounts[2], s.Accounts[3]
	if !bytes.Equal(proxy.Code, runtimeCode) || proxy.CodeHash != contracts.Keccak(runtimeCode) || proxy.Nonce.String() != "1" {
		t.Errorf("the proxy: %+v", proxy)
	}
	want := contracts.Proxy{Implementation: contracts.Address{0: 0xaa, 19: 1}, Admin: contracts.Address{0: 0xbb, 19: 2}, Beacon: contracts.Address{0: 0xcc, 19: 3}}
	if proxy.Proxy != want || plain.Proxy != (contracts.Proxy{}) {
		t.Errorf("EIP-1967: %+v and %+v", proxy.Proxy, plain.Proxy)
	}
	values := map[contracts.Hash]contracts.Hash{}
	for _, slot := range proxy.Slots {
		values[slot.Slot] = slot.Value
	}
	if len(proxy.Slots) != 6 || values[contracts.Hash{31: 5}] != (contracts.Hash{31: 42}) ||
		values[contracts.Hash{0: 9}] != (contracts.Hash{0: 0xff, 31: 0xff}) || values[contracts.Hash{31: 6}] != (contracts.Hash{}) {
		t.Errorf("slots: %v", values)
	}
	if !paid.Exists || paid.Balance.String() != "12345" || len(paid.Code) != 0 || nothing.Exists || len(nothing.Code) != 0 {
		t.Errorf("%+v and %+v", paid, nothing)
	}

	// A state that went through its file is the same, and stands for itself.
	stored := store(t, s)
	if err := stored.Verify(); err != nil {
		t.Error(err)
	}
	if d := contracts.Compare(s, stored); len(d) != 0 {
		t.Errorf("differs from itself: %v", d)
	}
}

func store(t testing.TB, s *contracts.State) *contracts.State {
	t.Helper()
	data, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	stored := new(contracts.State)
	if err := json.Unmarshal(data, stored); err != nil {
		t.Fatal(err)
	}
	return stored
}

// TestAlteredState changes what a stored state says, one thing at a time.
func TestAlteredState(t *testing.T) {
	w := newWorld(t)
	good, err := contracts.Fetch(t.Context(), dial(t, w.URL), w.query)
	if err != nil {
		t.Fatal(err)
	}
	for name, alter := range map[string]func(*contracts.State){
		"no block":     func(s *contracts.State) { s.Block = nil },
		"block number": func(s *contracts.State) { s.Block.Number++ },
		"block hash":   func(s *contracts.State) { s.Block.Hash[0] ^= 1 },
		"block time":   func(s *contracts.State) { s.Block.Time++ },
		"state root":   func(s *contracts.State) { s.Block.StateRoot[0] ^= 1 },
		"header":       func(s *contracts.State) { s.Block.Header[40] ^= 1 },
		"another block": func(s *contracts.State) {
			root := contracts.Hash{1}
			s.Block.Header = bytes.Replace(s.Block.Header, s.Block.StateRoot[:], root[:], 1)
			s.Block.StateRoot, s.Block.Hash = root, contracts.Keccak(s.Block.Header)
		},
		"header cut":            func(s *contracts.State) { s.Block.Header = s.Block.Header[:9] },
		"address":               func(s *contracts.State) { s.Accounts[0].Address[0] ^= 1 },
		"addresses exchanged":   func(s *contracts.State) { a := s.Accounts; a[0].Address, a[1].Address = a[1].Address, a[0].Address },
		"code":                  func(s *contracts.State) { s.Accounts[1].Code[1] ^= 1 },
		"code and its hash":     func(s *contracts.State) { a := &s.Accounts[1]; a.Code[1] ^= 1; a.CodeHash = contracts.Keccak(a.Code) },
		"no code":               func(s *contracts.State) { s.Accounts[1].Code = nil },
		"code from nowhere":     func(s *contracts.State) { s.Accounts[3].Code = runtimeCode },
		"nonce":                 func(s *contracts.State) { s.Accounts[0].Nonce = s.Accounts[2].Nonce },
		"balance":               func(s *contracts.State) { s.Accounts[2].Balance = s.Accounts[0].Balance },
		"balance from nowhere":  func(s *contracts.State) { s.Accounts[3].Balance = s.Accounts[2].Balance },
		"existence":             func(s *contracts.State) { s.Accounts[3].Exists = true },
		"existence denied":      func(s *contracts.State) { s.Accounts[2].Exists = false },
		"storage hash":          func(s *contracts.State) { s.Accounts[0].StorageHash[0] ^= 1 },
		"account proof":         func(s *contracts.State) { s.Accounts[0].Proof[0][9] ^= 1 },
		"no account proof":      func(s *contracts.State) { s.Accounts[0].Proof = nil },
		"slot value":            func(s *contracts.State) { s.Accounts[0].Slots[3].Value[31] ^= 1 },
		"slot number":           func(s *contracts.State) { s.Accounts[0].Slots[3].Slot[31] ^= 1 },
		"slot from nowhere":     func(s *contracts.State) { s.Accounts[3].Slots[3].Value[31] = 1 },
		"slot proof":            func(s *contracts.State) { s.Accounts[0].Slots[3].Proof[0][9] ^= 1 },
		"no slot proof":         func(s *contracts.State) { s.Accounts[0].Slots[3].Proof = nil },
		"implementation":        func(s *contracts.State) { s.Accounts[0].Proxy.Implementation[0] ^= 1 },
		"admin":                 func(s *contracts.State) { s.Accounts[0].Proxy.Admin[0] ^= 1 },
		"beacon":                func(s *contracts.State) { s.Accounts[0].Proxy.Beacon[0] ^= 1 },
		"EIP-1967 slots absent": func(s *contracts.State) { s.Accounts[1].Slots = nil },
	} {
		bad := store(t, good)
		alter(bad)
		if err := bad.Verify(); !errors.Is(err, contracts.ErrInconsistent) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// lie changes the result of a method: of call number n of it, or of every call
// when n is 0.
type lie struct {
	method string
	n      int
	change func(result any) any
}

// liar serves what a node at url answers, with one lie.
func liar(t testing.TB, url string, l lie) string {
	t.Helper()
	calls := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		request, _ := io.ReadAll(r.Body)
		answer, err := http.Post(url, "application/json", bytes.NewReader(request))
		if err != nil {
			t.Error(err)
			return
		}
		defer answer.Body.Close()
		var asked struct{ Method string }
		var told map[string]any
		if err := errors.Join(json.Unmarshal(request, &asked), json.NewDecoder(answer.Body).Decode(&told)); err != nil {
			t.Error(err)
			return
		}
		if asked.Method == l.method {
			if calls++; l.n == 0 || calls == l.n {
				told["result"] = l.change(told["result"])
			}
		}
		json.NewEncoder(w).Encode(told)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// set returns a change of what is at a path of fields.
func set(value any, path ...any) func(any) any {
	return func(result any) any {
		at := result
		for _, step := range path[:len(path)-1] {
			switch s := step.(type) {
			case string:
				at = at.(map[string]any)[s]
			case int:
				at = at.([]any)[s]
			}
		}
		switch last := path[len(path)-1].(type) {
		case string:
			at.(map[string]any)[last] = value
		case int:
			at.([]any)[last] = value
		}
		return result
	}
}

// TestLyingNode: whatever a node says that is not so, it is found out before
// anything is kept.
func TestLyingNode(t *testing.T) {
	w := newWorld(t)
	w.Deploy(t, otherCode, nil)
	hashOf := func(c string) string { return "0x" + strings.Repeat(c, 64) }
	const proof, block = "eth_getProof", "eth_getBlockByNumber"
	is := func(value any) func(any) any { return func(any) any { return value } }
	for name, l := range map[string]lie{
		"state root":            {block, 0, set(hashOf("a"), "stateRoot")},
		"block hash":            {block, 0, set(hashOf("a"), "hash")},
		"no block hash":         {block, 0, set(nil, "hash")},
		"block number":          {block, 0, set("0x1", "number")},
		"block time":            {block, 1, set("0x1", "timestamp")},
		"another block at last": {block, 2, set(hashOf("b"), "hash")},
		"code":                  {"eth_getCode", 1, is("0x602b5f5260205ff3")},
		"no code":               {"eth_getCode", 1, is("0x")},
		"code where none is":    {"eth_getCode", 4, is("0x60")},
		"code hash":             {proof, 1, set(hashOf("c"), "codeHash")},
		"zero code hash":        {proof, 1, set(hashOf("0"), "codeHash")},
		"balance":               {proof, 3, set("0x1", "balance")},
		"balance of nobody":     {proof, 4, set("0x1", "balance")},
		"nonce":                 {proof, 1, set("0x9", "nonce")},
		"storage hash":          {proof, 1, set(hashOf("d"), "storageHash")},
		"address":               {proof, 1, set(w.plain.String(), "address")},
		"account proof":         {proof, 1, set("0xf90211a0", "accountProof", 0)},
		"no account proof":      {proof, 1, set([]any{}, "accountProof")},
		"slot value":            {proof, 1, set("0x1", "storageProof", 3, "value")},
		"implementation":        {proof, 1, set("0x1", "storageProof", 0, "value")},
		"value of an empty one": {proof, 1, set("0x1", "storageProof", 5, "value")},
		"slot of nobody":        {proof, 4, set("0x1", "storageProof", 3, "value")},
		"slot key":              {proof, 1, set("0x7", "storageProof", 3, "key")},
		"slot proof":            {proof, 1, set([]any{}, "storageProof", 3, "proof")},
		"a slot too few":        {proof, 1, set([]any{}, "storageProof")},
	} {
		_, err := contracts.Fetch(t.Context(), dial(t, liar(t, w.URL, l)), w.query)
		if !errors.Is(err, contracts.ErrInconsistent) {
			t.Errorf("%s: %v", name, err)
		}
	}
	sepolia := w.query
	sepolia.Network = "sepolia"
	if _, err := contracts.Fetch(t.Context(), dial(t, w.URL), sepolia); !errors.Is(err, contracts.ErrNetwork) {
		t.Errorf("a node of another network: %v", err)
	}

	// The proof of one account, with everything that belongs to it, in the place
	// of another's.
	var first any
	swap := lie{proof, 0, func(result any) any {
		if first == nil {
			first = result
		}
		first.(map[string]any)["address"] = result.(map[string]any)["address"]
		return first
	}}
	two := w.query
	two.Subjects = []contracts.Subject{{Address: w.plain}, {Address: w.paid}}
	if _, err := contracts.Fetch(t.Context(), dial(t, liar(t, w.URL, swap)), two); !errors.Is(err, contracts.ErrInconsistent) {
		t.Errorf("another account's proof: %v", err)
	}
}

// TestReorg: between the first answer and the last, the chain takes another
// branch.
func TestReorg(t *testing.T) {
	w := newWorld(t)
	parent, err := w.Backend.Client().HeaderByNumber(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	w.Mine(1)
	reorganise := lie{"eth_getCode", 4, func(result any) any {
		if err := w.Backend.Fork(parent.Hash()); err != nil {
			t.Error(err)
		}
		w.Pay(t, w.nothing.String(), 1)
		w.Mine(3)
		return result
	}}
	if _, err := contracts.Fetch(t.Context(), dial(t, liar(t, w.URL, reorganise)), w.query); !errors.Is(err, contracts.ErrReorg) {
		t.Errorf("got %v", err)
	}
}

func TestPinnedBlock(t *testing.T) {
	w := newWorld(t)
	w.Mine(60)
	head := 63
	for choice, want := range map[string]struct {
		number int
		chosen string
	}{
		"latest": {head, "latest"}, "2": {2, "number"}, "finalized": {-1, "finalized"}, "safe": {-1, "safe"},
	} {
		q := w.query
		q.Subjects, q.Block = nil, choice
		s, err := contracts.Fetch(t.Context(), dial(t, w.URL), q)
		if err != nil || s.Block.Chosen != want.chosen || want.number >= 0 && s.Block.Number != uint64(want.number) {
			t.Errorf("%s: %+v, %v", choice, s, err)
		}
	}
	// A node that knows no block to be final.
	q := w.query
	q.Block = "finalized"
	none := 0
	url := liar(t, w.URL, lie{"eth_getBlockByNumber", 0, func(result any) any {
		if none++; none <= 2 {
			return nil
		}
		return result
	}})
	s, err := contracts.Fetch(t.Context(), dial(t, url), q)
	if err != nil || s.Block.Number != uint64(head-12) || s.Block.Chosen != "latest-12" {
		t.Errorf("%+v, %v", s, err)
	}
	for _, choice := range []string{"earliest-ish", "-1", "0x10", "99999"} {
		q.Block = choice
		if s, err := contracts.Fetch(t.Context(), dial(t, w.URL), q); err == nil {
			t.Errorf("block %s: %+v", choice, s.Block)
		}
	}
}

func TestCompare(t *testing.T) {
	w := newWorld(t)
	node := dial(t, w.URL)
	before, err := contracts.Fetch(t.Context(), node, w.query)
	if err != nil {
		t.Fatal(err)
	}
	// The same addresses on a second chain, where other contracts stand.
	other := chain.Start(t)
	other.Mine(3)
	other.Pay(t, w.plain.String(), 1)
	again := contracts.Query{Network: "local", Block: "latest", Subjects: before.Subjects()}
	after, err := contracts.Fetch(t.Context(), dial(t, other.URL), again)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, d := range contracts.Compare(before, after) {
		got = append(got, strings.Join(d.Names, "+")+" "+d.What)
		if !strings.Contains(d.String(), d.Address.String()) {
			t.Errorf("%s", d)
		}
	}
	want := []string{"SkillProfile existence", "SkillProfile code hash", "SkillProfile implementation", "SkillProfile admin", "SkillProfile beacon",
		"Registry+RegistryV1 code hash", " existence"}
	if strings.Join(got, ", ") != strings.Join(want, ", ") {
		t.Errorf("got %q, want %q", got, want)
	}
	// Money and time change nothing.
	w.Pay(t, w.paid.String(), 1)
	if after, err = contracts.Fetch(t.Context(), node, again); err != nil {
		t.Fatal(err)
	}
	if d := contracts.Compare(before, after); len(d) != 0 {
		t.Errorf("differences: %v", d)
	}
}
