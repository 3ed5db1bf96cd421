package secrets

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/fsutil"
)

// maxFile is the largest secret in a file, as systemd's credentials have it.
const maxFile = 1 << 20

func openFiles(place string) Backend {
	return files{cmp.Or(place, os.Getenv("CREDENTIALS_DIRECTORY"), "/run/secrets")}
}

// files is a folder with a file for each name: Docker's secrets, systemd's
// credentials, a mounted Secret. Whoever put them there changes them.
type files struct{ dir string }

func (b files) String() string { return Files + ":" + b.dir }

func (b files) Fetch(_ context.Context, names []string) (map[string]string, error) {
	if info, err := os.Stat(b.dir); err != nil || !info.IsDir() {
		return nil, fail.As(fail.Store, "name the folder: SECRETS_BACKEND=file:FOLDER", fmt.Errorf("reading secrets: %s is not a folder that can be read", b.dir))
	}
	found := make(map[string]string)
	for _, name := range names {
		// Docker's own names are often in small letters.
		for _, file := range []string{name, strings.ToLower(name)} {
			value, err := readSecretFile(filepath.Join(b.dir, file))
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("reading %s: %w", name, err)
			}
			if value != "" {
				found[name] = value
			}
			break
		}
	}
	return found, nil
}

// readSecretFile reads a file that nobody else may read, without its last line feed.
func readSecretFile(path string) (string, error) {
	f, err := fsutil.OpenRegular(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	if reason, fix := fsutil.Private(path, fsutil.ShellWord(path), info, f); reason != "" {
		return "", fail.As(fail.Key, fix, fmt.Errorf("%s: %s", path, reason))
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(text) > maxFile {
		err = fmt.Errorf("%s has more than %d bytes", path, maxFile)
	}
	return strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r"), err
}
