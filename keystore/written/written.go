// Package written brings keys back from what people keep of them: text and images of
// paper, shares in files, locked files, what other tools have written, and lines that
// somebody types. It also writes shares into files. Errors are those of keystore; what
// holds a key is for the caller to wipe.
package written

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

	"github.com/takumi-backup/takumi-backup/envelope/agekey"
	"github.com/takumi-backup/takumi-backup/internal/fsutil"
	"github.com/takumi-backup/takumi-backup/internal/source"
	"github.com/takumi-backup/takumi-backup/internal/terminal"
	"github.com/takumi-backup/takumi-backup/keystore"
	"github.com/takumi-backup/takumi-backup/keystore/paper"
	"github.com/takumi-backup/takumi-backup/keystore/paper/kit"
	"github.com/takumi-backup/takumi-backup/keystore/passfile"
	"github.com/takumi-backup/takumi-backup/keystore/shares"
)

// Reader reads written keys.
type Reader struct {
	Prompts io.Writer                        // for who types
	Warn    func(format string, args ...any) // nil is silent
}

func (r Reader) warn(format string, args ...any) {
	if r.Warn != nil {
		r.Warn(format, args...)
	}
}

// Scan reads the codes of each image or PDF. Blocks that were read are returned beside an
// error, to be wiped.
func Scan(ctx context.Context, paths []string) (blocks []*paper.Block, err error) {
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
			fault.URI = PathName(path)
			return blocks, fault
		}
		if err != nil {
			return blocks, Refused(PathName(path), err, fix)
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

// Import gets the key, or the identity of age, that the text of the file has which args
// names, "-" for standard input. Without args it is typed where standard input is a
// terminal. ask gets the passphrase of a locked file.
func (r Reader) Import(ctx context.Context, args []string, ask passfile.Ask) (paper.Secret, error) {
	if len(args) == 0 && terminal.Is(os.Stdin) {
		blocks, err := r.typedBlocks(ctx, paper.KindKey)
		defer paper.Wipe(blocks)
		if err != nil {
			return nil, err
		}
		return r.Restore("from paper", blocks)
	}
	path := "-"
	if len(args) == 1 {
		path = args[0]
	}
	text, err := readSecret(ctx, path)
	defer clear(text)
	if err != nil {
		return nil, err
	}
	if passfile.IsLocked(text) {
		file := passfile.File{Path: path, Ask: ask}
		opened, err := file.Text(ctx, text)
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
	return r.keyOf(path, text)
}

// importForeign makes the key of digits without a checksum, or of what another
// tool has written.
func (r Reader) importForeign(path string, text []byte) (paper.Secret, error) {
	key, err := keystore.Import(path, text)
	if err != nil {
		return nil, err
	}
	r.warn("digits without a checksum were read: compare the key's id")
	return key, nil
}

// keyOf finds out what a text is, and makes the key of it.
func (r Reader) keyOf(path string, text []byte) (paper.Secret, error) {
	blocks, err := paper.Parse(text)
	if errors.Is(err, paper.ErrNone) {
		return r.importForeign(path, text)
	}
	if err != nil {
		return nil, unreadable(path, err)
	}
	defer paper.Wipe(blocks)
	if len(blocks) > 1 && blocks[0].Kind == paper.KindKey {
		return nil, Refused(inputName(path), fmt.Errorf("it holds %d keys or shares, and one is wanted", len(blocks)), "")
	}
	return r.Restore("from paper", blocks)
}

// FileOf returns the text of the file of a secret, for the caller to wipe, and what is
// public of it: a key's id, or an identity's recipient.
func FileOf(secret paper.Secret) (text []byte, public string) {
	if seed, ok := secret.(*agekey.Seed); ok {
		return seed.Text(time.Now()), seed.Recipient().String()
	}
	return append(hex.AppendEncode(nil, secret.Bytes()), '\n'), string(secret.ID())
}

// Restore makes the key of what was read: the key itself, or shares of it. from is for
// errors. A share that the others do not need, and that is none of theirs, is a warning.
func (r Reader) Restore(from string, blocks []*paper.Block) (paper.Secret, error) {
	if len(blocks) == 1 && blocks[0].Kind == paper.KindKey {
		return blocks[0].Secret() // proved when it was read
	}
	key, err := shares.Combine(blocks)
	if err != nil {
		return nil, Refused(from, err, "")
	}
	for _, share := range shares.Ignored(blocks) {
		r.warn("%s; the others give the key without it", share)
	}
	return key, nil
}

// Refused says of a written key, or of shares, why it cannot be used.
func Refused(uri string, err error, fix string) error {
	return &keystore.Error{URI: uri, Kind: keystore.ErrRefused, Reason: strings.ReplaceAll(err.Error(), "\n", "; "), Fix: fix, Err: err}
}

// PathName is a path for messages. What was pasted in the place of a path may be
// a key, as digits or in its written form.
func PathName(path string) string {
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
	return &keystore.Error{URI: PathName(path), Kind: kind, Reason: err.Error(), Err: err}
}

// readWritten reads the written keys and shares of a file, or with "-" of
// standard input.
func readWritten(ctx context.Context, path string) ([]*paper.Block, error) {
	text, err := readSecret(ctx, path)
	defer clear(text)
	if err != nil {
		return nil, err
	}
	return parseWritten(path, text)
}

// readSecret reads all of a file, or with "-" of standard input, but no more than
// a written key can have.
func readSecret(ctx context.Context, path string) ([]byte, error) {
	var in io.ReadCloser
	var err error
	if path == "-" {
		in, err = source.Stdin(ctx, os.Stdin)
	} else {
		in, err = openSecret(path)
	}
	if err != nil {
		return nil, err
	}
	defer in.Close()
	text, err := io.ReadAll(io.LimitReader(in, paper.MaxText+1))
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
	return PathName(path)
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

func unreadable(path string, err error) error {
	if errors.Is(err, paper.ErrNone) || errors.Is(err, paper.ErrTooLong) {
		return Refused(inputName(path), err, "")
	}
	return Refused(inputName(path), err, "mend the line and run the command again; on a terminal, without a file, each line is checked as it is typed")
}
