package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/keystore/history"
	"github.com/takumi-backup/takumi-backup/keystore/secrets"
	"github.com/takumi-backup/takumi-backup/keystore/secrets/rotation"
)

// defaultSets declares sets where no other file is named.
const defaultSets = "/etc/takumi-secrets/sets.yaml"

// environments are the handbook's.
var environments = []string{"development", "test", "staging", "production"}

func addSettings(root *cobra.Command) {
	f := root.PersistentFlags()
	f.String("environment", "", "development, test, staging or production (default $TAKUMI_ENV, $NODE_ENV)")
	f.String("backend", "", "where the secrets are (default $SECRETS_BACKEND)")
	f.String("sets", "", "`file` that declares the sets (default $TAKUMI_SECRETS_FILE, "+defaultSets+" if there is one)")
	f.String("log-dir", "", "`folder` of the log and the history of rotations (default $TAKUMI_ROTATION_DIR, or rotation in the state folder)")
	f.String("audit", "on", "record in the audit log what is done: on or off")
	f.String("audit-dir", "", "`folder` of the audit log (default $TAKUMI_AUDIT_DIR, or audit in the state folder)")
}

type settings struct {
	environment, backend string
	config               *rotation.Config
	dir                  string
}

func text(cmd *cobra.Command, name string) string {
	if f := cmd.Flag(name); f != nil {
		return f.Value.String()
	}
	return ""
}

// anyEnvironment is for commands that do the same in every environment.
const anyEnvironment = "any environment"

func loadSettings(cmd *cobra.Command) (*settings, error) {
	s := &settings{config: &rotation.Config{Sets: make(map[string]*rotation.Set)}}
	path := cmp.Or(text(cmd, "sets"), os.Getenv("TAKUMI_SECRETS_FILE"))
	content, err := os.ReadFile(cmp.Or(path, defaultSets))
	switch {
	case err == nil:
		if s.config, err = rotation.ParseConfig(content); err != nil {
			return nil, err
		}
	case path != "" || !errors.Is(err, fs.ErrNotExist):
		return nil, fail.Usagef("reading the sets: %w", err)
	}
	s.environment = cmp.Or(text(cmd, "environment"), os.Getenv("TAKUMI_ENV"), os.Getenv("NODE_ENV"), s.config.Environment, cmd.Annotations[anyEnvironment])
	if !slices.Contains(environments, s.environment) {
		return nil, fail.As(fail.Usage, "give --environment, or set TAKUMI_ENV or NODE_ENV", fmt.Errorf("the environment is %q, not one of %s", s.environment, strings.Join(environments, ", ")))
	}
	if declared := s.config.Environment; declared != "" && declared != s.environment {
		return nil, fail.Usagef("the environment is %s, and the sets are declared for %s", s.environment, declared)
	}
	s.backend = cmp.Or(text(cmd, "backend"), os.Getenv("SECRETS_BACKEND"))
	s.dir = cmp.Or(text(cmd, "log-dir"), os.Getenv("TAKUMI_ROTATION_DIR"))
	if s.dir == "" {
		state, err := history.Dir()
		if err != nil {
			return nil, fail.Usagef("%w", err)
		}
		s.dir = filepath.Join(state, "rotation")
	}
	return s, nil
}

func (s *settings) options() secrets.Options { return secrets.Options{Environment: s.environment} }

func (s *settings) set(name string) (*rotation.Set, error) {
	set := s.config.Sets[name]
	if set == nil && name == "jwt" {
		set = rotation.JWTSet()
		if err := set.Complete(name); err != nil {
			return nil, err
		}
	}
	if set == nil {
		return nil, fail.As(fail.Usage, "declare it in a file and name that by --sets; jwt needs no declaration", errors.New("there is no set of that name"))
	}
	return set, nil
}

func (s *settings) place(set *rotation.Set) string {
	switch {
	case set.Secret != "":
		return set.Secret
	case s.backend == secrets.AWS:
		return secrets.AWS + ":takumi/" + s.environment + "/" + set.Name
	}
	return s.backend
}

// names are the declared sets; jwt where none is declared.
func (s *settings) names() []string {
	if len(s.config.Sets) == 0 {
		return []string{"jwt"}
	}
	return slices.Sorted(maps.Keys(s.config.Sets))
}

// manager reads secrets: those of sets from where the sets are.
func (s *settings) manager() (*secrets.Manager, error) {
	usual, err := secrets.Open(s.backend, s.options())
	if err != nil {
		return nil, err
	}
	elsewhere := make(map[string]secrets.Backend)
	for _, name := range s.names() {
		set, err := s.set(name)
		if err != nil {
			return nil, err
		}
		place := s.place(set)
		if place == s.backend {
			continue
		}
		b, err := secrets.Open(place, s.options())
		if err != nil {
			return nil, err
		}
		for _, n := range set.Names {
			elsewhere[n], elsewhere[n+"_PREVIOUS"] = b, b
		}
	}
	return secrets.NewManager(secrets.Route(usual, elsewhere)), nil
}
