package main

import (
	"cmp"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/internal/terminal"
	"github.com/takumi-backup/takumi-backup/keystore/paper"
	"github.com/takumi-backup/takumi-backup/keystore/paper/kit"
	"github.com/takumi-backup/takumi-backup/keystore/written"
)

type paperCommand struct {
	keys     keyFlags
	shares   []string
	out      string
	terminal bool
}

func newKeyPaper() *cobra.Command {
	p := new(paperCommand)
	cmd := &cobra.Command{
		Use:   "paper [--key URI | --shares-of DIR|FILE...] -o KIT.html|KIT.pdf|KIT.png",
		Short: "Make pages to print and lock away: a key or its shares, as QR codes and text",
		Long: `Make the paper kit: a page for a key or an age identity (age:PATH), or for each of
its shares, with a QR code, the same as text to be typed, how to restore the key with and without this
program, and space for a signature. It prints on A4 and Letter.

The ending of the file's name says what is made. A .png is an image of the code
and the text, of one key or share.

--shares-of names files that key split wrote, or their folder; it may be
repeated, and further files may follow it. --terminal shows code and text on the
terminal instead, or as well. Read back what you have printed (key scan, key
import), and then delete the file: it is the key.`,
		Example: `  takumi-backup key paper --key file:/etc/takumi-backup/backup.key -o /media/stick/kit.pdf
  takumi-backup key paper --shares-of /media/shares -o /media/shares/kit.html`,
		Args: usageArgs(cobra.ArbitraryArgs),
		RunE: func(cmd *cobra.Command, args []string) error { return p.run(cmd, args) },
	}
	f := cmd.Flags()
	p.keys.add(cmd, "the key")
	f.StringArrayVar(&p.shares, "shares-of", nil, "make pages of these shares: a folder or a file; may be repeated")
	f.StringVarP(&p.out, "output", "o", "", "the new file: .html, .pdf or .png")
	f.BoolVar(&p.terminal, "terminal", false, "show code and text on the terminal")
	cmd.MarkFlagsMutuallyExclusive("key", "shares-of")
	return audited(cmd, "key paper", changes)
}

func (p *paperCommand) run(cmd *cobra.Command, args []string) error {
	if len(p.shares) == 0 && len(args) > 0 {
		return usagef("files of shares follow --shares-of")
	}
	if p.out == "" && !p.terminal {
		return usagef("give -o KIT.html, KIT.pdf or KIT.png, or --terminal")
	}
	if p.terminal && !terminal.Is(os.Stdout) {
		return usagef("standard output is not a terminal, and --terminal shows a key")
	}
	if p.out != "" {
		if !kit.Writes(p.out) {
			return usagef("the name of the file must end with .html, .pdf or .png")
		}
		if err := checkNewFile("-o KIT", p.out); err != nil {
			return err
		}
	}
	blocks, err := p.blocks(cmd, args)
	if err != nil {
		return err
	}
	defer paper.Wipe(blocks)
	recordKey(cmd, p.out, blocks[0].KeyID)
	if p.out != "" {
		if err := kit.Save(p.out, blocks); err != nil {
			return err
		}
	}
	if !p.terminal {
		return nil
	}
	for _, b := range blocks {
		text, err := kit.Terminal(b)
		if err == nil {
			_, err = cmd.OutOrStdout().Write(append(text, '\n'))
			err = stdoutError(err)
		}
		clear(text)
		if err != nil {
			return err
		}
	}
	return nil
}

// blocks is what goes on the pages: the shares that were named, or the key.
func (p *paperCommand) blocks(cmd *cobra.Command, args []string) ([]*paper.Block, error) {
	if len(p.shares) > 0 {
		paths, err := written.ShareFiles(append(p.shares, args...))
		if err != nil {
			return nil, err
		}
		blocks, unread, err := writtenKeys(cmd).Gather(cmd.Context(), paths)
		if err == nil && len(unread) > 0 {
			err = unread[0]
		}
		// In a folder share 10 comes before share 2.
		slices.SortStableFunc(blocks, func(a, b *paper.Block) int { return cmp.Or(cmp.Compare(a.Set, b.Set), a.Number-b.Number) })
		return blocks, err
	}
	key, err := p.keys.keys().Secret(cmd.Context())
	if err != nil {
		return nil, err
	}
	defer key.Wipe()
	return []*paper.Block{paper.NewKey(key)}, nil
}
