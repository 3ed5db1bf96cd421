package main

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/spf13/cobra"
)

// everyCommand calls do with each command of the program.
func everyCommand(t *testing.T, do func(t *testing.T, cmd *cobra.Command)) {
	t.Helper()
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		if cmd.Name() == "help" || cmd.Name() == "completion" || cmd.HasParent() && cmd.Parent().Name() == "completion" {
			return // cobra's own
		}
		t.Run(strings.ReplaceAll(cmd.CommandPath(), " ", "_"), func(t *testing.T) { do(t, cmd) })
		for _, c := range cmd.Commands() {
			walk(c)
		}
	}
	root := newRoot()
	root.InitDefaultHelpCmd()
	walk(root)
}

// TestHelpIsAPage: a help page has fewer than 60 lines of 80 columns, but for the commands
// that make and restore backups, and no line is wider.
func TestHelpIsAPage(t *testing.T) {
	long := []string{"takumi-backup seal", "takumi-backup backup", "takumi-backup restore"}
	everyCommand(t, func(t *testing.T, cmd *cobra.Command) {
		var page bytes.Buffer
		cmd.SetOut(&page)
		if err := cmd.Help(); err != nil {
			t.Fatal(err)
		}
		cmd.SetOut(nil)
		lines := 0
		for line := range strings.Lines(page.String()) {
			n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n"))
			lines += max(1, (n+79)/80)
			if strings.Contains(line, "=true|false") {
				t.Errorf("%s", line)
			}
		}
		if of := cmd.CommandPath(); !slices.ContainsFunc(long, func(c string) bool { return of == c || strings.HasPrefix(of, c+" ") }) && lines >= 60 {
			t.Errorf("the page has %d lines", lines)
		}
		if cmd.HasAvailableLocalFlags() && cmd.HasParent() && cmd.Runnable() && !strings.Contains(page.String(), ":\n") {
			t.Errorf("the flags are missing")
		}
	})
}
