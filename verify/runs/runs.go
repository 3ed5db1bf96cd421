// Package runs remembers how the jobs that the clock starts went: when each last ran
// and last succeeded, and which backups were made. It is what a missed night is known
// by. A caller fills in a [Run] and calls [Remember]; [Open] reads what is remembered.
package runs

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/takumi-backup/takumi-backup/internal/fsutil"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/internal/store/local"
)

// FileName is what the memory is called, in the state folder.
const FileName = "runs.json"

const (
	version = 1
	// A series that was not made for so long was given up.
	remembered = 60 * 24 * time.Hour
	// sizes is how many backups of a series are remembered by their size.
	sizes = 14
)

// ErrMemory marks a memory that is not one.
var ErrMemory = errors.New("what is remembered of earlier runs cannot be read")

// Run is one run of a job.
type Run struct {
	Task              string // backup, prune, replicate or drill
	Started, Finished time.Time
	Error             string // "" when all went well; redacted
	Bytes             int64  // written, or copied, or freed
	Parts             []Part
	Made              []Made
	Drilled           []Series // restored in a rehearsal, and found good
}

// Part is how one part of a run went.
type Part struct {
	Name  string `json:"name"`
	Error string `json:"error,omitempty"`
}

// Series is what backups of one thing share.
type Series struct {
	Folder string `json:"folder"`
	Kind   string `json:"kind"`
	Name   string `json:"name"`
}

// Made is a backup that was made.
type Made struct {
	Series
	Path    string    `json:"path"`
	Created time.Time `json:"created"`
	Bytes   int64     `json:"bytes_out"`
	Content int64     `json:"bytes_in"`
	Seconds float64   `json:"seconds"`
	// Sizes are the bytes of the last backups of the series, the newest last.
	Sizes []int64 `json:"sizes,omitempty"`
}

// Task is what is remembered of a job.
type Task struct {
	LastRun     time.Time `json:"last_run"`
	LastSuccess time.Time `json:"last_success,omitzero"`
	Seconds     float64   `json:"seconds"`
	Error       string    `json:"error,omitempty"` // of the last run
	Bytes       int64     `json:"bytes"`
	Parts       []Part    `json:"parts,omitempty"`
}

// Memory is what is remembered. It is not safe for concurrent use.
type Memory struct {
	Tasks map[string]Task `json:"tasks"`
	Made  []Made          `json:"made"` // the newest of each series
	// Drilled is when a backup of a series was last restored in a rehearsal.
	Drilled []Drilled `json:"drilled,omitempty"`
}

// Drilled is when a backup of a series was last restored.
type Drilled struct {
	Series
	At time.Time `json:"at"`
}

type file struct {
	Version int `json:"version"`
	Memory
}

// Open reads the memory in the state folder dir, which need not exist. The errors are
// ErrMemory and the system's.
func Open(dir string) (*Memory, error) {
	path := filepath.Join(dir, FileName)
	m := &file{Version: version}
	text, err := os.ReadFile(path)
	if err == nil {
		if err = json.Unmarshal(text, m); err != nil || m.Version != version {
			return nil, fmt.Errorf("%w: %s: it is not of version %d: %v", ErrMemory, path, version, err)
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading how earlier runs went: %w", err)
	}
	if m.Tasks == nil {
		m.Tasks = make(map[string]Task)
	}
	return &m.Memory, nil
}

// Remember adds a run to the memory in dir, and returns what is remembered then. A
// memory that cannot be read is begun anew, for it says nothing that the store does not
// know. It waits a moment for another process; the errors are fsutil.ErrHeld and those
// of the store.
func Remember(dir string, r *Run) (*Memory, error) {
	if err := fsutil.MkdirAll(dir); err != nil {
		return nil, fmt.Errorf("making the state folder: %w", err)
	}
	lock, err := fsutil.LockSoon(filepath.Join(dir, "runs.lock"))
	if err != nil {
		return nil, err
	}
	defer lock.Release()
	m, err := Open(dir)
	if errors.Is(err, ErrMemory) {
		m, err = &Memory{Tasks: make(map[string]Task)}, nil
	}
	if err != nil {
		return nil, err
	}
	m.add(r)
	text, err := json.Marshal(file{version, *m})
	if err != nil {
		return nil, err
	}
	return m, local.WriteFile(filepath.Join(dir, FileName), append(text, '\n'), store.Options{Replace: true})
}

func (m *Memory) add(r *Run) {
	t := Task{LastRun: r.Finished, LastSuccess: m.Tasks[r.Task].LastSuccess, Seconds: r.Finished.Sub(r.Started).Seconds(), Error: r.Error, Bytes: r.Bytes, Parts: r.Parts}
	if r.Error == "" {
		t.LastSuccess = r.Finished
	}
	m.Tasks = maps.Clone(m.Tasks)
	m.Tasks[r.Task] = t
	for _, s := range r.Drilled {
		m.Drilled = append(slices.DeleteFunc(m.Drilled, func(d Drilled) bool { return d.Series == s }), Drilled{s, r.Finished})
	}
	newest := make(map[Series]int)
	var all []Made
	for _, one := range append(append([]Made{}, m.Made...), r.Made...) {
		at, known := newest[one.Series]
		if !known {
			newest[one.Series] = len(all)
			if len(one.Sizes) == 0 {
				one.Sizes = []int64{one.Bytes}
			}
			all = append(all, one)
			continue
		}
		one.Sizes = append(all[at].Sizes, one.Bytes)
		one.Sizes = one.Sizes[max(0, len(one.Sizes)-sizes):]
		all[at] = one
	}
	m.Made = nil
	for _, one := range all {
		if r.Finished.Sub(one.Created) < remembered {
			m.Made = append(m.Made, one)
		}
	}
}
