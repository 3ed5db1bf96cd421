package replicate

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
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
	fault error
}

type given struct {
	To        string `json:"to"`
	Envelopes string `json:"envelopes"` // SHA-256 in hex
}

// OpenMemory reads the memory in the state folder dir, which need not exist. Damaged lines
// are skipped. The errors are the system's.
func OpenMemory(dir string) (*Memory, error) {
	m := &Memory{path: filepath.Join(dir, MemoryName), all: make(map[string]string)}
	_, err := jsonlines.Read(m.path, func(_ int, line []byte) error {
		var g given
		if json.Unmarshal(line, &g) == nil && g.To != "" {
			m.all[g.To] = g.Envelopes
		}
		return nil
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading what was copied: %w", err)
	}
	return m, nil
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
