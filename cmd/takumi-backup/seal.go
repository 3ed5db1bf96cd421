package main

import (
	"context"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/internal/audit"
	"github.com/takumi-backup/takumi-backup/internal/source"
	"github.com/takumi-backup/takumi-backup/internal/terminal"
)

type sealOptions struct {
	sealing
	kind       string
	guard      string // on or off
	allowEmpty bool
	passEnv    []string // of COMMAND
}

func newSeal() *cobra.Command {
	s := new(sealOptions)
	cmd := &cobra.Command{
		Use:   "seal [flags] [-- COMMAND ARG...]",
		Short: "Seal standard input, or what a command prints",
		Long: `Seal standard input, or the standard output of COMMAND, as a backup.

Without -o the backup goes to $BACKUP_ROOT/KIND/NAME_TIME.EXT.enc and its path is
printed. BACKUP_ROOT is /var/backups/takumi by default, and for users who may not
write there ~/.local/share/takumi-backup (or takumi-backup in $XDG_DATA_HOME). With COMMAND, any exit
status but 0 means: no backup. COMMAND has the environment without the secrets that
this program uses (keys, DB_PASSWORD, credentials of AWS and Vault, web hooks, RPC
URLs); PGPASSWORD stays, and --pass-env lets others through.

The input is checked while it streams past: a PostgreSQL dump, plain or custom,
a tar, gzip or zstd file must be complete, and no input may be empty. An
incomplete input is refused with exit code 3, and leaves nothing behind. Packed data is
unpacked again and compared before it is sealed; --prove=off leaves that out, and
takes less time.`,
		Example: `  pg_dump takumi | takumi-backup seal
  takumi-backup seal -- pg_dump -Fc takumi
  tar -c /srv/uploads | takumi-backup seal --kind uploads --name uploads -o /mnt/usb/uploads.tar.enc
  pg_dump takumi | takumi-backup seal -o - | ssh vault 'cat > takumi.enc'`,
		Annotations: records("seal"),
		Args:        usageArgs(cobra.ArbitraryArgs),
		RunE: func(cmd *cobra.Command, args []string) error {
			return session(cmd, "seal", changes, nil, func(ctx context.Context, _ *audit.Session) error { return s.run(ctx, cmd, args) })
		},
	}
	s.add(cmd)
	f := cmd.Flags()
	f.StringVar(&s.kind, "kind", "", "database, contracts, uploads or stream (default: what the input looks like)")
	f.StringVar(&s.name, "name", "", "name in the envelope, and base of a generated file name")
	f.BoolVar(&s.allowEmpty, "allow-empty", false, "accept an empty input")
	f.StringArrayVar(&s.passEnv, "pass-env", nil, "let COMMAND have this variable, though it holds a secret of this program; may be repeated")
	f.StringVar(&s.guard, "guard", "on", "check that the input is whole: on or off")
	f.StringVar(&s.sidecar, "sidecar", "", "with -o -: write the SHA-256 sidecar to this file")
	return cmd
}

func (s *sealOptions) run(ctx context.Context, cmd *cobra.Command, args []string) error {
	if err := s.check(cmd, args); err != nil {
		return err
	}
	job, err := s.job(cmd)
	if err != nil {
		return err
	}
	if job.To.DBName = conf.Get("DB_NAME"); job.To.DBName != "" {
		if err := envelope.CheckName(job.To.DBName); err != nil {
			return usagef("DB_NAME: %w", err)
		}
	}
	job.Kind, job.Guard.AllowEmpty, job.Unguarded = s.kind, s.allowEmpty, s.guard == "off"
	s.guardOff = job.Unguarded
	job.Source = func(ctx context.Context) (io.ReadCloser, error) { return open(ctx, args, passed(s.passEnv)) }
	ring, err := s.start(ctx, &job)
	if err != nil {
		return err
	}
	defer ring.Close()
	if info, err := os.Stdin.Stat(); err == nil && len(args) == 0 && info.Mode().IsRegular() {
		s.expected = info.Size() // of what is left of it, at most
	}
	_, err = s.make(ctx, cmd, job)
	return err
}

func (s *sealOptions) check(cmd *cobra.Command, args []string) error {
	dash := cmd.ArgsLenAtDash()
	switch {
	case len(args) > 0 && dash != 0:
		return usagef("unexpected argument %q: a command is behind --", args[0])
	case len(args) == 0 && dash == 0:
		return usagef("no command is behind --")
	case s.guard != "on" && s.guard != "off":
		return usagef("--guard is %q, neither on nor off", s.guard)
	case s.sidecar != "" && s.out != "-":
		return usagef("--sidecar goes with -o -; a file gets its sidecar without being asked")
	case strings.ContainsAny(s.sidecar, "\\\r\n"):
		return usagef("--sidecar is %q: a sidecar cannot name a file with a backslash or a line break", s.sidecar)
	}
	if cmd.Flags().Changed("kind") {
		if err := envelope.CheckKind(s.kind); err != nil {
			return usagef("--kind: %w", err)
		}
	}
	if len(args) == 0 && terminal.Is(os.Stdin) {
		return usagef("standard input is a terminal: pipe something in, or name a command behind --")
	}
	return nil
}

func open(ctx context.Context, argv, env []string) (io.ReadCloser, error) {
	if len(argv) == 0 {
		return source.Stdin(ctx, os.Stdin)
	}
	return source.Command(ctx, argv, env, os.Stderr)
}

func passed(names []string) (env []string) {
	for _, name := range names {
		if value, set := conf.Lookup(name); set {
			env = append(env, name+"="+value)
		}
	}
	return env
}
