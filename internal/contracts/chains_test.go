package contracts_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/internal/contracts"
	"github.com/takumi-backup/takumi-backup/internal/fail"
)

// node is one that answers each method with a text.
func node(t *testing.T, answers map[string]string) *contracts.Node {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		request, _ := io.ReadAll(r.Body)
		for method, answer := range answers {
			if strings.Contains(string(request), method) {
				io.WriteString(w, answer)
			}
		}
	}))
	t.Cleanup(server.Close)
	n, err := contracts.Dial(server.URL, contracts.Options{FirstPause: time.Microsecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	return n
}

// TestChainIDs: a network's id is known, said, or asked for, and a node of another
// chain is refused.
func TestChainIDs(t *testing.T) {
	for name, tc := range map[string]struct {
		network, id string
		said        uint64
		want        error
	}{
		"mainnet for base":           {"base", "0x1", 0, contracts.ErrNetwork},
		"another spelling":           {"BASE_SEPOLIA", "0x1", 0, contracts.ErrNetwork},
		"nobody knows it":            {"my-rollup", "0x1", 0, contracts.ErrChainID},
		"nobody knows it, but said":  {"my-rollup", "0x1", 77, contracts.ErrNetwork},
		"one's own serves a public":  {"local", "0x1", 0, contracts.ErrNetwork},
		"said against a known name":  {"sepolia", "0xaa36a7", 5, contracts.ErrNetwork},
		"one's own":                  {"anvil", "0x7a69", 0, nil},
		"known":                      {"base", "0x2105", 0, nil},
		"said":                       {"my-rollup", "0x4d", 77, nil},
		"said, unlike the known one": {"mainnet", "0x2105", 8453, nil},
	} {
		n := node(t, map[string]string{"eth_chainId": `{"result":"` + tc.id + `"}`, "eth_getBlock": `{"result":null}`})
		_, err := contracts.Fetch(context.Background(), n, contracts.Query{Network: tc.network, ChainID: tc.said, Block: "latest"})
		if tc.want != nil && !errors.Is(err, tc.want) || tc.want == nil && (errors.Is(err, contracts.ErrNetwork) || errors.Is(err, contracts.ErrChainID)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestHints: what a node cannot do is named with what helps.
func TestHints(t *testing.T) {
	for answer, want := range map[string]string{
		`{"error":{"code":-32601,"message":"the method eth_getProof does not exist/is not available"}}`: "no eth_getBlockByNumber",
		`{"error":{"code":-32000,"message":"Method not supported"}}`:                                    "no eth_getBlockByNumber",
		`{"error":{"code":-32000,"message":"missing trie node 12ab (path )"}}`:                          "archive node",
		`{"error":{"code":-32000,"message":"distance to target block exceeds maximum proof window"}}`:   "--block latest",
		`{"error":{"code":4444,"message":"pruned history unavailable"}}`:                                "archive node",
		`{"error":{"code":-32016,"message":"over rate limit"}}`:                                         "run it again later",
	} {
		n := node(t, map[string]string{"eth_chainId": `{"result":"0x1"}`, "eth_getBlock": answer})
		_, err := contracts.Fetch(context.Background(), n, contracts.Query{Network: "mainnet", Block: "latest"})
		if class, hint := fail.Of(err); class != fail.Source || !strings.Contains(hint, want) {
			t.Errorf("%s: %v, %q", answer, err, hint)
		}
	}
}

// TestForeignHeaders: a chain with other headers is named, and not accused of lying.
func TestForeignHeaders(t *testing.T) {
	hash := `"0x` + strings.Repeat("11", 32) + `"`
	block := `{"result":{"hash":` + hash + `,"parentHash":` + hash + `,"number":"0x1"%s}}`
	for extra, want := range map[string]string{
		`,"extDataHash":` + hash: "as of Avalanche", `,"l1BatchNumber":"0x1"`: "as of zkSync", `,"epochSnarkData":{}`: "as of Celo",
		`,"milliTimestamp":"0x5"`: "the fields milliTimestamp",
	} {
		n := node(t, map[string]string{"eth_chainId": `{"result":"0x1"}`, "eth_getBlock": strings.Replace(block, "%s", extra, 1)})
		_, err := contracts.Fetch(context.Background(), n, contracts.Query{Network: "mainnet", Block: "latest"})
		if !errors.Is(err, contracts.ErrHeader) || errors.Is(err, contracts.ErrInconsistent) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", extra, err)
		}
	}
}

func TestMetadataOfOthers(t *testing.T) {
	for doc, want := range map[string]error{
		`{"networks":{"sepolia":{}}}`: contracts.ErrNoChains, `{"deployments":[]}`: contracts.ErrNoChains, `{}`: nil, `{"chains":[]}`: nil, `{"chains":[],"networks":1}`: nil,
		`{"chains":[{"name":"a","chain_id":"0x5"}]}`: nil, `{"chains":[{"name":"a","chainId":5,"chain_id":6}]}`: contracts.ErrMetadata, `{"chains":[{"name":"a","chainId":"x"}]}`: contracts.ErrMetadata,
	} {
		chains, err := contracts.ParseMetadata(strings.NewReader(doc))
		if !errors.Is(err, want) || want == contracts.ErrMetadata && errors.Is(err, contracts.ErrNoChains) {
			t.Errorf("%s: %v", doc, err)
		}
		if len(chains) == 1 && chains[0].ChainID != 5 {
			t.Errorf("%s: %+v", doc, chains)
		}
	}
}
