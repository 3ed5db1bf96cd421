package contracts_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/takumi-backup/takumi-backup/internal/contracts"
)

// EIP-55 gives these.
var checksummed = []string{
	"0x52908400098527886E0F7030069857D2E4169EE7", "0xde709f2102306220921060314715629080e2fb77",
	"0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
	"0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB", "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
}

func TestAddresses(t *testing.T) {
	for _, want := range checksummed {
		for _, text := range []string{want, strings.ToLower(want), "0x" + strings.ToUpper(want[2:])} {
			if got, err := contracts.ParseAddress(text); err != nil || got.String() != want {
				t.Errorf("%s: %s, %v", text, got, err)
			}
		}
	}
	good := checksummed[2]
	for name, text := range map[string]string{
		"nothing": "", "0x alone": "0x", "no 0x": good[2:], "0X": "0X" + good[2:], "short": good[:41], "long": good + "0",
		"no digit": good[:41] + "g", "space": good + " ", "wrong digit": good[:41] + "c", "wrong case": "0x5AAeb6" + good[8:],
		"name": "vitalik.eth", "hash": "0x" + strings.Repeat("a", 64), "huge": "0x" + strings.Repeat("a", 1<<20),
	} {
		if a, err := contracts.ParseAddress(text); !errors.Is(err, contracts.ErrAddress) || len(err.Error()) > 500 {
			t.Errorf("%s: %s, %v", name, a, err)
		}
	}
}

func TestMetadata(t *testing.T) {
	one, two := checksummed[2], checksummed[3]
	chain := func(entries string) string { return `{"chains":[{"name":"sepolia","contracts":{` + entries + `}}]}` }
	for name, tc := range map[string]struct{ text, want string }{
		"two":            {chain(`"B":"` + one + `","A":"` + strings.ToLower(two) + `"`), "sepolia A " + two + " B " + one},
		"one address":    {chain(`"B":"` + one + `","A":"` + strings.ToLower(one) + `"`), "sepolia A " + one + " B " + one},
		"none":           {chain(``), "sepolia"},
		"no contracts":   {`{"chains":[{"name":"x"}]}`, "x"},
		"two chains":     {`{"chains":[{"name":"x"},{"name":"y","id":7}],"version":[1]}`, "x y"},
		"empty":          {`{}`, ""},
		"nothing":        {``, "error"},
		"no JSON":        {`chains: []`, "error"},
		"cut":            {chain(`"A":"` + one + `"`)[:60], "error"},
		"behind it":      {chain(``) + `{}`, "error"},
		"a list":         {`[]`, "error"},
		"chains a map":   {`{"chains":{"sepolia":{}}}`, "error"},
		"contracts list": {`{"chains":[{"name":"x","contracts":["` + one + `"]}]}`, "error"},
		"contracts null": {`{"chains":[{"name":"x","contracts":null}]}`, "error"},
		"address number": {chain(`"A":1`), "error"},
		"address null":   {chain(`"A":null`), "error"},
		"address object": {chain(`"A":{"address":"` + one + `"}`), "error"},
		"address empty":  {chain(`"A":""`), "error"},
		"wrong checksum": {chain(`"A":"` + one[:41] + `c"`), "error"},
		"name twice":     {chain(`"A":"` + one + `","A":"` + two + `"`), "error"},
		"chain twice":    {`{"chains":[{"name":"x"},{"name":"x"}]}`, "error"},
		"chain nameless": {`{"chains":[{"contracts":{}}]}`, "error"},
		"deep":           {`{"chains":` + strings.Repeat("[", 1<<20), "error"},
		"huge":           {chain(strings.Repeat(" ", 17<<20)), "error"},
		"many contracts": {chain(many(10_001, one)), "error"},
		"escaped name":   {chain(`"\u0041":"` + one + `"`), "sepolia A " + one},
		"escaped, twice": {chain(`"\u0041":"` + one + `","A":"` + one + `"`), "error"},
	} {
		chains, err := contracts.ParseMetadata(strings.NewReader(tc.text))
		var words []string
		for _, c := range chains {
			words = append(words, c.Name)
			for _, x := range c.Contracts {
				words = append(words, x.Name, x.Address.String())
			}
		}
		got := strings.Join(words, " ")
		if err != nil {
			got = "error"
		}
		if got != tc.want || err != nil && (!errors.Is(err, contracts.ErrMetadata) || len(err.Error()) > 1000) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

func many(n int, address string) string {
	var entries []string
	for i := range n {
		entries = append(entries, fmt.Sprintf(`"C%d":"%s"`, i, address))
	}
	return strings.Join(entries, ",")
}

func address(t testing.TB, text string) contracts.Address {
	t.Helper()
	a, err := contracts.ParseAddress(text)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestSubjects(t *testing.T) {
	one, two, three := address(t, checksummed[2]), address(t, checksummed[3]), address(t, checksummed[4])
	c := contracts.Chain{Name: "x", Contracts: []contracts.Contract{{Name: "A", Address: one}, {Name: "B", Address: two}, {Name: "C", Address: one}}}
	var chosen []contracts.ChosenSlot
	for _, text := range []string{"B:0x5", three.String() + ":7", "B:5", strings.ToLower(two.String()) + ":0x" + strings.Repeat("f", 64)} {
		slot, err := c.ParseSlot(text)
		if err != nil {
			t.Fatal(err)
		}
		chosen = append(chosen, slot)
	}
	got := c.Subjects(chosen)
	if len(got) != 3 || fmt.Sprint(got[0].Names) != "[A C]" || got[1].Address != two || len(got[1].Slots) != 3 || got[2].Address != three ||
		got[2].Slots[0] != (contracts.Hash{31: 7}) || got[1].Slots[0] != got[1].Slots[1] {
		t.Errorf("%+v", got)
	}
	for _, text := range []string{"", "A", "A:", ":1", "D:1", "A:-1", "A:x", "A:0x", "A:1:1", "A:0x1" + strings.Repeat("0", 64), "A:" + strings.Repeat("9", 78),
		"A:" + strings.Repeat("9", 1<<20), checksummed[2][:41] + "c:1"} {
		if slot, err := c.ParseSlot(text); err == nil || len(err.Error()) > 1000 {
			t.Errorf("%.90q: %+v, %v", text, slot, err)
		}
	}
}
