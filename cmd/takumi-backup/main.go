// Command takumi-backup seals backups with AES-256-GCM before they leave the
// host, and opens them again.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/takumi-backup/takumi-backup/internal/harden"
	"github.com/takumi-backup/takumi-backup/keystore/passfile"
)

func main() { os.Exit(run(os.Args[1:])) }

// run is main without os.Exit, so that deferred clean-up always runs.
func run(args []string) int {
	if err := harden.Process(); err != nil {
		fmt.Fprintf(os.Stderr, "takumi-backup: warning: %v\n", err)
	}
	ctx, stop := harden.WithSignals(context.Background(), exitSignal)
	defer stop()
	defer passfile.WipeTyped()
	root := newRoot()
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if isClosedPipe(cmd, err) {
		return exitFailed
	}
	return report(os.Stderr, forRoot(harden.Ending(ctx, err)))
}
