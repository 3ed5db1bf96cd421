package verify

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/internal/store/local"
	"github.com/takumi-backup/takumi-backup/stream/pack"
)

// counting is a folder that counts how often each file is opened.
type counting struct {
	local.Folder
	opened map[string]int
}

func (c counting) Open(ctx context.Context, path string) (store.Object, error) {
	c.opened[filepath.Base(path)]++
	return c.Folder.Open(ctx, path)
}

// TestFewReads: a good backup, its sidecar and its envelope are each opened once.
func TestFewReads(t *testing.T) {
	key := kek.Generate()
	path := put(t, []byte("content"), backup.KindStream, "x", pack.Zstd, key)
	file := filepath.Base(path)
	for _, level := range []Level{Checksum, Auth, Content} {
		place := counting{opened: make(map[string]int)}
		b := NewChecker(Options{Place: place, Keys: ringOf(key), Level: level}).One(t.Context(), path)
		if b.Worst() == Error {
			t.Fatalf("%v: %+v", level, b.Findings)
		}
		for _, name := range []string{file, file + ".sha256", file + ".envelope"} {
			if place.opened[name] != 1 {
				t.Errorf("%v: %s was opened %d times", level, name, place.opened[name])
			}
		}
	}
}
