package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/backup/members"
	"github.com/takumi-backup/takumi-backup/backup/rekey"
	"github.com/takumi-backup/takumi-backup/internal/audit"
	"github.com/takumi-backup/takumi-backup/internal/config"
	s3test "github.com/takumi-backup/takumi-backup/internal/testkit/s3"
	"github.com/takumi-backup/takumi-backup/keystore/history"
	"github.com/takumi-backup/takumi-backup/keystore/named"
	"github.com/takumi-backup/takumi-backup/keystore/written"
	"github.com/takumi-backup/takumi-backup/verify"
	"github.com/takumi-backup/takumi-backup/verify/doctor"
	reports "github.com/takumi-backup/takumi-backup/verify/report"
)

var updateSchema = flag.Bool("update-schema", false, "write docs/output.schema.json")

// outputs are what commands print with --json: an object, or one a line.
var outputs = map[string]any{
	"list": reports.Listing{}, "list --deleted": deletedListing{}, "prune": pruned{}, "inspect": backup.Inspection{}, "seal": backup.Summary{},
	"rewrap": rekey.Line{}, "replicate": replicated{}, "ls": members.Listing{}, "ls of a dump": tableJSON{}, "find": foundJSON{},
	"diff": members.Change{}, "restore uploads": restoredFolder{}, "key check": named.Checked{}, "key rotate": history.Result{},
	"config show": config.Shown{}, "status": shownStatus{}, "verify": verify.Report{}, "verify merge": verify.Report{}, "doctor": doctor.Finding{}, "drill": drilled{},
	"backup all": night{}, "restore database": restoredDatabase{}, "restore database --table": restoredTables{},
	"restore database --dry-run": plannedRestore{}, "restore database --drop-previous": droppedDatabases{}, "restore contracts": restoredContracts{},
	"key history": historyLine{}, "key retire": rekey.Retired{}, "key split": written.Split{},
	"audit show": audit.Record{}, "audit verify": audit.Judged{}, "audit checkpoint": audit.Checkpoint{},
}

// schemaFor is the JSON Schema of what encoding/json makes of a type.
func schemaFor(t reflect.Type) map[string]any {
	switch {
	case t.Kind() == reflect.Pointer:
		return schemaFor(t.Elem())
	case t == reflect.TypeFor[time.Time]():
		return map[string]any{"type": "string", "format": "date-time"}
	case t == reflect.TypeFor[verify.List]():
		return schemaFor(reflect.TypeFor[[]verify.Backup]())
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
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
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

// prints checks that a command prints what the schema has under its name: with all that
// is required, and with nothing else.
func (b *sandbox) prints(name string, want int, args ...string) {
	b.Helper()
	cmd := b.program(args...)
	cmd.Stdin = strings.NewReader("content")
	run := b.start(cmd).exits(want)
	lines := 0
	for dec := json.NewDecoder(&run.stdout); dec.More(); lines++ {
		var got any
		if err := dec.Decode(&got); err != nil {
			b.Fatalf("%s: %v", name, err)
		}
		if _, one := got.(map[string]any); !one {
			b.Errorf("%s does not print an object: %v", name, got)
		}
		fitsSchema(b.T, name, got, schemaFor(reflect.TypeOf(outputs[name])))
	}
	if lines == 0 {
		b.Errorf("%s prints nothing", name)
	}
}

// TestOutputFitsSchema: what commands print is as the schema has it.
func TestOutputFitsSchema(t *testing.T) {
	b := newSandbox(t)
	key := keyFile(t, mainKey)
	b.env = append(b.env, "UPLOADS_DIR="+b.path("up"), "BACKUP_ENCRYPTION_KEY_FILE="+key)
	if err := errors.Join(os.Mkdir(b.path("up"), 0o700), os.Mkdir(b.path("project"), 0o700)); err != nil {
		t.Fatal(err)
	}
	writeFile(t, b.path("up/a"), []byte("content"))
	writeFile(t, b.path("project/foundry.toml"), []byte("[profile.default]\n"))
	b.run(exitOK, nil, "backup", "contracts", "--quiet", "-o", b.path("contracts.enc"), b.path("project"))
	b.prints("seal", exitOK, "seal", "--json", "-o", b.path("y.enc"))
	b.prints("backup all", exitOK, "backup", "all", "--json")
	store := b.path("store")
	uploads := filepath.Join(store, "uploads", files(t, filepath.Join(store, "uploads"))[0])
	for name, args := range map[string][]string{
		"list": {store}, "inspect": {"y.enc"}, "prune": {store}, "status": {store}, "verify": {"y.enc"}, "ls": {uploads}, "find": {"a"},
		"diff": {uploads, "empty"}, "restore uploads": {uploads, "--to", "restored"}, "drill": {"--latest", "--scratch-dir", t.TempDir()},
		"key check": nil, "config show": nil, "replicate": {"y.enc", "copy"}, "rewrap": {"--dry-run", "--to", "file:" + keyFile(t, mainKey), "y.enc"},
		"key split": {"--shares", "3", "--threshold", "2", "-o", t.TempDir() + "/shares"},
	} {
		if err := os.MkdirAll(b.path("empty"), 0o700); err != nil {
			t.Fatal(err)
		}
		b.prints(name, exitOK, append(append(strings.Fields(name), "--json"), args...)...)
	}
	b.prints("restore contracts", exitOK, "restore", "contracts", "--json", "--to", "chain", "contracts.enc")
	b.run(exitOK, nil, "verify", "--quiet", "--report", "report.json", "y.enc")
	b.prints("verify merge", exitOK, "verify", "merge", "--json", "report.json")
	writeFile(t, b.path("odd.toml"), []byte("[store]\nurrl = \"x\"\n"))
	if odd := b.run(exitUsage, nil, "config", "show", "--json", "--config", "odd.toml").says("urrl"); odd.stdout.Len() > 0 {
		t.Errorf("config show prints of settings that are wrong: %s", &odd.stdout)
	}
	memory := s3test.NewMemory()
	memory.Versioned = true
	bucket := httptest.NewServer(memory)
	t.Cleanup(bucket.Close)
	b.env = append(b.env, "AWS_ENDPOINT_URL="+bucket.URL, "AWS_REGION="+s3test.Region, "AWS_ACCESS_KEY_ID=id", "AWS_SECRET_ACCESS_KEY=secret")
	b.run(exitOK, nil, "replicate", "y.enc", "s3://bucket/")
	gone, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, bucket.URL+"/bucket/y.enc", nil)
	if err != nil {
		t.Fatal(err)
	}
	if answer, err := bucket.Client().Do(gone); err != nil || answer.Body.Close() != nil || answer.StatusCode/100 != 2 {
		t.Fatalf("%v, %+v", err, answer)
	}
	b.prints("list --deleted", exitOK, "list", "--deleted", "--json", "s3://bucket")
	b.env = append(b.env, "UPLOADS_DIR=") // nothing to back up is what doctor finds
	b.prints("doctor", exitSome, "doctor", "--json")
	b.prints("key rotate", exitOK, "key", "rotate", "--json", "--key", "file:"+key, "--grace", "1ns")
	b.prints("key history", exitOK, "key", "history", "--json")
	b.run(exitOK, nil, "rewrap", "--to", "file:"+key, store)
	b.prints("key retire", exitOK, "key", "retire", "--json", keyID(t, mainKey))
	b.prints("audit checkpoint", exitOK, "audit", "checkpoint", "--checkpoint-key", "file:"+keyFile(t, otherKey), "-o", "-")
	b.prints("audit verify", exitOK, "audit", "verify", "--json")
	b.prints("audit show", exitOK, "audit", "show", "--json")
}

// TestDatabaseOutputFitsSchema is the same for restores of databases.
func TestDatabaseOutputFitsSchema(t *testing.T) {
	c := database(t, "fits_schema", "CREATE TABLE t (a int); INSERT INTO t VALUES (1)")
	b := withCluster(t, c)
	b.env = append(b.env, "DB_NAME=fits_schema")
	made := b.run(exitOK, nil, "backup", "database", "--quiet").made()[0]
	restore := []string{"restore", "database", "--json", "--yes"}
	b.prints("ls of a dump", exitOK, "ls", "--json", made)
	b.prints("restore database --dry-run", exitOK, append(restore, "--dry-run", made)...)
	b.prints("restore database --table", exitOK, append(restore, made, "--table", "public.t", "--to-schema", "other")...)
	b.prints("restore database", exitOK, append(restore, made)...)
	b.prints("restore database --drop-previous", exitOK, append(restore, "--drop-previous")...)
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
