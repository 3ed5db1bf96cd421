package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/internal/guard"
	"github.com/takumi-backup/takumi-backup/internal/postgres"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/stream/pack"
)

// KindManifest is the kind of a sealed manifest.
const KindManifest = "manifest"

// ManifestTries is the number of names for a manifest: a plain and a custom dump of one
// second share the first.
const ManifestTries = 3

// ManifestPath returns the n-th name, from 1, for the manifest of the backup at path.
func ManifestPath(path string, n int, codec pack.Codec) string {
	return store.MapBase(path, func(name string) string {
		name = strings.TrimSuffix(name, Suffix)
		for _, codec := range []pack.Codec{pack.Zstd, pack.Gzip} {
			name = strings.TrimSuffix(name, codec.Extension())
		}
		name = strings.TrimSuffix(strings.TrimSuffix(name, ".sql"), ".dump") + ".manifest"
		if n > 1 {
			name += fmt.Sprintf("-%d", n)
		}
		return name + ".json" + codec.Extension() + Suffix
	})
}

// NeedsOf returns what a dump needs of a server, without versions of extensions.
func NeedsOf(c *guard.Contents, extensions []postgres.Extension) postgres.Needs {
	if extensions == nil {
		for _, name := range c.Extensions {
			extensions = append(extensions, postgres.Extension{Name: name})
		}
	}
	return postgres.Needs{Roles: c.Roles, Owners: c.Owners, Tablespaces: c.Tablespaces, Extensions: extensions, Superuser: c.Superuser}
}

// FindManifest returns the authentic manifest of an open backup, or nil. Without one it
// costs one look: a manifest is packed as its backup is. useless has the errors of unfit
// files under its names, when no manifest was found.
func FindManifest(ctx context.Context, st store.Store, path string, of *envelope.Envelope, o Options) (m *postgres.Manifest, useless []error) {
	for n := 1; n <= ManifestTries; n++ {
		name := ManifestPath(path, n, pack.Codec(of.Codec))
		m, err := read(ctx, st, name, o)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil, useless
		case err == nil && m.Backup == of.ID.String():
			return m, nil
		case err == nil:
			err = errors.New("it belongs to another backup")
		}
		useless = append(useless, fmt.Errorf("%s: %w", name, err))
	}
	return nil, useless
}

func read(ctx context.Context, place store.Store, path string, o Options) (*postgres.Manifest, error) {
	f, err := Open(ctx, place, path, o)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if f.Envelope.Kind != KindManifest {
		return nil, fmt.Errorf("it is a backup of kind %s", f.Envelope.Kind)
	}
	var text bytes.Buffer
	if err := Unseal(&text, f.Reader, false, new(Meter)); err != nil {
		return nil, err
	}
	return postgres.ReadManifest(&text)
}
