package named

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/envelope/agekey"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/internal/config"
	"github.com/takumi-backup/takumi-backup/keystore"
	"github.com/takumi-backup/takumi-backup/keystore/history"
)

// TestCheckNamesEachKey: every key and recipient is checked, in their order, one that opens
// none of the backups gets a warning, and a key within the backups fails.
func TestCheckNamesEachKey(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	key, file := kek.Generate(), filepath.Join(dir, "k")
	if err := keystore.WriteFile(file, key); err != nil {
		t.Fatal(err)
	}
	recipient := agekey.GenerateSeed(false).Recipient().String()
	keys := Keys{URIs: []string{"file:" + file}, Recipients: []string{recipient}, Seals: true, Settings: config.Environment(nil)}
	ring, loaded, err := keys.Required(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer ring.Close()
	past, err := history.Read(filepath.Join(dir, "state"))
	if err != nil {
		t.Fatal(err)
	}
	c := &history.Check{History: past, Root: filepath.Join(dir, "store"), MaxAge: history.DefaultMaxAge, Now: time.Now(),
		Backups: []history.Backup{{Path: "a", Created: time.Now(), Keys: []kek.ID{key.ID()}}}}
	var got []Checked
	if err := Check(t.Context(), c, ring, loaded, func(k Checked) error { got = append(got, k); return nil }); err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 || got[0].ID != key.ID() || len(got[0].Warnings) > 0 || !strings.HasPrefix(got[1].Key, "age") || len(got[1].Warnings) != 1 {
		t.Errorf("%+v", got)
	}
	stop := errors.New("nobody reads on")
	if err := Check(t.Context(), c, ring, loaded, func(Checked) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("of a reader that left: %v", err)
	}
	c.Root = dir
	if err := Check(t.Context(), c, ring, loaded, func(Checked) error { t.Error("it goes on"); return nil }); err == nil {
		t.Error("a key with the backups is good")
	}
	if !slices.Equal(loaded[0].Bytes(), key.Bytes()) {
		t.Error("the key was changed")
	}
}
