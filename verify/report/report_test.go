package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/verify"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// hostile is a name that tries everything: to be markup, to end an attribute, to
// call a channel, to turn what follows around, to move a terminal's cursor.
const hostile = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>`<!channel>&amp;\u202egnp.exe\u2066\x1b[2J\x00\n\xff-מגן"

// held are the backups of a report.
func held(r *verify.Report) (all []verify.Backup) {
	for _, b := range r.Backups.All() {
		all = append(all, *b)
	}
	return all
}

// sample is a report with some of everything.
func sample() *verify.Report {
	r := &verify.Report{
		Schema: verify.Schema, Program: "takumi-backup v1.0.0", Host: "db1.example", Started: noon.Add(-17 * time.Minute), Finished: noon,
		Roots: []string{"/var/backups/takumi"}, Level: verify.Content, Checkpoint: json.RawMessage(`{"seq":4711,"hash":"00ff"}`),
		Keys: []verify.Key{
			{ID: "3f1c5a0e9b2d4c66", Provider: "file:/etc/takumi-backup/backup.key", Activated: noon.AddDate(0, 0, -100), NextRotation: noon.AddDate(0, 0, -10), Overdue: true},
			{ID: "77aa5a0e9b2d4c01"},
		},
	}
	var backups []verify.Backup
	for _, kind := range []string{"database", "contracts", "uploads"} {
		for day := range 24 {
			made := noon.AddDate(0, 0, -day).Add(-10 * time.Hour)
			b := verify.Backup{
				Path: fmt.Sprintf("/var/backups/takumi/%s/takumi_%s_%s.zst.enc", kind, kind, made.Format("20060102_150405")), Kind: kind,
				Name: fmt.Sprintf("takumi_%s_%s", kind, made.Format("20060102_150405")), Series: "takumi_" + kind,
				ID: fmt.Sprintf("%032x", day), Size: int64(40-day) << 20 * int64(len(kind)), Created: made, KeyIDs: []string{"3f1c5a0e9b2d4c66"},
				Checked: day < 7, Proven: verify.Content, ProvenAt: noon.AddDate(0, 0, -day/7*7).Add(-5 * time.Minute), Seconds: 1.5, Content: 1 << 30,
			}
			if !b.Checked {
				b.Why = "proven 7 days ago"
			} else {
				b.KeyID = "3f1c5a0e9b2d4c66"
			}
			backups = append(backups, b)
		}
	}
	chunk, offset := int64(17), int64(1_114_588)
	bad := &backups[3]
	bad.Proven, bad.ProvenAt, bad.Findings = verify.None, time.Time{}, []verify.Finding{{
		Severity: verify.Error, Code: verify.Damaged, Message: "chunk 17 (at byte 1114588) does not verify: it is damaged", Chunk: &chunk, Offset: &offset,
		Advice: "copy this backup again from where else it is kept; look at the disk; the one before it is good",
	}}
	backups[24+2].Findings = []verify.Finding{{Severity: verify.Warning, Code: verify.SidecarMissing, Message: "there is no .sha256 next to it", Advice: "make it: sha256sum FILE > FILE.sha256"}}
	backups[50].Proven, backups[50].ProvenAt, backups[50].Why = verify.None, time.Time{}, "not in the sample"
	r.Backups = verify.ListOf(backups...)
	r.Findings = []verify.Finding{
		{Severity: verify.Warning, Code: verify.Plaintext, Path: "/var/backups/takumi/old.sql", Message: "an unencrypted backup", Advice: "seal it, or delete it"},
		{Severity: verify.Warning, Code: verify.KeyOverdue, Message: "key 3f1c5a0e9b2d4c66 was due 10 days ago", Advice: "takumi-backup key rotate"},
	}
	return r
}

// nasty is a report whose every text is hostile.
func nasty() *verify.Report {
	r := sample()
	r.Host, r.Program, r.Roots, r.Shard = hostile, hostile, []string{hostile}, hostile
	r.Keys[0].ID, r.Keys[0].Provider = hostile, hostile
	backups := held(r)
	b := &backups[0]
	b.Path, b.Name, b.Series, b.Kind, b.KeyID, b.Why, b.Checked = hostile, hostile, hostile, hostile, hostile, hostile, false
	b.Findings = []verify.Finding{{Severity: verify.Error, Code: hostile, Path: hostile, Message: hostile, Advice: hostile}}
	r.Backups = verify.ListOf(backups...)
	return r
}

func TestWrite(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, want := range map[string]string{"a.html": "<!doctype html>", "a.HTML": "<!doctype html>", "a.json": "{\n  \"schema\": 1,"} {
		path := filepath.Join(dir, name)
		for range 2 { // the second takes the place of the first
			if err := errors.Join(Check(path), Write(path, sample())); err != nil {
				t.Fatal(err)
			}
		}
		text, err := os.ReadFile(path)
		if err != nil || !strings.HasPrefix(string(text), want) {
			t.Errorf("%s: %.40q, %v", name, text, err)
		}
		if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	for _, name := range []string{"a.pdf", "a", ""} {
		if err := Write(filepath.Join(dir, name), sample()); !errors.Is(err, ErrForm) {
			t.Errorf("%q: %v", name, err)
		}
	}
	missing := filepath.Join(dir, "missing", "a.html")
	if err := Write(missing, sample()); !store.IsStoreFault(err) || !store.IsStoreFault(Check(missing)) {
		t.Errorf("a folder that is missing: %v", err)
	}
	// What cannot be written leaves the older report, and nothing else.
	broken := sample()
	broken.Checkpoint = json.RawMessage("{")
	for _, name := range []string{"a.html", "a.json"} {
		before, _ := os.ReadFile(filepath.Join(dir, name))
		if err := Write(filepath.Join(dir, name), broken); err == nil {
			t.Errorf("%s: a broken checkpoint was written", name)
		}
		if after, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(before) != string(after) {
			t.Errorf("%s: the older report is gone: %v", name, err)
		}
	}
	if left, _ := os.ReadDir(dir); len(left) != 3 {
		t.Errorf("left: %v", left)
	}
}

// TestJSONInParts: a report is written backup by backup as it is written at once.
func TestJSONInParts(t *testing.T) {
	t.Parallel()
	for name, r := range map[string]*verify.Report{"sample": sample(), "nasty": nasty(), "empty": {Findings: sample().Findings}} {
		var got bytes.Buffer
		want, err := json.MarshalIndent(r, "", "  ")
		if err := errors.Join(err, WriteJSON(&got, r)); err != nil || got.String() != string(want)+"\n" {
			t.Errorf("%s: %v\n%s\nwant\n%s", name, err, &got, want)
		}
	}
}

func TestRead(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "r.json")
	if err := Write(path, sample()); err != nil {
		t.Fatal(err)
	}
	got, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	want := sample()
	got.Checkpoint, want.Checkpoint = nil, nil // indented with the rest
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v", got)
	}
	for _, text := range []string{"", "x", "[]", `{"schema":1`, `{"schema":2}`, `{}`, `{"schema":1,"level":"deep"}`} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(path); !errors.Is(err, ErrSchema) {
			t.Errorf("%s: %v", text, err)
		}
	}
	if _, err := Read(path + "x"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}
