package backup

import (
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"strconv"
	"strings"
)

// Shard is the Index-th, from 1, of Count parts of a store. The zero Shard is the whole.
type Shard struct{ Index, Count int }

// maxShards is the limit of completions of an indexed Kubernetes Job.
const maxShards = 100_000

// ParseShard reads "I/N", with I from 1 to N.
func ParseShard(text string) (Shard, error) {
	index, count, found := strings.Cut(text, "/")
	i, errI := strconv.Atoi(index)
	n, errN := strconv.Atoi(count)
	if !found || errI != nil || errN != nil || i < 1 || i > n || n > maxShards {
		return Shard{}, fmt.Errorf("%q is not I/N, with I from 1 to N and N at most %d", text, maxShards)
	}
	return Shard{i, n}, nil
}

// ShardFromJob makes the shard of a pod of an indexed Kubernetes Job from its
// JOB_COMPLETION_INDEX, which counts from 0, and its completions.
func ShardFromJob(index, count string) (Shard, error) {
	i, err := strconv.Atoi(index)
	if err != nil {
		return Shard{}, fmt.Errorf("JOB_COMPLETION_INDEX is %q, not a number", index)
	}
	if count == "" {
		return Shard{}, errors.New("JOB_COMPLETION_INDEX is set, but not JOB_COMPLETIONS, the number of completions")
	}
	s, err := ParseShard(fmt.Sprintf("%d/%s", i+1, count))
	if err != nil {
		return Shard{}, fmt.Errorf("JOB_COMPLETION_INDEX and JOB_COMPLETIONS: %w", err)
	}
	return s, nil
}

// Has reports whether the backup at path is in the shard. That depends on nothing but the
// path, so that a backup which is re-encrypted meanwhile, and gets another id, stays in its
// shard.
func (s Shard) Has(path string) bool {
	if s.Count <= 1 {
		return true
	}
	h := fnv.New64a()
	_, _ = io.WriteString(h, path) // a hash takes everything
	return h.Sum64()%uint64(s.Count) == uint64(s.Index-1)
}

// String is what ParseShard reads; empty for the whole.
func (s Shard) String() string {
	if s.Count == 0 {
		return ""
	}
	return fmt.Sprintf("%d/%d", s.Index, s.Count)
}
