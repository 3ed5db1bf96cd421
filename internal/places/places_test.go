package places_test

import (
	"context"
	"errors"
	"io/fs"
	"testing"

	"github.com/takumi-backup/takumi-backup/internal/places"
	"github.com/takumi-backup/takumi-backup/internal/store"
)

func TestPaths(t *testing.T) {
	for _, tc := range []struct{ root, joined, dir, base string }{
		{"/srv/backups", "/srv/backups/database/x.enc", "/srv/backups/database", "x.enc"},
		{"s3://bucket", "s3://bucket/database/x.enc", "s3://bucket/database", "x.enc"},
		{"s3://bucket/host/", "s3://bucket/host/database/x.enc", "s3://bucket/host/database", "x.enc"},
	} {
		joined := places.Join(tc.root, "database", "x.enc")
		if joined != tc.joined || places.Dir(joined) != tc.dir || places.Base(joined) != tc.base {
			t.Errorf("%s: %s in %s is %s", tc.root, joined, places.Dir(joined), places.Base(joined))
		}
	}
	if places.Dir("s3://bucket/x.enc") != "s3://bucket" || places.Dir("s3://bucket") != "s3://bucket" {
		t.Error("the folder of what stands in no folder")
	}
}

// TestRouter: what is remote is asked for once, and only when a path needs it.
func TestRouter(t *testing.T) {
	down, asked := errors.New("no network"), 0
	r := places.New(func() (store.Place, error) { asked++; return nil, down })
	if _, _, err := r.Stat(t.Context(), t.TempDir()+"/none"); !errors.Is(err, fs.ErrNotExist) || asked != 0 {
		t.Errorf("a local path: %v, asked %d times", err, asked)
	}
	ctx := context.Background()
	calls := map[string]func(path string) error{
		"Open":   func(p string) error { _, err := r.Open(ctx, p); return err },
		"Create": func(p string) error { _, err := r.Create(ctx, p, store.Options{}); return err },
		"CreateUnique": func(p string) error {
			_, err := r.CreateUnique(ctx, func(int) string { return p }, store.Options{})
			return err
		},
		"Walk":         func(p string) error { return first(r.Walk(ctx, p)) },
		"Files":        func(p string) error { return first(r.Files(ctx, p)) },
		"Stat":         func(p string) error { _, _, err := r.Stat(ctx, p); return err },
		"Remove":       func(p string) error { return r.Remove(ctx, store.Backup{Path: p}) },
		"PutBeside":    func(p string) error { return r.PutBeside(ctx, p, ".x", nil) },
		"RemoveBeside": func(p string) error { return r.RemoveBeside(ctx, p, ".x", nil) },
		"Reserve":      func(p string) error { _, err := r.Reserve(ctx, p); return err },
		"Overwrite":    func(p string) error { return r.Overwrite(ctx, p, nil, nil, [32]byte{}) },
		"Replace":      func(p string) error { _, err := r.Replace(ctx, p); return err },
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
	r := places.New(nil)
	for path, bad := range map[string]bool{
		"S3://bucket/x.enc": true, "s3:/bucket/x.enc": true, "S3:/bucket": true, "gs://bucket/x": true, "https://host/x": true,
		"s3://bucket/x.enc": false, "./s3:/x": false, "/srv/s3://x": false, "a:b/x": false, "x.enc": false, "2026:/x": false,
	} {
		if err := places.Check(path); errors.Is(err, places.ErrScheme) != bad {
			t.Errorf("%s: %v", path, err)
		}
		if !bad {
			continue
		}
		if _, err := r.Open(t.Context(), path); !errors.Is(err, places.ErrScheme) {
			t.Errorf("opening %s: %v", path, err)
		}
	}
}
