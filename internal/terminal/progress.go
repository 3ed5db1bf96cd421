package terminal

import (
	"fmt"
	"io"
	"time"

	"github.com/schollz/progressbar/v3"
)

// Progress shows how far work has come on w until the returned function is called: in of
// total bytes, or of an unknown number with -1, and the ratio of in to out.
func Progress(w io.Writer, verb string, total int64, in, out func() int64) (stop func()) {
	ratio := func() string {
		if out() == 0 {
			return "-"
		}
		return fmt.Sprintf("%.2f", float64(in())/float64(out()))
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
				bar.Describe(fmt.Sprintf("%s, ratio %s", verb, ratio()))
				bar.Set64(in())
			}
		}
	}()
	return func() { close(done); <-gone }
}
