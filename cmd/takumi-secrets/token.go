package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/internal/audit"
	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/keystore/secrets/token"
)

func newToken() *cobra.Command {
	cmd := &cobra.Command{Use: "token", Short: "Make API keys for users, and verify them", Args: usageArgs(cobra.NoArgs), RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	cmd.AddCommand(newTokenNew(), newTokenVerify())
	return cmd
}

func newTokenNew() *cobra.Command {
	var algorithm string
	var asJSON bool
	cmd := &cobra.Command{
		Annotations: map[string]string{anyEnvironment: "development"},
		Use:         "new", Short: "Make an API key, and the hash to store",
		Long: `Make an API key, and print it with its prefix and its hash. The user gets the key, which
is shown only once; the table of keys holds prefix and hash.`,
		Example: "  takumi-secrets token new\n  takumi-secrets token new --hash bcrypt --json",
		Args:    usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return recorded(cmd, "token new", false, func(_ context.Context, _ *settings, log *audit.Session) error {
				t, err := token.New(algorithm)
				if err != nil {
					return err
				}
				log.Last().Name = "tk_" + t.Prefix
				if asJSON {
					return writeJSON(cmd.OutOrStdout(), map[string]string{"key": t.Key.Reveal(), "prefix": t.Prefix, "hash": t.Hash})
				}
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "key:    %s\nprefix: %s\nhash:   %s\n", t.Key.Reveal(), t.Prefix, t.Hash)
				return err
			})
		},
	}
	cmd.Flags().StringVar(&algorithm, "hash", token.Argon2id, "argon2id, or bcrypt (cost 12) as in the handbook")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print it as JSON")
	return cmd
}

func newTokenVerify() *cobra.Command {
	var hash string
	cmd := &cobra.Command{
		Use: "verify --hash HASH", Short: "Verify an API key against its hash",
		Long: `Verify the API key on standard input against a stored hash. The exit code is 4 when the
key is another one. A weaker hash is accepted, and the hash to store in its place printed.`,
		Example: "  takumi-secrets token verify --hash \"$hash\" <key",
		Args:    usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			key, err := bufio.NewReader(io.LimitReader(cmd.InOrStdin(), 4096)).ReadString('\n')
			if err != nil && !errors.Is(err, io.EOF) {
				return err
			}
			key = strings.TrimRight(key, "\r\n")
			ok, rehash := token.Verify(key, hash)
			if !ok {
				return fail.New(fail.Key, "", "the key is not the one of this hash")
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), "accepted")
			if rehash && err == nil {
				fresh, hashErr := token.Hash(key, token.Argon2id)
				if hashErr != nil {
					return hashErr
				}
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "store a stronger hash: %s\n", fresh)
			}
			return err
		},
	}
	cmd.Flags().StringVar(&hash, "hash", "", "the stored `hash`")
	return cmd
}
