package main

import (
	"regexp"
	"strings"
	"testing"

	"github.com/takumi-backup/takumi-backup/internal/config"
)

// TestSettings: every variable that the documents name can stand in a settings
// file, and the example of the runbook is one.
func TestSettings(t *testing.T) {
	for _, name := range []string{"DB_PASSWORD", "PGSSLMODE", "RPC_URL_SEPOLIA", "VAULT_TOKEN", "AWS_REGION", "TAKUMI_ENV", "TAKUMI_PASSPHRASE_FILE"} {
		if !isSetting(name) {
			t.Errorf("%s is no setting", name)
		}
	}
	for _, name := range []string{"", "PATH", "LD_PRELOAD", "PG", "GODEBUG", "HOME", "db_name"} {
		if isSetting(name) {
			t.Errorf("%s is a setting", name)
		}
	}
	runbook := string(readFile(t, "../../docs/OPERATIONS.md"))
	example := regexp.MustCompile(`(?m)^    ([A-Z_]+=.*)$`).FindAllStringSubmatch(runbook, -1)
	var lines []string
	for _, m := range example {
		lines = append(lines, m[1])
	}
	got, err := config.Parse(strings.NewReader(strings.Join(lines, "\n")), isSetting)
	if err != nil || len(got) < 8 {
		t.Errorf("the example has %d settings, %v", len(got), err)
	}
}
