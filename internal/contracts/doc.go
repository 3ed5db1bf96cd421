// Package contracts makes snapshots of smart contracts: the files of their
// project, and what a chain says of them, with proof.
//
// To make one, read interfaces/metadata.json with [ParseMetadata], ask a node
// with [Dial] and [Fetch], and hand the state to [Open], which gives the
// snapshot as a tar stream. To look at one again, take its state from the stream
// with [ReadState], check it with [State.Verify], and hold it against the chain
// of today with [Fetch] and [Compare].
//
// # What the proofs prove
//
// Everything is read at one block. The block's header must have the block's
// hash, and names the root of the state; a Merkle proof leads from that root to
// each account with its nonce, balance, code hash and storage hash; code must
// have the code hash, and further proofs lead from the storage hash to each slot.
// So a node cannot lie about an account without lying about the hash of the
// block. Whether the chain has a block of that hash is not proved: compare it
// with a second node, or with an explorer.
package contracts
