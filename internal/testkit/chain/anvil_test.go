package chain_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/internal/testkit/chain"
	"github.com/takumi-backup/takumi-backup/internal/testkit/port"
)

// TestAnvil is TestProgram against a node that is not go-ethereum, fetched from
// npm. It is an extra of the long run: in the short one go-ethereum's is the only
// one.
func TestAnvil(t *testing.T) {
	if os.Getenv("TAKUMI_TEST_LONG") == "" {
		t.Skip("set TAKUMI_TEST_LONG=1, as scripts/test --long does, to run this test")
	}
	if _, err := exec.LookPath("npm"); err != nil {
		t.Fatal("npm is missing: apt-get install npm, as scripts/test --long does")
	}
	url := startAnvil(t)
	var accounts []string
	tell(t, url, &accounts, "eth_accounts")
	var tx, receipt any
	code := chain.InitCode(runtimeCode, map[[32]byte][32]byte{implementation: {12: 0xaa, 31: 1}, {31: 3}: {31: 42}})
	tell(t, url, &tx, "eth_sendTransaction", map[string]string{"from": accounts[0], "data": "0x" + hex.EncodeToString(code), "gas": "0x4c4b40"})
	for deadline := time.Now().Add(10 * time.Second); receipt == nil && time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		tell(t, url, &receipt, "eth_getTransactionReceipt", tx)
	}
	deployed, _ := receipt.(map[string]any)
	address, _ := deployed["contractAddress"].(string)
	if address == "" {
		t.Fatalf("deploying gives %v", receipt)
	}
	fromStart(t, program(t), url, address, func() string {
		return liar(t, url, lie{"eth_getProof", 0, set("0x1", "storageProof", 0, "value")})
	}, func() string {
		var done any
		tell(t, url, &done, "anvil_setCode", address, "0x"+hex.EncodeToString(otherCode))
		tell(t, url, &done, "anvil_setStorageAt", address, implementation, "0x"+hex.EncodeToString(make([]byte, 31))+"99")
		tell(t, url, &done, "anvil_mine", "0x2")
		return url
	})
	t.Log("anvil from npm ran, next to go-ethereum's node")
}

// startAnvil starts a node that ends with the test, and returns its URL.
func startAnvil(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), "npm", "install", "--no-audit", "--no-fund", "--prefix", dir, "@foundry-rs/anvil@1.7.1").CombinedOutput(); err != nil {
		t.Fatalf("npm cannot install anvil: %v\n%s", err, out)
	}
	number := strconv.Itoa(port.Free(t))
	found, err := filepath.Glob(filepath.Join(dir, "node_modules/@foundry-rs/anvil-*/bin/anvil")) // not the script around it, which would outlive a kill
	if err != nil || len(found) != 1 {
		t.Fatalf("%q, %v", found, err)
	}
	anvil := exec.Command(found[0], "--host", "127.0.0.1", "--port", number, "--silent")
	if err := anvil.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		anvil.Process.Kill()
		anvil.Wait()
	})
	for deadline := time.Now().Add(5 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
		c, err := net.Dial("tcp", "127.0.0.1:"+number)
		if err == nil {
			c.Close()
			return "http://127.0.0.1:" + number
		}
		if time.Now().After(deadline) {
			t.Fatal("anvil does not answer")
		}
	}
}

// tell calls a method of a node.
func tell(t testing.TB, url string, result any, method string, params ...any) {
	t.Helper()
	request, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.Post(url, "application/json", bytes.NewReader(request))
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	told := struct{ Result, Error any }{Result: result}
	if err := json.NewDecoder(answer.Body).Decode(&told); err != nil || told.Error != nil {
		t.Fatalf("%s: %v, %v", method, told.Error, err)
	}
}
