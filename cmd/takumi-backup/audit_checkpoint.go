package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/internal/audit"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/internal/store/local"
	"github.com/takumi-backup/takumi-backup/keystore"
)

func newAuditCheckpoint() *cobra.Command {
	var keys keyFlags
	var uri, out string
	var public bool
	cmd := &cobra.Command{
		Use:   "checkpoint [flags] [DIR]",
		Short: "Sign the end of the audit log, so that a cut shows",
		Long: `Prove the audit log and sign how far it has come: a small JSON file, which is
next to the log as checkpoint.json, or with -o somewhere else. Copy it to where
nobody who can change the log can change it. audit verify --checkpoint then shows
what was cut off or written anew. The existing checkpoint is proved first. When the
log does not fit it, or the one next to the log, nothing is signed.

It is signed (Ed25519) with what is derived from a key, which key generate makes
and which best seals no backups: --checkpoint-key, or $TAKUMI_AUDIT_KEY, names it
as --key names others. --public-key prints the public key that proves its
signatures, and signs nothing.`,
		Example: `  takumi-backup audit checkpoint --checkpoint-key file:/etc/takumi-backup/audit.key
  takumi-backup audit checkpoint --checkpoint-key file:/etc/takumi-backup/audit.key --public-key`,
		Args: usageArgs(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, err := auditFolder(cmd, args)
			if err != nil {
				return err
			}
			key, err := checkpointKey(cmd, &keys, uri)
			if err != nil {
				return err
			}
			if key == nil {
				return usagef("name the key that signs with --checkpoint-key, or set TAKUMI_AUDIT_KEY")
			}
			defer key.Wipe()
			if public {
				known, err := audit.PublicOf(key.Bytes())
				if err == nil {
					err = printf(cmd, "%v\n", known)
				}
				return err
			}
			if out == "" {
				out = filepath.Join(dir, audit.CheckpointName)
			}
			made, err := audit.Advance(cmd.Context(), dir, out, key.Bytes(), warner(cmd))
			if err != nil {
				return err
			}
			return saveCheckpoint(cmd, out, made)
		},
	}
	f := cmd.Flags()
	f.StringVar(&uri, "checkpoint-key", "", "sign with this key, as file:PATH, awssm:ID, vault:PATH, … (default $TAKUMI_AUDIT_KEY)")
	f.StringVarP(&out, "output", "o", "", "write to this file, or to standard output with - (default: checkpoint.json next to the log)")
	f.BoolVar(&public, "public-key", false, "print the public key, and sign nothing")
	keys.passphrase.add(cmd)
	return cmd
}

// checkpointKey fetches the key that signs checkpoints, which a flag or
// $TAKUMI_AUDIT_KEY names. Without either it is nil. The caller wipes it.
func checkpointKey(cmd *cobra.Command, keys *keyFlags, uri string) (*kek.Key, error) {
	uri = cmp.Or(uri, conf.Get("TAKUMI_AUDIT_KEY"))
	if uri == "" {
		return nil, nil
	}
	return auditKey(cmd, keys, "--checkpoint-key or TAKUMI_AUDIT_KEY", uri)
}

func auditKey(cmd *cobra.Command, keys *keyFlags, flag, uri string) (*kek.Key, error) {
	src, err := keys.parseKey(uri)
	if errors.Is(err, keystore.ErrURI) {
		return nil, usagef("%s: %w", flag, err)
	}
	if err != nil {
		return nil, err
	}
	key, err := src.Load(cmd.Context())
	if err != nil {
		return nil, fmt.Errorf("loading the key of %s: %w", flag, err)
	}
	return key, nil
}

// currentCheckpoint signs how far the audit log has come, for a report. It is
// nil when there is no log, or $TAKUMI_AUDIT_KEY names no key.
func currentCheckpoint(cmd *cobra.Command) (json.RawMessage, error) {
	dir, err := auditDir(cmd)
	if err != nil || flagText(cmd, "audit") == "off" {
		return nil, err
	}
	key, err := checkpointKey(cmd, new(keyFlags), "")
	if key == nil {
		return nil, err
	}
	defer key.Wipe()
	made, err := audit.Advance(cmd.Context(), dir, "-", key.Bytes(), warner(cmd))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return json.Marshal(made)
}

func saveCheckpoint(cmd *cobra.Command, path string, c *audit.Checkpoint) error {
	if path == "-" {
		return writeJSON(cmd.OutOrStdout(), c)
	}
	text, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("writing the checkpoint: %w", err)
	}
	err = local.WriteFile(path, append(text, '\n'), store.Options{Replace: true}) // by one that saw the same, and more
	if err != nil {
		return err
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "signed %d records, the last of %s, for %s\n", c.Lines, c.File, c.PublicKey)
	_, err = fmt.Fprintln(cmd.OutOrStdout(), path)
	return unprinted(err, "the checkpoint is written")
}
