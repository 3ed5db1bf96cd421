package main

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/takumi-backup/takumi-backup/envelope/agekey"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/internal/redact"
	"github.com/takumi-backup/takumi-backup/internal/source"
	"github.com/takumi-backup/takumi-backup/internal/terminal"
	"github.com/takumi-backup/takumi-backup/keystore"
	"github.com/takumi-backup/takumi-backup/keystore/paper"
	"github.com/takumi-backup/takumi-backup/keystore/passfile"
	"github.com/takumi-backup/takumi-backup/keystore/shares"
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
		return fmt.Errorf("write %s: a key file is never overwritten: %w", strings.TrimPrefix(pathName(path), "file:"), fs.ErrExist)
	}
	if err := keystore.CheckApart(keystore.File{Path: path}, storeFolder()); err != nil {
		return fmt.Errorf("checking where the key will stand: %w", err)
	}
	return nil
}

// newKeyFileHelp is the help of a flag that checkKeyFile looks at.
const newKeyFileHelp = "the new key file, or - for standard output"

// checkKeyFile is checkNewFile for a key file, in whose place standard output will
// do when it is no terminal.
func checkKeyFile(flag, path string) error {
	switch {
	case path != "-":
		return checkNewFile(flag, path)
	case terminal.Is(os.Stdout):
		return usagef("standard output is a terminal, and a key is not shown there: give %s, or pipe it into the program that keeps it", flag)
	}
	return nil
}

// fileOf returns the text of the file of a secret, for the caller to wipe, and what is
// public of it: a key's id, or an identity's recipient.
func fileOf(secret paper.Secret) (text []byte, public string) {
	if seed, ok := secret.(*agekey.Seed); ok {
		return seed.Text(time.Now()), seed.Recipient().String()
	}
	return append(hex.AppendEncode(nil, secret.Bytes()), '\n'), string(secret.ID())
}

// writeKey ends a command that made or restored a key or an identity, and wipes it.
func writeKey(cmd *cobra.Command, path string, secret paper.Secret) error {
	defer secret.Wipe()
	text, public := fileOf(secret)
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

// secret returns the one key, or the one identity of age, that the command works on.
func (k *keyFlags) secret(ctx context.Context) (paper.Secret, error) {
	if len(k.uris) != 1 || !isAge(k.uris[0]) {
		ring, key, err := k.one(ctx)
		if err != nil {
			return nil, err
		}
		defer ring.Close()
		return kek.New(key.Bytes())
	}
	path := strings.TrimPrefix(k.uris[0], "age:")
	text, err := keystore.File{Path: path}.ReadSecret(ctx, maxAgeFile)
	defer func() { clear(text) }()
	if err == nil && passfile.IsLocked(text) {
		text, err = passfile.File{Path: path, Ask: k.asks().ask}.Text(ctx, text)
	}
	if err != nil {
		return nil, fmt.Errorf("loading the identity: %w", err)
	}
	seed, err := agekey.ParseSeed(text)
	if err != nil {
		return nil, refused("age:"+path, err, "")
	}
	return seed, nil
}

// restoreKey makes the key of what was typed or scanned: the key itself, or
// shares of it.
func restoreKey(cmd *cobra.Command, from string, blocks []*paper.Block) (paper.Secret, error) {
	if len(blocks) == 1 && blocks[0].Kind == paper.KindKey {
		return blocks[0].Secret() // proved when it was read
	}
	key, err := shares.Combine(blocks)
	if err != nil {
		return nil, refused(from, err, "")
	}
	for _, share := range shares.Odd(blocks) {
		warn(cmd, "%s; the others give the key without it", share)
	}
	return key, nil
}

// refused says of a written key, or of shares, why it cannot be used.
func refused(uri string, err error, fix string) error {
	return &keystore.Error{URI: uri, Kind: keystore.ErrRefused, Reason: strings.ReplaceAll(err.Error(), "\n", "; "), Fix: fix, Err: err}
}

// pathName is a path for messages. What was pasted in the place of a path may be
// a key, as digits or in its written form.
func pathName(path string) string {
	if _, err := paper.Parse([]byte(path)); !errors.Is(err, paper.ErrNone) {
		return "file:[redacted]"
	}
	return keystore.File{Path: path}.String()
}

// openSecret opens a file that holds a written key, or an image of one.
func openSecret(path string) (*os.File, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fileError(path, err)
	}
	return file, nil
}

// fileError says what the system has against a file, without its bare path.
func fileError(path string, err error) error {
	kind := keystore.ErrRefused
	if errors.Is(err, fs.ErrNotExist) {
		kind = keystore.ErrNotFound
	}
	if at := (*fs.PathError)(nil); errors.As(err, &at) {
		err = at.Err
	}
	return &keystore.Error{URI: pathName(path), Kind: kind, Reason: err.Error(), Err: err}
}

// readWritten reads the written keys and shares of a file, or with "-" of
// standard input.
func readWritten(cmd *cobra.Command, path string) ([]*paper.Block, error) {
	text, err := readSecret(cmd, path)
	defer clear(text)
	if err != nil {
		return nil, err
	}
	return parseWritten(path, text)
}

// readSecret reads all of a file, or with "-" of standard input, but no more than
// a written key can have.
func readSecret(cmd *cobra.Command, path string) ([]byte, error) {
	var r io.ReadCloser
	var err error
	if path == "-" {
		r, err = source.Stdin(cmd.Context(), os.Stdin)
	} else {
		r, err = openSecret(path)
	}
	if err != nil {
		return nil, err
	}
	defer r.Close()
	text, err := io.ReadAll(io.LimitReader(r, paper.MaxText+1))
	if err != nil {
		clear(text)
		if path != "-" {
			err = fileError(path, err)
		}
		return nil, err
	}
	return text, nil
}

func inputName(path string) string {
	if path == "-" {
		return "standard input"
	}
	return pathName(path)
}

func parseWritten(path string, text []byte) ([]*paper.Block, error) {
	blocks, err := paper.Parse(text)
	if errors.Is(err, paper.ErrNone) {
		// A share of ssss, perhaps, whose command is then named.
		if key, foreign := keystore.Import(path, text); foreign == nil {
			key.Wipe()
		} else if fault := (*keystore.Error)(nil); errors.As(foreign, &fault) && fault.Fix != "" {
			return nil, foreign
		}
	}
	if err != nil {
		return nil, unreadable(path, err)
	}
	return blocks, nil
}

// unreadable says what is wrong with a written key.
func unreadable(path string, err error) error {
	if errors.Is(err, paper.ErrNone) || errors.Is(err, paper.ErrTooLong) {
		return refused(inputName(path), err, "")
	}
	return refused(inputName(path), err, "mend the line and run the command again; on a terminal, without a file, each line is checked as it is typed")
}

// typedBlocks asks on the terminal for the lines of one key, or of as many
// shares as are needed. A line that is mistyped is asked for again.
func typedBlocks(cmd *cobra.Command, kind paper.Kind) (blocks []*paper.Block, err error) {
	in, err := source.Stdin(cmd.Context(), os.Stdin)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	defer func() {
		if err != nil {
			paper.Wipe(blocks)
		}
	}()
	lines := bufio.NewReaderSize(in, 4096)
	defer func() {
		rest, _ := lines.Peek(lines.Buffered()) // typed ahead
		clear(rest)
	}()
	fmt.Fprintln(cmd.ErrOrStderr(), "Type the lines as they are on the paper. Letter case and blanks do not matter, and the number in front may be left out.")
	if kind == paper.KindKey {
		fmt.Fprintln(cmd.ErrOrStderr(), "Of a key that is there as 64 digits alone, type those.")
	}
	for {
		if kind == paper.KindShare {
			of := ""
			if len(blocks) > 0 {
				of = fmt.Sprintf(" of the %d that are needed", blocks[0].Threshold)
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "Share %d%s:\n", len(blocks)+1, of)
		}
		b, err := typedBlock(cmd, lines, kind)
		if err != nil {
			return blocks, err
		}
		if kind == paper.KindKey {
			return []*paper.Block{b}, nil
		}
		if err := shares.Check(append(blocks, b)); err != nil {
			b.Wipe()
			fmt.Fprintf(cmd.ErrOrStderr(), "  Not this one: %v. Take another.\n", err)
			continue
		}
		if blocks = append(blocks, b); len(blocks) == b.Threshold {
			return blocks, nil
		}
	}
}

// typedDigits makes the block of a key whose 64 digits are typed in place of the
// first line.
func typedDigits(cmd *cobra.Command, kind paper.Kind, number int, line []byte) *paper.Block {
	if kind != paper.KindKey || number != 1 {
		return nil
	}
	key, err := importForeign(cmd, "-", line)
	if err != nil {
		return nil
	}
	defer key.Wipe()
	return paper.NewKey(key)
}

// typedBlock asks for the lines of one block.
func typedBlock(cmd *cobra.Command, lines *bufio.Reader, kind paper.Kind) (*paper.Block, error) {
	t := paper.NewTypist(kind)
	for {
		number, _ := t.Next()
		fmt.Fprintf(cmd.ErrOrStderr(), "  line %d: ", number)
		line, err := lines.ReadSlice('\n')
		if err == io.EOF && len(line) > 0 {
			err = nil // Ctrl-D ended it
		}
		if err == io.EOF {
			fmt.Fprintln(cmd.ErrOrStderr())
			err = refused("from paper", fmt.Errorf("the input ended at line %d: %w", number, io.ErrUnexpectedEOF), "")
		}
		if err != nil {
			return nil, err
		}
		if b := typedDigits(cmd, kind, number, line); b != nil {
			clear(line)
			return b, nil
		}
		block, err := t.Line(line)
		clear(line)
		var mistyped *paper.LineError
		switch {
		case block != nil:
			return block, nil
		case errors.As(err, &mistyped):
			fmt.Fprintf(cmd.ErrOrStderr(), "  Again: %s.\n", mistyped.Reason)
		case err != nil: // all lines passed, and not the whole
			fmt.Fprintf(cmd.ErrOrStderr(), "  From line 1 again: %v.\n", err)
			t = paper.NewTypist(kind)
		}
	}
}
