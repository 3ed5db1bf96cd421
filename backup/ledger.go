package backup

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/jsonlines"
	"github.com/takumi-backup/takumi-backup/internal/store"
)

// LedgerName is the ledger's file in the state folder.
const LedgerName = "sealed.jsonl"

// ErrNotAsSealed is returned for a backup that differs from what this host sealed.
var ErrNotAsSealed = fail.New(fail.Damaged, "use another copy of this backup, or an older one; one that was rewrapped elsewhere is known by its signature alone", "the file is not the one that this host has sealed")

// ErrLedger is returned for a ledger without a valid line.
var ErrLedger = errors.New("the record of what this host sealed is damaged")

// Sealed is a host's record of a backup that it made. It is not secret.
type Sealed struct {
	ID      string    `json:"id"`
	Kind    string    `json:"kind"`
	Name    string    `json:"name"`
	Created time.Time `json:"created"`
	Size    int64     `json:"size"`   // of the file
	SHA256  string    `json:"sha256"` // of the file, lower-case hex
}

// Ledger lists the backups that a host has sealed, in a file of its state folder to which
// several processes may append. A host with recipients alone cannot open its backups and
// recognizes them by it, wherever they are copied: so no line is ever dropped, however long
// its backup is gone from here (some 250 bytes each). The nil Ledger is empty. A Ledger
// does not change.
type Ledger struct {
	all map[string]Sealed // by id
}

// OpenLedger reads the ledger in the state folder dir, which need not exist. The errors are
// ErrLedger and the system's.
func OpenLedger(dir string) (*Ledger, error) {
	l, path := &Ledger{make(map[string]Sealed)}, filepath.Join(dir, LedgerName)
	odd := false
	_, err := jsonlines.Read(path, func(_ int, line []byte) error {
		var s Sealed
		if json.Unmarshal(line, &s) != nil || s.ID == "" {
			odd = true // cut by a crash: the backup is unknown, and kept
			return nil
		}
		l.all[s.ID] = s
		return nil
	})
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("reading what this host sealed: %w", err)
	case odd && len(l.all) == 0:
		return nil, fmt.Errorf("%w: %s", ErrLedger, path)
	}
	return l, nil
}

// Knows reports whether anything was ever recorded.
func (l *Ledger) Knows() bool {
	return l != nil && len(l.all) > 0
}

// RecordSealed durably adds a backup for recipients alone to the ledger in the state folder
// dir.
func RecordSealed(dir string, m *Made) error {
	if m.Envelope == nil || m.SHA256 == "" || len(m.Keys) > 0 {
		return nil
	}
	s := Sealed{m.ID.String(), m.Kind, m.Name, m.Envelope.Created, m.Size, m.SHA256}
	if err := jsonlines.Append(filepath.Join(dir, LedgerName), s); err != nil {
		return fmt.Errorf("recording what was sealed: %w", err)
	}
	return nil
}

// record returns the record of a backup with the same claims and length.
func (l *Ledger) record(b *Backup) (Sealed, bool) {
	if l == nil {
		return Sealed{}, false
	}
	s, known := l.all[b.ID.String()]
	return s, known && s.Size == b.Size && s.Kind == b.Kind && s.Name == b.Name && s.Created.Equal(b.Created)
}

// Has reports whether this host has sealed a backup with these claims and length.
func (l *Ledger) Has(b *Backup) bool {
	_, known := l.record(b)
	return known
}

// ProveKnown is [Prove] for a listed backup: by key, or without one by the hash in the
// ledger, or by the signature.
func ProveKnown(ctx context.Context, st store.Store, b *Backup, o Options) error {
	switch {
	case b.State >= Authentic:
		return Prove(ctx, st, b.Path, o)
	case o.Ledger.Has(b): // the head fits the signature, if one is required
		return proveSealed(ctx, st, b, o)
	}
	return ProveSigned(ctx, st, b.Path, o)
}

func proveSealed(ctx context.Context, st store.Store, b *Backup, o Options) error {
	sealed, known := o.Ledger.record(b)
	if !known {
		return store.ErrChanged
	}
	file, err := st.Open(ctx, b.Path)
	if err != nil {
		return err
	}
	defer file.Close()
	var src io.Reader = file
	if o.Meter != nil {
		src = o.Meter.Metered(file)
	}
	hash := store.NewHashReader(src)
	_, err = io.Copy(io.Discard, hash)
	sum := hash.Sum()
	if err == nil && hex.EncodeToString(sum[:]) != sealed.SHA256 {
		err = fmt.Errorf("%s: %w", b.Path, ErrNotAsSealed)
	}
	return err
}
