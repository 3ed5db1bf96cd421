package main

import (
	"reflect"
	"strings"
	"testing"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/backup/all"
	"github.com/takumi-backup/takumi-backup/backup/members"
	"github.com/takumi-backup/takumi-backup/backup/rekey"
	"github.com/takumi-backup/takumi-backup/internal/config"
	"github.com/takumi-backup/takumi-backup/keystore/history"
	"github.com/takumi-backup/takumi-backup/verify"
	"github.com/takumi-backup/takumi-backup/verify/drill"
	reports "github.com/takumi-backup/takumi-backup/verify/report"
	"github.com/takumi-backup/takumi-backup/verify/status"
)

// TestJSONHasOneVocabulary: a name in the JSON of one command is of the same type in that of
// all others, and a key's id is not called as a backup's.
func TestJSONHasOneVocabulary(t *testing.T) {
	seen, of := make(map[string]reflect.Type), make(map[string]string)
	// What has two types for a reason: in a report of verify, and in that of backup, the why
	// of what a list only marks.
	differ := map[string]bool{"unjudged": true}
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
	for path, v := range map[string]any{
		"list": reports.Listing{}, "list --deleted": deletedListing{}, "prune": pruned{}, "inspect": backup.Inspection{}, "seal": backup.Summary{},
		"rewrap": rekey.Line{}, "replicate": replicated{}, "ls": members.Listing{}, "ls of tables": tableJSON{}, "find": foundJSON{}, "diff": members.Change{},
		"restore uploads": restoredFolder{}, "key check": checkedKey{}, "key rotate": history.Result{}, "backup all": all.Part{}, "config show": config.Shown{},
		"verify": verify.Backup{}, "a finding of verify": verify.Finding{}, "drill": drill.Result{}, "status": status.Series{},
	} {
		look(path, reflect.TypeOf(v))
	}
}
