// Package manpage writes the manual pages of a program's commands, and their help pages.
package manpage

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
	"github.com/spf13/pflag"
)

// Write writes a page for root and one for each command below it to dir, which is made
// where it is missing. They are the same for the same commands. The texts of root are
// not to be used afterwards.
func Write(root *cobra.Command, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("writing the manual pages: %w", err)
	}
	root.DisableAutoGenTag = true
	asMarkdown(root)
	header := &doc.GenManHeader{Title: strings.ToUpper(root.Name()), Section: "1", Source: root.Name()}
	if err := doc.GenManTree(root, header, filepath.Clean(dir)); err != nil {
		return fmt.Errorf("writing the manual pages: %w", err)
	}
	return nil
}

// asMarkdown rewrites the texts of a command and of those below as the Markdown for
// which the writer of manual pages takes them.
func asMarkdown(cmd *cobra.Command) {
	cmd.Long = markdown(cmd.Long)
	cmd.Short = inline.Replace(cmd.Short)
	flags := func(f *pflag.Flag) { f.Usage = inline.Replace(pflagPlain(f.Usage)) }
	cmd.LocalNonPersistentFlags().VisitAll(flags)
	cmd.PersistentFlags().VisitAll(flags)
	for _, c := range cmd.Commands() {
		asMarkdown(c)
	}
}

// pflagPlain is a usage without the quotes that mark the name of the flag's value.
func pflagPlain(usage string) string { return strings.ReplaceAll(usage, "`", "") }

// inline keeps what means something in Markdown as it is.
var inline = strings.NewReplacer(`\`, `\\`, "_", `\_`, "*", `\*`, "`", "\\`", "<", `\<`, ">", `\>`, "[", `\[`, "]", `\]`, "#", `\#`)

func markdown(text string) string {
	var out strings.Builder
	table := false
	for line := range strings.Lines(text) {
		if indented := strings.HasPrefix(line, "  "); indented != table {
			out.WriteString(map[bool]string{true: "\n```\n", false: "```\n\n"}[indented])
			table = indented
		}
		if !table {
			line = inline.Replace(line)
		}
		out.WriteString(line)
	}
	if table {
		out.WriteString("\n```\n")
	}
	return out.String()
}
