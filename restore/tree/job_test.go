package tree_test

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/envelope/slot"
	"github.com/takumi-backup/takumi-backup/internal/store/local"
	"github.com/takumi-backup/takumi-backup/keystore"
	"github.com/takumi-backup/takumi-backup/restore/tree"
)

// TestSilent: a job without listeners restores next to what an earlier one has left.
func TestSilent(t *testing.T) {
	dir, key := t.TempDir(), kek.Generate()
	path, to := filepath.Join(dir, "x.enc"), filepath.Join(dir, "to")
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	w.WriteHeader(&tar.Header{Name: "a", Typeflag: tar.TypeReg, Mode: 0o600})
	w.Close()
	job := backup.Job{Source: backup.From(&archive), Unguarded: true, Created: time.Now(), Recipients: slot.Recipients(key), Store: local.Folder{}, To: backup.Dest{Path: path}}
	if _, err := job.Run(t.Context(), backup.Observer{}); err != nil {
		t.Fatal(err)
	}
	keys := filepath.Join(t.TempDir(), "key")
	if err := keystore.WriteFile(keys, key); err != nil {
		t.Fatal(err)
	}
	ring := keystore.NewRing(keystore.File{Path: keys})
	defer ring.Close()
	begun, err := tree.Begin(to, tree.Target{}, time.Now()) // it never ends
	if err != nil {
		t.Fatal(err)
	}
	defer begun.Abort()
	o := backup.Options{Keys: ring}
	b, err := backup.Open(t.Context(), local.Folder{}, path, o)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	through := func(src io.Reader) (io.Reader, error) { return src, nil }
	r, err := tree.Job{Backup: b, Path: path, Store: local.Folder{}, Open: o, Meter: new(backup.Meter), To: to, Through: through}.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := r.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(to, "a")); err != nil {
		t.Error(err)
	}
}
