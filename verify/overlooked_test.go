package verify

import (
	"bytes"
	"context"
	"errors"
	"io"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/internal/store/local"
	"github.com/takumi-backup/takumi-backup/stream/pack"
)

// TestStateIsProved: contracts whose state does not fit together are not good
// backup, however whole the archive is.
func TestStateIsProved(t *testing.T) {
	t.Parallel()
	key := kek.Generate()
	for state, want := range map[string][]Code{
		`{"version":1,"network":"local","asked":false,"note":"nobody was asked","accounts":[]}`: nil,
		`{"version":1,"network":"local","asked":true,"chain_id":1,"accounts":[]}`:               {NotRestorable},
	} {
		content := tarOf(t, "snapshot_20261123_020000/contract_state.json", []byte(state))
		b := check(t, put(t, content, backup.KindContracts, "contracts", pack.Zstd, key), Content, key)
		if !slices.Equal(codesOf(b.Findings), want) || (b.Proven == Content) != (want == nil) {
			t.Errorf("%s: %s", state, asJSON(b))
		}
	}
}

var errDisk = errors.New("input/output error")

// failingAt is a place in which one file cannot be read from some byte on; from -1
// it cannot be opened.
type failingAt struct {
	local.Folder
	path string
	at   int64
}

type failingFile struct {
	store.Object
	left int64
}

func (p failingAt) Open(ctx context.Context, path string) (store.Object, error) {
	if path == p.path && p.at < 0 {
		return nil, errDisk
	}
	obj, err := p.Folder.Open(ctx, path)
	if err != nil || path != p.path {
		return obj, err
	}
	return &failingFile{obj, p.at}, nil
}

func (f *failingFile) Read(p []byte) (int, error) {
	if f.left == 0 {
		return 0, errDisk
	}
	n, err := f.Object.Read(p[:min(int64(len(p)), f.left)])
	f.left -= int64(n)
	return n, err
}

func (f *failingFile) ReadAt(p []byte, at int64) (int, error) {
	n, err := f.Object.ReadAt(p, at)
	if at+int64(n) > f.left && err != io.EOF {
		return 0, errDisk
	}
	return n, err
}

// TestUnreadableIsNotGood: what cannot be read is not good, be it the last byte of
// a backup whose sum is being computed, or its sidecar.
func TestUnreadableIsNotGood(t *testing.T) {
	t.Parallel()
	key := kek.Generate()
	path := put(t, bytes.Repeat([]byte("content"), 10_000), backup.KindStream, "x", pack.None, key)
	size := int64(len(mustRead(t, path)))
	for name, tc := range map[string]failingAt{
		"nothing":                  {path: filepath.Join(filepath.Dir(path), "none")},
		"the last byte":            {path: path, at: size - 1},
		"the end":                  {path: path, at: size},
		"the sidecar":              {path: path + store.SidecarSuffix, at: 10},
		"the sidecar, not to open": {path: path + store.SidecarSuffix, at: -1},
	} {
		for _, level := range []Level{Checksum, Auth} {
			c := NewChecker(Options{Place: tc, Keys: ringOf(key), Level: level, pause: time.Millisecond})
			b := c.One(t.Context(), path)
			if good := b.Proven == level && len(b.Findings) == 0; good != (name == "nothing") {
				t.Errorf("%s cannot be read, %v: %s", name, level, asJSON(b))
			}
		}
	}
}
