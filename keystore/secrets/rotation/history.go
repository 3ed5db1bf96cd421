package rotation

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/fsutil"
	"github.com/takumi-backup/takumi-backup/internal/redact"
	"github.com/takumi-backup/takumi-backup/keystore/secrets"
)

// Entry is one rotation of the history. The first seven fields are the handbook's.
type Entry struct {
	ID          string    `json:"id"`
	Timestamp   time.Time `json:"timestamp"`
	Environment string    `json:"environment"`
	Backend     string    `json:"secrets_backend"`
	Operator    string    `json:"operator"`
	DryRun      bool      `json:"dry_run"`
	Success     bool      `json:"success"`

	Set         string    `json:"set"`
	Action      string    `json:"action"` // rotate, rollback or finish
	Reason      string    `json:"reason,omitempty"`
	Names       []string  `json:"names,omitempty"`
	Started     time.Time `json:"started,omitzero"`
	Compromised bool      `json:"compromised,omitempty"`
	Proved      bool      `json:"proved"`
	Bits        int       `json:"bits,omitempty"` // random ones of each value
	Grace       string    `json:"grace,omitempty"`
	Emergency   []string  `json:"emergency_steps,omitempty"`
	Error       string    `json:"error,omitempty"`
}

// History is the handbook's rotation-history.json. It holds no secret and is meant for
// version control.
type History struct {
	Rotations []Entry `json:"rotations"`
}

// HistoryFile is its name in the folder of the rotation.
const HistoryFile = "rotation-history.json"

// ReadHistory reads the history of a folder; an empty one when there is none.
func ReadHistory(dir string) (*History, error) {
	text, err := os.ReadFile(filepath.Join(dir, HistoryFile))
	if errors.Is(err, fs.ErrNotExist) {
		return new(History), nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the history of rotations: %w", err)
	}
	var h History
	if err := json.Unmarshal(text, &h); err != nil {
		return nil, fail.As(fail.Damaged, "restore it from version control", fmt.Errorf("reading the history of rotations: %s is not what was written", filepath.Join(dir, HistoryFile)))
	}
	return &h, nil
}

// AppendHistory adds an entry, or puts it in the place of the one with the same id and
// action. The file is replaced in one step and is on the disk when it returns.
func AppendHistory(dir string, e Entry) error {
	lock, err := fsutil.LockSoon(filepath.Join(dir, ".history.lock"))
	if err != nil {
		return err
	}
	defer lock.Release()
	h, err := ReadHistory(dir)
	if err != nil {
		return err
	}
	e.Error = redact.Line(e.Error, 400)
	at := slices.IndexFunc(h.Rotations, func(o Entry) bool { return o.ID == e.ID && o.Action == e.Action })
	if at < 0 {
		h.Rotations = append(h.Rotations, e)
	} else {
		h.Rotations[at] = e
	}
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(h); err != nil {
		return err
	}
	return secrets.ReplaceFile(filepath.Join(dir, HistoryFile), text.Bytes())
}

// EmergencySteps are what the handbook asks for after a secret was stolen, next to the
// rotation itself.
var EmergencySteps = []string{
	"done: the stolen secret is replaced at once, and no grace period keeps it",
	"revoke all sessions and refresh tokens: every token that was signed with it is refused already",
	"look through the access logs (takumi-backup audit show, the backend's, the application's) since the secret may have leaked",
	"find how it leaked, and close that",
	"rotate every other secret that was kept in the same place",
	"notify the security team and those whose data may be concerned",
	"write the incident down: what leaked, from when to when, what was done",
}

// newUUID is a random UUID (RFC 9562, version 4).
func newUUID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func newID() string {
	var b [8]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}
