package replicate

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"sync"

	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/internal/jsonlines"
	"github.com/takumi-backup/takumi-backup/internal/store"
)

// MemoryName is the name of the memory's file in the state folder.
const MemoryName = "replicated.jsonl"

// Memory remembers the envelopes of this host's copies, in a file to which lines are added:
// it distinguishes a rewrapped backup from a rewrapped copy, whatever the clocks say. The
// nil Memory is empty. It is safe for concurrent use, also by processes.
type Memory struct {
	path  string
	mu    sync.Mutex
	all   map[string]string // by the path of the copy
	gone  map[string]bool   // of all, what neither store has any more
	lines int               // of the file
	fault error
}

type given struct {
	To        string `json:"to"`
	Envelopes string `json:"envelopes"` // SHA-256 in hex
}

// OpenMemory reads the memory in the state folder dir, which need not exist. Damaged lines
// are skipped. The errors are the system's.
func OpenMemory(dir string) (*Memory, error) {
	m := &Memory{path: filepath.Join(dir, MemoryName), gone: make(map[string]bool)}
	var err error
	if m.all, m.lines, err = readGiven(m.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading what was copied: %w", err)
	}
	return m, nil
}

func readGiven(path string) (all map[string]string, lines int, err error) {
	all = make(map[string]string)
	_, err = jsonlines.Read(path, func(n int, line []byte) error {
		lines = n
		var g given
		if json.Unmarshal(line, &g) == nil && g.To != "" {
			all[g.To] = g.Envelopes
		}
		return nil
	})
	return all, lines, err
}

// forget notes what is remembered of copies below the folder to that has says are in
// neither store.
func (m *Memory) forget(to string, has func(path string) bool) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for path := range m.all {
		if _, inside := store.CutRoot(path, placeOf(to)); inside && !has(path) {
			m.gone[path] = true
		}
	}
}

// few is up to how many lines a file may have without being compacted.
const few = 1000

// compact rewrites a file of which most lines were replaced by later ones or are of what
// is gone.
func (m *Memory) compact() {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if live := len(m.all) - len(m.gone); m.lines < few || m.lines < 2*live {
		return
	}
	err := jsonlines.Rewrite(m.path, func() (lines []any, err error) {
		all, _, err := readGiven(m.path) // others have added to it
		for _, to := range slices.Sorted(maps.Keys(all)) {
			if !m.gone[to] || all[to] != m.all[to] {
				lines = append(lines, given{to, all[to]})
			}
		}
		return lines, err
	})
	if err != nil {
		m.fault = fmt.Errorf("compacting what is remembered of copies: %w", err)
		return
	}
	m.lines = 0
}

func placeOf(to string) string {
	if abs, err := filepath.Abs(to); err == nil && !store.IsRemote(to) {
		return abs
	}
	return to
}

func (m *Memory) of(to string) string {
	if m == nil {
		return ""
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.all[placeOf(to)]
}

// Fault is why something is not remembered, or nil. The copies do not depend on it.
func (m *Memory) Fault() error {
	if m == nil {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.fault
}

func (m *Memory) learn(to string, s side) {
	if m == nil || s.own == nil || m.of(to) == s.sum() {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	g := given{placeOf(to), s.sum()}
	if err := jsonlines.Append(m.path, g); err != nil {
		m.fault = fmt.Errorf("remembering what was copied: %w", err)
		return
	}
	m.all[g.To] = g.Envelopes
	m.lines++
	delete(m.gone, g.To)
}

// sum is the SHA-256 of the envelopes of one end.
func (s side) sum() string {
	hash := sha256.New()
	for _, e := range []*envelope.Envelope{s.own, s.detached} {
		if e != nil {
			hash.Write(e.Bytes())
		}
	}
	return hex.EncodeToString(hash.Sum(nil))
}
