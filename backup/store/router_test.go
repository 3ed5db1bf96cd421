package store_test

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"testing"

	"github.com/takumi-backup/takumi-backup/backup/store"
	"github.com/takumi-backup/takumi-backup/internal/store/local"
)

// TestRouter: what is remote is asked for once, and only when a path needs it.
func TestRouter(t *testing.T) {
	down, asked := errors.New("no network"), 0
	r := store.New(func(store.Server) (store.Store, error) { asked++; return nil, down })
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
	if asked != len(calls) { // it failed each time
		t.Errorf("asked %d times", asked)
	}
}

// TestRouterServers: each server is set up once, whatever the order of its query.
func TestRouterServers(t *testing.T) {
	var asked []store.Server
	r := store.New(func(s store.Server) (store.Store, error) { asked = append(asked, s); return local.Folder{}, nil })
	for _, path := range []string{
		"s3://a/x?profile=p&endpoint=https://h", "s3://b/y?endpoint=https://h&profile=p.sha256", "s3://a/x", "s3://a/what?else=1", "s3://a/x?path_style=1&region=eu",
	} {
		if _, _, err := r.Stat(t.Context(), path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", path, err)
		}
	}
	want := []store.Server{{Profile: "p", Endpoint: "https://h"}, {}, {Region: "eu", PathStyle: "true"}}
	if !slices.Equal(asked, want) {
		t.Errorf("%+v", asked)
	}
	for _, path := range []string{"s3://a/x?endpoint=host", "s3://a/x?path_style=maybe", "s3://a/x?profile=%zz"} {
		if _, _, err := r.Stat(t.Context(), path); !errors.Is(err, store.ErrName) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func first(found func(func(store.Backup, error) bool)) (err error) {
	for _, err = range found {
		break
	}
	return err
}

// TestScheme: what was to be remote is not a folder's name.
func TestScheme(t *testing.T) {
	if _, err := store.New(nil).Open(t.Context(), "S3://bucket/x.enc"); !errors.Is(err, store.ErrScheme) {
		t.Errorf("error %v", err)
	}
}
