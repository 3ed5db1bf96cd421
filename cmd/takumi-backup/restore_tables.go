package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/internal/postgres"
	pgrestore "github.com/takumi-backup/takumi-backup/restore/database"
)

// checkTables finds what does not go with --table.
func (r *restoreDatabase) checkTables(cmd *cobra.Command, args []string) error {
	switch {
	case cmd.Flags().Changed("to-schema") && (r.toSchema == "" || len(r.tables) == 0):
		return usagef("--to-schema names the schema that the tables of --table go into")
	case len(r.tables) == 0:
		return nil
	case len(args) > 0 && args[0] == "-":
		return usagef("--table needs a backup whose parts can be read, not standard input")
	case r.jobs > 1:
		return usagef("--jobs does not go with --table, which is one transaction")
	case r.dropPrevious || r.keepGoing || r.createRoles || r.unchecked || r.guard != "on":
		return usagef("--table never replaces what is there: --drop-previous, --keep-going, --create-roles, --ignore-manifest and --guard do not go with it")
	}
	return nil
}

func (r *restoreDatabase) runTables(ctx context.Context, cmd *cobra.Command, path string) error {
	var names []postgres.TableName
	for _, text := range r.tables {
		name, err := tableName("--table", text)
		if err != nil {
			return err
		}
		names = append(names, name)
	}
	h, done, err := r.openAt(cmd, path)
	if err != nil {
		return err
	}
	defer done()
	dump, err := h.Tables()
	if err != nil {
		return aboutPath("opening", path, err)
	}
	job := pgrestore.TablesJob{Dump: dump, Names: names, To: r.toSchema, Meter: &r.meter, Options: r.options(cmd)}
	job.Of(h.Envelope)
	at, err := job.Begin(ctx)
	if err != nil {
		return fmt.Errorf("restoring from %s: %w", path, err)
	}
	defer at.Close()
	if err := r.showTables(cmd, path, h, at.Plan()); err != nil || r.dryRun {
		return err
	}
	if err := r.confirm(cmd, at.Plan().Database); err != nil {
		return err
	}
	hide := r.progress.start(cmd.ErrOrStderr(), "restoring", at.Plan().Size, &r.meter)
	result, err := at.Run(ctx)
	hide()
	if err != nil {
		return fmt.Errorf("restoring from %s: %w", path, err)
	}
	if !r.progress.quiet && !r.json {
		fmt.Fprintf(cmd.ErrOrStderr(), "restored %d tables with %d rows from %s into %s\n", len(result.Tables), result.Rows, filepath.Base(path), result.Database)
	}
	if r.json {
		return writeJSON(cmd.OutOrStdout(), restoredTables{result, path})
	}
	for _, name := range result.Tables {
		if err := printf(cmd, "%v\n", name); err != nil {
			return err
		}
	}
	return nil
}

func (r *restoreDatabase) showTables(cmd *cobra.Command, path string, h *backup.HandleAt, p pgrestore.TablesPlan) error {
	var w io.Writer = cmd.OutOrStdout()
	if !r.dryRun {
		if w = cmd.ErrOrStderr(); r.progress.quiet && r.yes {
			return nil
		}
	}
	_, err := io.WriteString(w, p.Text(path, h.Envelope, r.settings))
	return stdoutError(err)
}

func tableName(flag, text string) (postgres.TableName, error) {
	name, err := postgres.ParseTableName(text)
	if err != nil {
		return name, usagef("%s: %w", flag, err)
	}
	return name, nil
}
