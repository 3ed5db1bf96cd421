package replicate_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/takumi-backup/takumi-backup/backup/replicate"
	"github.com/takumi-backup/takumi-backup/internal/fail"
)

// TestApart: no store is copied into itself, however the two are written.
func TestApart(t *testing.T) {
	dir := t.TempDir()
	here, link := filepath.Join(dir, "here"), filepath.Join(dir, "link")
	if err := os.MkdirAll(filepath.Join(here, "sub"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(here, link); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		from, to string
		apart    bool
	}{
		{here, here, false},
		{here, here + "/.", false},
		{here, link, false},
		{here, filepath.Join(link, "sub", "new"), false},
		{filepath.Join(here, "sub"), here, false},
		{here, filepath.Join(dir, "here2"), true},
		{here, "s3://b/here", true},
		{"s3://b/x", "s3://b/x/", false},
		{"s3://b/x", "s3://b/x?region=eu-west-1", false},
		{"s3://b/x", "s3://b/x/deeper?region=eu-west-1&path_style=true", false},
		{"s3://b/x", "s3://b/x?endpoint=http://HERE.example/", false},
		{"s3://b", "s3://b/x", false},
		{"s3://b/x", "s3://b/x2", true},
		{"s3://b/x", "s3://b2/x", true},
		{"s3://b/x", "s3://b/x?endpoint=http://there.example", true},
		{"s3://b/x?profile=one", "s3://b/x?profile=two", true},
		{"s3://b/x?profile=one", "s3://b/x/y?profile=one", false},
	} {
		err := replicate.CheckSeparate(tc.from, tc.to, "http://here.example")
		if (err == nil) != tc.apart {
			t.Errorf("%s and %s: %v", tc.from, tc.to, err)
		}
		if class, _ := fail.Of(err); err != nil && class != fail.Usage {
			t.Errorf("%s and %s: %v is of class %v", tc.from, tc.to, err, class)
		}
	}
}
