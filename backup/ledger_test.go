package backup

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/internal/store"
)

// TestLedger: what was sealed for recipients alone is known again, as long as it is what
// it was; a line that a crash cut is nobody's loss, and any other damage is told.
func TestLedger(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	made := func(id byte, keys ...kek.ID) *Made {
		e := &envelope.Envelope{ID: envelope.ID{id}, Label: envelope.Label{Created: time.Unix(1795399200, 0).UTC(), Kind: "database", Name: "x.sql", Codec: "zstd"}}
		return &Made{Backup: Backup{Backup: store.Backup{Path: "x.enc", Size: 5000}, ID: e.ID, Label: e.Label, Keys: keys}, Envelope: e, SHA256: "00"}
	}
	add := func(m *Made) {
		t.Helper()
		if err := RecordSealed(dir, m); err != nil {
			t.Fatal(err)
		}
	}
	add(made(1))
	add(made(2, "0123456789abcdef")) // opens with a key
	path := filepath.Join(dir, LedgerName)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append(whole, `{"id":"torn`...), 0o600); err != nil {
		t.Fatal(err)
	}
	if l, err := OpenLedger(dir); err != nil || !l.Has(&made(1).Backup) {
		t.Errorf("with a torn line: %v", err)
	}
	add(made(3))
	l, err := OpenLedger(dir)
	if err != nil || !l.Knows() {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		change func(*Backup)
		want   bool
	}{
		"as it was":    {func(*Backup) {}, true},
		"elsewhere":    {func(b *Backup) { b.Path = "y.enc" }, true},
		"before that":  {func(b *Backup) { b.ID = envelope.ID{1} }, true},
		"of a key":     {func(b *Backup) { b.ID = envelope.ID{2} }, false},
		"another":      {func(b *Backup) { b.ID = envelope.ID{4} }, false},
		"longer":       {func(b *Backup) { b.Size++ }, false},
		"renamed":      {func(b *Backup) { b.Name = "y.sql" }, false},
		"another kind": {func(b *Backup) { b.Kind = "uploads" }, false},
		"newer":        {func(b *Backup) { b.Created = b.Created.Add(time.Second) }, false},
	} {
		b := made(3).Backup
		if tc.change(&b); l.Has(&b) != tc.want {
			t.Errorf("%s: known is %v", name, !tc.want)
		}
	}
	if err := os.WriteFile(path, []byte("nonsense\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenLedger(dir); !errors.Is(err, ErrLedger) {
		t.Errorf("a damaged one: %v", err)
	}
	if l, err := OpenLedger(t.TempDir()); err != nil || l.Knows() || (*Ledger)(nil).Has(&made(1).Backup) {
		t.Errorf("none: %v", err)
	}
}
