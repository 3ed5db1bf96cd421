package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
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
	bar := progressbar.NewOptions64(total,
		progressbar.OptionSetWriter(w),
		progressbar.OptionSetDescription(verb),
		progressbar.OptionShowBytes(true),
		progressbar.OptionUseIECUnits(true),
		progressbar.OptionShowCount(), // of what comes from a pipe, too
		progressbar.OptionShowTotalBytes(true),
		progressbar.OptionSetWidth(20),
		progressbar.OptionClearOnFinish(),
		progressbar.OptionThrottle(100*time.Millisecond),
		// Otherwise it draws from a goroutine of its own, which cannot be
		// stopped and goes on after the summary.
		progressbar.OptionSetSpinnerChangeInterval(0),
	)
	done, gone := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(gone)
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-done:
				bar.Clear()
				return
			case <-tick.C:
				bar.Describe(fmt.Sprintf("%s, ratio %s", verb, backup.Ratio(m.In(), m.Out())))
				bar.Set64(m.In())
			}
		}
	}()
	return func() { close(done); <-gone }
}
