// Package chain runs a real Ethereum node inside a test: go-ethereum's, with
// blocks at command and JSON-RPC over HTTP. Start gives one. Its tests hold
// internal/contracts, and the program, against that node and its libraries. It is
// a module of its own, so that the project does not depend on a node.
package chain

import (
	"context"
	"crypto/ecdsa"
	"fmt"
	"math/big"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/eth/ethconfig"
	"github.com/ethereum/go-ethereum/ethclient/simulated"
	"github.com/ethereum/go-ethereum/node"

	"github.com/takumi-backup/takumi-backup/internal/testkit/port"
)

// ID is the chain id of every node.
const ID = 1337

// Chain is a running node with one account that has ether.
type Chain struct {
	URL     string
	Backend *simulated.Backend
	key     *ecdsa.PrivateKey
}

// Start starts a node, which ends with the test.
func Start(t testing.TB) *Chain {
	t.Helper()
	key, err := crypto.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	number := port.Free(t)
	rich := new(big.Int).Lsh(big.NewInt(1), 100)
	alloc := types.GenesisAlloc{crypto.PubkeyToAddress(key.PublicKey): {Balance: rich}}
	backend := simulated.NewBackend(alloc, func(n *node.Config, _ *ethconfig.Config) {
		n.HTTPHost, n.HTTPPort, n.HTTPModules = "127.0.0.1", number, []string{"eth"}
	})
	t.Cleanup(func() { backend.Close() })
	return &Chain{URL: fmt.Sprintf("http://127.0.0.1:%d", number), Backend: backend, key: key}
}

// Deploy deploys a contract whose code is runtime and whose storage holds slots,
// mines a block with it, and returns its address in EIP-55.
func (c *Chain) Deploy(t testing.TB, runtime []byte, slots map[[32]byte][32]byte) string {
	t.Helper()
	return c.send(t, nil, InitCode(runtime, slots)).Hex()
}

// InitCode returns what deploys runtime with its storage.
func InitCode(runtime []byte, slots map[[32]byte][32]byte) []byte {
	var code []byte
	for slot, value := range slots {
		code = append(append(code, 0x7f), value[:]...) // PUSH32 value
		code = append(append(code, 0x7f), slot[:]...)  // PUSH32 slot
		code = append(code, 0x55)                      // SSTORE
	}
	size := []byte{byte(len(runtime) >> 8), byte(len(runtime))}
	at := len(code) + 15
	code = append(code, 0x61, size[0], size[1]) // PUSH2 size
	code = append(code, 0x61, byte(at>>8), byte(at), 0x5f, 0x39, 0x61, size[0], size[1], 0x5f, 0xf3)
	for len(code) < at {
		code = append(code, 0x00)
	}
	return append(code, runtime...)
}

// Pay sends wei to an address, and mines.
func (c *Chain) Pay(t testing.TB, to string, wei int64) {
	t.Helper()
	address := common.HexToAddress(to)
	c.transact(t, &address, big.NewInt(wei), nil)
}

// Mine mines n empty blocks.
func (c *Chain) Mine(n int) {
	for range n {
		c.Backend.Commit()
	}
}

func (c *Chain) send(t testing.TB, to *common.Address, data []byte) common.Address {
	t.Helper()
	return c.transact(t, to, new(big.Int), data).ContractAddress
}

func (c *Chain) transact(t testing.TB, to *common.Address, value *big.Int, data []byte) *types.Receipt {
	t.Helper()
	ctx := context.Background()
	client := c.Backend.Client()
	nonce, err := client.PendingNonceAt(ctx, crypto.PubkeyToAddress(c.key.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	tx, err := types.SignNewTx(c.key, types.LatestSignerForChainID(big.NewInt(ID)), &types.DynamicFeeTx{
		ChainID: big.NewInt(ID), Nonce: nonce, To: to, Value: value, Data: data, Gas: 5_000_000,
		GasTipCap: big.NewInt(1e9), GasFeeCap: big.NewInt(1e11),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := client.SendTransaction(ctx, tx); err != nil {
		t.Fatal(err)
	}
	c.Backend.Commit()
	receipt, err := client.TransactionReceipt(ctx, tx.Hash())
	if err != nil {
		t.Fatal(err)
	}
	if receipt.Status != types.ReceiptStatusSuccessful {
		t.Fatalf("the transaction was reverted, with %d gas used", receipt.GasUsed)
	}
	return receipt
}
