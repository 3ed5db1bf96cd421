package rekey

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/envelope/slot"
	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/fsutil"
	"github.com/takumi-backup/takumi-backup/internal/jsonlines"
	"github.com/takumi-backup/takumi-backup/internal/store"
)

var (
	// ErrState is returned for a state file that is none, or damaged.
	ErrState = errors.New("not a state file of reencrypt")
	// ErrOtherRun is returned for the state of a run with other keys.
	ErrOtherRun = errors.New("the state file is that of a run for other keys")
)

const stateVersion = 1

// These bring the state to disk; tests make them fail.
var syncFile, syncDir = (*os.File).Sync, fsutil.SyncDir

// State lists the new ids that a run over many backups, which may be interrupted and
// resumed, has made. It is a file of JSON lines without secrets, deleted when the run is
// complete. It is safe for concurrent use. The nil State is empty and keeps nothing.
type State struct {
	path string
	lock *fsutil.Lock

	whole int64 // the length of the whole lines, when it was read

	mu   sync.Mutex
	file *os.File // nil when it is only read
	made map[envelope.ID]bool
	err  error // the first failed write, sticky: half a line may be there
}

type head struct {
	Version int       `json:"version"`
	Keys    []string  `json:"keys"`
	Begun   time.Time `json:"begun"`
}

// entry is any other line: a backup that is about to be replaced.
type entry struct {
	Time time.Time `json:"time"`
	Path string    `json:"path"`
	Old  string    `json:"old"`
	New  string    `json:"new"`
}

// Begin opens or begins the state of a run that seals for the keys. A file with another
// beginning stays as it is. The errors are ErrState, ErrOtherRun, [fsutil.ErrHeld] during
// such a run, and the file system's. The caller ends it with End.
func Begin(path string, keys []string) (_ *State, err error) {
	if err := fsutil.MkdirAll(filepath.Dir(path)); err != nil {
		return nil, fmt.Errorf("making the folder of the state: %w", err)
	}
	lock, err := fsutil.LockExisting(path)
	for tries := 3; errors.Is(err, fs.ErrNotExist) && tries > 0; tries-- { // a run may end meanwhile
		if err = create(path, keys); err == nil {
			lock, err = fsutil.LockExisting(path)
		}
	}
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			lock.Release()
		}
	}()
	s, err := Read(path, keys)
	if err != nil {
		return nil, err
	}
	if s.file, err = os.OpenFile(path, os.O_RDWR|os.O_APPEND|syscall.O_NOFOLLOW, 0); err != nil {
		return nil, fmt.Errorf("opening the state: %w", err)
	}
	s.path, s.lock = path, lock
	if err := s.file.Truncate(s.whole); err != nil { // what a crash left of the last line
		s.file.Close()
		return nil, fmt.Errorf("mending the state: %w", err)
	}
	return s, nil
}

// StateFile is the path in dir of the state of a run over the paths that seals for the
// keys: the same for equal runs. how has further differences.
func StateFile(dir string, paths []string, keys []string, how ...string) (string, error) {
	var parts []string
	for _, path := range paths {
		if !store.IsRemote(path) {
			abs, err := filepath.Abs(path)
			if err != nil {
				return "", err
			}
			path = abs
		}
		parts = append(parts, path)
	}
	for _, id := range keys {
		parts = append(parts, id)
	}
	slices.Sort(parts)
	sum := sha256.Sum256([]byte(strings.Join(append(parts, how...), "\x00")))
	return filepath.Join(dir, "reencrypt-"+hex.EncodeToString(sum[:8])+".jsonl"), nil
}

// create durably makes an empty state. Another run may make it meanwhile.
func create(path string, keys []string) error {
	text, err := json.Marshal(head{stateVersion, sorted(keys), time.Now().UTC().Truncate(time.Second)})
	if err != nil {
		return err
	}
	temp, err := os.CreateTemp(filepath.Dir(path), ".reencrypt-*.partial")
	if err != nil {
		return fmt.Errorf("beginning the state: %w", err)
	}
	defer os.Remove(temp.Name())
	defer temp.Close()
	if _, err = temp.Write(append(text, '\n')); err == nil {
		err = syncFile(temp)
	}
	if err == nil {
		err = fsutil.RenameNew(temp.Name(), path)
	}
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return &store.Error{Op: "begin the state", Path: path, Err: err}
	}
	return nil
}

// Read reads the state of a run, if any.
func Read(path string, keys []string) (*State, error) {
	s := &State{made: make(map[envelope.ID]bool)}
	lines := 0
	whole, err := jsonlines.Read(path, func(n int, line []byte) error {
		lines = n
		return s.take(n, line, keys)
	})
	switch s.whole = whole; {
	case errors.Is(err, fs.ErrNotExist):
		return s, nil
	case err == nil && lines == 0:
		return nil, fmt.Errorf("%s, line 1: %w", path, ErrState)
	case errors.Is(err, ErrState) || errors.Is(err, ErrOtherRun):
		return nil, fmt.Errorf("%s, line %d: %w", path, lines, err)
	case err != nil:
		return nil, fmt.Errorf("reading the state: %w", err)
	}
	return s, nil
}

func (s *State) take(n int, line []byte, keys []string) error {
	if n == 1 {
		var h head
		if err := json.Unmarshal(line, &h); err != nil || h.Version != stateVersion {
			return ErrState
		}
		if !slices.Equal(h.Keys, sorted(keys)) {
			return ErrOtherRun
		}
		return nil
	}
	var e entry
	if err := json.Unmarshal(line, &e); err != nil {
		return ErrState
	}
	id, err := hex.DecodeString(e.New)
	if err != nil || len(id) != len(envelope.ID{}) {
		return ErrState
	}
	s.made[envelope.ID(id)] = true
	return nil
}

func sorted(keys []string) []string { return slices.Sorted(slices.Values(keys)) }

// Len returns how many backups are listed.
func (s *State) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.made)
}

func (s *State) has(id envelope.ID) bool {
	if s == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.made[id]
}

// add durably notes that new is about to replace old. If that fails, no backup has the id
// new.
func (s *State) add(path string, old, new envelope.ID) error {
	if s == nil || s.file == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.write(entry{time.Now().UTC().Truncate(time.Second), path, old.String(), new.String()}); err != nil {
		return err
	}
	s.made[new] = true
	return nil
}

func (s *State) write(line any) error {
	if s.err != nil {
		return s.err
	}
	text, err := json.Marshal(line)
	if err == nil {
		_, err = s.file.Write(append(text, '\n'))
	}
	if err == nil {
		err = syncFile(s.file)
	}
	if err != nil {
		s.err = &store.Error{Op: "write the state", Path: s.path, Err: err}
	}
	return s.err
}

// End closes the state, and deletes it when the run is through or has done nothing.
func (s *State) End(through bool) error {
	if s == nil || s.file == nil {
		return nil
	}
	defer s.lock.Release()
	err := s.file.Close()
	if through || s.Len() == 0 {
		err = os.Remove(s.path)
	}
	if err != nil {
		return fmt.Errorf("ending the state: %w", err)
	}
	return nil
}

// OpenState opens the state at path, or with "" the one in dir that is of a run over these
// paths, for these holders and done in this way, and returns its path: for reading alone
// with dry.
func OpenState(path, dir string, dry bool, paths []string, to []slot.Recipient, how ...string) (*State, string, error) {
	ids := make([]string, len(to))
	for i, to := range to {
		h, _ := slot.HolderOf(to)
		if ids[i] = h.String(); h.Type == kek.SlotType {
			ids[i] = h.Name
		}
	}
	if path == "" {
		var err error
		if path, err = StateFile(dir, paths, ids, how...); err != nil {
			return nil, "", err
		}
	}
	open := Begin
	if dry {
		open = Read
	}
	state, err := open(path, ids)
	if errors.Is(err, ErrOtherRun) || errors.Is(err, ErrState) {
		return nil, "", fail.Usagef("--state: %w", err)
	}
	return state, path, err
}
