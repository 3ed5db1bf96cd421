package main

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/internal/audit"
)

type auditVerify struct {
	checkpoint string
	public     string
	json       bool
}

func newAuditVerify() *cobra.Command {
	v := new(auditVerify)
	cmd := &cobra.Command{
		Use:   "verify [flags] [DIR]",
		Short: "Prove that no record of the audit log was changed, deleted, added or moved",
		Long: `Prove the audit log in DIR, or where the commands append to it: that each record
follows on the one before, over all months. The first that does not is named, and
the exit code is 5.

Whether the newest records were cut off, the last one was changed, or all of the
log was written anew, shows only against a checkpoint (audit checkpoint), best one
that was kept elsewhere: --checkpoint, or checkpoint.json beside the log if it is
there. --public-key is the key that it must be signed with; without it, whoever
changed the log may have signed the checkpoint too.`,
		Example: `  takumi-backup audit verify
  takumi-backup audit verify --checkpoint /media/safe/checkpoint.json --public-key ed25519:8ZIqWWb7cKkLW3A0m07gk0TM6rzNGGcyZD63fXFZ4nA`,
		Args: usageArgs(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error { return v.run(cmd, args) },
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&v.checkpoint, "checkpoint", "", "prove the log against this checkpoint")
	f.StringVar(&v.public, "public-key", "", "what the checkpoint must be signed with, as audit checkpoint --public-key prints it")
	f.BoolVar(&v.json, "json", false, "print the result as JSON")
	return cmd
}

// proof is what audit verify --json prints.
type proof struct {
	audit.State
	Whole      bool              `json:"whole"`
	Checkpoint *audit.Checkpoint `json:"checkpoint,omitempty"`
	Trusted    bool              `json:"checkpoint_trusted"` // signed by the key of --public-key
	Fault      string            `json:"fault,omitempty"`
	BrokenFile string            `json:"broken_file,omitempty"`
	BrokenLine int               `json:"broken_line,omitempty"`
}

func (v *auditVerify) run(cmd *cobra.Command, args []string) error {
	dir, err := auditFolder(cmd, args)
	if err != nil {
		return err
	}
	var trusted audit.PublicKey
	if v.public != "" {
		if trusted, err = audit.ParsePublicKey(v.public); err != nil {
			return usagef("--public-key: %w", err)
		}
	}
	at, err := v.find(dir, trusted)
	if err != nil {
		return err
	}
	state, fault := audit.Verify(cmd.Context(), dir, at)
	if err := v.print(cmd, &proof{State: state, Checkpoint: at, Trusted: at != nil && trusted != ""}, fault); err != nil {
		return err
	}
	return fault
}

// find reads the checkpoint that was named, or the one beside the log.
func (v *auditVerify) find(dir string, trusted audit.PublicKey) (*audit.Checkpoint, error) {
	if v.checkpoint != "" {
		return readCheckpoint(v.checkpoint, trusted)
	}
	at, err := readCheckpoint(filepath.Join(dir, audit.CheckpointName), trusted)
	if errors.Is(err, fs.ErrNotExist) && trusted == "" {
		return nil, nil
	}
	return at, err
}

func (v *auditVerify) print(cmd *cobra.Command, p *proof, fault error) error {
	if p.Whole = fault == nil; fault != nil {
		p.Fault = fault.Error()
		if broken := (*audit.BrokenError)(nil); errors.As(fault, &broken) {
			p.BrokenFile, p.BrokenLine = broken.File, broken.Line
		}
	}
	if v.json {
		return writeJSON(cmd.OutOrStdout(), p)
	}
	if fault != nil {
		return nil // it is told as every error is
	}
	words := cmd.ErrOrStderr()
	switch {
	case p.Checkpoint == nil:
		fmt.Fprintln(words, "without a checkpoint nobody can tell whether the newest records were cut off: audit checkpoint makes one")
	case !p.Trusted:
		fmt.Fprintf(words, "the checkpoint of %s is signed for %s; --public-key proves that this is the right one\n", p.Checkpoint.Time.Format(time.RFC3339), p.Checkpoint.PublicKey)
	default:
		fmt.Fprintf(words, "the log holds all that the checkpoint of %s saw\n", p.Checkpoint.Time.Format(time.RFC3339))
	}
	span := ""
	if p.Lines > 0 {
		span = fmt.Sprintf(", from %s to %s", p.First.Format(time.RFC3339), p.Last.Format(time.RFC3339))
	}
	_, err := fmt.Fprintf(cmd.OutOrStdout(), "whole: %d records in %d files%s, %d of them torn and mended\n", p.Lines, p.Files, span, p.Mended)
	return stdoutError(err)
}
