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
// it writes to, and does not go on when the key is there, and in production
// [CheckProduction]. One that reads backups, or handles many, uses a [Ring],
// which also finds former keys and fetches each key once.
//
// # Key URIs
//
//	file:PATH      a file of 64 hex digits, as `openssl rand -hex 32` writes it
//	env:NAME       64 hex digits in an environment variable, for development
//	               and tests ([EnvScheme])
//	passfile:PATH  a key file locked with a passphrase (package passfile)
//	awssm:…        a secret of AWS Secrets Manager (package awssm)
//	vault:…        a field of a secret of HashiCorp Vault or OpenBao (package vault)
//
// Parse by itself knows file:; a program adds the others that it wants, and so
// links no library that it does not use.
//
// PATH is taken as it stands: nothing is percent-decoded, and a relative path
// starts at the working directory.
//
// # Key files
//
// A key file holds 64 hex digits of either case; blanks and line ends around them
// and a byte order mark before them do not matter, and [Import] takes what other
// tools write. Symbolic links are followed and the file they lead to is judged: it
// is a regular file or a pipe, it belongs to the caller or to root (root takes it
// from anybody), and its mode is 0600 or 0400. Root may hand it to a service with a
// wider mode: 0440 under $CREDENTIALS_DIRECTORY or in memory (tmpfs or ramfs), 0444
// in memory, and any mode that lets nobody else write in memory that is mounted
// read-only, which is how systemd, Docker and Kubernetes do it. On systems without
// Unix owners and modes every key file is refused.
//
// A key that no random generator made, because it is published or follows a
// pattern, is refused wherever it is kept ([FromBytes]).
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

	"github.com/takumi-backup/takumi-backup/envelope/kek"
)

// A Source is a place that one key can be had from.
//
// What a source can do beyond that (see [Local], [Keeper], [Storer]) it says by
// implementing a further interface, so that a new kind of place needs only these two methods.
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

// A Scheme is a kind of place, for Parse. The packages below this one have one
// each, for places that need a library or a network.
type Scheme struct {
	// Name is what is before the colon.
	Name string
	// Form shows how the URI goes on, as "MOUNT/PATH[#field][@version]".
	Form string
	// Parse reads what is after the colon. It touches neither disk nor
	// network, and its errors do not repeat what it was given.
	Parse func(rest string) (Source, error)
}

// fileScheme is the one that is always there.
var fileScheme = Scheme{Name: "file", Form: "PATH", Parse: parseFile}

// Parse reads a key URI: file:PATH, or one of the further schemes. It touches
// neither disk nor network: a source that parses may still fail to load.
// Errors wrap ErrURI and never repeat the argument, because what is not a URI
// may well be the key.
func Parse(uri string, further ...Scheme) (Source, error) {
	if looksLikeKey(uri) {
		return nil, looksLikeKeyError()
	}
	schemes := append([]Scheme{fileScheme}, further...)
	name, rest, _ := strings.Cut(uri, ":")
	var forms []string
	for _, s := range schemes {
		forms = append(forms, s.Name+":"+s.Form)
		if s.Name != name || name == uri {
			continue
		}
		switch {
		case looksLikeKey(rest):
			return nil, looksLikeKeyError()
		case rest == "":
			return nil, fmt.Errorf("%w: nothing is after %q; want %s", ErrURI, s.Name+":", s.Name+":"+s.Form)
		}
		src, err := s.Parse(rest)
		if err != nil {
			return nil, fmt.Errorf("%w: want %s: %w", ErrURI, s.Name+":"+s.Form, err)
		}
		return src, nil
	}
	return nil, fmt.Errorf("%w: want %s (what was given is not repeated here, it may be secret)", ErrURI, strings.Join(forms, ", or "))
}

func looksLikeKeyError() error {
	return fmt.Errorf("%w: it looks like a key itself, where the name of one belongs, as file:PATH; "+
		"others may have seen it by now, so make a new key", ErrURI)
}

func parseFile(path string) (Source, error) {
	if strings.HasPrefix(path, "//") && !strings.HasPrefix(path, "///") {
		// By the rules for URLs the first part would be a host name.
		return nil, errors.New("a key file has no host: write file:/PATH, not file://PATH")
	}
	return File{Path: path}, nil
}
