package main

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	stores "github.com/takumi-backup/takumi-backup/backup/store"
	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/store"
	s3store "github.com/takumi-backup/takumi-backup/internal/store/s3"
	"github.com/takumi-backup/takumi-backup/internal/values"
)

// bucketOf returns the bucket that a path is in, for what only buckets have.
func bucketOf(path string) (*s3store.Store, error) {
	if !store.IsRemote(path) {
		return nil, fail.Usagef("%s is in no bucket: want s3://BUCKET/KEY", path)
	}
	_, server, err := store.SplitURL(path)
	if err != nil {
		return nil, err
	}
	return stores.Choice{}.S3(conf, server)
}

func newUndelete() *cobra.Command {
	return audited(&cobra.Command{
		Use:   "undelete PATH...",
		Short: "Bring deleted backups back in a bucket with versions",
		Long: `Restore deleted backups in a bucket that keeps versions: it deletes the markers that
hide the backup, its sidecar and its detached envelope. list --deleted shows the
candidates. prune deletes all versions, which cannot be undone.`,
		Example: "  takumi-backup undelete s3://takumi-offsite/db1/database/takumi_db_20260801_020000.sql.zst.enc",
		Args:    usageArgs(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, paths []string) error {
			return eachIn(cmd, paths, func(s *s3store.Store, path string) error {
				err := s.Undelete(cmd.Context(), path)
				if err == nil {
					fmt.Fprintf(cmd.ErrOrStderr(), "%s is back\n", printable(path))
				}
				return err
			})
		},
	}, "undelete", changes)
}

func newRestoreObject() *cobra.Command {
	var days int
	var tier string
	cmd := &cobra.Command{
		Use:   "restore-object [flags] PATH...",
		Short: "Fetch backups back from an archive of S3",
		Long: `Ask S3 to fetch backups from its archives (Glacier Flexible Retrieval, Deep Archive),
so that they can be read for some days, with their archived sidecars, envelopes and
signatures. This returns at once; S3 takes
minutes to two days, by the tier, and charges for it. When it is done, list no longer
says archived, and open, verify and restore work.`,
		Example: "  takumi-backup restore-object --days 3 --tier Bulk s3://takumi-offsite/db1/database/takumi_db_20260801_020000.sql.zst.enc",
		Args:    usageArgs(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, paths []string) error {
			if days < 1 || !slices.Contains([]string{"Standard", "Bulk", "Expedited"}, tier) {
				return fail.Usagef("--days is at least 1, and --tier is Standard, Bulk or Expedited")
			}
			return eachIn(cmd, paths, func(s *s3store.Store, path string) error {
				already, err := s.RestoreObject(cmd.Context(), path, days, tier)
				if err == nil {
					what := "is being fetched back"
					if already {
						what = "was asked for before, and is still being fetched back"
					}
					fmt.Fprintf(cmd.ErrOrStderr(), "%s %s\n", printable(path), what)
				}
				return err
			})
		},
	}
	cmd.Flags().IntVar(&days, "days", 7, "keep the copy that can be read for so many days (from INTELLIGENT_TIERING it comes back for good)")
	cmd.Flags().StringVar(&tier, "tier", "Standard", "how fast, and how dear: Standard (3 to 12 hours), Bulk (up to 48) or Expedited (minutes)")
	return audited(cmd, "restore-object", changes)
}

// eachIn does the same with each path, and goes on when one fails.
func eachIn(cmd *cobra.Command, paths []string, do func(s *s3store.Store, path string) error) error {
	var failed []error
	for _, path := range paths {
		s, err := bucketOf(path)
		if err == nil {
			err = do(s, path)
		}
		if err != nil {
			failed = append(failed, err)
		}
	}
	if len(failed) == 0 || len(paths) == 1 {
		return errors.Join(failed...)
	}
	for _, err := range failed {
		warn(cmd, "%v", err)
	}
	return errSome
}

type deletedListing struct {
	Path    string    `json:"path"`
	Size    int64     `json:"size"`
	Sidecar bool      `json:"sidecar"`
	State   string    `json:"state"` // deleted
	Deleted time.Time `json:"deleted_at"`
}

func listDeleted(cmd *cobra.Command, root string, asJSON bool) error {
	s, err := bucketOf(root)
	if err != nil {
		return err
	}
	deleted, err := s.Deleted(cmd.Context(), root)
	if err != nil {
		return fmt.Errorf("listing what was deleted: %w", err)
	}
	if len(deleted) == 0 && !asJSON {
		fmt.Fprintf(cmd.ErrOrStderr(), "nothing in %s was deleted that can be brought back\n", printable(root))
		return nil
	}
	rows := [][]string{{"DELETED (UTC)", "SIZE", "PATH"}}
	for _, d := range deleted {
		if asJSON {
			if err := writeJSON(cmd.OutOrStdout(), deletedListing{d.Path, d.Size, d.Sidecar, "deleted", d.At.UTC()}); err != nil {
				return err
			}
			continue
		}
		rows = append(rows, []string{d.At.UTC().Format(time.DateTime), values.BytesText(d.Size), printable(d.Path)})
	}
	if asJSON {
		return nil
	}
	return printTable(cmd, rows)
}
