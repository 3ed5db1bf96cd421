package secrets

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"strconv"
	"strings"

	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/keystore"
)

// Backend is where secrets are. It is safe for concurrent use.
type Backend interface {
	// Fetch returns the values of these names; those that it has not are left out, and
	// are not error. An error is of class fail.Key (refused) or fail.Store (unreachable).
	Fetch(ctx context.Context, names []string) (map[string]string, error)
	// String names the place, without a secret.
	String() string
}

// Document is all that a Store holds, as it was read.
type Document struct {
	Fields map[string]string
	// State is what the rotation keeps next to the secrets, in the same write; JSON.
	State string
	// version is what a write is checked against.
	version any
}

// Store is a Backend that is written whole, in one step.
type Store interface {
	Backend
	// Read fetches the document; an empty one when there is none yet.
	Read(ctx context.Context) (*Document, error)
	// Write puts the document in the place of the one that was read, and fails with
	// ErrConflict, changing nothing, when somebody has written since. After another
	// error it may or may not have been written. Nobody ever reads half of it.
	Write(ctx context.Context, d *Document) error
}

// Version names what was read, for [Recaller]; "" where the backend keeps no former versions.
func (d *Document) Version() string {
	switch v := d.version.(type) {
	case awsDocument:
		return v.version
	case int:
		if v > 0 {
			return strconv.Itoa(v)
		}
	}
	return ""
}

// Recaller is a Store that keeps former versions for a while.
type Recaller interface {
	Store
	// Recall reads the document that had this version; an empty one when it is gone.
	Recall(ctx context.Context, version string) (*Document, error)
}

// Errors of backends.
var (
	// ErrConflict means that somebody else wrote between our reading and writing.
	ErrConflict = errors.New("somebody else changed the secrets meanwhile")
	// ErrMissing is wrapped when a required secret is not there.
	ErrMissing = fail.New(fail.Key, "", "the secret is missing")
)

// StateField is the field of a document that the rotation keeps its state in, where
// the backend has nothing next to fields. It holds no secret.
const StateField = "TAKUMI_ROTATION_STATE"

// Options say how backends are opened.
type Options struct {
	// Environment is development, staging or production. In production env and dotenv
	// are refused, and nothing goes over plain http but to this machine.
	Environment string
}

func (o Options) production() bool { return o.Environment == "production" }

// Names of the backends.
const (
	AWS        = "aws-secrets-manager"
	Vault      = "vault"
	Kubernetes = "kubernetes"
	Files      = "file"
	Dotenv     = "dotenv"
	Env        = "env"
)

// Open returns the backend that a text names, as SECRETS_BACKEND has it:
//
//	aws-secrets-manager            one secret for each name, takumi/ENVIRONMENT/NAME
//	aws-secrets-manager:SECRET-ID  one secret, a JSON object with a field for each name
//	vault[:MOUNT/PATH]             the fields of one secret (VAULT_PATH, or secret/takumi/ENVIRONMENT)
//	kubernetes[:NAMESPACE/NAME]    one Secret (default/takumi-jwt-secrets)
//	file[:FOLDER]                  a file for each name ($CREDENTIALS_DIRECTORY, or /run/secrets)
//	dotenv:PATH                    NAME=VALUE lines of one private file
//	env                            the environment
//
// No connection is made before the first call. All but file, env and the first are
// a [Store]. Errors are of class fail.Usage.
func Open(spec string, o Options) (Backend, error) {
	kind, place, named := strings.Cut(spec, ":")
	if named && place == "" {
		return nil, fail.Usagef("the secrets backend %q names no place after the colon", spec)
	}
	switch kind {
	case AWS:
		return openAWS(place, o)
	case Vault:
		return openVault(place, o)
	case Kubernetes:
		return openKubernetes(place, o)
	case Files:
		return openFiles(place), nil
	case Dotenv:
		if place == "" {
			return nil, fail.Usagef("the dotenv backend needs a path: dotenv:PATH")
		}
		if o.production() {
			return nil, refusedInProduction("dotenv")
		}
		return &dotenv{path: place}, nil
	case Env:
		if o.production() {
			return nil, refusedInProduction("env")
		}
		return environ{}, nil
	case "":
		return nil, fail.As(fail.Usage, "set SECRETS_BACKEND to aws-secrets-manager, vault, kubernetes, file, dotenv:PATH or env", errors.New("no secrets backend is named"))
	}
	return nil, fail.Usagef("%q is not a secrets backend: aws-secrets-manager, vault, kubernetes, file, dotenv:PATH and env are", kind)
}

func refusedInProduction(kind string) error {
	return fail.As(fail.Usage, "set SECRETS_BACKEND to aws-secrets-manager, vault or kubernetes",
		fmt.Errorf("SECRETS_BACKEND is %s, which production refuses", kind))
}

type environ struct{}

func (environ) String() string { return Env }

func (environ) Fetch(_ context.Context, names []string) (map[string]string, error) {
	found := make(map[string]string)
	for _, name := range names {
		if value := os.Getenv(name); value != "" {
			found[name] = value
		}
	}
	return found, nil
}

func fetchFrom(ctx context.Context, s Store, names []string) (map[string]string, error) {
	d, err := s.Read(ctx)
	if err != nil {
		return nil, err
	}
	found := make(map[string]string)
	for _, name := range names {
		if value := d.Fields[name]; value != "" {
			found[name] = value
		}
	}
	return found, nil
}

// fault makes of the keystore's error one that speaks of secrets, with its class.
func fault(doing string, err error) error {
	var e *keystore.Error
	if !errors.As(err, &e) {
		return err
	}
	class := fail.Key
	switch {
	case errors.Is(err, keystore.ErrConflict):
		return fmt.Errorf("%s: %w", doing, ErrConflict)
	case errors.Is(err, keystore.ErrUnreachable):
		class = fail.Store
	}
	return fail.As(class, e.Fix, fmt.Errorf("%s: %s", doing, e.Reason))
}

func takeState(d *Document) *Document {
	d.State = d.Fields[StateField]
	delete(d.Fields, StateField)
	return d
}

func withState(d *Document) map[string]string {
	all := make(map[string]string, len(d.Fields)+1)
	for name, value := range d.Fields {
		all[name] = value
	}
	if d.State != "" {
		all[StateField] = d.State
	}
	return all
}

// Route returns a backend that fetches some names elsewhere: those of sets that have a
// secret of their own.
func Route(usual Backend, elsewhere map[string]Backend) Backend { return routed{usual, elsewhere} }

type routed struct {
	usual     Backend
	elsewhere map[string]Backend
}

func (r routed) String() string { return r.usual.String() }

func (r routed) Fetch(ctx context.Context, names []string) (map[string]string, error) {
	groups := make(map[Backend][]string)
	for _, name := range names {
		b := r.usual
		if other, ok := r.elsewhere[name]; ok {
			b = other
		}
		groups[b] = append(groups[b], name)
	}
	found := make(map[string]string)
	for b, names := range groups {
		some, err := b.Fetch(ctx, names)
		if err != nil {
			return nil, err
		}
		maps.Copy(found, some)
	}
	return found, nil
}
