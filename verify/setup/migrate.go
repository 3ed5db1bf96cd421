package setup

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/takumi-backup/takumi-backup/internal/config"
	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/fsutil"
)

// Migrate returns the backup.toml that says what the file of NAME=VALUE lines at path says.
// With out it writes it there, and each secret to a file of its own in the same folder;
// it writes over none. What is done, or yet to be done, goes to stderr.
func Migrate(path, out string, stderr io.Writer) ([]byte, error) {
	variables, err := config.Read(path, config.Known, config.Names...)
	if errors.As(err, new(*config.SyntaxError)) || errors.Is(err, config.ErrOpen) {
		return nil, fail.Usagef("%w", err)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the settings: %w", err)
	}
	dir := "/etc/takumi-backup"
	if out != "" {
		if dir, err = filepath.Abs(filepath.Dir(out)); err != nil {
			return nil, err
		}
	}
	text, secrets, err := config.Migrate(variables, dir)
	if err != nil {
		return nil, fail.Usagef("%s: %w", path, err)
	}
	if out == "" {
		for _, s := range secrets {
			fmt.Fprintf(stderr, "%s is to be in %s, and no longer in the settings; -o FILE does that\n", s.Name, s.File)
		}
		return text, nil
	}
	for _, s := range secrets {
		if err := WritePrivate(s.File, []byte(s.Value+"\n")); err != nil {
			return nil, fmt.Errorf("writing %s: %w", s.Name, err)
		}
	}
	if err := WritePrivate(out, text); err != nil {
		return nil, fmt.Errorf("writing the settings: %w", err)
	}
	fmt.Fprintf(stderr, "%s says what %s says; see: takumi-backup config validate %s\n", out, path, fsutil.ShellWord(out))
	return text, nil
}
