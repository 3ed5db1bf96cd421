package kit

import (
	"bytes"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/internal/store/local"
	"github.com/takumi-backup/takumi-backup/keystore/paper"
)

// writer returns what writes a kit to files with the ending of this name, or nil.
func writer(path string) func(io.Writer, []*paper.Block) error {
	switch filepath.Ext(path) {
	case ".html":
		return func(w io.Writer, b []*paper.Block) error { return HTML(w, b, time.Now()) }
	case ".pdf":
		return func(w io.Writer, b []*paper.Block) error { return PDF(w, b, time.Now()) }
	case ".png":
		return func(w io.Writer, b []*paper.Block) error {
			if len(b) != 1 {
				return fail.Usagef("an image holds one key or share, and here are %d: name one file, or make a .pdf", len(b))
			}
			return PNG(w, b[0])
		}
	}
	return nil
}

// Writes reports whether [Save] knows the ending of a file's name: .html, .pdf or .png.
func Writes(path string) bool { return writer(path) != nil }

// Save writes a kit to a new file, whole or not at all, as the ending of its name says.
func Save(path string, blocks []*paper.Block) error {
	var page bytes.Buffer
	defer func() { clear(page.Bytes()) }()
	if err := writer(path)(&page, blocks); err != nil {
		return fmt.Errorf("making the paper kit: %w", err)
	}
	return local.WriteFile(path, page.Bytes(), store.Options{})
}
