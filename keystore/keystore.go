// Package keystore says where key-encryption keys live and fetches them.
//
// A key is named by a URI. Call [Parse], then Load:
//
//	src, err := keystore.Parse("file:/etc/takumi-backup/backup.key")
//	...
//	key, err := src.Load(ctx)
//	...
//	defer key.Wipe()
//
// A program that writes backups also calls [CheckApart] with the folder that
// it writes to, and does not go on when the key stands there.
//
// # Key URIs
//
//	file:PATH   a file of 64 hex digits, as `openssl rand -hex 32` writes it
//
// PATH is taken as it stands: nothing is percent-decoded, and a relative path
// starts at the working directory.
//
// # Key files
//
// A key file holds exactly 64 hex digits of either case and at most one final
// newline. Symbolic links are followed and the file they lead to is judged: it
// is a regular file, it belongs to the caller or to root, and its mode is 0600
// or 0400. Mode 0440 passes when root owns the file and it stands under
// $CREDENTIALS_DIRECTORY or in memory (tmpfs or ramfs), which is how systemd
// and Kubernetes hand secrets to a service. On systems without Unix owners and
// modes every key file is refused.
//
// # Secrets
//
// No error and no String of this package contains key material, also when it
// was given in the wrong place, as the URI itself or as a path. Text that held
// a key is overwritten once it is parsed; the Go runtime gives no promise about
// copies it made itself.
package keystore

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/takumi-backup/takumi-backup/kek"
)

// A Source is a place that one key can be had from.
//
// What a source can do beyond that (see [Local]) it says by implementing a
// further interface, so that a new kind of place needs only these two methods.
type Source interface {
	// Load fetches the key, anew at every call. The caller wipes it. The
	// error is an [*Error], or ctx's own.
	Load(ctx context.Context) (*kek.Key, error)

	// String is the URI of the source, fit for messages: what may be secret
	// in it reads "[redacted]".
	String() string
}

// ErrURI is what every error of Parse wraps. Unlike the others it tells of
// what was typed, not of a key.
var ErrURI = errors.New("not a key URI")

const fileScheme = "file:"

// Parse reads a key URI. It touches neither disk nor network: a source that
// parses may still fail to load. Errors wrap ErrURI and never repeat the
// argument, because what is not a URI may well be the key.
func Parse(uri string) (Source, error) {
	path, isFile := strings.CutPrefix(uri, fileScheme)
	switch {
	case looksLikeKey(uri), isFile && looksLikeKey(path):
		return nil, fmt.Errorf("%w: it looks like a key itself, where the name of one belongs (%sPATH); "+
			"others may have seen it by now, so make a new key", ErrURI, fileScheme)
	case !isFile:
		return nil, fmt.Errorf("%w: want %sPATH, which is the one kind supported (what was given is not repeated here, it may be secret)",
			ErrURI, fileScheme)
	case path == "":
		return nil, fmt.Errorf("%w: no path after %q", ErrURI, fileScheme)
	case strings.HasPrefix(path, "//") && !strings.HasPrefix(path, "///"):
		// By the rules for URLs the first part would be a host name.
		return nil, fmt.Errorf("%w: a key file has no host: write %[2]s/PATH, not %[2]s//PATH", ErrURI, fileScheme)
	}
	return File{Path: path}, nil
}
