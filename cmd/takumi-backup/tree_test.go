package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
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

// TestEveryCommandSuggests: of each command and flag that has a letter too many, the right
// one is named.
func TestEveryCommandSuggests(t *testing.T) {
	everyCommand(t, func(t *testing.T, cmd *cobra.Command) {
		path := strings.Fields(cmd.CommandPath())[1:]
		suggested := func(word, want string) {
			t.Helper()
			root := newRoot()
			root.SetOut(io.Discard)
			root.SetErr(io.Discard)
			root.SetArgs(append(slices.Clone(path), word))
			if err := root.Execute(); err == nil || !strings.HasSuffix(err.Error(), ": did you mean "+want+"?") {
				t.Errorf("%s: %v", word, err)
			}
		}
		for _, c := range cmd.Commands() {
			if name := c.Name(); c.IsAvailableCommand() && cmd.Name() != "verify" { // whose word is a path
				suggested(name+name[len(name)-1:], name)
			}
		}
		cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if !f.Hidden {
				suggested("--"+f.Name+f.Name[len(f.Name)-1:], "--"+f.Name)
			}
		})
	})
}

// TestQuiet: every command that has --quiet says nothing on standard error when all is well.
func TestQuiet(t *testing.T) {
	b := newSandbox(t)
	for _, dir := range []string{"up", "contracts"} {
		if err := os.Mkdir(b.path(dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	writeFile(t, b.path("up/a"), []byte("content"))
	writeFile(t, b.path("contracts/foundry.toml"), []byte("[profile.default]\n"))
	signer := filepath.Join(t.TempDir(), "host")
	key, other := "file:"+keyFile(t, mainKey), "file:"+keyFile(t, otherKey)
	b.env = append(b.env, "UPLOADS_DIR="+b.path("up"), "CONTRACTS_DIR="+b.path("contracts"))
	b.run(exitOK, strings.NewReader("content"), "seal", "--quiet", "--guard=off", "-o", b.path("one.enc"))
	b.run(exitOK, nil, "backup", "uploads", "--quiet", "-o", b.path("up.enc"))
	b.run(exitOK, nil, "backup", "contracts", "--quiet", "-o", b.path("contracts.enc"))
	b.run(exitOK, nil, "verify", "--quiet", "--report", "report.json", "up.enc")
	b.start(b.command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", signer)).exits(exitOK)
	args := map[string][]string{
		"seal": {"--guard=off", "-o", b.path("two.enc")}, "open": {"one.enc"}, "ls": {"up.enc"}, "find": {"a", b.dir}, "diff": {"up.enc", "up"},
		"verify": {"up.enc"}, "drill": {"--latest", "--kind", "uploads", "--scratch-dir", t.TempDir()},
		"sign": {"--sign-key", signer, "up.enc"}, "verify merge": {"report.json"}, "backup uploads": nil, "backup contracts": nil, "backup all": nil,
		"prune": nil, "replicate": {"up.enc", t.TempDir()}, "rewrap": {"--keep-old", "--to", other, "one.enc"}, "reencrypt": {"--to", key, "up.enc"},
		"restore uploads": {"up.enc", "--to", "restored", "--yes"}, "restore contracts": {"contracts.enc", "--to", "chain", "--yes"},
	}
	if integration() {
		c := database(t, "quiet", "CREATE TABLE t (a int); INSERT INTO t VALUES (1)")
		b.env = append(b.env, slices.DeleteFunc(withCluster(t, c).env, func(pair string) bool { return !strings.HasPrefix(pair, "PG") && !strings.HasPrefix(pair, "PATH=") })...)
		b.env = append(b.env, "DB_NAME=quiet")
		b.run(exitOK, nil, "backup", "database", "--quiet", "-o", b.path("db.enc"))
		args["backup database"], args["restore database"] = nil, []string{"db.enc", "--yes", "--from-database", "quiet"}
	}
	everyCommand(t, func(t *testing.T, cmd *cobra.Command) {
		name := strings.TrimPrefix(cmd.CommandPath(), program+" ")
		with, known := args[name]
		if cmd.Flags().Lookup("quiet") == nil || !known && strings.HasSuffix(name, " database") && !integration() {
			return
		}
		if !known {
			t.Fatalf("nothing is known that %s does well", name)
		}
		run := b.run(exitOK, strings.NewReader("content"), append(append(strings.Fields(name), "--quiet"), with...)...)
		if said := run.stderr.String(); said != "" {
			t.Errorf("it says %s", said)
		}
	})
}
