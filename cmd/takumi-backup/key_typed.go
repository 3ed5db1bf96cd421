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
	return allTheSame(err, "the key is written")
}

func writtenKeys(cmd *cobra.Command) written.Reader {
	return written.Reader{Prompts: cmd.ErrOrStderr(), Warn: warner(cmd)}
}
