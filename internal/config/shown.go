package config

import (
	"maps"
	"slices"

	"github.com/takumi-backup/takumi-backup/internal/redact"
	"github.com/takumi-backup/takumi-backup/internal/secretenv"
)

// Shown is a setting as somebody may see it, and where it is from.
type Shown struct {
	Name   string `json:"name"`
	Value  string `json:"value"`
	Source string `json:"source"`
}

// Shown lists the settings that count, and what backup all would back up. Secrets are not
// in it.
func (s *Settings) Shown() []Shown {
	all := s.All()
	for name, value := range map[string]string{"BACKUP_ROOT": s.DefaultRoot(), "RETENTION_DAYS": "30", "BACKUP_ENCRYPTION_ENABLED": "true"} {
		if s.Get(name) == "" && (name != "BACKUP_ROOT" || s.Get("BACKUP_DIR") == "") {
			all[name] = Value{Text: value, Source: "default"}
		}
	}
	var shown []Shown
	for _, name := range slices.Sorted(maps.Keys(all)) {
		value := redact.Keys(all[name].Text)
		if value != "" && (secretenv.Holds(name) || name == "PGPASSWORD") {
			value = "(secret)"
		}
		shown = append(shown, Shown{name, redact.URLs(value), all[name].Source})
	}
	for _, kind := range []string{"database", "contracts", "uploads"} {
		for _, t := range s.Targets(kind) {
			from := "environment or NAME=VALUE lines"
			if t.Database != nil || t.Uploads != nil || t.Contracts != nil {
				from = s.Path
			}
			shown = append(shown, Shown{"backup all: " + kind, t.Name, from})
		}
	}
	return shown
}
