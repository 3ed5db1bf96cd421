package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/internal/terminal"
	pgrestore "github.com/takumi-backup/takumi-backup/restore/database"
)

func (r *restoreDatabase) showPlan(cmd *cobra.Command, path string, b *openedBackup, p pgrestore.Plan) error {
	var w io.Writer = cmd.OutOrStdout()
	if r.dryRun && r.json {
		return writeJSON(w, struct {
			pgrestore.Plan
			Backup string `json:"backup"`
		}{p, path})
	}
	if !r.dryRun {
		if w = cmd.ErrOrStderr(); r.progress.quiet && r.yes {
			return nil
		}
	}
	var text strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&text, format+"\n", args...) }
	line("backup    %s, made %s, named %s", path, b.Envelope.Created.UTC().Format(time.RFC3339), b.Envelope.Name)
	line("server    %s, as %s", r.settings.Server(), r.settings.User())
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
	_, err := io.WriteString(w, text.String())
	return stdoutError(err)
}

func (r *restoreDatabase) confirm(cmd *cobra.Command, name string) error {
	if r.yes {
		return nil
	}
	answer, err := terminal.Question(cmd.Context(), cmd.ErrOrStderr(), fmt.Sprintf("Type the name of the database, %s, to go on: ", name))
	if err != nil {
		return err
	}
	if answer != name {
		return errors.New("that was not the name: nothing was done")
	}
	return nil
}
