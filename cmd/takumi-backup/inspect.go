package main

import (
	"cmp"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/internal/page"
)

func newInspect() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "inspect [flags] FILE...",
		Short: "Show what the envelope of a backup says; needs no key",
		Long: `Show what the envelope of a backup says: id, time, kind, name, codec, which keys
and recipients open it, and its sizes. An age recipient is named by its hint, which
takumi-backup key id -r RECIPIENT prints.

No key is needed, and so nothing here is authenticated: it is what the file
claims. Whether it is true shows when the backup is opened.`,
		Example: `  takumi-backup inspect /var/backups/takumi/database/*.enc
  takumi-backup inspect --json backup.enc | jq -r '.key_ids[]'`,
		Args: usageArgs(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error { return inspect(cmd, args, asJSON) },
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object per file and line")
	return cmd
}

func inspect(cmd *cobra.Command, paths []string, asJSON bool) error {
	failed := false
	place := newPlace()
	for i, path := range paths {
		found, err := backup.Inspect(cmd.Context(), place, path)
		if err != nil {
			err = aboutPath("inspecting", path, err)
			if len(paths) == 1 {
				return err
			}
			failed = true
			report(cmd.ErrOrStderr(), err)
			continue
		}
		if asJSON {
			err = writeJSON(cmd.OutOrStdout(), found)
		} else {
			if i > 0 {
				fmt.Fprintln(cmd.OutOrStdout())
			}
			err = printInspection(cmd.OutOrStdout(), found)
		}
		if err != nil {
			return err
		}
	}
	if failed {
		return errSome
	}
	return nil
}

func printInspection(w io.Writer, i *backup.Inspection) error {
	rows := [][2]string{
		{"file", fmt.Sprintf("%q", i.Path)},
		{"format", i.Format},
		{"id", i.ID},
		{"created", i.Created.Format(time.RFC3339)},
		{"kind", i.Kind},
		{"name", fmt.Sprintf("%q", i.Name)}, // quoted: a name may hold what confuses a terminal
		{"codec", i.Codec},
		{"opens with key", cmp.Or(backup.Holders(i.KeyIDs, nil), "none")},
		{"size", fmt.Sprintf("%s (%d bytes)", page.BytesText(i.Size), i.Size)},
		{"envelope", fmt.Sprintf("%d bytes", i.EnvelopeSize)},
		{"payload", fmt.Sprintf("%d bytes in %d chunks", i.PayloadSize, i.Chunks)},
		{"packed content", fmt.Sprintf("%d bytes", i.PackedSize)},
	}
	for _, h := range i.Recipients {
		rows = append(rows, [2]string{"opens with", h.String()})
	}
	if i.Detached {
		rows = append(rows, [2]string{"key slots from", "the detached envelope next to the file"})
	}
	rows = append(rows, [2]string{"authenticated", "no: without a key, all this is what the file claims"})
	for _, row := range rows {
		if _, err := fmt.Fprintf(w, "%-15s %s\n", row[0]+":", row[1]); err != nil {
			return stdoutError(err)
		}
	}
	return nil
}
