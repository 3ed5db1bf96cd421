package keystore_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/keystore"
)

func TestInside(t *testing.T) {
	// A temporary folder may itself be reached by a link.
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(root)
	for _, dir := range []string{"keys/deep", "backups/database/2026", "backups-old"} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{"keys/k", "backups/k", "backups/database/2026/k", "backups-old/k", "k"} {
		put(t, root, file, canaryHex, 0o600)
	}
	for link, target := range map[string]string{
		"keys/into":       root + "/backups/k",
		"backups/outof":   "../keys/k",
		"keys/hop1":       "../backups/hop2", // a link in the folder is passed on the way
		"backups/hop2":    "../keys/k",
		"keys/folder":     "../backups/database",
		"backups/folder":  "../keys",
		"b":               "backups",
		"keys/there-back": "../backups/../keys/k",
		"keys/loop":       "loop",
	} {
		if err := os.Symlink(target, link); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		key, dir string
		want     bool
	}{
		{"keys/k", "backups", false},
		{"backups/k", "backups", true},
		{"backups/k", "backups/", true},
		{"backups/k", "./keys/../backups", true},
		{"backups/database/2026/k", "backups", true},
		{"backups/database/2026/k", "backups/database", true},
		{"backups/k", "backups/database", false},
		{"backups-old/k", "backups", false},
		{"k", "backups", false},
		{"k", ".", true},
		{"k", "", true},
		{"k", "/", true},
		{"keys/into", "backups", true},
		{"backups/outof", "backups", true},
		{"backups/outof", "keys", true},
		{"keys/hop1", "backups", true},
		{"keys/folder/2026/k", "backups", true},
		{"backups/folder/k", "backups", true},
		{"keys/there-back", "backups", false},
		{"keys/folder/../k", "backups", true}, // the parent of the link's target
		{"backups/k", "b", true},
		{"b/k", "backups", true},
		{"keys/k", "b", false},
		{"backups/k", "backups/not/yet", false},
		{"backups/not/yet/k", "backups/not/yet", true},
		{"b/not/yet/k", "backups/not", true},
		{"backups/not/yet/k", "backups", true},
		{"not/yet/k", "b/not/yet", false},
	} {
		for _, key := range []string{tc.key, root + "/" + tc.key} {
			got, err := keystore.File{Path: key}.Inside(tc.dir)
			if err != nil || got != tc.want {
				t.Errorf("%q inside %q: got %v, %v; want %v", key, tc.dir, got, err, tc.want)
			}
		}
	}
	for _, unknown := range [][2]string{{"keys/loop", "backups"}, {"keys/k", "keys/loop"}, {strings.Repeat("k", 300), "backups"}} {
		if inside, err := (keystore.File{Path: unknown[0]}).Inside(unknown[1]); err == nil {
			t.Errorf("%q: %v", unknown, inside)
		}
	}
	// As many links as the kernel follows.
	for n, next := 0, "keys/k"; n <= 40; n++ {
		link := fmt.Sprint("link", n)
		if err := os.Symlink(next, link); err != nil {
			t.Fatal(err)
		}
		next = link
		_, kernel := os.Stat(link)
		if _, err := (keystore.File{Path: link}).Inside("backups"); (err == nil) != (kernel == nil) {
			t.Errorf("%d links: %v, and the kernel says %v", n+1, err, kernel)
		}
	}
}

// remote is a source that has no place in the file system.
type remote struct{}

func (remote) Load(context.Context) (*kek.Key, error) { return kek.Generate(), nil }
func (remote) String() string                         { return "remote:" }

func TestCheckOutside(t *testing.T) {
	dir := t.TempDir()
	src := keystore.File{Path: put(t, dir, "key", canaryHex, 0o600)}
	if err := keystore.CheckOutside(src, t.TempDir()); err != nil {
		t.Error(err)
	}
	err := keystore.CheckOutside(src, dir)
	var e *keystore.Error
	if !errors.As(err, &e) || !errors.Is(err, keystore.ErrRefused) || !strings.Contains(err.Error(), dir) {
		t.Errorf("got %v, want a refusal that names %s", err, dir)
	}
	if err := keystore.CheckOutside(remote{}, dir); err != nil {
		t.Error(err)
	}
	t.Chdir(dir)
	if err := keystore.CheckOutside(src, "."); err == nil || !strings.Contains(err.Error(), "under "+dir) {
		t.Errorf("got %v, want a refusal that names %s", err, dir)
	}
	loop := filepath.Join(dir, "loop")
	if err := os.Symlink(loop, loop); err != nil {
		t.Fatal(err)
	}
	if err := keystore.CheckOutside(keystore.File{Path: loop}, t.TempDir()); !errors.Is(err, keystore.ErrRefused) {
		t.Errorf("got %v for a key whose place is unknown, want a refusal", err)
	}
}

// TestOwnKey: a user's key below ~/.config/takumi-backup is apart from a backup in
// the home folder, and from no other.
func TestOwnKey(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("XDG_CONFIG_HOME", "")
	config := filepath.Join(home, ".config", "takumi-backup")
	for _, tc := range []struct {
		key, dir string
		apart    bool
	}{
		{filepath.Join(config, "backup.key"), home, true},
		{filepath.Join(config, "deep", "backup.key"), home + "/.", true},
		{filepath.Join(home, "keys", "backup.key"), filepath.Join(home, "backups"), true},
		{filepath.Join(home, "backup.key"), home, false},
		{filepath.Join(home, "keys", "backup.key"), home, false},
		{filepath.Join(config, "backup.key"), filepath.Join(home, ".config"), false},
		{filepath.Join(config, "backup.key"), filepath.Dir(home), false},
	} {
		if err := keystore.CheckOutside(keystore.File{Path: tc.key}, tc.dir); (err == nil) != tc.apart {
			t.Errorf("%s and %s: %v", tc.key, tc.dir, err)
		}
	}
	t.Setenv("XDG_CONFIG_HOME", "relative") // so that nobody knows where the settings are
	t.Chdir(home)
	if err := keystore.CheckOutside(keystore.File{Path: "takumi-backup/backup.key"}, home); err == nil {
		t.Error("a key somewhere in the home counts as apart from it")
	}
}
