package kit

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"

	"github.com/takumi-backup/takumi-backup/internal/secretenv"
	"github.com/takumi-backup/takumi-backup/keystore/paper"
)

// ErrNoRenderer means that a PDF was given, and no pdftoppm is there to read it.
var ErrNoRenderer = errors.New("it is a PDF, and pdftoppm of poppler, which makes images of its pages, is not installed")

// renderer makes images of the pages of a PDF.
const renderer = "pdftoppm"

// maxPages bounds the pages of a PDF, and maxRendered all their images in bytes.
const (
	maxPages    = "100"
	maxRendered = 256 << 20
)

// IsPDF says whether a file that begins with head is a PDF.
func IsPDF(head []byte) bool { return bytes.HasPrefix(head, []byte("%PDF-")) }

// ScanPDF is Scan for the pages of a PDF, of which one at least has a code. The images
// come from pdftoppm by pipes: nothing is written to a disk. The error wraps
// ErrNoRenderer, ErrImage or ErrNoCode, or is one of Scan's.
func ScanPDF(ctx context.Context, r io.Reader) ([]*paper.Block, error) {
	path, err := exec.LookPath(renderer)
	if err != nil {
		return nil, ErrNoRenderer
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var complaint strings.Builder
	cmd := exec.CommandContext(ctx, path, "-r", "150", "-gray", "-png", "-l", maxPages, "-")
	cmd.Stdin, cmd.Stderr, cmd.Env = io.LimitReader(r, maxImage), &complaint, secretenv.Environ()
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", renderer, err)
	}
	data, err := io.ReadAll(io.LimitReader(out, maxRendered))
	defer clear(data)
	if err != nil || len(data) == maxRendered {
		stop() // it waits for nobody to read the rest
	}
	failed := cmd.Wait()
	switch {
	case len(data) == maxRendered:
		return nil, fmt.Errorf("%w: its pages have more than %d MiB", ErrImage, maxRendered>>20)
	case err != nil || failed != nil:
		why, _, _ := strings.Cut(strings.TrimSpace(complaint.String()), "\n")
		return nil, fmt.Errorf("%w: %s: %w: %s", ErrImage, renderer, errors.Join(err, failed), why)
	}
	var blocks []*paper.Block
	for len(data) > 0 {
		size := pngSize(data)
		found, err := Scan(bytes.NewReader(data[:size]))
		data = data[size:]
		if err != nil && !errors.Is(err, ErrNoCode) {
			paper.Wipe(blocks)
			return nil, err
		}
		blocks = append(blocks, found...)
	}
	if len(blocks) == 0 {
		return nil, ErrNoCode
	}
	return blocks, nil
}

// pngSize is how long the PNG image is that data begins with: it ends after the chunk
// IEND (RFC 2083).
func pngSize(data []byte) int {
	for at := 8; at+12 <= len(data); {
		length := int(binary.BigEndian.Uint32(data[at:]))
		last := string(data[at+4:at+8]) == "IEND"
		if length > len(data)-at-12 {
			break
		}
		at += 12 + length
		if last {
			return at
		}
	}
	return len(data)
}
