package config

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"path"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"github.com/takumi-backup/takumi-backup/internal/secretenv"
)

// List takes a setting with several words apart: lines, where there is a line break,
// and else words.
func List(text string) []string {
	if strings.Contains(text, "\n") {
		return slices.DeleteFunc(strings.Split(text, "\n"), func(line string) bool { return strings.TrimSpace(line) == "" })
	}
	return strings.Fields(text)
}

// ParseTOML reads a backup.toml. The error is a *SyntaxError, which shows no value.
func ParseTOML(text []byte) (*File, error) {
	if len(text) > MaxSize {
		return nil, &SyntaxError{0, fmt.Sprintf("the file is longer than %d bytes", MaxSize)}
	}
	file := new(File)
	d := toml.NewDecoder(bytes.NewReader(bytes.TrimPrefix(text, []byte("\uFEFF")))) // which editors of Windows write
	d.DisallowUnknownFields()
	err := d.Decode(file)
	if unknown, ok := errors.AsType[*toml.StrictMissingError](err); ok {
		first := unknown.Errors[0]
		line, _ := first.Position()
		return nil, &SyntaxError{line, unknownKey(first.Key())}
	}
	if wrong, ok := errors.AsType[*toml.DecodeError](err); ok {
		line, _ := wrong.Position()
		reason := plain(strings.TrimPrefix(wrong.Error(), "toml: "))
		if key := strings.Join(wrong.Key(), "."); key != "" {
			reason = key + ": " + reason
		}
		return nil, &SyntaxError{line, reason}
	}
	if err != nil {
		return nil, &SyntaxError{1, strings.TrimPrefix(err.Error(), "toml: ")}
	}
	return file, nil
}

var mismatch = regexp.MustCompile(`^cannot decode TOML (\S+) into (?:struct field \S+ of type )?(\S+)$`)

// plain says without the words of Go that a value is of another type.
func plain(reason string) string {
	types := mismatch.FindStringSubmatch(reason)
	if types == nil {
		return reason
	}
	want, known := map[string]string{"int": "a whole number", "string": "text in quotes", "bool": "true or false", "*bool": "true or false", "[]string": "a list of texts, as [\"a\", \"b\"]"}[types[2]]
	switch {
	case known:
	case strings.HasPrefix(types[2], "[]"):
		want = "a list of tables: [[NAME]] begins each"
	default:
		want = "a table: [NAME] begins it"
	}
	return "it has the type " + types[1] + ", and is to be " + want
}

func unknownKey(key []string) string {
	t := reflect.TypeFor[File]()
	for i, word := range key {
		fields := fieldsOf(t)
		f, found := fields[word]
		if !found {
			words := strings.Join(key[:i+1], ".") + " is not a setting of this program"
			if near := Nearest(word, slices.Sorted(maps.Keys(fields))); near != "" {
				words += ": did you mean " + near + "?"
			} else if _, byFile := fields[word+"_file"]; byFile {
				words += ": a secret is not in this file; " + word + "_file names the file that has it"
			}
			return words
		}
		if t = f.Type; t.Kind() == reflect.Map {
			if t.Elem().Kind() != reflect.Struct {
				break
			}
			t = t.Elem()
			return unknownIn(t, key, i+2)
		}
		for t.Kind() == reflect.Slice || t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
	}
	return strings.Join(key, ".") + " is not a setting of this program"
}

// unknownIn is unknownKey for the key at i, in a struct that a map holds.
func unknownIn(t reflect.Type, key []string, i int) string {
	words := strings.Join(key, ".") + " is not a setting of this program"
	if i < len(key) {
		if near := Nearest(key[i], slices.Sorted(maps.Keys(fieldsOf(t)))); near != "" {
			words += ": did you mean " + near + "?"
		}
	}
	return words
}

// fieldsOf returns the fields of a struct by their names in TOML, with those of what
// is embedded.
func fieldsOf(t reflect.Type) map[string]reflect.StructField {
	all := make(map[string]reflect.StructField)
	if t.Kind() != reflect.Struct {
		return all
	}
	for _, f := range reflect.VisibleFields(t) {
		if name := f.Tag.Get("toml"); name != "" {
			all[name] = f
		}
	}
	return all
}

func variablesOf(into map[string]Value, at string, v reflect.Value) {
	for name, f := range fieldsOf(v.Type()) {
		field, where := v.FieldByIndex(f.Index), at+name
		setting := f.Tag.Get("setting")
		switch {
		case setting != "":
			if text, set := textOf(field); set {
				into[setting] = Value{text, where}
			}
		case field.Kind() == reflect.Struct:
			variablesOf(into, where+".", field)
		}
	}
}

// textOf is a field as the value of a variable, and whether it is set.
func textOf(v reflect.Value) (string, bool) {
	switch x := v.Interface().(type) {
	case string:
		return x, x != ""
	case int:
		return strconv.Itoa(x), x != 0
	case *bool:
		if x == nil {
			return "", false
		}
		return strconv.FormatBool(*x), true
	case []string:
		if slices.ContainsFunc(x, func(word string) bool { return strings.ContainsAny(word, " \t") }) {
			return strings.Join(x, "\n") + "\n", true
		}
		return strings.Join(x, " "), len(x) > 0
	case map[string]string:
		var words []string
		for _, kind := range slices.Sorted(maps.Keys(x)) {
			if kind == "default" {
				words = append([]string{x[kind]}, words...)
			} else {
				words = append(words, kind+"="+x[kind])
			}
		}
		return strings.Join(words, " "), len(words) > 0
	}
	return "", false
}

// variables are the settings that are not those of one database, folder or project.
func (f *File) variables() map[string]Value {
	all := make(map[string]Value)
	for name, text := range f.Settings {
		all[name] = Value{text, "settings." + name}
	}
	variablesOf(all, "", reflect.ValueOf(*f))
	var also []string
	for i := range f.Stores {
		if i == 0 {
			all["BACKUP_ROOT"] = Value{f.Stores[i].Path(), "store[0].url"}
		} else {
			also = append(also, f.Stores[i].Path())
		}
	}
	if len(also) > 0 {
		all["BACKUP_ALSO"] = Value{strings.Join(also, " "), "store.url"}
	}
	for i := range f.Contracts {
		if c := &f.Contracts[i]; c.RPCURLFile != "" {
			all[RPCVariable(c.network())+"_FILE"] = Value{c.RPCURLFile, fmt.Sprintf("contracts[%d].rpc_url_file", i)}
		}
	}
	return all
}

func (d *Database) variables() map[string]Value  { return part("database.", *d) }
func (u *Uploads) variables() map[string]Value   { return part("uploads.", *u) }
func (c *Contracts) variables() map[string]Value { return part("contracts.", *c) }
func part(at string, of any) map[string]Value {
	all := make(map[string]Value)
	variablesOf(all, at, reflect.ValueOf(of))
	return all
}

func (c *Contracts) network() string {
	if c.Network == "" {
		return "sepolia"
	}
	return c.Network
}

// RPCVariable names the variable that holds the URL of a node for a network.
func RPCVariable(network string) string {
	return "RPC_URL_" + strings.ToUpper(strings.ReplaceAll(network, "-", "_"))
}

// Several says whether it may be more than one database.
func (d *Database) Several() bool { return d.All || len(d.Names) > 0 }

// Title is what reports call it.
func (d *Database) Title() string {
	switch {
	case d.Name != "":
		return d.Name
	case d.All:
		return "all databases"
	}
	return strings.Join(d.Names, " ")
}

// database returns the one of this name; without a name the only one, or nil.
func (f *File) database(name string) *Database {
	if name == "" && len(f.Databases) == 1 {
		return &f.Databases[0]
	}
	for i := range f.Databases {
		if f.Databases[i].Name == name && name != "" {
			return &f.Databases[i]
		}
	}
	return nil
}

// Path is the URL of the store, with the server that it is at.
func (s *Store) Path() string {
	var query []string
	for _, p := range [][2]string{{"profile", s.Profile}, {"region", s.Region}, {"endpoint", s.Endpoint}} {
		if p[1] != "" {
			query = append(query, p[0]+"="+p[1])
		}
	}
	if s.PathStyle {
		query = append(query, "path_style=true")
	}
	if len(query) == 0 {
		return s.URL
	}
	return s.URL + "?" + strings.Join(query, "&")
}

// Check finds what cannot be right in the file itself: what is missing, what
// contradicts itself, and words that would be taken for two. The values of settings
// are checked by who reads them.
func (f *File) Check() error {
	wrong := func(format string, args ...any) error { return &SyntaxError{0, fmt.Sprintf(format, args...)} }
	for i := range f.Stores {
		s := &f.Stores[i]
		switch e, err := url.Parse(s.Endpoint); {
		case s.URL == "":
			return wrong("store[%d] has no url", i)
		case strings.ContainsAny(s.Path(), " \t\n"):
			return wrong("store[%d]: a blank in %s would make two stores of it", i, s.Path())
		case strings.ContainsAny(s.Profile+s.Region+s.Endpoint, "&?"), s.Endpoint != "" && (err != nil || e.Host == ""):
			return wrong("store[%d]: endpoint, region or profile cannot be part of an S3 URL", i)
		case !strings.HasPrefix(s.URL, "s3://") && *s != (Store{Name: s.Name, URL: s.URL}):
			return wrong("store[%d]: %s is a folder, and only a bucket has further settings", i, s.URL)
		}
	}
	if err := f.checkStores(wrong); err != nil {
		return err
	}
	if err := f.checkTargets(wrong); err != nil {
		return err
	}
	for name := range f.Settings {
		switch {
		case !Known(name):
			reason := "settings." + name + " is not a setting of this program"
			if near := Nearest(name, Names); near != "" {
				reason += ": did you mean " + near + "?"
			}
			return wrong("%s", reason)
		case secretenv.Holds(name) || name == "PGPASSWORD":
			return wrong("settings.%s is a secret: name the file that has it, or set the variable in the environment", name)
		}
	}
	return nil
}

// checkStores finds a store that is there twice, and a folder that no shell has expanded.
func (f *File) checkStores(wrong func(string, ...any) error) error {
	seen := make(map[string]bool)
	for i := range f.Stores {
		words := []string{"url " + strings.TrimRight(f.Stores[i].Path(), "/")}
		if name := f.Stores[i].Name; name != "" {
			words = append(words, "name "+name)
		}
		for _, same := range words {
			if seen[same] {
				return wrong("store[%d] has the %s, as another one has", i, same)
			}
			seen[same] = true
		}
	}
	for _, p := range f.paths() {
		if strings.HasPrefix(p.Text, "~") {
			return wrong("%s: ~ is not expanded in a file: give the whole path", p.Source)
		}
	}
	return nil
}

// checkWhole finds a path whose meaning depends on where a job starts.
func (f *File) checkWhole() error {
	for _, p := range f.paths() {
		if !filepath.IsAbs(p.Text) && !strings.HasPrefix(p.Text, "s3://") {
			return &SyntaxError{0, p.Source + " is relative: give the whole path, since a job may start in any folder"}
		}
	}
	return nil
}

func (f *File) paths() (all []Value) {
	add := func(at string, i int, field, path string) {
		all = append(all, Value{path, fmt.Sprintf("%s[%d].%s", at, i, field)})
	}
	for i := range f.Stores {
		add("store", i, "url", f.Stores[i].URL)
	}
	for i := range f.Uploads {
		add("uploads", i, "path", f.Uploads[i].Path)
	}
	for i := range f.Contracts {
		add("contracts", i, "path", f.Contracts[i].Path)
	}
	return all
}

func (f *File) checkTargets(wrong func(string, ...any) error) error {
	for i, d := range f.Databases {
		ways := 0
		for _, said := range []bool{d.Name != "", len(d.Names) > 0, d.All} {
			if said {
				ways++
			}
		}
		if ways != 1 {
			return wrong("database[%d]: give one of name, names and all", i)
		}
		if err := d.CheckPatterns(); err != nil {
			return wrong("database[%d]: %v", i, err)
		}
	}
	names := make(map[string]bool)
	for i, u := range f.Uploads {
		if u.Path == "" {
			return wrong("uploads[%d] has no path", i)
		}
		if names["u"+u.Name] {
			return wrong("uploads[%d]: give each folder a name of its own: backups of one name are one series", i)
		}
		names["u"+u.Name] = true
	}
	for i, c := range f.Contracts {
		if c.Path == "" {
			return wrong("contracts[%d] has no path", i)
		}
		if names["c"+c.Name] {
			return wrong("contracts[%d]: give each project a name of its own: backups of one name are one series", i)
		}
		names["c"+c.Name] = true
	}
	return nil
}

// Wild are the characters that make a pattern of a name.
const Wild = `*?[\`

// CheckPatterns finds a pattern that is none.
func (d *Database) CheckPatterns() error {
	for _, pattern := range slices.Concat(d.Names, d.Exclude) {
		if _, err := path.Match(pattern, ""); err != nil {
			return fmt.Errorf("%q is not a pattern", pattern)
		}
	}
	return nil
}

// Means says whether one of the names and patterns means a database, and none that
// excludes it does.
func (d *Database) Means(name string) bool {
	flat := strings.NewReplacer("/", "\x01") // which names of files alone are divided by
	matches := func(patterns []string) bool {
		return slices.ContainsFunc(patterns, func(p string) bool {
			ok, err := path.Match(flat.Replace(p), flat.Replace(name))
			return ok && err == nil
		})
	}
	return (d.All || name == d.Name || matches(d.Names)) && !matches(d.Exclude)
}
