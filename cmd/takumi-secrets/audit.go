package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/internal/audit"
	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/keystore/secrets"
	"github.com/takumi-backup/takumi-backup/keystore/secrets/checklist"
)

type auditFlags struct {
	format, baseline, accept, reason string
	noHistory, noGitleaks, rotation  bool
}

func newAudit() *cobra.Command {
	var f auditFlags
	cmd := &cobra.Command{
		Annotations: map[string]string{anyEnvironment: "development"},
		Use:         "audit [TREE]", Short: "Run the checklist over a work tree and the environment",
		Long: `Search a work tree (the current folder), its git history and the environment for what the
handbook's checklist forbids: .env files in git or open to others, real values in
examples, defaults and literals in code, secrets in images, configuration and logs, TLS
switched off, images without a version, policies that are too wide, and secrets in the
environment in production. gitleaks runs too where it is on PATH. No value is printed. The
exit code is 6 when something is found.

--accept writes the findings to a file; --baseline leaves those of the file out.`,
		Example: "  takumi-secrets audit --environment production --rotation\n  takumi-secrets audit --format sarif >secrets.sarif",
		Args:    usageArgs(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			root := "."
			if len(args) == 1 {
				root = args[0]
			}
			return recorded(cmd, "audit", false, func(ctx context.Context, s *settings, _ *audit.Session) error { return f.run(ctx, cmd, s, root) })
		},
	}
	p := cmd.Flags()
	p.StringVar(&f.format, "format", "text", "text, json or sarif")
	p.StringVar(&f.baseline, "baseline", "", "`file` of accepted findings, which are left out")
	p.StringVar(&f.accept, "accept", "", "write all findings as accepted to this `file`")
	p.StringVar(&f.reason, "reason", "", "why they are accepted")
	p.BoolVar(&f.noHistory, "no-history", false, "leave git's history out")
	p.BoolVar(&f.noGitleaks, "no-gitleaks", false, "do not run gitleaks")
	p.BoolVar(&f.rotation, "rotation", false, "ask the backends which rotations are overdue")
	return cmd
}

func (f *auditFlags) run(ctx context.Context, cmd *cobra.Command, s *settings, root string) error {
	found, err := checklist.Run(ctx, checklist.Options{Root: root, Environment: s.environment, Getenv: os.Getenv, History: !f.noHistory, Gitleaks: !f.noGitleaks})
	if err != nil {
		return err
	}
	if f.rotation {
		due, err := s.overdue(ctx)
		if err != nil {
			return err
		}
		found = append(found, due...)
	}
	if f.baseline != "" {
		b, err := checklist.ReadBaseline(f.baseline)
		if err != nil {
			return err
		}
		found = b.Without(found)
	}
	if f.accept != "" {
		return acceptAll(f.accept, found, f.reason)
	}
	out := cmd.OutOrStdout()
	switch f.format {
	case "text":
		err = checklist.WriteText(out, found)
	case "json":
		err = writeJSON(out, append([]checklist.Finding{}, found...))
	case "sarif":
		err = checklist.WriteSARIF(out, found, programVersion())
	default:
		return fail.Usagef("--format is %q, not text, json or sarif", f.format)
	}
	if err == nil && len(found) > 0 {
		fmt.Fprintf(cmd.ErrOrStderr(), "%d findings\n", len(found))
		err = errSome
	}
	return err
}

func acceptAll(path string, found []checklist.Finding, reason string) error {
	if reason == "" {
		return fail.Usagef("--accept needs --reason")
	}
	file, err := os.Create(path)
	if err != nil {
		return fail.Usagef("writing the baseline: %w", err)
	}
	return errors.Join(writeJSON(file, checklist.NewBaseline(found, reason)), file.Close())
}

func (s *settings) overdue(ctx context.Context) ([]checklist.Finding, error) {
	all, err := s.status(ctx, s.names())
	if err != nil {
		return nil, err
	}
	var found []checklist.Finding
	add := func(set, message string) {
		found = append(found, checklist.Finding{Rule: "rotation-due", Level: checklist.Error, Message: set + " " + message, Hint: checklist.Rules["rotation-due"].Hint, Fingerprint: "rotation-" + set + "-" + s.environment})
	}
	for _, st := range all {
		switch {
		case st.Error != "":
			return nil, fail.As(fail.Store, "", fmt.Errorf("asking whether %s is due: %s", st.Set, st.Error))
		case st.Days < 0:
			add(st.Set, "was never rotated, as far as the backend knows")
		case st.Overdue:
			add(st.Set, fmt.Sprintf("was last rotated %d days ago", st.Days))
		case st.Unfinished:
			add(st.Set, "keeps former values although their grace period is over")
		case st.Failed:
			add(st.Set, "could not be rotated the last time")
		}
	}
	return found, nil
}

func newEnv() *cobra.Command {
	cmd := &cobra.Command{Use: "env", Short: "Write and check .env files", Args: usageArgs(cobra.NoArgs), RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	cmd.AddCommand(&cobra.Command{
		Use: "init [TREE]", Short: "Write the templates that are missing", Args: usageArgs(cobra.MaximumNArgs(1)),
		Long: `Write .env.example, contracts/.env.example and .env.development.example,
.env.test.example and .env.production.example of backend. A file that exists stays as it
is, and a folder that is missing is not made. The templates hold no secret.`,
		Example: "  takumi-secrets env init ~/takumi",
		RunE: func(cmd *cobra.Command, args []string) error {
			root := append(args, ".")[0]
			written, err := checklist.Init(root)
			for _, path := range written {
				fmt.Fprintln(cmd.OutOrStdout(), path)
			}
			return err
		},
	}, newEnvLint())
	return cmd
}

func newEnvLint() *cobra.Command {
	return &cobra.Command{
		Annotations: map[string]string{anyEnvironment: "development"},
		Use:         "lint FILE...", Short: "Check .env files: syntax, mode, names and values", Args: usageArgs(cobra.MinimumNArgs(1)),
		Long: `Check .env files for lines that a shell, systemd and compose read differently, a mode that
lets others read, weak values and examples, and names that FILE lacks and FILE.example
has. Production refuses .env files. The exit code is 6 when something is found.`,
		Example: "  takumi-secrets env lint .env backend/.env.development",
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := loadSettings(cmd)
			if err != nil {
				return err
			}
			var all []checklist.Finding
			for _, path := range args {
				if _, err := secrets.Open(secrets.Dotenv+":"+path, s.options()); err != nil {
					return err
				}
				found, err := checklist.Lint(path, s.environment)
				if err != nil {
					return err
				}
				all = append(all, found...)
			}
			if err := checklist.WriteText(cmd.OutOrStdout(), all); err != nil {
				return err
			}
			if len(all) > 0 {
				return errSome
			}
			return nil
		},
	}
}
