// Package chain keeps what a host knows of the last archive of a chain of incremental
// backups: the tree as it was then. It is a cache in the state folder: without it, or
// when it is in doubt, the next backup is a full one.
//
// The tree is sealed under a key that is next to it, as it names every file and the
// host may hold no key that opens its own backups. A state is written to a file next to
// the former one, and takes its place when the backup is there.
package chain

import (
	"bufio"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/takumi-backup/takumi-backup/backup/members"
	"github.com/takumi-backup/takumi-backup/internal/fsutil"
	"github.com/takumi-backup/takumi-backup/stream"
)

const (
	context = "takumi-backup/v1 uploads state"
	version = 1
	maxLine = 1 << 20
)

// Link is one backup of a chain, as it was made.
type Link struct {
	Name    string    `json:"name"` // of its label
	Created time.Time `json:"created"`
	Payload int64     `json:"payload"` // bytes of the file behind its envelope
}

// Header is what a state says of the chain.
type Header struct {
	Version int    `json:"v"`
	Chain   string `json:"chain"` // 32 hex digits
	Links   []Link `json:"links"` // the full one first
	// Holders are who may open the backups of the chain, and Options how the tree was
	// read, both in the caller's words: with others a new chain begins.
	Holders, Options string
	Copies           []string `json:",omitempty"` // the further stores that have the chain
}

// Store is where the state of one folder that is backed up to one place is kept, for one
// writer at a time.
type Store struct {
	path string
	key  []byte
	lock *fsutil.Lock
}

// Open opens what is kept in the folder dir for the series that what names, and takes
// its lock: the error wraps [fsutil.ErrHeld] when another run has it. The caller closes it.
func Open(dir, what string) (*Store, error) {
	dir = filepath.Join(dir, "uploads")
	if err := fsutil.MkdirAll(dir); err != nil {
		return nil, fmt.Errorf("making the folder of the state of incremental backups: %w", err)
	}
	sum := sha256.Sum256([]byte(what))
	path := filepath.Join(dir, hex.EncodeToString(sum[:16]))
	lock, err := fsutil.LockFile(path + ".lock")
	if err != nil {
		return nil, fmt.Errorf("backing up the folder: %w", err)
	}
	s := &Store{path: path, lock: lock}
	if s.key, err = localKey(filepath.Join(dir, "key")); err != nil {
		lock.Release()
		return nil, err
	}
	return s, nil
}

// Close releases the lock and forgets the key.
func (s *Store) Close() {
	clear(s.key)
	s.lock.Release()
}

// localKey returns the key of the state folder, which is made when there is none.
func localKey(path string) ([]byte, error) {
	key, err := fsutil.ReadPrivate(path, stream.KeySize)
	if err == nil && len(key) == stream.KeySize {
		return key, nil
	}
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		key = make([]byte, stream.KeySize)
		rand.Read(key) // never fails
		err = replace(path, func(f *os.File) error { _, err := f.Write(key); return err })
	}
	if err != nil {
		return nil, fmt.Errorf("the local key of incremental backups: %w", err)
	}
	return key, nil
}

func replace(path string, fill func(*os.File) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if err := errors.Join(fill(f), f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return fsutil.SyncDir(filepath.Dir(path))
}

// Forget removes the state: the next backup is a full one.
func (s *Store) Forget() error {
	if err := os.Remove(s.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forgetting the state of incremental backups: %w", err)
	}
	return nil
}

// mark is the file that says that a chain was found damaged. What names of files have of
// its id is enough.
func mark(folder, id string) string { return filepath.Join(folder, "bad-"+id[:min(len(id), 16)]) }

// MarkBad notes in the folder dir that a backup of a chain is damaged: the next one is
// not added to it. Where nothing is kept of incremental backups, it does nothing.
func MarkBad(dir, id string) error {
	err := os.WriteFile(mark(filepath.Join(dir, "uploads"), id), nil, 0o600)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("noting that a chain is damaged: %w", err)
	}
	return nil
}

// IsBad reports whether MarkBad was called for a chain.
func (s *Store) IsBad(id string) bool {
	_, err := os.Lstat(mark(filepath.Dir(s.path), id))
	return err == nil
}

// Last is the state that was kept. It is for one goroutine.
type Last struct {
	Header
	file *os.File
	zstd *zstd.Decoder
	in   *bufio.Reader
}

// Last opens the state. The error is [fs.ErrNotExist] when there is none; what is
// damaged, or was made by another version, is an error too. The caller closes it.
func (s *Store) Last() (*Last, error) {
	f, err := os.Open(s.path)
	if err != nil {
		return nil, err
	}
	l := &Last{file: f}
	if err := l.open(s.key); err != nil {
		l.Close()
		return nil, fmt.Errorf("reading the state of incremental backups: %w", err)
	}
	return l, nil
}

func (l *Last) open(key []byte) error {
	opened, err := stream.NewReader(bufio.NewReaderSize(l.file, 64<<10), key, []byte(context))
	if err != nil {
		return err
	}
	if l.zstd, err = zstd.NewReader(opened, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(64<<20)); err != nil {
		return err
	}
	l.in = bufio.NewReaderSize(l.zstd, maxLine)
	line, err := l.in.ReadSlice('\n')
	if err != nil {
		return err
	}
	if err := json.Unmarshal(line, &l.Header); err != nil {
		return err
	}
	if l.Version != version || len(l.Links) == 0 || len(l.Links) > members.MaxLinks {
		return errors.New("it is of another version")
	}
	return nil
}

// Next returns the next entry of the tree, in the order of [members.Order], and io.EOF
// after the last, when all of it was authentic.
func (l *Last) Next() (*members.Entry, error) {
	line, err := l.in.ReadSlice('\n')
	if err == io.EOF && len(line) == 0 {
		return nil, io.EOF
	}
	e := new(members.Entry)
	if err == nil {
		err = json.Unmarshal(line, e)
	}
	if err == nil && e.From == nil {
		err = errors.New("an entry is nowhere")
	}
	if err != nil {
		return nil, fmt.Errorf("reading the state of incremental backups: %w", err)
	}
	return e, nil
}

// Close closes the state.
func (l *Last) Close() {
	if l.zstd != nil {
		l.zstd.Close()
	}
	l.file.Close()
}

// Next is the state that a backup leaves, while it is made. It is for one goroutine.
// Entries come before the header is known, and follow it in the file.
type Next struct {
	store *Store
	body  *os.File
	seal  *stream.Writer
	zstd  *zstd.Encoder
	key   [stream.KeySize]byte
	line  []byte
}

// Begin begins a state. It ends with Commit or Abort.
func (s *Store) Begin() (*Next, error) {
	body, err := os.CreateTemp(filepath.Dir(s.path), ".body-*")
	if err != nil {
		return nil, fmt.Errorf("writing the state of incremental backups: %w", err)
	}
	os.Remove(body.Name())
	n := &Next{store: s, body: body}
	rand.Read(n.key[:]) // never fails
	n.seal, err = stream.NewWriter(body, n.key[:], []byte(context))
	if err == nil {
		n.zstd, err = zstd.NewWriter(n.seal, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	}
	if err != nil {
		n.Abort()
		return nil, err
	}
	return n, nil
}

// Add adds the next entry.
func (n *Next) Add(e *members.Entry) error {
	var err error
	if n.line, err = members.AppendLine(n.line[:0], e); err == nil && len(n.line) >= maxLine {
		err = errors.New("an entry is too long")
	}
	if err == nil {
		n.line = append(n.line, '\n')
		_, err = n.zstd.Write(n.line)
	}
	if err != nil {
		return fmt.Errorf("writing the state of incremental backups: %w", err)
	}
	return nil
}

// Commit makes the state the last one. When that ends a chain, what MarkBad noted of it is
// forgotten.
func (n *Next) Commit(h Header) error {
	defer n.Abort()
	h.Version = version
	ended := n.store.last()
	err := errors.Join(n.zstd.Close(), n.seal.Close())
	if err == nil {
		err = replace(n.store.path, func(f *os.File) error { return n.write(f, h) })
	}
	if err != nil {
		return fmt.Errorf("keeping the state of incremental backups: %w", err)
	}
	if ended != "" && ended != h.Chain {
		_ = os.Remove(mark(filepath.Dir(n.store.path), ended)) // mostly there is none
	}
	return nil
}

// last is the chain of the state that is kept, or empty when it can't be read.
func (s *Store) last() string {
	l, err := s.Last()
	if err != nil {
		return ""
	}
	defer l.Close()
	return l.Chain
}

// write writes the header, and the entries behind it under the key of the state folder.
func (n *Next) write(f *os.File, h Header) error {
	out := bufio.NewWriterSize(f, 64<<10)
	seal, err := stream.NewWriter(out, n.store.key, []byte(context))
	if err != nil {
		return err
	}
	line, err := json.Marshal(h)
	if err != nil {
		return err
	}
	head, err := zstd.NewWriter(seal, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return err
	}
	if _, err := head.Write(append(line, '\n')); err != nil {
		return err
	}
	if err := head.Close(); err != nil {
		return err
	}
	if _, err := n.body.Seek(0, io.SeekStart); err != nil {
		return err
	}
	body, err := stream.NewReader(bufio.NewReaderSize(n.body, 64<<10), n.key[:], []byte(context))
	if err != nil {
		return err
	}
	if _, err := io.Copy(seal, body); err != nil {
		return err
	}
	return errors.Join(seal.Close(), out.Flush())
}

// Abort gives the state up, unless it was committed. It may be called again.
func (n *Next) Abort() {
	clear(n.key[:])
	n.body.Close()
}
