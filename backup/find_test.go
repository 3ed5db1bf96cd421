package backup_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/internal/store/local"
)

func TestFind(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a.enc", "b.enc", "notes.txt"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	in := func(name string) string { return filepath.Join(dir, name) }
	for name, tc := range map[string]struct {
		paths []string
		want  []string
		roots bool
	}{
		"a folder":                   {[]string{dir}, []string{in("a.enc"), in("b.enc")}, true},
		"a file, whatever its name":  {[]string{in("notes.txt")}, []string{in("notes.txt")}, false},
		"a file and what it is in":   {[]string{in("b.enc"), dir}, []string{in("b.enc"), in("a.enc")}, true},
		"one that is there, one not": {[]string{in("a.enc"), in("c.enc")}, []string{in("a.enc"), in("c.enc")}, true},
	} {
		items, roots, err := backup.Find(t.Context(), local.Folder{}, tc.paths)
		var got []string
		for _, i := range items {
			got = append(got, i.Path)
			if (i.Err != nil) != (i.Path == in("c.enc")) {
				t.Errorf("%s: %s: %v", name, i.Path, i.Err)
			}
		}
		if err != nil || roots != tc.roots || !slices.Equal(got, tc.want) {
			t.Errorf("%s: %v, %v, %v", name, got, roots, err)
		}
	}
	if _, _, err := backup.Find(t.Context(), local.Folder{}, []string{in("c.enc")}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("one path that leads nowhere: %v", err)
	}
}

// TestShards: whatever the count, each backup is in exactly one shard.
func TestShards(t *testing.T) {
	for _, n := range []int{1, 2, 3, 7, 16, 32} {
		shards, sizes := make([]backup.Shard, n), make([]int, n)
		for i := range shards {
			var err error
			if shards[i], err = backup.ParseShard(fmt.Sprintf("%d/%d", i+1, n)); err != nil {
				t.Fatal(err)
			}
		}
		for b := range 10_000 {
			id, in := fmt.Sprintf("%032x", b), 0
			for i, s := range shards {
				if s.Has(id) {
					in++
					sizes[i]++
				}
			}
			if in != 1 {
				t.Fatalf("N = %d: backup %s is in %d shards", n, id, in)
			}
		}
		if least := slices.Min(sizes); least < 10_000/n*3/4 {
			t.Errorf("N = %d: the smallest shard has %d", n, least)
		}
	}
	for _, bad := range []string{"", "1", "0/3", "4/3", "a/3", "1/0", "1/100001", "-1/3"} {
		if _, err := backup.ParseShard(bad); err == nil {
			t.Errorf("%q is a shard", bad)
		}
	}
	if s, err := backup.ShardFromJob("0", "3"); err != nil || s.String() != "1/3" {
		t.Errorf("%v, %v", s, err)
	}
	for _, bad := range [][2]string{{"3", "3"}, {"x", "3"}, {"0", ""}, {"-1", "3"}} {
		if _, err := backup.ShardFromJob(bad[0], bad[1]); err == nil {
			t.Errorf("%v is a shard", bad)
		}
	}
}
