package keystore

import (
	"context"
	"errors"
	"os"
	"regexp"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/internal/secretenv"
)

// Env is a key in an environment variable. It is for development and tests:
// every child process inherits it, and the kernel shows it to other processes
// of the same user. CheckProduction refuses it.
type Env struct{ Name string }

// EnvScheme is env:NAME, for Parse.
var EnvScheme = Scheme{Name: "env", Form: "NAME", Parse: func(name string) (Source, error) {
	if !variableName.MatchString(name) {
		return nil, errors.New("that is not a name of an environment variable")
	}
	return Env{name}, nil
}}

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// String returns "env:NAME".
func (e Env) String() string { return "env:" + display(e.Name) }

// Load reads the variable, which no child inherits from then on.
func (e Env) Load(ctx context.Context) (*kek.Key, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	secretenv.Hide(e.Name)
	value, set := os.LookupEnv(e.Name)
	if !set {
		return nil, &Error{URI: e.String(), Kind: ErrNotFound, Reason: "the variable is not set"}
	}
	text := []byte(value)
	defer clear(text)
	key, err := ParseText(text)
	if err != nil {
		return nil, &Error{URI: e.String(), Kind: ErrRefused, Reason: err.Error(), Err: err}
	}
	return key, nil
}

// CheckProduction returns an error when src must not be used in production: a
// key in an environment variable. It is an *Error of kind ErrRefused. That no
// key travels over plain http is up to the sources that use a network: their
// packages have an option for it.
func CheckProduction(src Source) error {
	if _, isEnv := src.(Env); !isEnv {
		return nil
	}
	return &Error{
		URI: src.String(), Kind: ErrRefused,
		Reason: "in production no key comes from an environment variable: every child process inherits it, and /proc shows it",
		Fix:    "put the key into a file (file:PATH), AWS Secrets Manager (awssm:) or Vault (vault:)",
	}
}
