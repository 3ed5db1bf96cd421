package main

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/takumi-backup/takumi-backup/backup/prune"
	"github.com/takumi-backup/takumi-backup/internal/config"
	"github.com/takumi-backup/takumi-backup/internal/values"
)

// TestSettings: every variable that the documents name can be in a settings
// file, and the example of the runbook is one.
func TestSettings(t *testing.T) {
	for _, name := range []string{"DB_PASSWORD", "PGSSLMODE", "RPC_URL_SEPOLIA", "VAULT_TOKEN", "AWS_REGION", "TAKUMI_ENV", "TAKUMI_PASSPHRASE_FILE"} {
		if !config.Known(name) {
			t.Errorf("%s is not a setting", name)
		}
	}
	for _, name := range []string{"", "PATH", "LD_PRELOAD", "PG", "GODEBUG", "HOME", "db_name"} {
		if config.Known(name) {
			t.Errorf("%s is a setting", name)
		}
	}
	runbook := string(readFile(t, "../../docs/OPERATIONS.md"))
	example := regexp.MustCompile(`(?m)^    ([A-Z_]+=.*)$`).FindAllStringSubmatch(runbook, -1)
	var lines []string
	for _, m := range example {
		lines = append(lines, m[1])
	}
	got, err := config.Parse(strings.NewReader(strings.Join(lines, "\n")), config.Known)
	if err != nil || len(got) < 8 {
		t.Errorf("the example has %d settings, %v", len(got), err)
	}
}

// TestRulesOfKinds: the retention of a kind is its own, what it leaves open is that of
// all, and verify warns of nothing that a kind may keep.
func TestRulesOfKinds(t *testing.T) {
	path := filepath.Join(t.TempDir(), "backup.toml")
	if err := os.WriteFile(path, []byte("[retention]\ndays = 7\nweekly = 2\n[retention.kind.uploads]\ndays = 90\n[retention.kind.contracts]\nmonthly = 3\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	loaded, err := config.Load(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	conf := loaded
	got, err := prune.FromSettings(conf)
	want := prune.Policy{Within: 7 * values.Day, Weekly: 2, ByKind: map[string]prune.Policy{
		"uploads": {Within: 90 * values.Day}, "contracts": {Within: 7 * values.Day, Monthly: 3},
	}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	if longest, err := prune.Retained(conf); err != nil || longest != 90*values.Day {
		t.Errorf("%v, %v", longest, err)
	}
	none := func(string) bool { return false }
	chosen, err := prune.Policy{Within: 30 * values.Day, Kinds: prune.Kinds}.Chosen(conf, false, none)
	if err != nil || !slices.Contains(chosen.Kinds, "contracts") || chosen.Weekly != 2 {
		t.Errorf("%+v, %v", chosen, err)
	}
	chosen, err = prune.Policy{Within: 30 * values.Day, Last: 1, Kinds: prune.Kinds}.Chosen(conf, false, func(flag string) bool { return flag == "keep-last" })
	if err != nil || chosen.ByKind != nil || chosen.Weekly != 0 {
		t.Errorf("a flag does not win over the file: %+v, %v", chosen, err)
	}
}
