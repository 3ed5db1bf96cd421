package main

import (
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/internal/terminal"
)

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
