package store_test

import (
	"errors"
	"testing"

	"github.com/takumi-backup/takumi-backup/internal/store"
)

func TestPaths(t *testing.T) {
	for _, tc := range []struct{ root, joined, dir, base string }{
		{"/srv/backups", "/srv/backups/database/x.enc", "/srv/backups/database", "x.enc"},
		{"s3://bucket", "s3://bucket/database/x.enc", "s3://bucket/database", "x.enc"},
		{"s3://bucket/host/", "s3://bucket/host/database/x.enc", "s3://bucket/host/database", "x.enc"},
	} {
		joined := store.Join(tc.root, "database", "x.enc")
		if joined != tc.joined || store.Dir(joined) != tc.dir || store.Base(joined) != tc.base {
			t.Errorf("%s: %s in %s is %s", tc.root, joined, store.Dir(joined), store.Base(joined))
		}
	}
	// What is behind a "?" is no part of a name in a bucket, and is one of a file's.
	for path, want := range map[string]string{"s3://bucket/d/x.enc?region=y": "x.enc", "d/x.enc?region=y": "x.enc?region=y"} {
		if got := store.Base(path); got != want {
			t.Errorf("%s is %s", path, got)
		}
	}
	if store.Dir("s3://bucket/x.enc") != "s3://bucket" || store.Dir("s3://bucket") != "s3://bucket" {
		t.Error("the folder of what is in no folder")
	}
}

// TestScheme: what was to be remote is not a folder's name.
func TestScheme(t *testing.T) {
	for path, bad := range map[string]bool{
		"S3://bucket/x.enc": true, "s3:/bucket/x.enc": true, "S3:/bucket": true, "gs://bucket/x": true, "https://host/x": true,
		"s3://bucket/x.enc": false, "./s3:/x": false, "/srv/s3://x": false, "a:b/x": false, "x.enc": false, "2026:/x": false,
	} {
		if err := store.Check(path); errors.Is(err, store.ErrScheme) != bad {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// TestQuery: what is behind a "?" is a query in a bucket alone, and when it is known.
func TestQuery(t *testing.T) {
	t.Parallel()
	for path, want := range map[string][2]string{
		"s3://b/k.enc?region=x":          {"s3://b/k.enc", "?region=x"},
		"s3://b/k.enc?region=x.sha256":   {"s3://b/k.enc.sha256", "?region=x"},
		"s3://b/k?a=b?profile=p&region=": {"s3://b/k?a=b", "?profile=p&region="},
		"s3://b/k.enc?other=x":           {"s3://b/k.enc?other=x", ""},
		"s3://b/k.enc":                   {"s3://b/k.enc", ""},
		"dir/k.enc?region=x":             {"dir/k.enc?region=x", ""},
		"?region=x":                      {"?region=x", ""},
	} {
		if got := store.MapBase(path, func(base string) string { return base + "|" }); got != want[0]+"|"+want[1] {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
}
