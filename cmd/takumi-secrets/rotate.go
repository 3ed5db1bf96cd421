package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/internal/audit"
	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/redact"
	"github.com/takumi-backup/takumi-backup/keystore/secrets"
	"github.com/takumi-backup/takumi-backup/keystore/secrets/rotation"
)

type rotateFlags struct {
	rotation.Options
	all, finish, json              bool
	maxAge, grace                  string
	health, test, namespace, shell string
	deployments                    []string
}

func newRotate() *cobra.Command {
	var f rotateFlags
	cmd := &cobra.Command{
		Use: "rotate SET", Short: "Replace the secrets of a set, without downtime",
		Long: `Replace the secrets of a set when they are due. rotate asks whether the service is
healthy, stores new values with the former ones as _PREVIOUS in one write, restarts the
service (--deployment or --rollout), proves that it accepts both (--test-url), and records
it. Replicas learn new values before one of them signs with them.

Killed at any step, the same command finishes or rolls back. When a restart or a proof
fails, the former secrets become current again, and the new ones stay as _PREVIOUS.

After the grace period (48 h) rotate --finish removes the former values; the timer runs
it. A second rotation has to wait until then.

jwt (JWT_SECRET and JWT_REFRESH_SECRET) needs no declaration; other sets are declared in
the file that --sets names: docs/SECRETS.md.`,
		Example: `  takumi-secrets rotate jwt --dry-run
  takumi-secrets rotate jwt --deployment takumi-backend \
      --health-url https://api.example.org/health \
      --test-url https://api.example.org/api/me
  takumi-secrets rotate --all --finish`,
		Args: usageArgs(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, args) },
	}
	p := cmd.Flags()
	p.SortFlags = false
	p.BoolVar(&f.all, "all", false, "rotate all declared sets")
	p.BoolVar(&f.DryRun, "dry-run", false, "print whether it is due and the steps, and change nothing")
	p.BoolVar(&f.finish, "finish", false, "remove former values whose grace period is over")
	p.BoolVar(&f.Force, "force", false, "rotate before it is due, and outside the window")
	p.BoolVar(&f.EvenInGrace, "even-in-grace", false, "rotate within the grace period: what former values signed is refused")
	p.BoolVar(&f.Compromised, "compromised", false, "the secret is stolen: keep no former value, and print the emergency steps")
	p.BoolVar(&f.NoProof, "no-proof", false, "rotate in production without a health URL, restart or proof")
	p.BoolVar(&f.First, "first", false, "make the first values")
	p.StringVar(&f.maxAge, "max-age", "", "how long secrets are used (default 90d, or as declared)")
	p.StringVar(&f.grace, "grace", "", "how long former values are accepted (default 48h, or as declared)")
	p.StringVar(&f.health, "health-url", "", "`URL` that answers 2xx while the service is healthy")
	p.StringVar(&f.test, "test-url", "", "`URL` that accepts a token in the Authorization header")
	p.StringArrayVar(&f.deployments, "deployment", nil, "`deployment` of Kubernetes to restart; may be repeated")
	p.StringVar(&f.namespace, "namespace", "", "`namespace` of the deployments")
	p.StringVar(&f.shell, "rollout", "", "shell `command` that restarts the service and waits until it is up")
	p.BoolVar(&f.json, "json", false, "print the result as JSON")
	cmd.MarkFlagsMutuallyExclusive("finish", "compromised")
	cmd.MarkFlagsMutuallyExclusive("deployment", "rollout")
	return cmd
}

func (f *rotateFlags) run(cmd *cobra.Command, args []string) error {
	if f.all == (len(args) == 1) {
		return fail.Usagef("name one set, or give --all")
	}
	if f.all && (f.Compromised || f.First) {
		return fail.Usagef("--compromised and --first are for one set")
	}
	operation := "rotate"
	if f.finish {
		operation = "finish"
	}
	return recorded(cmd, operation, true, func(ctx context.Context, s *settings, log *audit.Session) error {
		if !f.all {
			return f.one(ctx, cmd, s, log, args[0])
		}
		failed := false
		for _, name := range s.names() {
			err := f.one(ctx, cmd, s, log, name)
			if ctx.Err() != nil {
				return err
			}
			failed = failed || err != nil
			report(cmd.ErrOrStderr(), err)
		}
		if failed {
			return errSome
		}
		return nil
	})
}

func (f *rotateFlags) adjust(set *rotation.Set) (err error) {
	for flag, field := range map[string]*rotation.Duration{f.maxAge: &set.MaxAge, f.grace: &set.Grace} {
		if flag != "" {
			if *field, err = rotation.ParseDuration(flag); err != nil {
				return fail.Usagef("%w", err)
			}
		}
	}
	if f.health != "" {
		set.Health = f.health
	}
	if f.test != "" {
		set.Proof = rotation.ProofConfig{URL: f.test}
	}
	switch {
	case len(f.deployments) > 0:
		set.Rollout.Deployments, set.Rollout.Namespace, set.Rollout.Command = f.deployments, f.namespace, nil
	case f.shell != "":
		set.Rollout.Command, set.Rollout.Deployments = []string{"/bin/sh", "-c", f.shell}, nil
	}
	return set.Complete(set.Name)
}

func (s *settings) rotator(set *rotation.Set) (*rotation.Rotator, error) {
	backend, err := secrets.Open(s.place(set), s.options())
	if err != nil {
		return nil, err
	}
	r, err := rotation.New(set, backend, s.environment, s.dir)
	if err == nil && os.Getenv("TAKUMI_OPERATOR") != "" {
		r.Operator = os.Getenv("TAKUMI_OPERATOR")
	}
	return r, err
}

func (f *rotateFlags) one(ctx context.Context, cmd *cobra.Command, s *settings, log *audit.Session, name string) error {
	set, err := s.set(name)
	if err == nil {
		err = f.adjust(set)
	}
	if err != nil {
		return err
	}
	if !f.all {
		log.Last().Name = name
	}
	r, err := s.rotator(set)
	if err != nil {
		return err
	}
	r.Tell = func(l rotation.Level, words string) { f.tell(ctx, cmd, s, log, name, l, words) }
	act := r.Rotate
	if f.finish {
		act = r.Finish
	}
	result, err := act(ctx, f.Options)
	if errors.Is(err, rotation.ErrFormerUnproved) {
		return cmp.Or(f.print(cmd, result), err)
	}
	if err != nil {
		if result != nil && !errors.Is(err, rotation.ErrRolledBack) && result.Changed {
			warn(cmd, "new values are stored; the same command goes on from here")
		}
		return err
	}
	return f.print(cmd, result)
}

func (f *rotateFlags) tell(ctx context.Context, cmd *cobra.Command, s *settings, log *audit.Session, name string, l rotation.Level, words string) {
	now := time.Now()
	fmt.Fprintf(cmd.ErrOrStderr(), "[%s] [%s] %s\n", now.UTC().Format(time.RFC3339), l, redact.Keys(words))
	log.Note(ctx, audit.Record{Time: now, Name: name, Kind: string(l), Detail: words})
	if log.Log == nil && !f.DryRun {
		if err := rotation.AppendLog(s.dir, now, l, words); err != nil {
			warn(cmd, "the log of rotations: %v", err)
		}
	}
}

func (f *rotateFlags) print(cmd *cobra.Command, res *rotation.Result) error {
	if f.json {
		return writeJSON(cmd.OutOrStdout(), res)
	}
	state := "not due"
	switch {
	case res.Changed:
		state = "done"
	case res.Due && f.DryRun:
		state = "due"
	}
	lines := []string{fmt.Sprintf("%s %s: %s (%s)", res.Action, res.Set, state, res.Why)}
	for _, w := range res.Warnings {
		lines = append(lines, "  warning: "+w)
	}
	if !res.Changed {
		for _, step := range res.Plan {
			lines = append(lines, "  would "+step)
		}
	}
	if !res.GraceUntil.IsZero() {
		lines = append(lines, "  former values are accepted until "+res.GraceUntil.UTC().Format(time.RFC3339))
	}
	if len(res.Emergency) > 0 {
		lines = append(lines, "  what an emergency asks for next:")
		for i, step := range res.Emergency {
			lines = append(lines, fmt.Sprintf("  %d. %s", i+1, step))
		}
	}
	_, err := fmt.Fprintln(cmd.OutOrStdout(), strings.Join(lines, "\n"))
	return err
}
