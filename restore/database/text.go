package database

import (
	"fmt"
	"strings"
	"time"

	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/internal/postgres"
	"github.com/takumi-backup/takumi-backup/internal/values"
)

// Text is the plan for a person, a line for each step. e is the envelope of the backup at
// path, and s the server.
func (p Plan) Text(path string, e *envelope.Envelope, s *postgres.Settings) string {
	var text strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&text, format+"\n", args...) }
	line("backup    %s, made %s, named %s", path, e.Created.UTC().Format(time.RFC3339), e.Name)
	line("server    %s, as %s", s.Server(), s.User())
	for _, name := range p.Removes {
		line("remove    %s, which a restore that was killed has left", name)
	}
	for _, name := range p.Strays {
		line("leave     %s, which looks like the leftover of a restore and has no mark of one", name)
	}
	line("make      %s from the backup", p.New)
	for _, name := range p.Roles {
		line("make      role %q, without any right", name)
	}
	for _, f := range p.Findings {
		line("%-9s %s", f.Weight, f)
	}
	line("check     %s", p.Check)
	if p.Replaces {
		line("end       the connections to %s (now %d)", p.Target, p.Sessions)
		line("rename    %s to %s", p.Target, p.Before)
	}
	line("rename    %s to %s", p.New, p.Target)
	if p.Drops != "" {
		line("drop      %s", p.Drops)
	}
	return text.String()
}

// Text is the plan for a person, as that of [Plan].
func (p TablesPlan) Text(path string, e *envelope.Envelope, s *postgres.Settings) string {
	var text strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&text, format+"\n", args...) }
	line("backup    %s, made %s, named %s", path, e.Created.UTC().Format(time.RFC3339), e.Name)
	line("server    %s, as %s", s.Server(), s.User())
	if p.Makes {
		line("make      database %s", p.Database)
	}
	for _, name := range p.Tables {
		line("make      table %s in %s", p.To[name].Line(), p.Database)
	}
	for _, use := range p.Uses {
		line("use       %s, which is there", use)
	}
	for _, rest := range p.Rest {
		line("leave out %s", rest)
	}
	line("copy      %d rows, %s", p.Rows, values.BytesText(p.Size))
	return text.String()
}
