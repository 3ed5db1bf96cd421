// Package report tells people and machines what verify found: as a page, as
// JSON, as metrics, and by notifications.
//
// A caller checks with [Check] and [CheckMetrics] that all can be written, before
// the hours that the work may take, and calls [Write] and [WriteMetrics] when it has ended.
// [New] finds in the environment who is to be notified; [Notifier.Start] and
// [Notifier.Done] do it.
//
// A report names hosts, paths and keys' ids, and never has a key in it. What it
// repeats of backups is text from outside, which may try to look like something
// else: no page, message or metric lets it.
package report

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/takumi-backup/takumi-backup/internal/fsutil"
	"github.com/takumi-backup/takumi-backup/internal/page"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/internal/store/local"
	"github.com/takumi-backup/takumi-backup/verify"
)

var (
	// ErrForm: the name of a report's file says neither HTML nor JSON.
	ErrForm = errors.New("a report's name ends in .html or .json")
	// ErrSchema: a report of another version, or something else.
	ErrSchema = errors.New("not a report that this version reads")
)

// forms are the ways to write a report, by the ending of its file.
var forms = map[string]func(io.Writer, *verify.Report) error{".html": WriteHTML, ".json": WriteJSON}

// CheckForm fails with ErrForm unless [Write] knows how to write a report to path.
func CheckForm(path string) error {
	if forms[strings.ToLower(filepath.Ext(path))] == nil {
		return fmt.Errorf("%q: %w", path, ErrForm)
	}
	return nil
}

// Check finds whether [Write] could write a report to path now: whether its folder
// is there, and takes a file. Nothing is left there. Errors are those of Write.
func Check(path string) error {
	if err := CheckForm(path); err != nil {
		return err
	}
	file, err := local.Create(path, store.Options{Replace: true})
	if err == nil {
		err = file.Abort()
	}
	if err != nil {
		return fmt.Errorf("looking whether the report can be written: %w", err)
	}
	return nil
}

// Write writes a report to path, as a page when that ends in .html and as JSON
// when it ends in .json, with mode 0600. An older file is replaced in one step;
// after an error it is as it was. Errors are ErrForm and those of
// [local.Create].
func Write(path string, r *verify.Report) error {
	if err := CheckForm(path); err != nil {
		return err
	}
	file, err := local.Create(path, store.Options{Replace: true})
	if err == nil {
		defer file.Abort()
		if err = forms[strings.ToLower(filepath.Ext(path))](file, r); err == nil {
			_, err = file.Commit()
		}
	}
	if err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	return nil
}

// WriteJSON writes a report as docs/REPORTS.md describes, one backup after another.
func WriteJSON(w io.Writer, r *verify.Report) error {
	whole := *r
	whole.Backups = nil
	text, err := json.MarshalIndent(&whole, "", "  ")
	if err != nil {
		return err
	}
	out := bufio.NewWriterSize(w, 64<<10)
	if r.Backups.Len() > 0 {
		const before = "\n  \"backups\": " // no text has this: it would quote the quotes
		at := bytes.Index(text, []byte(before+"null")) + len(before)
		out.Write(text[:at])
		for n, b := range r.Backups.All() {
			line, err := json.MarshalIndent(b, "    ", "  ")
			if err != nil {
				return err
			}
			out.WriteString([]string{"[", ","}[min(n, 1)] + "\n    ")
			out.Write(line)
		}
		out.WriteString("\n  ]")
		text = text[at+len("null"):]
	}
	out.Write(append(text, '\n'))
	return out.Flush()
}

// Read reads a report that was written as JSON. What is not a report, or one of
// another schema, is ErrSchema.
func Read(path string) (*verify.Report, error) {
	fail := func(err error) (*verify.Report, error) {
		return nil, fmt.Errorf("reading the report %s: %w", path, err)
	}
	file, err := fsutil.OpenRegular(path)
	if err != nil {
		return fail(err)
	}
	defer file.Close()
	r := new(verify.Report)
	if err := json.NewDecoder(file).Decode(r); errors.As(err, new(*fs.PathError)) {
		return fail(err)
	} else if err != nil {
		return fail(fmt.Errorf("%w: %w", ErrSchema, err))
	}
	if r.Schema != verify.Schema {
		return fail(fmt.Errorf("%w: its schema is %d, and not %d", ErrSchema, r.Schema, verify.Schema))
	}
	return r, nil
}

// State is how something is, which a page shows by a colour and a shape.
type State = page.State

const (
	failed   = page.Failed
	warned   = page.Warned
	good     = page.Good
	unproven = page.Unproven
)

// StateOf is what a report comes to for one backup.
func StateOf(b *verify.Backup) State {
	switch {
	case b.Worst() == verify.Error:
		return failed
	case b.Worst() == verify.Warning:
		return warned
	case b.Proven == verify.None:
		return unproven
	}
	return good
}

type seriesKey struct{ folder, kind, name string }

// seriesOf is the series of a backup; those without an envelope have none.
func seriesOf(b *verify.Backup) (key seriesKey, known bool) {
	key = seriesKey{kind: b.Kind, name: b.Series}
	if i := strings.LastIndexByte(b.Path, '/'); i >= 0 { // of a bucket too
		key.folder = b.Path[:i]
	}
	return key, b.Kind != "" && !b.Created.IsZero()
}
