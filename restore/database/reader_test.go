package database

import (
	"strings"
	"testing"

	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/postgres/archive"
)

// TestLaterArchive: an archive of a later pg_dump is read by a pg_restore of its own
// version, whatever the server is, and where there is none the error says what to install.
func TestLaterArchive(t *testing.T) {
	for head, want := range map[string]int{
		"PGDMP\x01\x0e\x00": 13, "PGDMP\x01\x0f\x00": 16, "PGDMP\x01\x10\x00": 17,
		"toc.dat\x00" + strings.Repeat("\x00", 504) + "PGDMP\x01\x10\x00": 17, "PGDMP": 13, "": 13, "--\n-- PGDMP\x01\x10": 13,
	} {
		if got := archive.Reader([]byte(head), 13); got != want {
			t.Errorf("%q: version %d, want %d", head, got, want)
		}
	}
	if got := archive.Reader([]byte("PGDMP\x01\x0f\x00"), 18); got != 18 {
		t.Errorf("version %d of a later server", got)
	}
	_, err := program(t.Context(), "pg_restore", 15, 99)
	if _, hint := fail.Of(err); err == nil || !strings.Contains(err.Error(), "an archive of PostgreSQL 99 or later") || hint != "apt-get install postgresql-client-99, or later" {
		t.Errorf("%v, %q", err, hint)
	}
}
