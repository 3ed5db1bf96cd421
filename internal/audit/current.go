package audit

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/takumi-backup/takumi-backup/internal/fsutil"
)

// ErrKey is returned when a log has MACs and the next record's key is missing.
var ErrKey = errors.New("the log carries MACs, and the key for the next record is missing or does not fit: takumi-backup audit init --replace begins anew")

const (
	// placeName is the file next to the records that names the current key's place.
	placeName = "audit.mac.json"
	// maxPlace bounds it.
	maxPlace = 16 << 10

	// The key's file holds two slots, each on its own pages, and has a fixed size, so that
	// a full disk does not matter. A slot is slotMagic, the id of the first key, the step
	// (big-endian), the key, the SHA-256 of all that, and zeros.
	slotSize  = 4096
	keyFile   = 2 * slotSize
	slotMagic = "takumi-audit-key"
	idSize    = 16
	slotText  = len(slotMagic) + idSize + 8 + macSize
)

type place struct {
	KeyFile string `json:"key_file"`
	KeyID   string `json:"key_id"` // of the first key
}

type current struct {
	*forward
	file  *os.File
	older int64 // offset of the slot to write first
	log   *Log
}

// Init begins MACs: the records from here on have them, and the first names the key first.
// keyFile, which must be new and not where first is, gets the key of the next record; its
// folder is made. Earlier MACs end, with a last one that names the new key if theirs is
// available. After a crash the log goes on as before, or has begun.
func (l *Log) Init(ctx context.Context, first FirstKey, keyFile string) error {
	if len(first.ID) != idSize || len(first.Secret) < macSize || !filepath.IsAbs(keyFile) {
		return errors.New("beginning the MACs of the audit log: the first key or the place of the next one is none")
	}
	key := first.forward()
	defer key.wipe()
	err := l.locked(ctx, func() error {
		if err := makeKeyFile(keyFile, l.dir, key); err != nil {
			return err
		}
		former, err := readPlace(l.dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err == nil {
			over := l.own(Rekeyed, first.ID)
			over.OldIDs = []string{former.KeyID}
			if err := l.append([]Record{over}); err != nil && !errors.Is(err, ErrKey) {
				return err
			}
		}
		if err := l.writePlace(place{keyFile, first.ID}); err != nil {
			return err
		}
		if former.KeyFile != "" && former.KeyFile != keyFile {
			if err := discard(former); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("wiping the former key: %w", err)
			}
		}
		return l.append(nil)
	})
	if err != nil {
		return fmt.Errorf("beginning the MACs of the audit log: %w", err)
	}
	return nil
}

// FirstKeyOf returns the id of the log's first key, "" without MACs.
func FirstKeyOf(dir string) (string, error) {
	at, err := readPlace(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return at.KeyID, err
}

func (l *Log) own(outcome Outcome, id string) Record {
	return Record{Time: l.now(), PID: os.Getpid(), Operation: OperationAudit, Outcome: outcome, Host: Host(), KeyIDs: []string{id}}
}

// open returns the key of the record behind end, nil without MACs. The error wraps ErrKey.
func (l *Log) open(end end) (*current, error) {
	at, err := readPlace(l.dir)
	if errors.Is(err, fs.ErrNotExist) && end.step == nil {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%w (%w)", ErrKey, err)
	}
	f, err := os.OpenFile(at.KeyFile, os.O_RDWR|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("%w (%w)", ErrKey, err)
	}
	c := &current{file: f, log: l}
	c.forward, c.older, err = readKey(f, at)
	if err == nil {
		err = c.catchUp(end)
	}
	if err != nil {
		c.close()
		return nil, fmt.Errorf("%w (%w)", ErrKey, err)
	}
	return c, nil
}

func (c *current) close() {
	c.file.Close()
	if c.forward != nil {
		c.wipe()
	}
}

// catchUp skips the records that were written before a crash kept the key from advancing.
func (c *current) catchUp(end end) error {
	if end.step == nil || *end.step < c.step {
		return nil
	}
	ahead, tried := *end.step-c.step, *c.forward
	defer tried.wipe()
	if ahead < maxAhead {
		for range ahead {
			tried.next()
		}
		if tried.holds(end.line) {
			tried.next()
			*c.forward = tried
			return nil
		}
	}
	if c.step == 0 {
		return nil // the last record is of the first key before
	}
	return errors.New("the last record was not written with it: takumi-backup audit verify says more")
}

// advance writes the key in memory to the file and wipes the former one: at every moment
// one slot holds a key from which the next record's is derived.
func (c *current) advance() error {
	slot := make([]byte, slotSize)
	defer clear(slot)
	text := append(append(slot[:0], slotMagic...), c.id...)
	text = append(binary.BigEndian.AppendUint64(text, c.step), c.key[:]...)
	sum := sha256.Sum256(text)
	copy(slot[len(text):], sum[:])
	for _, at := range []int64{c.older, slotSize - c.older} {
		if err := c.log.write(c.file, slot, at); err != nil {
			return err
		}
		if err := c.log.sync(c.file); err != nil {
			return err
		}
	}
	return nil
}

// readKey reads the newest key of a key file, and the offset of the other slot.
func readKey(f *os.File, at place) (*forward, int64, error) {
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, 0, err
	case !info.Mode().IsRegular() || info.Size() != keyFile:
		return nil, 0, fmt.Errorf("%s is not a key of an audit log", at.KeyFile)
	case info.Mode().Perm()&0o077 != 0:
		return nil, 0, fmt.Errorf("%s has mode %04o: others could read it", at.KeyFile, info.Mode().Perm())
	}
	text := make([]byte, keyFile)
	defer clear(text)
	if _, err := f.ReadAt(text, 0); err != nil {
		return nil, 0, err
	}
	low, high := parseSlot(text[:slotSize]), parseSlot(text[slotSize:])
	older := int64(0)
	if high == nil || low != nil && low.step > high.step {
		low, high, older = high, low, slotSize
	}
	if low != nil {
		low.wipe()
	}
	if high == nil || high.id != at.KeyID {
		return nil, 0, fmt.Errorf("%s holds no key of first key %s", at.KeyFile, at.KeyID)
	}
	return high, older, nil
}

// parseSlot returns the key in a slot, or nil.
func parseSlot(slot []byte) *forward {
	text, isSlot := bytes.CutPrefix(slot[:slotText], []byte(slotMagic))
	if sum := sha256.Sum256(slot[:slotText]); !isSlot || !bytes.Equal(sum[:], slot[slotText:slotText+len(sum)]) {
		return nil
	}
	k := &forward{id: string(text[:idSize]), step: binary.BigEndian.Uint64(text[idSize:])}
	copy(k.key[:], text[idSize+8:])
	return k
}

// makeKeyFile durably makes a key's file for the owner of the log.
func makeKeyFile(path, log string, key *forward) (err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if f.Close(); err != nil {
			err = errors.Join(err, os.Remove(path))
		}
	}()
	if asRoot() {
		if err := giveTo(f, log); err != nil {
			return err
		}
	}
	c := &current{forward: key, file: f, log: New(log)}
	if err := c.advance(); err != nil {
		return err
	}
	return fsutil.SyncDir(filepath.Dir(path))
}

// discard wipes a key file, if the file system writes in place, and removes it.
func discard(at place) error {
	f, err := os.OpenFile(at.KeyFile, os.O_RDWR|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	key, _, err := readKey(f, at) // nothing else is wiped, whatever the log names
	if err != nil {
		return err
	}
	key.wipe()
	if _, err := f.WriteAt(make([]byte, keyFile), 0); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return os.Remove(at.KeyFile)
}

func readPlace(dir string) (place, error) {
	var at place
	f, err := os.OpenFile(filepath.Join(dir, placeName), os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return at, err
	}
	defer f.Close()
	if err := json.NewDecoder(io.LimitReader(f, maxPlace)).Decode(&at); err != nil {
		return place{}, fmt.Errorf("%s: %w", f.Name(), err)
	}
	if !filepath.IsAbs(at.KeyFile) || strings.ContainsRune(at.KeyFile, 0) {
		return place{}, fmt.Errorf("%s names no file by its whole path", f.Name())
	}
	return at, nil
}

func (l *Log) writePlace(at place) (err error) {
	text, err := json.Marshal(at)
	if err != nil {
		return err
	}
	path := filepath.Join(l.dir, placeName)
	temp := path + ".partial"
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if asRoot() {
		if err := makeFile(temp); err != nil {
			return err
		}
	}
	f, err := os.OpenFile(temp, os.O_CREATE|os.O_WRONLY|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := l.write(f, append(text, '\n'), 0); err != nil {
		return err
	}
	if err := l.sync(f); err != nil {
		return err
	}
	if err := os.Rename(temp, path); err != nil {
		return err
	}
	return fsutil.SyncDir(l.dir)
}

// reached returns the id and step of the log's current key; "" when it is not available, as
// on another host. It takes no lock: a writer may be at work.
func reached(dir string) (id string, step uint64) {
	at, err := readPlace(dir)
	if err != nil {
		return "", 0
	}
	f, err := os.OpenFile(at.KeyFile, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return "", 0
	}
	defer f.Close()
	for range 10 { // while both slots are being written
		if key, _, err := readKey(f, at); err == nil {
			defer key.wipe()
			return key.id, key.step
		}
	}
	return "", 0
}
