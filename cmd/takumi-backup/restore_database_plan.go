package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/internal/terminal"
	pgrestore "github.com/takumi-backup/takumi-backup/restore/database"
)

func (r *restoreDatabase) showPlan(cmd *cobra.Command, path string, b *openedBackup, p pgrestore.Plan) error {
	var w io.Writer = cmd.OutOrStdout()
	if r.dryRun && r.json {
		return writeJSON(w, plannedRestore{p, path})
	}
	if !r.dryRun {
		if w = cmd.ErrOrStderr(); r.progress.quiet && r.yes {
			return nil
		}
	}
	_, err := io.WriteString(w, p.Text(path, b.Envelope, r.settings))
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
