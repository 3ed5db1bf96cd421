package manpage

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// pageWidth is how many columns a help page has.
const pageWidth = 80

// flagGroups are the groups of flags that many commands have, by their titles, after the
// command's own.
var flagGroups = []struct {
	title string
	flags []string
}{
	{"Keys and signatures", []string{"key", "from", "to", "passphrase-fd", "identity", "recipient", "recipients-file", "signers", "unsigned", "sign-key", "rescue"}},
	{"Stores", []string{"also", "object-lock", "retain", "storage-class", "sse", "sse-kms-key", "part-size", "state-dir"}},
	{"Reports", []string{"json", "quiet", "progress", "notify", "metrics", "report"}},
}

// AddHelp has the commands of root print help pages with their flags in groups. Cobra's own are of
// templates, whose package keeps every method of the program in the binary.
func AddHelp(root *cobra.Command) {
	root.SetUsageFunc(func(cmd *cobra.Command) error {
		_, err := io.WriteString(cmd.OutOrStderr(), usageText(cmd))
		return err
	})
	root.SetHelpFunc(func(cmd *cobra.Command, _ []string) {
		text := cmp.Or(strings.TrimSpace(cmd.Long), cmd.Short)
		io.WriteString(cmd.OutOrStdout(), reflow(text)+"\n\n"+usageText(cmd)) // nobody may be reading on
	})
}

// reflow wraps the paragraphs of a text; those with indented lines stay as they are.
func reflow(text string) string {
	paragraphs := strings.Split(text, "\n\n")
	for i, p := range paragraphs {
		if strings.HasPrefix(p, " ") || strings.Contains(p, "\n ") {
			continue
		}
		var b strings.Builder
		n := 0
		for _, word := range strings.Fields(p) {
			size := utf8.RuneCountInString(word)
			switch {
			case n == 0:
			case n+1+size > pageWidth:
				b.WriteByte('\n')
				n = 0
			default:
				b.WriteByte(' ')
				n++
			}
			b.WriteString(word)
			n += size
		}
		paragraphs[i] = b.String()
	}
	return strings.Join(paragraphs, "\n\n")
}

func usageText(cmd *cobra.Command) string {
	var b strings.Builder
	b.WriteString("Usage:\n")
	if cmd.Runnable() {
		fmt.Fprintf(&b, "  %s\n", cmd.UseLine())
	}
	if cmd.HasAvailableSubCommands() {
		fmt.Fprintf(&b, "  %s COMMAND\n\nCommands:\n", cmd.CommandPath())
		var rows [][2]string
		for _, c := range cmd.Commands() {
			if c.IsAvailableCommand() {
				rows = append(rows, [2]string{c.Name(), c.Short})
			}
		}
		writeRows(&b, rows)
	}
	if cmd.HasExample() {
		fmt.Fprintf(&b, "\nExamples:\n%s\n", cmd.Example)
	}
	for _, g := range groupsOfFlags(cmd) {
		fmt.Fprintf(&b, "\n%s:\n", g.title)
		writeRows(&b, g.rows)
	}
	if cmd.HasParent() {
		var all []string
		cmd.Root().PersistentFlags().VisitAll(func(f *pflag.Flag) { all = append(all, "--"+f.Name) })
		last := len(all) - 1
		b.WriteString("\n" + reflow(fmt.Sprintf("All commands have %s and %s: see %s --help.", strings.Join(all[:last], ", "), all[last], cmd.Root().Name())) + "\n")
	}
	return b.String()
}

type groupOfFlags struct {
	title string
	rows  [][2]string
}

// groupsOfFlags are the flags of a command in their groups; where there are few of its own,
// in one.
func groupsOfFlags(cmd *cobra.Command) []groupOfFlags {
	groups := []groupOfFlags{{title: "Flags"}}
	for _, g := range flagGroups {
		groups = append(groups, groupOfFlags{title: g.title})
	}
	restores := cmd.HasParent() && cmd.Parent().Name() == "restore"
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" {
			return
		}
		at := 0
		for i, g := range flagGroups {
			if slices.Contains(g.flags, f.Name) && !(f.Name == "to" && restores) {
				at = i + 1
			}
		}
		groups[at].rows = append(groups[at].rows, [2]string{flagName(f), flagUse(f)})
	})
	for i := 1; i < len(groups); i++ {
		if g := &groups[i]; len(g.rows) == 1 {
			groups[0].rows, g.rows = append(groups[0].rows, g.rows[0]), nil
		}
	}
	return slices.DeleteFunc(groups, func(g groupOfFlags) bool { return len(g.rows) == 0 })
}

func flagName(f *pflag.Flag) string {
	name := "    --" + f.Name
	if f.Shorthand != "" {
		name = "-" + f.Shorthand + ", --" + f.Name
	}
	of, _ := pflag.UnquoteUsage(f)
	if f.Value.Type() != "bool" {
		if strings.HasSuffix(of, "s") && strings.HasPrefix(f.Value.Type(), "string") || strings.HasPrefix(of, "stringA") {
			of = "string"
		}
		name += " " + strings.ToUpper(of)
	}
	return name
}

func flagUse(f *pflag.Flag) string {
	if words := briefly[f.Name]; words != "" {
		return words
	}
	_, use := pflag.UnquoteUsage(f)
	if !slices.Contains([]string{"", "false", "0", "-1", "[]", "0s"}, f.DefValue) && !strings.Contains(use, "default") {
		use += " (default " + f.DefValue + ")"
	}
	return use
}

// briefly is what help pages say of flags that many commands have; manual pages say more.
var briefly = map[string]string{
	"audit":                  "record what is done in the audit log: on or off",
	"audit-dir":              "folder of the audit log",
	"config":                 "read the settings from this file; none: from no file",
	"from":                   "open with this key; may be repeated",
	"identity":               "open with the age identities in this file",
	"metrics":                "write metrics for node_exporter to FILE.prom",
	"notify":                 "notify those whom the settings name",
	"passphrase-fd":          "read a passfile's passphrase from this descriptor",
	"progress":               "show progress, wherever standard error goes",
	"recipient":              "an age recipient that is to open them; may be repeated",
	"recipients-file":        "the age recipients in this file are to open them",
	"scratch-dir":            "restore in this folder, as plaintext, for a moment",
	"database-url":           "restore databases into this server",
	"shard":                  "work on the I-th of N parts of the backups, as I/N",
	"sign-key":               "sign with this OpenSSH key, or agent, or agent:SHA256:…",
	"signers":                "ask for a signature by one of this allowed_signers file",
	"state-dir":              "folder of what this host remembers",
	"legacy-passphrase-file": "file with their passphrase",
	"output-root":            "put the backups below this folder",
	"rescue":                 "take a damaged envelope, with what of it still opens",
	"unsigned":               "restore databases that nobody has vouched for",
	"workers":                "how many backups are worked on at once, at most 64",
}

// writeRows writes names and words in two columns, the second of which is wrapped.
func writeRows(b *strings.Builder, rows [][2]string) {
	const room = 18
	for _, r := range rows {
		line := "  " + r[0]
		if n := utf8.RuneCountInString(line); n+2 <= room {
			line += strings.Repeat(" ", room-n)
		} else {
			line += "  "
		}
		for _, word := range strings.Fields(r[1]) {
			if utf8.RuneCountInString(line)+utf8.RuneCountInString(word) > pageWidth {
				fmt.Fprintln(b, strings.TrimRight(line, " "))
				line = strings.Repeat(" ", room)
			}
			line += word + " "
		}
		fmt.Fprintln(b, strings.TrimRight(line, " "))
	}
}
