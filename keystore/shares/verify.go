package shares

import (
	"fmt"
	"math/big"
	"math/rand/v2"
	"slices"

	"github.com/takumi-backup/takumi-backup/keystore/paper"
)

const (
	// maxProofs bounds the combinations that Verify tries. One takes time with the square
	// of the threshold, so large thresholds get fewer: maxWork over the square, some
	// seconds, and at least minProofs.
	maxProofs = 5000
	minProofs = 20
	maxWork   = 400_000
)

// Proof is what Verify has shown.
type Proof struct {
	Proved int      // combinations that were tried, and gave the key
	Total  *big.Int // that there are
}

// Complete reports whether every combination was tried.
func (p Proof) Complete() bool { return p.Total.IsInt64() && p.Total.Int64() == int64(p.Proved) }

// String says how many of how many.
func (p Proof) String() string {
	if p.Complete() {
		return fmt.Sprintf("all %d", p.Proved)
	}
	return fmt.Sprintf("a random sample of %d of %v", p.Proved, p.Total)
}

// Verify checks that a whole set gives the key that it names: by every combination of the
// threshold or, when there are more than 5,000 (fewer for thresholds above 8), a random
// sample with every share. It stops at the first failure.
func Verify(blocks []*paper.Block) (Proof, error) {
	if err := Check(blocks); err != nil {
		return Proof{}, err
	}
	if len(blocks) == 0 || len(blocks) != blocks[0].Total {
		return Proof{}, fmt.Errorf("%w: only a whole set can be proved", ErrTooFew)
	}
	n, k := len(blocks), blocks[0].Threshold
	proof := Proof{Total: new(big.Int).Binomial(int64(n), int64(k))}
	choose := sample(n, k, limit(k))
	if proof.Total.Cmp(big.NewInt(int64(limit(k)))) <= 0 {
		choose = every(n, k)
	}
	chosen := make([]*paper.Block, k)
	for indices := range choose {
		for i, at := range indices {
			chosen[i] = blocks[at]
		}
		key, err := restore(chosen)
		if err != nil {
			return proof, fmt.Errorf("proving the shares: %w", err)
		}
		key.Wipe()
		proof.Proved++
	}
	return proof, nil
}

func limit(threshold int) int {
	return min(maxProofs, max(minProofs, maxWork/(threshold*threshold)))
}

// every yields each way to choose k of n, in one slice.
func every(n, k int) func(func([]int) bool) {
	return func(yield func([]int) bool) {
		c := make([]int, k)
		for i := range c {
			c[i] = i
		}
		for yield(c) {
			i := k - 1
			for i >= 0 && c[i] == n-k+i {
				i--
			}
			if i < 0 {
				return
			}
			for c[i]++; i+1 < k; i++ {
				c[i+1] = c[i] + 1
			}
		}
	}
}

// sample yields different ways to choose k of n, of which there are more than size, in one
// slice: the first ones cover all of n. The choice is not secret.
func sample(n, k, size int) func(func([]int) bool) {
	return func(yield func([]int) bool) {
		seen := make(map[string]bool)
		c, name := make([]int, k), make([]byte, k)
		// next yields what c holds, unless that was yielded before.
		next := func() bool {
			slices.Sort(c)
			for i, at := range c {
				name[i] = byte(at)
			}
			if seen[string(name)] {
				return true
			}
			seen[string(name)] = true
			return yield(c)
		}
		order := rand.Perm(n)
		for start := 0; start < n; start += k {
			for i := range c {
				c[i] = order[(start+i)%n]
			}
			if !next() {
				return
			}
		}
		for len(seen) < size {
			copy(c, rand.Perm(n))
			if !next() {
				return
			}
		}
	}
}
