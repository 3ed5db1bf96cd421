package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/envelope/agekey"
	"github.com/takumi-backup/takumi-backup/internal/fsutil"
	"github.com/takumi-backup/takumi-backup/internal/terminal"
	"github.com/takumi-backup/takumi-backup/keystore"
	"github.com/takumi-backup/takumi-backup/keystore/paper"
	"github.com/takumi-backup/takumi-backup/keystore/paper/kit"
	"github.com/takumi-backup/takumi-backup/keystore/passfile"
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
			blocks, err := scanAll(cmd.Context(), args)
			defer paper.Wipe(blocks)
			if err != nil {
				return err
			}
			key, err := restoreKey(cmd, "from paper", blocks)
			if err != nil {
				return err
			}
			return writeKey(cmd, out, key)
		},
	}
	cmd.Flags().StringVarP(&out, "output", "o", "", newKeyFileHelp)
	return audited(cmd, "key scan", changes)
}

// scanAll reads the code of each image.
func scanAll(ctx context.Context, paths []string) (blocks []*paper.Block, err error) {
	for _, path := range paths {
		file, err := openSecret(path)
		if err != nil {
			return blocks, err
		}
		found, err := scan(ctx, file)
		file.Close()
		fix := ""
		if errors.Is(err, kit.ErrNoRenderer) {
			fix = "install poppler-utils; or where it is, make images, and scan these: pdftoppm -r 150 -png " + fsutil.ShellWord(path) + " page"
		}
		if errors.Is(err, kit.ErrNoCode) {
			fix = "scan the page straight and at 150 dots for an inch or more, or type its text: key import, key combine"
		}
		if fault := (*keystore.Error)(nil); errors.As(err, &fault) {
			fault.URI = pathName(path)
			return blocks, fault
		}
		if err != nil {
			return blocks, refused(pathName(path), err, fix)
		}
		blocks = append(blocks, found...)
	}
	return blocks, nil
}

// scan reads the codes of an image, or of the pages of a PDF.
func scan(ctx context.Context, file io.Reader) ([]*paper.Block, error) {
	buffered := bufio.NewReader(file)
	if head, _ := buffered.Peek(5); kit.IsPDF(head) {
		return kit.ScanPDF(ctx, buffered)
	}
	return kit.Scan(buffered)
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
			key, err := importKey(cmd, args, passphrase.ask)
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

// importKey gets the key from a terminal, or from the text of a file.
func importKey(cmd *cobra.Command, args []string, ask passfile.Ask) (paper.Secret, error) {
	if len(args) == 0 && terminal.Is(os.Stdin) {
		blocks, err := typedBlocks(cmd, paper.KindKey)
		defer paper.Wipe(blocks)
		if err != nil {
			return nil, err
		}
		return restoreKey(cmd, "from paper", blocks)
	}
	path := "-"
	if len(args) == 1 {
		path = args[0]
	}
	text, err := readSecret(cmd, path)
	defer clear(text)
	if err != nil {
		return nil, err
	}
	if passfile.IsLocked(text) {
		file := passfile.File{Path: path, Ask: ask}
		opened, err := file.Text(cmd.Context(), text)
		defer clear(opened)
		if err != nil {
			return nil, err
		}
		if seed, err := agekey.ParseSeed(opened); err == nil {
			return seed, nil
		}
		return file.Key(opened)
	}
	if seed, err := agekey.ParseSeed(text); err == nil {
		return seed, nil
	}
	return keyOf(cmd, path, text)
}

// importForeign makes the key of digits without a checksum, or of what another
// tool has written.
func importForeign(cmd *cobra.Command, path string, text []byte) (paper.Secret, error) {
	key, err := keystore.Import(path, text)
	if err != nil {
		return nil, err
	}
	warn(cmd, "digits without a checksum were read: compare the key's id")
	return key, nil
}

// keyOf finds out what a text is, and makes the key of it.
func keyOf(cmd *cobra.Command, path string, text []byte) (paper.Secret, error) {
	blocks, err := paper.Parse(text)
	if errors.Is(err, paper.ErrNone) {
		return importForeign(cmd, path, text)
	}
	if err != nil {
		return nil, unreadable(path, err)
	}
	defer paper.Wipe(blocks)
	if len(blocks) > 1 && blocks[0].Kind == paper.KindKey {
		return nil, refused(inputName(path), fmt.Errorf("it holds %d keys or shares, and one is wanted", len(blocks)), "")
	}
	return restoreKey(cmd, "from paper", blocks)
}
