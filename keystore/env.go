package keystore

import (
	"context"
	"errors"
	"os"
	"regexp"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/internal/secretenv"
)

// Env is a key in an environment variable, for development and tests: child processes
// inherit it and the kernel shows it to processes of the same user. CheckProduction refuses
// it.
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

// Load reads the variable and removes it from the environment.
func (e Env) Load(context.Context) (*kek.Key, error) {
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

// CheckProduction returns an *Error of kind ErrRefused for a key in an environment
// variable. Sources that use a network refuse plain http by an option of their packages.
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
