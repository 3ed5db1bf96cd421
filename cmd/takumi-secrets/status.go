package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/internal/audit"
	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/keystore/secrets/rotation"
)

func newStatus() *cobra.Command {
	var asJSON bool
	var metrics string
	cmd := &cobra.Command{
		Use: "status [SET...]", Short: "Show how old the secrets of each set are, and what is due",
		Long: `Show the last rotation of each set, the days since, and when the next one is due. The exit
code is 6 when a rotation is overdue, failed, or left former values for too long.`,
		Example: "  takumi-secrets status jwt\n  takumi-secrets status --metrics /var/lib/node_exporter/takumi_secrets.prom",
		RunE: func(cmd *cobra.Command, args []string) error {
			return recorded(cmd, "status", false, func(ctx context.Context, s *settings, _ *audit.Session) error {
				if len(args) == 0 {
					args = s.names()
				}
				all, err := s.status(ctx, args)
				if err != nil {
					return err
				}
				if metrics != "" {
					if err := rotation.WriteMetrics(metrics, all); err != nil {
						return err
					}
				}
				if asJSON {
					err = writeJSON(cmd.OutOrStdout(), all)
				}
				for _, st := range all {
					if !asJSON && err == nil {
						_, err = fmt.Fprintln(cmd.OutOrStdout(), statusLine(st))
					}
				}
				if err != nil {
					return err
				}
				return verdict(all)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
	cmd.Flags().StringVar(&metrics, "metrics", "", "write metrics for Prometheus to this `file`")
	return cmd
}

// status asks each backend; one that cannot be asked says so in its line.
func (s *settings) status(ctx context.Context, names []string) ([]*rotation.Status, error) {
	var all []*rotation.Status
	for _, name := range names {
		set, err := s.set(name)
		if err != nil {
			return nil, err
		}
		r, err := s.rotator(set)
		if err != nil {
			return nil, err
		}
		st, err := r.Status(ctx)
		if ctx.Err() != nil {
			return nil, err
		}
		all = append(all, st)
	}
	return all, nil
}

func verdict(all []*rotation.Status) error {
	for _, st := range all {
		if st.Error != "" {
			return fail.As(fail.Store, "", fmt.Errorf("a backend cannot be asked: %s", st.Error))
		}
	}
	for _, st := range all {
		if st.Overdue || st.Failed || st.Unfinished || len(st.Missing) > 0 {
			return errSome
		}
	}
	return nil
}

func statusLine(st *rotation.Status) string {
	line := fmt.Sprintf("%s in %s: ", st.Set, st.Environment)
	switch {
	case st.Error != "":
		return line + "unknown: " + st.Error
	case len(st.Missing) > 0:
		return line + fmt.Sprintf("missing: %v", st.Missing)
	case st.Days < 0:
		line += "no rotation is known of"
	default:
		line += fmt.Sprintf("rotated %s, %d days ago, next %s", st.RotatedAt.Format(time.RFC3339), st.Days, st.NextDue.Format(time.DateOnly))
	}
	if st.Overdue {
		line += "; OVERDUE"
	}
	if st.Failed {
		line += "; the last rotation FAILED"
	}
	if st.Unfinished {
		line += "; former values are kept although the grace period is OVER"
	}
	if st.Former && !st.Unfinished && !st.GraceUntil.IsZero() {
		line += "; former values are accepted until " + st.GraceUntil.Format(time.RFC3339)
	}
	if st.UnderWay != "" {
		line += "; under way: " + st.UnderWay
	}
	return line
}

func newHistory() *cobra.Command {
	return &cobra.Command{
		Use: "history", Short: "Print the history of rotations as JSON", Args: usageArgs(cobra.NoArgs),
		Long:    "Print the rotations of this host as the handbook asks for them. The file itself is\n" + rotation.HistoryFile + " in the folder of --log-dir, and may go into version control.",
		Example: "  takumi-secrets history >rotation-history.json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := loadSettings(cmd)
			if err != nil {
				return err
			}
			h, err := rotation.ReadHistory(s.dir)
			if err != nil {
				return err
			}
			h.Rotations = append([]rotation.Entry{}, h.Rotations...)
			return writeJSON(cmd.OutOrStdout(), h)
		},
	}
}

func newReport() *cobra.Command {
	var since, format string
	cmd := &cobra.Command{
		Use: "report [SET...]", Short: "Report the rotations of some time, with a compliance checklist",
		Long: `Report the rotations of the last days as a checklist with the evidence for each line. The
exit code is 6 when a line is not met.`,
		Example: "  takumi-secrets report --since 90d --format html >report.html",
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := rotation.ParseDuration(since)
			if err != nil {
				return fail.Usagef("--since: %w", err)
			}
			return recorded(cmd, "report", false, func(ctx context.Context, s *settings, _ *audit.Session) error {
				if len(args) == 0 {
					args = s.names()
				}
				return s.report(ctx, cmd, args, time.Duration(d), format)
			})
		},
	}
	cmd.Flags().StringVar(&since, "since", "90d", "report rotations since then")
	cmd.Flags().StringVar(&format, "format", "text", "text, json or html")
	return cmd
}

func (s *settings) report(ctx context.Context, cmd *cobra.Command, names []string, since time.Duration, format string) error {
	all, err := s.status(ctx, names)
	if err != nil {
		return err
	}
	now := time.Now()
	var reports []*rotation.Report
	met := true
	for i, name := range names {
		set, err := s.set(name)
		if err != nil {
			return err
		}
		r, err := rotation.NewReport(s.dir, set, s.environment, now.Add(-since), now, all[i])
		if err != nil {
			return err
		}
		reports, met = append(reports, r), met && r.Met()
	}
	out := cmd.OutOrStdout()
	switch format {
	case "json":
		err = writeJSON(out, reports)
	case "html":
		err = rotation.WriteHTML(out, reports)
	case "text":
		for _, r := range reports {
			if err == nil {
				err = r.WriteText(out)
			}
		}
	default:
		return fail.Usagef("--format is %q, not text, json or html", format)
	}
	if err == nil && !met {
		err = errSome
	}
	return err
}
