package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/redact"
	"github.com/takumi-backup/takumi-backup/internal/terminal"
)

// errStdout marks the failure of standard output, which is not a store.
var errStdout = errors.New("writing standard output")

// stdoutError marks an error of standard output, so that a full disk behind it
// still counts as full and a closed pipe as closed.
func stdoutError(err error) error {
	if err == nil {
		return nil
	}
	class, hint := fail.Of(err)
	if class == fail.Store {
		hint = "look at where standard output goes"
	}
	return fail.As(class, hint, fmt.Errorf("%w: %w", errStdout, err))
}

// isClosedPipe reports whether a command that only prints ended because nobody reads on, as
// with head, of which nothing is to be said.
func isClosedPipe(cmd *cobra.Command, err error) bool {
	file, ok := errors.AsType[*fs.PathError](err)
	return ok && file.Path == os.Stdout.Name() && errors.Is(err, unix.EPIPE) && (cmd.Annotations[acts] == "" || isDryRun(cmd))
}

// printf prints on standard output.
func printf(cmd *cobra.Command, format string, args ...any) error {
	_, err := fmt.Fprintf(cmd.OutOrStdout(), format, args...)
	return stdoutError(err)
}

// printTable prints cells in columns.
func printTable(cmd *cobra.Command, rows [][]string) error {
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		fmt.Fprintln(table, strings.Join(row, "\t"))
	}
	table.Flush() // a strings.Builder takes everything
	return printf(cmd, "%s", text.String())
}

// unprinted is stdoutError for what was already done, and stays.
func unprinted(err error, done string) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w; all the same %s", stdoutError(err), done)
}

type stdout struct{ file *os.File }

func (s stdout) Write(p []byte) (int, error) {
	n, err := s.file.Write(p)
	return n, stdoutError(err)
}

// checkStdout fails when nobody reads standard output any more. A backup whose
// path cannot be told is better not made than made unnoticed, with an exit
// code that says it failed.
func checkStdout() error {
	fds := []unix.PollFd{{Fd: 1}}
	if n, err := unix.Poll(fds, 0); err == nil && n == 1 && fds[0].Revents&(unix.POLLERR|unix.POLLNVAL) != 0 {
		return stdoutError(unix.EPIPE)
	}
	return nil
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return stdoutError(err)
	}
	return nil
}

// warn prints words that do not stop the work.
func warn(cmd *cobra.Command, format string, args ...any) {
	fmt.Fprintf(cmd.ErrOrStderr(), "takumi-backup: warning: %s\n", redact.Keys(fmt.Sprintf(format, args...)))
}

func warner(cmd *cobra.Command) func(string, ...any) {
	return func(format string, args ...any) { warn(cmd, format, args...) }
}

// printer says what is good to know, unless that is to be quiet.
func printer(cmd *cobra.Command, quiet bool) func(string, ...any) {
	return func(format string, args ...any) {
		if !quiet {
			fmt.Fprintf(cmd.ErrOrStderr(), format+"\n", args...)
		}
	}
}

// progressFlags say what is shown on standard error while long work goes on.
type progressFlags struct{ always, quiet bool }

func (p *progressFlags) add(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&p.always, "progress", false, "show progress even when standard error is not a terminal")
	cmd.Flags().BoolVarP(&p.quiet, "quiet", "q", false, "show neither progress nor summary")
	cmd.MarkFlagsMutuallyExclusive("progress", "quiet")
}

// start shows the meter until the returned function is called. total is the
// size of the input in bytes, or -1.
func (p *progressFlags) start(w io.Writer, verb string, total int64, m *backup.Meter) (stop func()) {
	if p.quiet || !p.always && !terminal.Is(os.Stderr) {
		return func() {}
	}
	return terminal.Progress(w, verb, total, m.In, m.Out)
}
