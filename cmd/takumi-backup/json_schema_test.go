package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/backup/members"
	"github.com/takumi-backup/takumi-backup/backup/rekey"
	"github.com/takumi-backup/takumi-backup/internal/config"
	"github.com/takumi-backup/takumi-backup/keystore/history"
	"github.com/takumi-backup/takumi-backup/verify"
	reports "github.com/takumi-backup/takumi-backup/verify/report"
	"github.com/takumi-backup/takumi-backup/verify/status"
)

var updateSchema = flag.Bool("update-schema", false, "write docs/output.schema.json")

// outputs are what commands print with --json: an object, or one a line.
var outputs = map[string]any{
	"list": reports.Listing{}, "list --deleted": deletedListing{}, "prune": pruned{}, "inspect": backup.Inspection{}, "seal": backup.Summary{},
	"rewrap": rekey.Line{}, "replicate": replicated{}, "ls": members.Listing{}, "ls of a dump": tableJSON{}, "find": foundJSON{},
	"diff": members.Change{}, "restore uploads": restoredFolder{}, "key check": checkedKey{}, "key rotate": history.Result{},
	"config show": config.Shown{}, "status": status.Status{}, "verify": verify.Report{},
}

// schemaFor is the JSON Schema of what encoding/json makes of a type.
func schemaFor(t reflect.Type) map[string]any {
	switch {
	case t.Kind() == reflect.Pointer:
		return schemaFor(t.Elem())
	case t == reflect.TypeFor[time.Time]():
		return map[string]any{"type": "string", "format": "date-time"}
	case t == reflect.TypeFor[[]byte]():
		return map[string]any{"type": "string", "contentEncoding": "base64"}
	case t == reflect.TypeFor[json.RawMessage]():
		return map[string]any{}
	case t.Implements(reflect.TypeFor[interface{ MarshalText() ([]byte, error) }]()):
		return map[string]any{"type": "string"}
	}
	switch t.Kind() {
	case reflect.Slice, reflect.Array:
		return map[string]any{"type": []string{"array", "null"}, "items": schemaFor(t.Elem())}
	case reflect.Map:
		return map[string]any{"type": "object", "additionalProperties": schemaFor(t.Elem())}
	case reflect.Struct:
		fields, required := map[string]any{}, []string{}
		addFields(t, fields, &required)
		return map[string]any{"type": "object", "properties": fields, "required": required, "additionalProperties": false}
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.Float64:
		return map[string]any{"type": "number"}
	case reflect.String:
		return map[string]any{"type": "string"}
	}
	return map[string]any{"type": "integer"}
}

func addFields(t reflect.Type, fields map[string]any, required *[]string) {
	for f := range t.Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "":
			addFields(f.Type, fields, required)
		case !f.IsExported() || name == "-":
		default:
			if name == "" {
				name = f.Name
			}
			fields[name] = schemaFor(f.Type)
			if !strings.Contains(options, "omit") {
				*required = append(*required, name)
			}
		}
	}
}

// TestOutputSchema: docs/output.schema.json is what the types of the program say. After a
// change: go test ./cmd/takumi-backup -run TestOutputSchema -update-schema.
func TestOutputSchema(t *testing.T) {
	defs := map[string]any{}
	for name, v := range outputs {
		defs[name] = schemaFor(reflect.TypeOf(v))
	}
	var want bytes.Buffer
	enc := json.NewEncoder(&want)
	enc.SetIndent("", " ")
	if err := enc.Encode(map[string]any{
		"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "what the commands of takumi-backup print with --json", "$defs": defs,
	}); err != nil {
		t.Fatal(err)
	}
	const path = "../../docs/output.schema.json"
	if *updateSchema {
		if err := os.WriteFile(path, want.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want.Bytes()) {
		t.Errorf("%s is not as the types are (%v)", path, err)
	}
}

// TestOutputFitsSchema: what commands print is as the schema has it: with all that is
// required, and with nothing else.
func TestOutputFitsSchema(t *testing.T) {
	b := newSandbox(t)
	for name, args := range map[string][]string{
		"seal": {"seal", "--json", "-o", "x.enc"}, "list": {"list", "--json", "."}, "inspect": {"inspect", "--json", "y.enc"},
		"prune": {"prune", "--json", "."}, "status": {"status", "--json", "."}, "verify": {"verify", "--json", "y.enc"},
		"key check": {"key", "check", "--json"}, "config show": {"config", "show", "--json"},
		"rewrap": {"rewrap", "--json", "--dry-run", "--to", "file:" + keyFile(t, mainKey), "y.enc"}, "replicate": {"replicate", "--json", "y.enc", "copy"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := os.Stat(b.path("y.enc")); err != nil {
				b.seal([]byte("content"), "-o", "y.enc")
			}
			run := b.start(b.command("sh", append([]string{"-c", `echo content | exec "$0" "$@"`, b.exe}, args...)...)).exits(exitOK)
			lines := 0
			for dec := json.NewDecoder(&run.stdout); dec.More(); lines++ {
				var got any
				if err := dec.Decode(&got); err != nil {
					t.Fatal(err)
				}
				fitsSchema(t, name, got, schemaFor(reflect.TypeOf(outputs[name])))
			}
			if lines == 0 {
				t.Error("nothing is printed")
			}
		})
	}
}

func fitsSchema(t *testing.T, at string, got any, s map[string]any) {
	t.Helper()
	switch v := got.(type) {
	case map[string]any:
		fields, _ := s["properties"].(map[string]any)
		for name, value := range v {
			if of, known := fields[name].(map[string]any); known {
				fitsSchema(t, at+"."+name, value, of)
			} else if s["properties"] != nil {
				t.Errorf("%s.%s is not in the schema", at, name)
			}
		}
		required, _ := s["required"].([]string)
		for _, name := range required {
			if _, found := v[name]; !found {
				t.Errorf("%s.%s is missing", at, name)
			}
		}
	case []any:
		of, ok := s["items"].(map[string]any)
		for _, value := range v {
			if !ok {
				t.Errorf("%s is an array", at)
				return
			}
			fitsSchema(t, at, value, of)
		}
	case string:
		if len(s) > 0 && s["type"] != "string" {
			t.Errorf("%s is %q, want %v", at, v, s["type"])
		}
	case bool:
		if len(s) > 0 && s["type"] != "boolean" {
			t.Errorf("%s is %v, want %v", at, v, s["type"])
		}
	case float64:
		if s["type"] != "number" && s["type"] != "integer" {
			t.Errorf("%s is %v, want %v", at, v, s["type"])
		}
	}
}
