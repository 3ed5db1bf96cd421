package config

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/takumi-backup/takumi-backup/internal/secretenv"
)

// Secret is a value that a backup.toml does not hold: the file that it names instead
// is to hold it.
type Secret struct{ Name, File, Value string }

// Migrate returns the backup.toml that says what NAME=VALUE lines say. Their secrets
// are to go to files in dir. An error names what a backup.toml cannot say.
func Migrate(variables []Variable, dir string) (text []byte, secrets []Secret, err error) {
	values := make(map[string]string)
	for _, v := range variables {
		values[v.Name] = v.Value
	}
	var file File
	if err := file.migrateStores(values); err != nil {
		return nil, nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if !secretenv.Holds(name) {
			continue
		}
		secret := Secret{name, dir + "/" + strings.ToLower(strings.ReplaceAll(name, "_", "-")), values[name]}
		switch {
		case strings.HasPrefix(name, "AWS_"), strings.HasPrefix(name, "VAULT_"), name == "BACKUP_ENCRYPTION_KEY":
			return nil, nil, fmt.Errorf("%s is a secret that a backup.toml cannot name a file for: keep it in the environment, or in the files of AWS or Vault, and take the line out", name)
		case name != "ALERT_SMTP_USER":
			secrets = append(secrets, secret)
			delete(values, name)
			values[name+"_FILE"] = secret.File
		}
	}
	file.migrateParts(values)
	if key := values["BACKUP_ENCRYPTION_KEY_FILE"]; key != "" {
		file.Keys.URIs = []string{"file:" + key}
		delete(values, "BACKUP_ENCRYPTION_KEY_FILE")
	}
	if err := take(reflect.ValueOf(&file).Elem(), values); err != nil {
		return nil, nil, err
	}
	for name, value := range values { // what has no field
		if secretenv.Holds(name) || name == "PGPASSWORD" {
			return nil, nil, fmt.Errorf("%s is a secret, and a backup.toml has no place for it: leave it in the environment", name)
		}
		if file.Settings == nil {
			file.Settings = make(map[string]string)
		}
		file.Settings[name] = value
	}
	if err := file.Check(); err != nil {
		return nil, nil, err
	}
	text, err = file.Marshal()
	return text, secrets, err
}

func (f *File) migrateStores(values map[string]string) error {
	root := cmp.Or(values["BACKUP_ROOT"], values["BACKUP_DIR"])
	if values["BACKUP_ROOT"] == "" && values["BACKUP_DIR"] != "" {
		return fmt.Errorf("BACKUP_DIR is the folder of one kind: set BACKUP_ROOT to the folder of the store first")
	}
	also := strings.Fields(values["BACKUP_ALSO"])
	if root == "" && len(also) > 0 {
		return fmt.Errorf("BACKUP_ALSO is set and BACKUP_ROOT is not: set it, for a backup.toml names the first store too")
	}
	for i, url := range append([]string{root}, also...) {
		if url != "" {
			f.Stores = append(f.Stores, Store{Name: "store" + strconv.Itoa(i+1), URL: url})
		}
	}
	for _, name := range []string{"BACKUP_ROOT", "BACKUP_DIR", "BACKUP_ALSO"} {
		delete(values, name)
	}
	return nil
}

// migrateParts makes the database, the folder and the project, where they are named.
func (f *File) migrateParts(values map[string]string) {
	if values["DB_NAME"] != "" {
		f.Databases = make([]Database, 1)
	}
	if values["UPLOADS_DIR"] != "" {
		f.Uploads = make([]Uploads, 1)
	}
	if values["CONTRACTS_DIR"] == "" {
		return
	}
	f.Contracts = make([]Contracts, 1)
	c := &f.Contracts[0]
	from := RPCVariable(cmp.Or(values["NETWORK"], "sepolia")) + "_FILE"
	c.RPCURLFile = values[from]
	delete(values, from)
}

func take(v reflect.Value, values map[string]string) error {
	for name, f := range fieldsOf(v.Type()) {
		field := v.FieldByIndex(f.Index)
		switch setting := f.Tag.Get("setting"); {
		case setting == "" && field.Kind() == reflect.Struct:
			if err := take(field, values); err != nil {
				return err
			}
		case setting == "" && field.Kind() == reflect.Slice && field.Len() == 1 && field.Index(0).Kind() == reflect.Struct:
			if err := take(field.Index(0), values); err != nil {
				return err
			}
		case setting != "" && values[setting] != "":
			if err := setText(field, values[setting]); err != nil {
				return fmt.Errorf("%s cannot be %s: %w", setting, name, err)
			}
			delete(values, setting)
		case setting != "":
			delete(values, setting) // empty: as good as not set
		}
	}
	return nil
}

func setText(v reflect.Value, text string) error {
	switch v.Interface().(type) {
	case string:
		v.SetString(text)
	case int:
		n, err := strconv.Atoi(text)
		if err != nil {
			return fmt.Errorf("it is not a number")
		}
		v.SetInt(int64(n))
	case *bool:
		on, err := strconv.ParseBool(text)
		if err != nil {
			return fmt.Errorf("it is neither true nor false")
		}
		v.Set(reflect.ValueOf(&on))
	case []string:
		v.Set(reflect.ValueOf(List(text)))
	case map[string]string:
		words := make(map[string]string)
		for _, word := range strings.Fields(text) {
			if kind, age, found := strings.Cut(word, "="); found {
				words[kind] = age
			} else {
				words["default"] = word
			}
		}
		v.Set(reflect.ValueOf(words))
	}
	return nil
}

// pruned is a struct as a map, without what is not set.
func pruned(v reflect.Value) any {
	switch v.Kind() {
	case reflect.Struct:
		all := make(map[string]any)
		for name, f := range fieldsOf(v.Type()) {
			if field := v.FieldByIndex(f.Index); !field.IsZero() {
				all[name] = pruned(field)
			}
		}
		return all
	case reflect.Slice:
		if v.Type().Elem().Kind() != reflect.Struct {
			return v.Interface()
		}
		var all []map[string]any
		for i := range v.Len() {
			all = append(all, pruned(v.Index(i)).(map[string]any))
		}
		return all
	case reflect.Map:
		all := make(map[string]any)
		for _, key := range v.MapKeys() {
			all[key.String()] = pruned(v.MapIndex(key))
		}
		return all
	case reflect.Pointer:
		return v.Elem().Interface()
	}
	return v.Interface()
}

// Marshal returns the file as TOML, without what is not set. (The encoder of the library
// would be 50 KB of the program.)
func (f File) Marshal() ([]byte, error) {
	var b bytes.Buffer
	err := encode(&b, "", pruned(reflect.ValueOf(f)).(map[string]any))
	return b.Bytes(), err
}

// encode writes a table: its values first, and then the tables in it.
func encode(b *bytes.Buffer, at string, table map[string]any) error {
	names := slices.Sorted(maps.Keys(table))
	for _, name := range names {
		switch v := table[name].(type) {
		case map[string]any, []map[string]any:
		default: // strings, numbers and arrays of strings are in TOML as in JSON
			text, err := json.Marshal(v)
			if err != nil {
				return err
			}
			fmt.Fprintf(b, "%s = %s\n", name, text)
		}
	}
	for _, name := range names {
		inner, header := []map[string]any(nil), "\n[[%s]]\n"
		switch v := table[name].(type) {
		case map[string]any:
			inner, header = []map[string]any{v}, "\n[%s]\n"
		case []map[string]any:
			inner = v
		}
		for _, one := range inner {
			fmt.Fprintf(b, header, at+name)
			if err := encode(b, at+name+".", one); err != nil {
				return err
			}
		}
	}
	return nil
}
