package config

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

	"github.com/takumi-backup/takumi-backup/internal/fsutil"
	"github.com/takumi-backup/takumi-backup/internal/harden"
)

// Places are the files that are read when no other is named, the first that exists.
var Places = []string{"/etc/takumi-backup/backup.toml", "/etc/takumi-backup/backup.conf"}

// Settings are what the environment and a file say, read once. They do not change;
// any number of goroutines may use them. A nil Settings has none.
type Settings struct {
	Path string // of the file, or ""
	File *File  // what a backup.toml says, or nil

	values  map[string]Value
	environ map[string]bool // the names that the environment has
}

// Value is one setting, and where it is from: the environment, or a line or a field
// of the file.
type Value struct{ Text, Source string }

// Environment are the settings of an environment, as os.Environ returns it.
func Environment(environ []string) *Settings {
	s := &Settings{values: make(map[string]Value), environ: make(map[string]bool)}
	for _, pair := range environ {
		if name, value, ok := strings.Cut(pair, "="); ok {
			s.values[name] = Value{value, "environment"}
			s.environ[name] = value != "" // as Compose and units leave what is not set
		}
	}
	return s
}

// ErrUnread: the default file is there, and this user may not read it.
var ErrUnread = errors.New("permission denied")

// Load returns the settings of an environment and of the file at path, or when that
// is "" of the one of [Default]. The environment wins over a
// backup.toml and over a default file; a file of NAME=VALUE lines that was named wins
// over the environment. A default file that this user may not read is ErrUnread,
// with the settings of the environment. The other errors are those of [Read].
func Load(path string, environ []string) (*Settings, error) {
	s, named := Environment(environ), path != ""
	if !named {
		if path = Default(environ); path == "" {
			return s, nil
		}
	}
	err := s.read(path, named)
	if err == nil && s.File != nil && (!named || path == Default(environ)) {
		if err = s.File.checkWhole(); err != nil {
			err = fmt.Errorf("%s: %w", path, err)
		}
	}
	if !named && errors.Is(err, fs.ErrPermission) && os.Geteuid() != 0 {
		return Environment(environ), fmt.Errorf("%s: %w", path, ErrUnread)
	}
	return s, err
}

// OwnDir is the folder of a person's settings and keys, as init makes it.
func OwnDir() (string, error) {
	base, err := os.UserConfigDir()
	return filepath.Join(base, "takumi-backup"), err
}

// Default returns a person's own backup.toml, or else the first of [Places] that is there,
// or "". Root has none of its own, nor has whom root runs this for: what root is shown are
// the settings of the host.
func Default(environ []string) string {
	places := Places
	if dir, err := OwnDir(); err == nil && os.Geteuid() != 0 && !slices.Contains(environ, harden.RunsFor+"=1") {
		places = append([]string{filepath.Join(dir, "backup.toml")}, places...)
	}
	for _, path := range places {
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			return path
		}
	}
	return ""
}

func (s *Settings) read(path string, named bool) error {
	s.Path = path
	if filepath.Ext(path) == ".toml" {
		return s.readTOML(path)
	}
	variables, err := Read(path, Known, Names...)
	if err != nil {
		return err
	}
	for _, v := range variables {
		if named || !s.inEnvironment(v.Name) {
			s.values[v.Name] = Value{v.Value, fmt.Sprintf("%s:%d", path, v.Line)}
		}
	}
	return nil
}

func (s *Settings) readTOML(path string) error {
	text, err := fsutil.ReadPrivate(path, MaxSize+1)
	if err != nil {
		return err
	}
	if s.File, err = ParseTOML(text); err == nil {
		err = s.File.Check()
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	all := s.File.variables()
	// The one that the environment names, or the only one, is what commands for a
	// single database, folder or project mean.
	if d := s.File.database(s.Get("DB_NAME")); d != nil {
		maps.Copy(all, d.variables())
	}
	if len(s.File.Uploads) == 1 {
		maps.Copy(all, s.File.Uploads[0].variables())
	}
	if len(s.File.Contracts) == 1 {
		maps.Copy(all, s.File.Contracts[0].variables())
	}
	s.add(all)
	return nil
}

// add adds what the environment does not say.
func (s *Settings) add(from map[string]Value) {
	for name, v := range from {
		if !s.inEnvironment(name) {
			v.Source = s.Path + ": " + v.Source
			s.values[name] = v
		}
	}
}

// inEnvironment says whether the environment has a setting, or a rival of it.
func (s *Settings) inEnvironment(name string) bool {
	has := func(name string) bool { return s.environ[name] }
	return has(name) || slices.ContainsFunc(rivals, func(group []string) bool {
		return slices.Contains(group, name) && slices.ContainsFunc(group, has)
	})
}

// Get returns the value of a setting, or "".
func (s *Settings) Get(name string) string {
	value, _ := s.Lookup(name)
	return value
}

// Lookup returns the value of a setting, and whether it is set.
func (s *Settings) Lookup(name string) (string, bool) {
	if s == nil {
		return "", false
	}
	v, found := s.values[name]
	return v.Text, found
}

// All returns the settings of this program that are set, by name.
func (s *Settings) All() map[string]Value {
	all := maps.Clone(s.values)
	maps.DeleteFunc(all, func(name string, _ Value) bool { return !Known(name) })
	return all
}

// Environ returns the values that a file gave, as NAME=VALUE, for the libraries and
// the programs that read the environment of the process.
func (s *Settings) Environ() []Variable {
	var all []Variable
	for name, v := range s.values {
		if v.Source != "environment" {
			all = append(all, Variable{Name: name, Value: v.Text})
		}
	}
	slices.SortFunc(all, func(a, b Variable) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

// Target is one thing that backup all backs up.
type Target struct {
	Kind     string // database, uploads or contracts
	Name     string // what reports call it
	Settings *Settings
	// What the file says, or nil where the environment or NAME=VALUE lines name it.
	Database  *Database
	Uploads   *Uploads
	Contracts *Contracts
}

// single are the settings that name the one thing of a kind.
var single = map[string][]string{
	"database": {"DB_NAME", "PGDATABASE", "PGSERVICE"}, "contracts": {"CONTRACTS_DIR"}, "uploads": {"UPLOADS_DIR"},
}

// Named returns the settings that name what of a kind is backed up.
func Named(kind string) []string { return single[kind] }

// Targets returns what is to be backed up of a kind: what the file lists, or the one
// thing that the environment names in its place.
func (s *Settings) Targets(kind string) []Target {
	one := func(names []string, has func(string) bool) bool { return slices.ContainsFunc(names, has) }
	var all []Target
	if s.File != nil && !one(single[kind], func(name string) bool { return s.environ[name] }) {
		switch kind {
		case "database":
			for i := range s.File.Databases {
				d := &s.File.Databases[i]
				all = append(all, Target{kind, d.Title(), s.with(d.variables()), d, nil, nil})
			}
		case "uploads":
			for i := range s.File.Uploads {
				u := &s.File.Uploads[i]
				all = append(all, Target{kind, cmp.Or(u.Name, kind), s.with(u.variables()), nil, u, nil})
			}
		case "contracts":
			for i := range s.File.Contracts {
				c := &s.File.Contracts[i]
				all = append(all, Target{kind, cmp.Or(c.Name, kind), s.with(c.variables()), nil, nil, c})
			}
		}
		return all
	}
	if one(single[kind], func(name string) bool { return s.Get(name) != "" }) {
		return []Target{{Kind: kind, Name: kind, Settings: s}}
	}
	return nil
}

func (s *Settings) with(more map[string]Value) *Settings {
	c := &Settings{Path: s.Path, File: s.File, values: maps.Clone(s.values), environ: s.environ}
	c.add(more)
	return c
}

// Named returns the settings with this database's name.
func (s *Settings) WithDatabase(name string) *Settings {
	c := s.with(nil)
	c.values["DB_NAME"] = Value{name, s.Path}
	return c
}
