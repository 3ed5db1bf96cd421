// Command takumi-secrets reads, makes, rotates and audits the secrets of Takumi's
// components. It shares the audit log, the exit codes and the manners of takumi-backup.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/harden"
	"github.com/takumi-backup/takumi-backup/internal/manpage"
	"github.com/takumi-backup/takumi-backup/internal/redact"
)

// version is set by a release build (-ldflags "-X main.version=…").
var version = ""

func main() { os.Exit(run(os.Args[1:])) }

// run is main without os.Exit, so that deferred clean-up always runs.
func run(args []string) int {
	if err := harden.Process(); err != nil {
		fmt.Fprintf(os.Stderr, "takumi-secrets: warning: %v\n", err)
	}
	ctx, stop := withSignals()
	defer stop()
	root := newRoot()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err != nil && errors.As(context.Cause(ctx), new(*signalError)) {
		err = context.Cause(ctx)
	}
	return report(os.Stderr, err)
}

type signalError struct{ sig os.Signal }

func (e *signalError) Error() string { return fmt.Sprintf("stopped by %v", e.sig) }

// Fail is the class and the hint of the error.
func (e *signalError) Fail() (fail.Class, string) {
	return fail.Stopped, "a rotation that was under way goes on when the same command is run again"
}

// withSignals returns a context that INT, TERM and HUP cancel. A second one ends the
// program at once, which a rotation survives.
func withSignals() (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 2)
	for _, sig := range []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		if !signal.Ignored(sig) {
			signal.Notify(signals, sig)
		}
	}
	go func() {
		if sig, ok := <-signals; ok {
			cancel(&signalError{sig})
			signal.Stop(signals)
		}
	}()
	return ctx, func() { signal.Stop(signals); cancel(nil) }
}

const exitCodesHelp = `Exit codes:
  0    done, or nothing was due
  1    failed
  4    a secret is missing, refused, weak or an example
  6    findings, some of several sets failed, or nobody tried the former values
  7    the secrets backend cannot be reached
  64   usage
  130  stopped by INT, TERM or HUP`

var codes = [...]int{fail.Failed: 1, fail.Source: 3, fail.Key: 4, fail.Damaged: 5, fail.Some: 6, fail.Store: 7, fail.Usage: 64, fail.Stopped: 130}

// errSome is returned when each of several faults has been reported by then.
var errSome = fail.New(fail.Some, "", "some failed")

func exitCode(err error) int {
	if err == nil {
		return 0
	}
	class, _ := fail.Of(err)
	return codes[class]
}

func report(w io.Writer, err error) int {
	if err == nil || errors.Is(err, errSome) {
		return exitCode(err)
	}
	_, hint := fail.Of(err)
	fmt.Fprintf(w, "takumi-secrets: %s\n", redact.Keys(err.Error()))
	if hint != "" {
		fmt.Fprintf(w, "  %s\n", strings.Replace(hint, "takumi-backup --help", "takumi-secrets --help", 1))
	}
	return exitCode(err)
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "takumi-secrets",
		Short: "Read, make, rotate and audit the secrets of Takumi's components",
		Long: `takumi-secrets reads, checks and makes the secrets that Takumi's components need, wherever
they are kept, and rotates them: killed at any moment, the same command finishes or rolls
back. Only get, generate and token new print a secret,
and none reaches a log.

TAKUMI_ENV (or --environment) names the environment, SECRETS_BACKEND (or --backend) the
place of its secrets:

  aws-secrets-manager            one secret a name, takumi/ENVIRONMENT/NAME
  aws-secrets-manager:SECRET-ID  one JSON secret
  vault[:MOUNT/PATH]             the fields of one secret (VAULT_PATH)
  kubernetes[:NAMESPACE/NAME]    one Secret
  file[:FOLDER]                  a file for each name: Docker, systemd
  dotenv:PATH                    a private .env file; never in production
  env                            the environment; never in production

` + exitCodesHelp,
		Example: "  takumi-secrets check --component jwt\n  takumi-secrets rotate jwt --dry-run",
		Args:    usageArgs(cobra.NoArgs),
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },

		SilenceErrors: true, SilenceUsage: true,
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return fail.Usagef("%w", err) })
	addSettings(root)
	root.AddCommand(newGet(), newRun(), newCheck(), newGenerate(), newRotate(), newStatus(), newHistory(), newReport(), newToken(), newAudit(), newEnv(), newMan(), newVersion())
	manpage.AddHelp(root)
	return root
}

func usageArgs(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return fail.Usagef("%w", err)
		}
		if err := cmd.ValidateFlagGroups(); err != nil {
			return fail.Usagef("%w", err)
		}
		return nil
	}
}

func newMan() *cobra.Command {
	return &cobra.Command{
		Use: "man DIR", Short: "Write the manual pages to a folder", Args: usageArgs(cobra.ExactArgs(1)),
		Example: "  takumi-secrets man /usr/local/share/man/man1",
		RunE:    func(cmd *cobra.Command, args []string) error { return manpage.Write(cmd.Root(), args[0]) },
	}
}

func newVersion() *cobra.Command {
	return &cobra.Command{Use: "version", Short: "Print the version", Args: usageArgs(cobra.NoArgs), RunE: func(cmd *cobra.Command, _ []string) error {
		_, err := fmt.Fprintln(cmd.OutOrStdout(), "takumi-secrets "+programVersion())
		return err
	}}
}

func programVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.Main.Version
	}
	return "(devel)"
}
