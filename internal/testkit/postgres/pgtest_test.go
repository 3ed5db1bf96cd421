package pgtest_test

import (
	"os"
	"strings"
	"testing"

	"github.com/takumi-backup/takumi-backup/internal/testkit/postgres"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

func TestStart(t *testing.T) {
	var dir string
	t.Run("runs", func(t *testing.T) {
		c := pgtest.Start(t)
		c.CreateDB(t, "one")
		if got := c.Psql(t, "one", "SELECT current_user, 1"); got != "takumi|1\n" {
			t.Errorf("psql said %q", got)
		}
		for _, kv := range c.Env() {
			if d, ok := strings.CutPrefix(kv, "PGHOST="); ok {
				dir = d
			}
		}
	})
	if dir == "" {
		t.Skip("no cluster was started")
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the cluster's folder is left: %v", err)
	}
}

func TestSharedIsOne(t *testing.T) {
	pgtest.Shared(t).CreateDB(t, "two")
	if got := pgtest.Shared(t).Psql(t, "two", "SHOW server_encoding"); got != "UTF8\n" {
		t.Errorf("psql said %q", got)
	}
}
