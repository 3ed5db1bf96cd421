package secrets

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"

	"github.com/takumi-backup/takumi-backup/internal/config"
	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/fsutil"
)

// stateComment begins the line that keeps the rotation's state in an .env file.
const stateComment = "# takumi-rotation-state: "

// dotenv is one file of NAME=VALUE lines, for compose and development. Comments and
// the order of lines stay when it is written.
type dotenv struct{ path string }

func (b *dotenv) String() string { return Dotenv + ":" + b.path }

func (b *dotenv) Fetch(ctx context.Context, names []string) (map[string]string, error) {
	return fetchFrom(ctx, b, names)
}

func (b *dotenv) Read(context.Context) (*Document, error) {
	d := &Document{Fields: make(map[string]string)}
	text, err := b.text()
	if err != nil {
		return nil, err
	}
	variables, err := config.Parse(bytes.NewReader(text), func(string) bool { return true })
	if err != nil {
		return nil, fail.As(fail.Key, "write it as a shell would take it: NAME='VALUE'", fmt.Errorf("reading %s: %w", b.path, err))
	}
	for _, v := range variables {
		d.Fields[v.Name] = v.Value
	}
	for line := range strings.Lines(string(text)) {
		if state, ok := strings.CutPrefix(strings.TrimSpace(line), strings.TrimSpace(stateComment)); ok {
			d.State = strings.TrimSpace(state)
		}
	}
	d.version = sha256.Sum256(text)
	return d, nil
}

func (b *dotenv) text() ([]byte, error) {
	info, err := os.Lstat(b.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, err
	case info.Mode()&fs.ModeSymlink != 0:
		return nil, fail.As(fail.Key, "name the file that it leads to", fmt.Errorf("%s is a symbolic link, which a rewrite would replace", b.path))
	}
	if reason, fix := fsutil.Private(b.path, fsutil.ShellWord(b.path), info, nil); reason != "" {
		return nil, fail.As(fail.Key, fix, fmt.Errorf("reading %s: %s", b.path, reason))
	}
	text, err := os.ReadFile(b.path)
	if err == nil && len(text) > config.MaxSize {
		err = fmt.Errorf("%s has more than %d bytes", b.path, config.MaxSize)
	}
	return text, err
}

func (b *dotenv) Write(_ context.Context, d *Document) error {
	seen, ok := d.version.([sha256.Size]byte)
	if !ok {
		return errors.New("the document was not read from a file")
	}
	lock, err := b.lock()
	if err != nil {
		return err
	}
	defer lock.Release()
	now, err := b.text()
	if err != nil {
		return err
	}
	if sha256.Sum256(now) != seen {
		return fmt.Errorf("writing %s: %w", b, ErrConflict)
	}
	fresh, err := rewrite(now, d)
	if err != nil {
		return err
	}
	if err := ReplaceFile(b.path, fresh); err != nil {
		return fmt.Errorf("writing %s: %w", b.path, err)
	}
	return nil
}

// lock keeps writers of the folder apart; each holds it for a moment.
func (b *dotenv) lock() (*fsutil.Lock, error) {
	lock, err := fsutil.LockFolder(filepath.Dir(b.path))
	if errors.Is(err, fsutil.ErrHeld) {
		return nil, fmt.Errorf("writing %s: %w", b, ErrConflict)
	}
	return lock, err
}

var envLine = regexp.MustCompile(`^[ \t]*((?:export[ \t]+)?)([A-Za-z_][A-Za-z0-9_]*)=`)

func rewrite(text []byte, d *Document) ([]byte, error) {
	var out bytes.Buffer
	left := maps.Clone(d.Fields)
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(strings.TrimSpace(line), strings.TrimSpace(stateComment)) {
			continue
		}
		m := envLine.FindStringSubmatch(line)
		if m == nil {
			out.WriteString(strings.TrimSuffix(line, "\n") + "\n")
			continue
		}
		value, there := left[m[2]]
		if !there {
			continue
		}
		delete(left, m[2])
		word, err := envWord(m[2], value)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&out, "%s%s=%s\n", m[1], m[2], word)
	}
	for _, name := range slices.Sorted(maps.Keys(left)) {
		word, err := envWord(name, left[name])
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&out, "%s=%s\n", name, word)
	}
	if d.State != "" {
		fmt.Fprintf(&out, "%s%s\n", stateComment, d.State)
	}
	return out.Bytes(), nil
}

var bareWord = regexp.MustCompile(`^[A-Za-z0-9_./:@%+,=-]*$`)

// envWord writes a value so that shells, systemd and compose read the same.
func envWord(name, value string) (string, error) {
	switch {
	case bareWord.MatchString(value):
		return value, nil
	case strings.ContainsAny(value, "\n\r\x00"):
	case !strings.Contains(value, "'"):
		return "'" + value + "'", nil
	case !strings.ContainsAny(value, "\"$`\\"):
		return `"` + value + `"`, nil
	}
	return "", fmt.Errorf("the value of %s cannot be written on a line of an .env file", name)
}

// ReplaceFile puts a private file (0600) in the place of another, of the same owner, in one
// step that a crash does not halve.
func ReplaceFile(path string, text []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".takumi-env-*") // 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	if info, statErr := os.Stat(path); statErr == nil {
		if s, ok := info.Sys().(*syscall.Stat_t); ok && os.Geteuid() == 0 {
			if err := f.Chown(int(s.Uid), int(s.Gid)); err != nil {
				return errors.Join(err, f.Close())
			}
		}
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return fsutil.SyncDir(filepath.Dir(path))
}
