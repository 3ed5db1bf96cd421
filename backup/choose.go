package backup

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/takumi-backup/takumi-backup/internal/config"
	"github.com/takumi-backup/takumi-backup/internal/postgres"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/internal/store/local"
)

// Chosen are the databases of a server that an entry of the settings selects now.
type Chosen struct {
	Names  []string // there, in order
	Absent []string // named without a pattern, and not there
	Gone   []string // present at the last backup, missing now
	Closed []string // there, and letting nobody in: they cannot be dumped

	path   string // of what is remembered
	memory chosenMemory
}

// chosenMemory is kept for an entry from run to run.
type chosenMemory struct {
	Server string   `json:"server"`
	Names  []string `json:"names"`
}

// ChooseDatabases asks the server for its databases and returns those that want selects.
// Patterns do not match the server's templates and what a restore keeps there.
// [Chosen.Remember] keeps the list in stateDir for the next run.
func ChooseDatabases(ctx context.Context, s *postgres.Settings, want *config.Database, stateDir string) (*Chosen, error) {
	there, err := s.Databases(ctx)
	if err != nil {
		return nil, SourceError(fmt.Errorf("asking which databases there are: %w", err))
	}
	c := &Chosen{memory: chosenMemory{Server: s.Address()}}
	exact := make(map[string]bool)
	for _, name := range want.Names {
		exact[name] = !strings.ContainsAny(name, config.Wild)
	}
	var closed []string
	for _, d := range there {
		switch named := exact[d.Name]; {
		case !want.Means(d.Name), !named && d.System:
		case d.Closed && named:
			return nil, SourceError(fmt.Errorf("database %q lets nobody in (datallowconn), and cannot be dumped", d.Name))
		case d.Closed:
			closed = append(closed, d.Name)
		default:
			c.Names = append(c.Names, d.Name)
		}
	}
	c.Closed = closed
	for _, name := range want.Names {
		if exact[name] && want.Means(name) && !slices.Contains(c.Names, name) {
			c.Absent = append(c.Absent, name)
		}
	}
	if len(c.Names)+len(c.Absent) == 0 {
		return nil, SourceError(fmt.Errorf("no database of %s is one of %s", s.Server(), want.Title()))
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %v %q %q", c.memory.Server, want.All, want.Names, want.Exclude))
	c.path = filepath.Join(stateDir, fmt.Sprintf("databases-%x.json", sum[:8]))
	return c, c.recall(there)
}

func (c *Chosen) recall(there []postgres.ListedDatabase) error {
	text, err := os.ReadFile(c.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading which databases there were: %w", err)
	}
	var last chosenMemory
	_ = json.Unmarshal(text, &last) // what is not a memory is begun anew
	for _, name := range last.Names {
		if !slices.ContainsFunc(there, func(d postgres.ListedDatabase) bool { return d.Name == name }) && !slices.Contains(c.Absent, name) {
			c.Gone = append(c.Gone, name)
		}
	}
	return nil
}

// Remember stores the present databases for the next run, after missing ones were reported.
func (c *Chosen) Remember() error {
	c.memory.Names = c.Names
	text, err := json.Marshal(c.memory)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(c.path), 0o700); err != nil {
		return fmt.Errorf("remembering which databases there are: %w", err)
	}
	if err := local.WriteFile(c.path, append(text, '\n'), store.Options{Replace: true}); err != nil {
		return fmt.Errorf("remembering which databases there are: %w", err)
	}
	return nil
}
