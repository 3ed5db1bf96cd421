// Package manifest finds the manifest of a database's backup, a sealed file that
// stands beside it and says what the database held. A caller that writes one gets
// its name from [Path]; one that restores calls [Find].
package manifest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/internal/backup"
	"github.com/takumi-backup/takumi-backup/internal/postgres"
	"github.com/takumi-backup/takumi-backup/internal/sealed"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/stream/pack"
)

// Kind is the kind of a sealed manifest.
const Kind = "manifest"

// Tries is how many names a manifest may have: a plain and a custom dump of one
// second would share the first.
const Tries = 3

// Path returns the n-th name, from 1, for the manifest of the backup at path.
func Path(path string, n int, codec pack.Codec) string {
	dir, name := filepath.Split(path)
	name = strings.TrimSuffix(name, backup.Suffix)
	for _, codec := range []pack.Codec{pack.Zstd, pack.Gzip} {
		name = strings.TrimSuffix(name, codec.Extension())
	}
	name = strings.TrimSuffix(strings.TrimSuffix(name, ".sql"), ".dump") + ".manifest"
	if n > 1 {
		name += fmt.Sprintf("-%d", n)
	}
	return dir + name + ".json" + codec.Extension() + backup.Suffix
}

// Find returns the manifest of the backup of this id at path, all of it
// authentic, or nil when there is none. What stands under one of its names and is
// of no use is told in useless, unless the manifest was found.
func Find(ctx context.Context, place store.Store, path string, id envelope.ID, o sealed.Options) (m *postgres.Manifest, useless []error) {
	for n := range Tries {
		for _, codec := range []pack.Codec{pack.Zstd, pack.Gzip, pack.None} {
			beside := Path(path, n+1, codec)
			m, err := read(ctx, place, beside, o)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err == nil && m.Backup == id.String() {
				return m, nil
			}
			if err == nil {
				err = errors.New("it belongs to another backup")
			}
			useless = append(useless, fmt.Errorf("%s: %w", beside, err))
		}
	}
	return nil, useless
}

func read(ctx context.Context, place store.Store, path string, o sealed.Options) (*postgres.Manifest, error) {
	f, err := sealed.Open(ctx, place, path, o)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if f.Envelope.Kind != Kind {
		return nil, fmt.Errorf("it is a backup of kind %s", f.Envelope.Kind)
	}
	var text bytes.Buffer
	if err := backup.Unseal(&text, f.Reader, false, new(backup.Meter)); err != nil {
		return nil, err
	}
	return postgres.ReadManifest(&text)
}
