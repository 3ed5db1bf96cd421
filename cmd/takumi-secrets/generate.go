package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/keystore/secrets"
)

func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

func newGenerate() *cobra.Command {
	var show bool
	var size int
	var output string
	cmd := &cobra.Command{
		Use: "generate FORM", Short: "Make a secret",
		Long: `Make a secret from the system's random generator, and print it or write it to a file (-o).
On a terminal it needs --show.

FORM is jwt (64 bytes in base64), password (24), base64 (32), api-key, webhook or hex (32
bytes in hex), or ethereum, a private key whose address goes to standard error.`,
		Example: "  takumi-secrets generate api-key -o /run/secrets/ADMIN_API_KEY",
		Args:    usageArgs(cobra.ExactArgs(1)), ValidArgs: secrets.Forms,
		RunE: func(cmd *cobra.Command, args []string) error {
			v, err := secrets.Generate(args[0], size)
			if err != nil {
				return err
			}
			if args[0] == secrets.Ethereum {
				address, err := secrets.EthereumAddress(v)
				if err != nil {
					return err
				}
				fmt.Fprintf(cmd.ErrOrStderr(), "address %s\n", address)
			}
			if output != "" {
				return writeNew(output, v)
			}
			if err := mayPrint(show); err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), v.Reveal())
			return err
		},
	}
	cmd.Flags().IntVar(&size, "bytes", 0, "random bytes (default those of the form)")
	cmd.Flags().BoolVar(&show, "show", false, "print it on a terminal too")
	cmd.Flags().StringVarP(&output, "output", "o", "", "write it to this new `file`, with mode 0600")
	return cmd
}

// writeNew writes a secret to a file that was not there.
func writeNew(path string, v secrets.Value) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fail.Usagef("writing the secret: %w", err)
	}
	_, err = fmt.Fprintln(f, v.Reveal())
	if syncErr := f.Sync(); err == nil {
		err = syncErr
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	return err
}
