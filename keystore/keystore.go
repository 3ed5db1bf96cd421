// Package keystore fetches key-encryption keys from the places that keep them.
//
// A key is named by a URI. Call [Parse], then Load:
//
//	src, err := keystore.Parse("file:/etc/takumi-backup/backup.key")
//	...
//	key, err := src.Load(ctx)
//	...
//	defer key.Wipe()
//
// A program that writes backups also calls [CheckOutside] with its folder of backups, and in
// production [CheckProduction], and stops when they fail. One that reads backups, or
// handles many, uses a [Ring], which also finds former keys and fetches each key once.
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
// Parse knows file:; a program adds the others that it needs, and links only their
// libraries. PATH is not percent-decoded, and a relative one starts at the working
// directory.
//
// # Key files
//
// A key file holds 64 hex digits of either case; blanks and line ends around them and a
// byte order mark do not matter, and [Import] takes what other tools write. Symbolic links
// are followed. The file must be a regular file or a pipe, belong to the caller or to root
// (root takes it from anybody), and have mode 0600 or 0400. Root may hand it to a service
// with a wider mode, as systemd, Docker and Kubernetes do: 0440 under
// $CREDENTIALS_DIRECTORY or in memory (tmpfs or ramfs), 0444 in memory, and any mode
// without write access for others in memory that is mounted read-only. On systems without
// Unix owners and modes every key file is refused.
//
// Keys that no random generator made, published ones and patterns, are refused everywhere
// ([FromBytes]).
//
// # Secrets
//
// No error and no String contains key material, even when it was given as the URI or a
// path. Text that held a key is overwritten once it is parsed; copies that the Go runtime
// made may remain.
package keystore

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
)

// A Source is a place of one key. Further abilities are further interfaces: [Local],
// [Keeper], [Storer].
type Source interface {
	// Load fetches the key, without a cache. The caller wipes it. The error is an [*Error],
	// or ctx's own.
	Load(ctx context.Context) (*kek.Key, error)

	// String is the URI with possible secrets replaced by "[redacted]".
	String() string
}

// ErrURI is wrapped by every error of Parse.
var ErrURI = errors.New("not a key URI")

// A Scheme is a kind of place, for Parse. The packages below have one each, for places that
// need a library or a network.
type Scheme struct {
	// Name is the part before the colon.
	Name string
	// Form shows the rest of the URI, as "MOUNT/PATH[#field][@version]".
	Form string
	// Parse reads the part after the colon, without disk or network. Its errors do not
	// repeat it.
	Parse func(rest string) (Source, error)
}

var fileScheme = Scheme{Name: "file", Form: "PATH", Parse: parseFile}

// Parse reads a key URI: file:PATH, or one of the further schemes. It uses neither disk nor
// network. Errors wrap ErrURI and never repeat the argument, which may be the key itself.
func Parse(uri string, further ...Scheme) (Source, error) {
	if looksLikeKey(uri) {
		return nil, looksLikeKeyError()
	}
	schemes := append([]Scheme{fileScheme}, further...)
	name, rest, _ := strings.Cut(uri, ":")
	var forms []string
	for _, s := range schemes {
		forms = append(forms, s.Name+":"+s.Form)
		if s.Name != name {
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
		// In a URL the first part would be a host name.
		return nil, errors.New("a key file has no host: write file:/PATH, not file://PATH")
	}
	return File{Path: path}, nil
}
