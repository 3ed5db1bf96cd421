package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/verify/rehearse"
)

type rehearsalFlags struct{ scratchDir, databaseURL string }

func (r *rehearsalFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&r.scratchDir, "scratch-dir", "", "the folder in which backups are restored for a moment, as plaintext")
	f.StringVar(&r.databaseURL, "database-url", "", "restore databases into this server, set aside for it, as postgresql://USER@HOST:PORT")
}

// stage returns where to rehearse; o says with which keys, and what. The caller closes
// it.
func (r *rehearsalFlags) stage(cmd *cobra.Command, o rehearse.Options) (*rehearse.Stage, error) {
	o.Place, o.ScratchDir = newPlace(), r.scratchDir
	if r.scratchDir == "" && r.databaseURL == "" {
		return nil, usagef("say where backups may be restored: --scratch-dir DIR on a disk that may hold plaintext, or --database-url")
	}
	if r.scratchDir != "" {
		info, err := os.Stat(r.scratchDir)
		if err != nil {
			return nil, fmt.Errorf("looking for the scratch folder: %w", err)
		}
		if !info.IsDir() {
			return nil, usagef("--scratch-dir: %s is not a folder", r.scratchDir)
		}
	}
	if r.databaseURL != "" {
		var err error
		if o.Database, err = settingsFromURI(cmd, "--database-url", r.databaseURL); err != nil {
			return nil, err
		}
	}
	return rehearse.New(o), nil
}
