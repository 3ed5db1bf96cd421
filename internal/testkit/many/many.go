// Package many makes stores of many small backups.
package many

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/envelope/slot"
	"github.com/takumi-backup/takumi-backup/internal/store"
)

// Databases is how many series the backups of Fill are of.
const Databases = 1000

// Fill makes n database backups of a few bytes, with sidecars, in root/database, sealed
// for key: one an hour of each database, the newest an hour before now. Those that are
// there already, of a Fill that was stopped, stay.
func Fill(ctx context.Context, root string, key *kek.Key, n int, now time.Time) error {
	dir := filepath.Join(root, "database")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	work, ctx := errgroup.WithContext(ctx)
	const workers = 4
	for w := range workers {
		work.Go(func() error {
			for i := w; i < n && ctx.Err() == nil; i += workers {
				at := now.Add(-time.Duration(1+i/Databases) * time.Hour).UTC().Truncate(time.Second)
				name := fmt.Sprintf("tenant%04d_db_%s.sql", i%Databases, at.Format("20060102_150405"))
				if err := write(ctx, filepath.Join(dir, name+".enc"), key, envelope.Label{Created: at, Kind: "database", Name: name, Codec: "none"}); err != nil {
					return err
				}
			}
			return ctx.Err()
		})
	}
	return work.Wait()
}

func write(ctx context.Context, path string, key *kek.Key, label envelope.Label) error {
	if _, err := os.Lstat(path); err == nil {
		return nil
	}
	var b bytes.Buffer
	w, err := envelope.NewWriter(ctx, &b, label, slot.Recipients(key)...)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(w, "-- %s\n--\n-- PostgreSQL database dump complete\n--\n", label.Name); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	sidecar := store.FormatSidecar(sha256.Sum256(b.Bytes()), filepath.Base(path))
	if err := os.WriteFile(path+store.SidecarSuffix, []byte(sidecar), 0o600); err != nil {
		return err
	}
	return os.WriteFile(path, b.Bytes(), 0o600)
}
