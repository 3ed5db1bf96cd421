package main

import (
	"bytes"
	"os"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/spf13/cobra"
)

// TestHelpIsAPage: a help page has fewer than 60 lines of at most 80 columns, and that of a
// command which does something has an example.
func TestHelpIsAPage(t *testing.T) {
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		var page bytes.Buffer
		cmd.SetOut(&page)
		if err := cmd.Help(); err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(page.String(), "\n")
		if len(lines) > 60 {
			t.Errorf("%s: the page has %d lines", cmd.CommandPath(), len(lines)-1)
		}
		for _, line := range lines {
			if utf8.RuneCountInString(line) > 80 || strings.Contains(line, "=true|false") {
				t.Errorf("%s: %s", cmd.CommandPath(), line)
			}
		}
		if !cmd.HasSubCommands() && cmd.Name() != "version" && !strings.Contains(cmd.Example, "  takumi-secrets "+strings.TrimPrefix(cmd.CommandPath(), "takumi-secrets ")) {
			t.Errorf("%s: the page has no example of it", cmd.CommandPath())
		}
		for _, c := range cmd.Commands() {
			walk(c)
		}
	}
	walk(newRoot())
}

// TestExamples: the commands of the help pages and of docs/SECRETS.md exist, with their
// flags and as many arguments as they take.
func TestExamples(t *testing.T) {
	page, err := os.ReadFile("../../docs/SECRETS.md")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Builder{}
	text.Write(page)
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		text.WriteString("\n" + cmd.Example)
		for _, c := range cmd.Commands() {
			walk(c)
		}
	}
	walk(newRoot())
	examples := regexp.MustCompile(`(?m)^ +takumi-secrets ([^|<>#\n]*)`).FindAllStringSubmatch(strings.ReplaceAll(text.String(), "\\\n", ""), -1)
	if len(examples) < 20 {
		t.Fatalf("there are %d examples", len(examples))
	}
	for _, e := range examples {
		cmd, args, err := newRoot().Find(strings.Fields(e[1]))
		if err == nil {
			err = cmd.ParseFlags(args)
		}
		if err == nil {
			err = cmd.ValidateArgs(cmd.Flags().Args())
		}
		if err != nil || !cmd.HasParent() {
			t.Errorf("takumi-secrets %s: %v", e[1], err)
		}
	}
}
