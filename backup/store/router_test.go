package store_test

import (
	"context"
	"errors"
	"io/fs"
	"testing"

	"github.com/takumi-backup/takumi-backup/backup/store"
)

// TestRouter: what is remote is asked for once, and only when a path needs it.
func TestRouter(t *testing.T) {
	down, asked := errors.New("no network"), 0
	r := store.New(func() (store.Store, error) { asked++; return nil, down })
	if _, _, err := r.Stat(t.Context(), t.TempDir()+"/none"); !errors.Is(err, fs.ErrNotExist) || asked != 0 {
		t.Errorf("a local path: %v, asked %d times", err, asked)
	}
	ctx := context.Background()
	calls := map[string]func(path string) error{
		"Open":    func(p string) error { _, err := r.Open(ctx, p); return err },
		"Create":  func(p string) error { _, err := r.Create(ctx, p, store.Options{}); return err },
		"Walk":    func(p string) error { return first(r.Walk(ctx, p, false)) },
		"Stat":    func(p string) error { _, _, err := r.Stat(ctx, p); return err },
		"Remove":  func(p string) error { return r.Remove(ctx, store.Backup{Path: p}) },
		"Put":     func(p string) error { return r.Put(ctx, p, ".x", nil, nil) },
		"Replace": func(p string) error { _, err := r.Replace(ctx, p); return err },
	}
	for name, call := range calls {
		if err := call("s3://bucket/x.enc"); !errors.Is(err, down) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if asked != 1 {
		t.Errorf("asked %d times", asked)
	}
}

func first(found func(func(store.Backup, error) bool)) (err error) {
	for _, err = range found {
		break
	}
	return err
}

// TestScheme: what was to be remote is no folder's name.
func TestScheme(t *testing.T) {
	if _, err := store.New(nil).Open(t.Context(), "S3://bucket/x.enc"); !errors.Is(err, store.ErrScheme) {
		t.Errorf("error %v", err)
	}
}
