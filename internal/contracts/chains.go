package contracts

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/takumi-backup/takumi-backup/internal/fail"
)

// chainIDs of the networks that have one name everywhere (chainlist.org).
var chainIDs = map[string]uint64{
	"mainnet": 1, "ethereum": 1, "sepolia": 11155111, "holesky": 17000, "hoodi": 560048, "goerli": 5,
	"base": 8453, "base-mainnet": 8453, "base-sepolia": 84532, "optimism": 10, "op-mainnet": 10, "optimism-sepolia": 11155420, "op-sepolia": 11155420,
	"arbitrum": 42161, "arbitrum-one": 42161, "arbitrum-nova": 42170, "arbitrum-sepolia": 421614, "polygon": 137, "polygon-amoy": 80002, "amoy": 80002,
	"polygon-zkevm": 1101, "bsc": 56, "bnb": 56, "bsc-testnet": 97, "gnosis": 100, "chiado": 10200, "avalanche": 43114, "avalanche-fuji": 43113, "fuji": 43113,
	"celo": 42220, "celo-alfajores": 44787, "celo-sepolia": 11142220, "zksync": 324, "zksync-era": 324, "zksync-sepolia": 300, "linea": 59144, "linea-sepolia": 59141,
	"scroll": 534352, "scroll-sepolia": 534351, "blast": 81457, "blast-sepolia": 168587773, "mantle": 5000, "mode": 34443, "zora": 7777777,
	"unichain": 130, "unichain-sepolia": 1301, "fantom": 250, "sonic": 146, "moonbeam": 1284, "moonriver": 1285, "cronos": 25, "aurora": 1313161554,
	"metis": 1088, "berachain": 80094, "worldchain": 480, "ink": 57073, "abstract": 2741, "taiko": 167000, "fraxtal": 252, "lisk": 1135,
}

// local are names of chains that somebody runs for himself, under any id.
var local = []string{"local", "localhost", "localnet", "anvil", "hardhat", "ganache", "dev", "devnet", "development", "test"}

var (
	// ErrNetwork is returned when a node serves another chain than was asked for.
	ErrNetwork = fail.New(fail.Source, "look which chain the RPC URL leads to, and which one --network and --chain-id name", "the node serves another chain")
	// ErrChainID is returned when nobody says which chain a network is.
	ErrChainID = fail.New(fail.Usage, `give --chain-id, or "chain_id" in interfaces/metadata.json`, "the chain id of the network is not known")
	// ErrHeader is returned for a chain whose headers this package cannot verify.
	ErrHeader = fail.New(fail.Source, "--offline makes the snapshot without the chain", "the headers of this chain are not those of Ethereum, and cannot be verified")
)

// ChainID returns the network's id: the given one, or by its name, or 0 for a private
// network. The error is ErrChainID.
func ChainID(network string, said uint64) (uint64, error) {
	name := strings.ReplaceAll(strings.ToLower(network), "_", "-")
	id := cmp.Or(said, chainIDs[name])
	if id == 0 && !slices.Contains(local, name) {
		return 0, fmt.Errorf("%w: %s", ErrChainID, network)
	}
	return id, nil
}

// checkChain compares the id of a node's chain. A private network must not have a public
// chain's id.
func checkChain(n *Node, network string, want, is uint64) error {
	if want == is {
		return nil
	}
	if want != 0 {
		return fmt.Errorf("%w: %s has the chain id %d, that of %s is %d", ErrNetwork, n, is, network, want)
	}
	for name, public := range chainIDs {
		if public == is {
			return fmt.Errorf("%w: %s has the chain id %d, that of %s, and not of a network of one's own", ErrNetwork, n, is, name)
		}
	}
	return nil
}

// foreign are fields of headers that only these chains have.
var foreign = map[string]string{
	"extDataHash": "Avalanche", "blockExtraData": "Avalanche", "extDataGasUsed": "Avalanche", "blockGasCost": "Avalanche",
	"l1BatchNumber": "zkSync", "l1BatchTimestamp": "zkSync", "epochSnarkData": "Celo", "randomness": "Celo", "sealFields": "zkSync or OpenEthereum",
}

// foreignHeader names the chain of a header with fields that Ethereum's lack, or returns
// nil.
func foreignHeader(fields map[string]any) error {
	for field, chain := range foreign {
		if fields[field] != nil {
			return fmt.Errorf("%w: it has the field %s, as of %s", ErrHeader, field, chain)
		}
	}
	var unknown []string
	for field, value := range fields {
		if value != nil && !slices.Contains(ordinary, field) {
			unknown = append(unknown, clip(field))
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	slices.Sort(unknown)
	return fmt.Errorf("%w: it has the fields %s", ErrHeader, strings.Join(unknown[:min(len(unknown), 5)], ", "))
}

// ordinary are the fields of a block as Ethereum's nodes give it.
var ordinary = []string{
	"parentHash", "sha3Uncles", "miner", "author", "stateRoot", "transactionsRoot", "receiptsRoot", "logsBloom", "difficulty", "number", "gasLimit",
	"gasUsed", "timestamp", "extraData", "mixHash", "nonce", "baseFeePerGas", "withdrawalsRoot", "blobGasUsed", "excessBlobGas", "parentBeaconBlockRoot",
	"requestsHash", "blockAccessListHash", "slotNumber", "hash", "size", "totalDifficulty", "transactions", "uncles", "withdrawals", "blockAccessList",
}
