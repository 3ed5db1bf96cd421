package config

import (
	"encoding/json"
	"reflect"
)

// schema is a part of a JSON Schema (draft 2020-12).
type schema struct {
	Schema      string             `json:"$schema,omitempty"`
	Title       string             `json:"title,omitempty"`
	Description string             `json:"description,omitempty"`
	Type        string             `json:"type"`
	Properties  map[string]*schema `json:"properties,omitempty"`
	Items       *schema            `json:"items,omitempty"`
	// Additional is false, or what the values of a map are.
	Additional any `json:"additionalProperties,omitempty"`
}

// Schema returns the JSON Schema of a backup.toml, for editors.
func Schema() ([]byte, error) {
	s := schemaOf(reflect.TypeFor[File]())
	s.Schema, s.Title = "https://json-schema.org/draft/2020-12/schema", "backup.toml of takumi-backup"
	text, err := json.MarshalIndent(s, "", "  ")
	return append(text, '\n'), err
}

func schemaOf(t reflect.Type) *schema {
	switch t.Kind() {
	case reflect.Pointer:
		return schemaOf(t.Elem())
	case reflect.Slice:
		return &schema{Type: "array", Items: schemaOf(t.Elem())}
	case reflect.Map:
		return &schema{Type: "object", Additional: schemaOf(t.Elem())}
	case reflect.Struct:
		s := &schema{Type: "object", Properties: make(map[string]*schema), Additional: false}
		for name, f := range fieldsOf(t) {
			s.Properties[name] = schemaOf(f.Type)
			s.Properties[name].Description = f.Tag.Get("doc")
		}
		return s
	case reflect.Int:
		return &schema{Type: "integer"}
	case reflect.Bool:
		return &schema{Type: "boolean"}
	}
	return &schema{Type: "string"}
}
