package main

import (
	"context"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/takumi-backup/takumi-backup/keystore/passfile"
)

// passphraseFlags say where the passphrase of a passfile comes from: a file
// descriptor, a file, or a prompt on the terminal.
type passphraseFlags struct {
	fd   int
	flag *pflag.Flag // nil for a command without it
	from passfile.Passphrases
}

func (p *passphraseFlags) add(cmd *cobra.Command) {
	cmd.Flags().IntVar(&p.fd, "passphrase-fd", -1, "read the passphrase of a passfile from this descriptor (default $TAKUMI_PASSPHRASE_FILE, or a prompt)")
	p.flag = cmd.Flags().Lookup("passphrase-fd")
}

func (p *passphraseFlags) passphrases() *passfile.Passphrases {
	p.from.Path = conf.Get("TAKUMI_PASSPHRASE_FILE")
	if p.flag != nil && p.fd >= 0 && p.from.FD == nil { // kept: a forgotten os.File closes its descriptor
		p.from.FD = os.NewFile(uintptr(p.fd), "passphrase")
	}
	return &p.from
}

// ask gets the passphrase of the locked key file at path. It implements
// passfile.Ask.
func (p *passphraseFlags) ask(ctx context.Context, path string) ([]byte, error) {
	return p.passphrases().Ask(ctx, path)
}
