package written

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/keystore"
	"github.com/takumi-backup/takumi-backup/keystore/paper"
	"github.com/takumi-backup/takumi-backup/keystore/shares"
)

func split(t *testing.T, key *kek.Key, n, threshold int) []*paper.Block {
	t.Helper()
	blocks, err := shares.Split(key, n, threshold)
	if err != nil {
		t.Fatal(err)
	}
	return blocks
}

// reader keeps what it warns of.
func reader(warned *string) Reader {
	return Reader{Prompts: io.Discard, Warn: func(format string, args ...any) { *warned += fmt.Sprintf(format, args...) }}
}

func write(t *testing.T, dir, name string, text []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestSharesComeBack: what WriteShares writes is what ShareFiles finds and Gather reads, with
// one that is damaged and one that is of another key among them.
func TestSharesComeBack(t *testing.T) {
	key, dir := kek.Generate(), filepath.Join(t.TempDir(), "new", "shares")
	paths, err := WriteShares(t.Context(), dir, split(t, key, 4, 2))
	if err != nil || len(paths) != 4 {
		t.Fatalf("%q, %v", paths, err)
	}
	for _, path := range paths {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", path, info, err)
		}
	}
	write(t, dir, "notes.txt", []byte("not a share"))
	if err := CheckWhole(dir); err != nil {
		t.Errorf("all shares: %v", err)
	}
	write(t, dir, filepath.Base(paths[0]), []byte("not a share any more"))
	other := write(t, t.TempDir(), "other", split(t, kek.Generate(), 2, 2)[0].Text())
	found, err := ShareFiles([]string{dir, other})
	if err != nil || len(found) != 5 {
		t.Fatalf("%q, %v", found, err)
	}
	var warned string
	r := reader(&warned)
	blocks, unread, err := r.Gather(t.Context(), found)
	if err != nil || len(blocks) != 4 || len(unread) != 1 || !errors.Is(unread[0], keystore.ErrRefused) {
		t.Fatalf("%d blocks, %v, %v", len(blocks), unread, err)
	}
	back, err := r.Restore("from shares", blocks)
	if err != nil || !bytes.Equal(back.Bytes(), key.Bytes()) || !strings.Contains(warned, "the others give the key") {
		t.Errorf("%v, %v, warned %q", back, err, warned)
	}
	if _, err := r.Restore("from shares", blocks[3:]); !errors.Is(err, keystore.ErrRefused) {
		t.Errorf("of one share: %v", err)
	}
	if err := os.Remove(paths[2]); err != nil {
		t.Fatal(err)
	}
	if err := CheckWhole(dir); !errors.Is(err, keystore.ErrRefused) || !strings.Contains(err.Error(), "3 of the 4 shares") {
		t.Errorf("one share is missing: %v", err)
	}
	if found, err := ShareFiles([]string{t.TempDir()}); !errors.Is(err, keystore.ErrRefused) {
		t.Errorf("of an empty folder: %q, %v", found, err)
	}
}

// TestSharesAllOrNone: where one of the shares cannot be written, none is left, and what was
// there stays.
func TestSharesAllOrNone(t *testing.T) {
	blocks := split(t, kek.Generate(), 3, 2)
	dir := t.TempDir()
	taken := write(t, dir, shareFile(blocks[2].Label), []byte("somebody's"))
	if paths, err := WriteShares(t.Context(), dir, blocks); err == nil || len(paths) > 0 {
		t.Errorf("%q, %v", paths, err)
	}
	entries, err := os.ReadDir(dir)
	if text, readErr := os.ReadFile(taken); err != nil || readErr != nil || len(entries) != 1 || string(text) != "somebody's" {
		t.Errorf("left %v, %q", entries, text)
	}
	ctx, stop := context.WithCancelCause(t.Context())
	stopped := errors.New("stopped")
	stop(stopped)
	dir = filepath.Join(dir, "new")
	if _, err := WriteShares(ctx, dir, blocks); !errors.Is(err, stopped) {
		t.Error(err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder stays: %v", err)
	}
}

// TestImport: a key comes from each form that people keep it in, and no error shows one.
func TestImport(t *testing.T) {
	key, other := kek.Generate(), kek.Generate()
	digits := hex.EncodeToString(key.Bytes())
	text, _ := FileOf(key)
	lines := strings.SplitAfter(string(paper.NewKey(key).Text()), "\n")
	for name, tc := range map[string]struct {
		text  string
		warns bool
		err   string
	}{
		"as on paper":       {string(paper.NewKey(key).Text()), false, ""},
		"digits":            {digits, true, ""},
		"a key file":        {string(text), true, ""},
		"two keys":          {string(paper.NewKey(key).Text()) + string(paper.NewKey(other).Text()), false, "2 keys"},
		"a share":           {string(split(t, key, 2, 2)[0].Text()), false, "share"},
		"a line is missing": {strings.Join(append(lines[:2:2], lines[3:]...), ""), false, "line"},
		"nothing":           {"", false, "key"},
	} {
		var warned string
		path := write(t, t.TempDir(), "f", []byte(tc.text))
		back, err := reader(&warned).Import(t.Context(), []string{path}, nil)
		switch {
		case tc.err == "" && (err != nil || !bytes.Equal(back.Bytes(), key.Bytes()) || (warned != "") != tc.warns):
			t.Errorf("%s: %v, warned %q", name, err, warned)
		case tc.err != "" && (!errors.Is(err, keystore.ErrRefused) || !strings.Contains(err.Error(), tc.err) || strings.Contains(err.Error(), digits[:16])):
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := reader(new(string)).Import(t.Context(), []string{filepath.Join(t.TempDir(), "none")}, nil); !errors.Is(err, keystore.ErrNotFound) {
		t.Errorf("no file: %v", err)
	}
	// Pasted in the place of a path, a key is not shown.
	if name := PathName(string(paper.NewKey(key).Compact())); name != "file:[redacted]" {
		t.Error(name)
	}
}

// TestTyped: a mistyped line is asked for again, digits alone do for a key, and an input that
// ends says at which line.
func TestTyped(t *testing.T) {
	key := kek.Generate()
	written := string(paper.NewKey(key).Text())
	lines := strings.SplitAfter(written, "\n")
	for name, tc := range map[string]struct{ typed, says, err string }{
		"as it is":           {written, "line 1", ""},
		"digits":             {hex.EncodeToString(key.Bytes()) + "\n", "line 1", ""},
		"with a bad line":    {strings.Join(lines[:2], "") + "nonsense\n" + strings.Join(lines[2:], ""), "Again: ", ""},
		"breaks off":         {strings.Join(lines[:2], ""), "", "the input ended at line"},
		"nothing was typed":  {"", "", "the input ended at line 1"},
		"the end is no line": {hex.EncodeToString(key.Bytes()), "line 1", ""},
	} {
		var asked bytes.Buffer
		r := Reader{Prompts: &asked} // nobody listens
		b, err := r.typedBlock(bufio.NewReaderSize(strings.NewReader(tc.typed), 4096), paper.KindKey)
		if tc.err != "" {
			if err == nil || !strings.Contains(err.Error(), tc.err) || !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err != nil || !bytes.Equal(b.Payload(), key.Bytes()) || !strings.Contains(asked.String(), tc.says) {
			t.Errorf("%s: %v, asked %q", name, err, &asked)
		}
	}
}
