package written

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/takumi-backup/takumi-backup/internal/source"
	"github.com/takumi-backup/takumi-backup/keystore/paper"
	"github.com/takumi-backup/takumi-backup/keystore/shares"
)

// typedBlocks asks on the terminal for the lines of one key, or of as many
// shares as are needed. A line that is mistyped is asked for again.
func (r Reader) typedBlocks(ctx context.Context, kind paper.Kind) (blocks []*paper.Block, err error) {
	in, err := source.Stdin(ctx, os.Stdin)
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
	fmt.Fprintln(r.Prompts, "Type the lines as they are on the paper. Letter case and blanks do not matter, and the number in front may be left out.")
	if kind == paper.KindKey {
		fmt.Fprintln(r.Prompts, "Of a key that is there as 64 digits alone, type those.")
	}
	for {
		if kind == paper.KindShare {
			of := ""
			if len(blocks) > 0 {
				of = fmt.Sprintf(" of the %d that are needed", blocks[0].Threshold)
			}
			fmt.Fprintf(r.Prompts, "Share %d%s:\n", len(blocks)+1, of)
		}
		b, err := r.typedBlock(lines, kind)
		if err != nil {
			return blocks, err
		}
		if kind == paper.KindKey {
			return []*paper.Block{b}, nil
		}
		if err := shares.Check(append(blocks, b)); err != nil {
			b.Wipe()
			fmt.Fprintf(r.Prompts, "  Not this one: %v. Take another.\n", err)
			continue
		}
		if blocks = append(blocks, b); len(blocks) == b.Threshold {
			return blocks, nil
		}
	}
}

// typedDigits makes the block of a key whose 64 digits are typed in place of the
// first line.
func (r Reader) typedDigits(kind paper.Kind, number int, line []byte) *paper.Block {
	if kind != paper.KindKey || number != 1 {
		return nil
	}
	key, err := r.importForeign("-", line)
	if err != nil {
		return nil
	}
	defer key.Wipe()
	return paper.NewKey(key)
}

func (r Reader) typedBlock(lines *bufio.Reader, kind paper.Kind) (*paper.Block, error) {
	t := paper.NewTypist(kind)
	for {
		number, _ := t.Next()
		fmt.Fprintf(r.Prompts, "  line %d: ", number)
		line, err := lines.ReadSlice('\n')
		if err == io.EOF && len(line) > 0 {
			err = nil // Ctrl-D ended it
		}
		if err == io.EOF {
			fmt.Fprintln(r.Prompts)
			err = Refused("from paper", fmt.Errorf("the input ended at line %d: %w", number, io.ErrUnexpectedEOF), "")
		}
		if err != nil {
			return nil, err
		}
		if b := r.typedDigits(kind, number, line); b != nil {
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
			fmt.Fprintf(r.Prompts, "  Again: %s.\n", mistyped.Reason)
		case err != nil: // all lines passed, and not the whole
			fmt.Fprintf(r.Prompts, "  From line 1 again: %v.\n", err)
			t = paper.NewTypist(kind)
		}
	}
}
