package main

import (
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/internal/redact"
	"github.com/takumi-backup/takumi-backup/internal/terminal"
	"github.com/takumi-backup/takumi-backup/keystore"
	"github.com/takumi-backup/takumi-backup/keystore/paper"
	"github.com/takumi-backup/takumi-backup/keystore/written"
)

func newKeyScan() *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use:   "scan -o KEYFILE IMAGE...",
		Short: "Restore a key from images of its pages",
		Long: `Read the QR codes of scanned pages, of a key or of enough shares of it, and write
the key to KEYFILE as key generate does. Its id proves that it is the right key,
and is printed.

A code that holds a key alone, as qrencode makes it of a key file, is read too.

An IMAGE is PNG or JPEG, with one code in it, or a PDF, as key paper makes it: its
pages are read where pdftoppm (of poppler-utils) is in the PATH. Scan on a machine that keeps no copies, and delete the images.`,
		Example: `  takumi-backup key scan -o /etc/takumi-backup/backup.key page.png
  takumi-backup key scan -o restored.key share-1.png share-4.png share-5.png`,
		Args: usageArgs(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkKeyFile("-o KEYFILE", out); err != nil {
				return err
			}
			blocks, err := written.Scan(cmd.Context(), args)
			defer paper.Wipe(blocks)
			if err != nil {
				return err
			}
			key, err := writtenKeys(cmd).Restore("from paper", blocks)
			if err != nil {
				return err
			}
			return writeKey(cmd, out, key)
		},
	}
	cmd.Flags().StringVarP(&out, "output", "o", "", newKeyFileHelp)
	return audited(cmd, "key scan", changes)
}

func newKeyImport() *cobra.Command {
	var out string
	var passphrase passphraseFlags
	cmd := &cobra.Command{
		Use:   "import -o KEYFILE [FILE|-]",
		Short: "Restore a key from its written form, a locked file, or what other tools write",
		Long: `Restore a key, or an age identity, from the text of a page that key paper made, or
from the locked file that key export made, and write it to KEYFILE as key generate
does. Its id, or recipient, proves that it is the right one, and is printed.

64 hex digits are taken too, in groups, with a name before them or as base64, and so
is a file of 32 raw bytes. They have no checksum: compare the id. Of a file that gpg
or openssl has encrypted, and of shares that ssss-split has made, the message names
the command that opens them, whose output is piped into key import -o KEYFILE -.

FILE holds what was typed, or is the locked file; - is standard input. Without it the lines are asked
for on the terminal, and each is checked as it is typed. Otherwise the error
says which line is mistyped.`,
		Example: `  takumi-backup key import -o /etc/takumi-backup/backup.key
  takumi-backup key import -o /etc/takumi-backup/backup.key /media/stick/backup.key.age`,
		Args: usageArgs(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkKeyFile("-o KEYFILE", out); err != nil {
				return err
			}
			key, err := writtenKeys(cmd).Import(cmd.Context(), args, passphrase.ask)
			if err != nil {
				return err
			}
			return writeKey(cmd, out, key)
		},
	}
	cmd.Flags().StringVarP(&out, "output", "o", "", newKeyFileHelp)
	passphrase.add(cmd)
	return audited(cmd, "key import", changes)
}

// checkNewFile finds out before any work whether a secret may be written to
// path, so that nobody types a key for nothing.
func checkNewFile(flag, path string) error {
	if path == "" || path == "-" {
		return usagef("%s is missing: a key is not printed", flag)
	}
	if redact.HasKey(path) {
		return usagef("%s is %q, which looks like a key itself", flag, path)
	}
	if _, err := os.Lstat(path); err == nil {
		return fmt.Errorf("write %s: a key file is never overwritten: %w", strings.TrimPrefix(written.PathName(path), "file:"), fs.ErrExist)
	}
	if err := keystore.CheckOutside(keystore.File{Path: path}, conf.StoreFolder()); err != nil {
		return fmt.Errorf("checking where the key will be: %w", err)
	}
	return nil
}

// newKeyFileHelp is the help of a flag that checkKeyFile looks at.
const newKeyFileHelp = "the new key file, or - for standard output"

// checkKeyFile is checkNewFile for a key file, in whose place standard output will
// do when it is not a terminal.
func checkKeyFile(flag, path string) error {
	switch {
	case path != "-":
		return checkNewFile(flag, path)
	case terminal.Is(os.Stdout):
		return usagef("standard output is a terminal, and a key is not shown there: give %s, or pipe it into the program that keeps it", flag)
	}
	return nil
}

// writeKey ends a command that made or restored a key or an identity, and wipes it.
func writeKey(cmd *cobra.Command, path string, secret paper.Secret) error {
	defer secret.Wipe()
	text, public := written.FileOf(secret)
	defer clear(text)
	if path == "-" {
		recordKey(cmd, path, secret.ID())
		if _, err := cmd.OutOrStdout().Write(text); err != nil {
			return stdoutError(err)
		}
		fmt.Fprintln(cmd.ErrOrStderr(), public)
		return nil
	}
	if err := keystore.WriteSecret(path, text); err != nil {
		return err
	}
	recordKey(cmd, path, secret.ID())
	_, err := fmt.Fprintln(cmd.OutOrStdout(), public)
	return unprinted(err, "the key is written")
}

func writtenKeys(cmd *cobra.Command) written.Reader {
	return written.Reader{Prompts: cmd.ErrOrStderr(), Warn: warner(cmd)}
}
