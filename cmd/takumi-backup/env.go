package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/internal/redact"
)

// warn prints words that do not stop the work.
func warn(cmd *cobra.Command, format string, args ...any) {
	fmt.Fprintf(cmd.ErrOrStderr(), "takumi-backup: warning: %s\n", redact.Keys(fmt.Sprintf(format, args...)))
}

func warner(cmd *cobra.Command) func(string, ...any) {
	return func(format string, args ...any) { warn(cmd, format, args...) }
}

// teller says what is good to know, unless that is to be quiet.
func teller(cmd *cobra.Command, quiet bool) func(string, ...any) {
	return func(format string, args ...any) {
		if !quiet {
			fmt.Fprintf(cmd.ErrOrStderr(), format+"\n", args...)
		}
	}
}
