package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/envelope/slot"
	"github.com/takumi-backup/takumi-backup/internal/page"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/stream"
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

type inspection struct {
	Path          string        `json:"path"`
	Format        string        `json:"format"`
	Authenticated bool          `json:"authenticated"` // always false: no key was used
	ID            string        `json:"id"`
	Created       time.Time     `json:"created"`
	Kind          string        `json:"kind"`
	Name          string        `json:"name"`
	Codec         string        `json:"codec"`
	KeyIDs        []kek.ID      `json:"key_ids"`
	Recipients    []slot.Holder `json:"recipients,omitempty"`
	Size          int64         `json:"size"`
	EnvelopeSize  int           `json:"envelope_size"`
	PayloadSize   int64         `json:"payload_size"`
	PackedSize    int64         `json:"packed_size"`
	Chunks        int64         `json:"chunks"`
	Detached      bool          `json:"detached_envelope"`
}

func inspect(cmd *cobra.Command, paths []string, asJSON bool) error {
	failed := false
	place := newPlace()
	for i, path := range paths {
		found, err := inspectFile(cmd.Context(), place, path)
		if err != nil {
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
			err = found.print(cmd.OutOrStdout())
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

func inspectFile(ctx context.Context, place store.Store, path string) (*inspection, error) {
	seen, err := backup.Look(ctx, place, path, backup.Options{})
	if err != nil {
		return nil, aboutPath("inspecting", path, err)
	}
	if seen.BesideErr != nil { // what it may say is what counts
		return nil, fmt.Errorf("inspecting %s: reading %s%s: %w", path, path, envelope.DetachedSuffix, seen.BesideErr)
	}
	embedded, e := seen.Own, seen.Own
	if seen.Beside != nil {
		e = seen.Beside
	}
	if embedded == nil { // torn; a rewrap in place keeps the length
		embedded = e
	}
	payload := seen.Size - int64(len(embedded.Bytes()))
	packed, err := stream.PlainSize(payload)
	if err != nil {
		return nil, fmt.Errorf("inspecting %s: %w", path, err)
	}
	return &inspection{
		Path: path, Format: "takumi-backup/v1", ID: e.ID.String(), Created: e.Created, Kind: e.Kind, Name: e.Name, Codec: e.Codec,
		KeyIDs: e.KeyIDs(), Recipients: e.Recipients(), Size: seen.Size, EnvelopeSize: len(embedded.Bytes()), PayloadSize: payload,
		PackedSize: packed, Chunks: packed/stream.ChunkSize + 1, Detached: seen.Beside != nil,
	}, nil
}

func (i *inspection) print(w io.Writer) error {
	rows := [][2]string{
		{"file", fmt.Sprintf("%q", i.Path)},
		{"format", i.Format},
		{"id", i.ID},
		{"created", i.Created.Format(time.RFC3339)},
		{"kind", i.Kind},
		{"name", fmt.Sprintf("%q", i.Name)}, // quoted: a name may hold what confuses a terminal
		{"codec", i.Codec},
		{"opens with key", cmp.Or(joinIDs(i.KeyIDs), "none")},
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
