package main

import (
	"reflect"
	"strings"
	"testing"
)

// TestJSONHasOneVocabulary: a name in the JSON of one command is of the same type in that of
// all others, and a key's id is not called as a backup's.
func TestJSONHasOneVocabulary(t *testing.T) {
	seen, of := make(map[string]reflect.Type), make(map[string]string)
	// What has two types for a reason: a report lists what other commands name or count, a
	// file has versions as the program has, and so has a report its schema as a table; drill
	// hands a checkpoint on as it is.
	differ := map[string]bool{"series": true, "backups": true, "version": true, "schema": true, "checkpoint": true}
	var look func(path string, typ reflect.Type)
	look = func(path string, typ reflect.Type) {
		for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice {
			typ = typ.Elem()
		}
		if typ.Kind() != reflect.Struct {
			return
		}
		for f := range typ.Fields() {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if f.Anonymous && name == "" {
				look(path, f.Type)
			}
			if name == "" || name == "-" || !f.IsExported() {
				continue
			}
			kind := f.Type
			for kind.Kind() == reflect.Pointer {
				kind = kind.Elem()
			}
			if was, known := seen[name]; known && was.Kind() != kind.Kind() && !differ[name] {
				t.Errorf("%q is %v in %s, and %v in %s", name, was, of[name], kind, path)
			} else if !known {
				seen[name], of[name] = kind, path
			}
			if name == "id" && strings.HasSuffix(kind.String(), "kek.ID") {
				t.Errorf("%s: the id of a key is called key_id", path)
			}
		}
	}
	for path, v := range outputs {
		look(path, reflect.TypeOf(v))
	}
}
