package config_test

import (
	"testing"

	"github.com/takumi-backup/takumi-backup/internal/config"
)

func TestNearest(t *testing.T) {
	candidates := []string{"open", "seal", "BACKUP_ROOT", "keep-daily", "keep-weekly"}
	for word, want := range map[string]string{
		"opne": "open", "BACKUP_ROTO": "BACKUP_ROOT", "keep-dayly": "keep-daily", "keepweekly": "keep-weekly", "BACKUPROT": "BACKUP_ROOT",
		"open": "", "ls": "", "nonsense": "", "": "", "sael": "seal", "pone": "",
	} {
		if got := config.Nearest(word, candidates); got != want {
			t.Errorf("%q: got %q, want %q", word, got, want)
		}
	}
}
