package keystore

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
)

// WriteFile writes a new key file, whole and synced or not at all, with mode 0600 whatever
// the umask: 64 lower-case hex digits and a newline. A killed process may leave a hidden
// temporary file in the folder.
//
// Nothing is overwritten: when path exists, even as a broken symbolic link, the error wraps
// fs.ErrExist. The file is read back before it gets its name: on a file system without
// modes or owners the error wraps ErrRefused. Other errors wrap the system's.
func WriteFile(path string, key *kek.Key) error {
	text := textOf(key)
	defer clear(text)
	return WriteSecret(path, text)
}

func textOf(key *kek.Key) []byte {
	return append(hex.AppendEncode(make([]byte, 0, digits+1), key.Bytes()), '\n')
}

// WriteSecret is WriteFile for other secrets of at most 16 KiB. The caller wipes text.
func WriteSecret(path string, text []byte) error { return writeNew(path, text, nil) }

// writeNew is WriteSecret with dress, if set, to change owner and mode.
func writeNew(path string, text []byte, dress func(*os.File) error) (err error) {
	defer func() {
		if errors.Is(err, fs.ErrExist) {
			err = fmt.Errorf("write key file %s: a key file is never overwritten: %w", display(path), cause(err))
		} else if err != nil {
			err = fmt.Errorf("write key file %s: %w", display(path), cause(err))
		}
	}()
	if looksLikeKey(path) {
		return errors.New("the path looks like a key itself")
	}
	if _, err := os.Lstat(path); err == nil {
		return fs.ErrExist
	}
	temp, err := writeTemp(filepath.Dir(path), text, dress)
	if err != nil {
		return err
	}
	if err := sys.renameNew(temp, path); err != nil {
		return errors.Join(cause(err), remove(temp))
	}
	if err := sys.syncDir(filepath.Dir(path)); err != nil {
		return errors.Join(cause(err), remove(path))
	}
	return nil
}

func remove(name string) error {
	if err := sys.remove(name); err != nil {
		return fmt.Errorf("a key is left in %s: %w", display(name), cause(err))
	}
	return nil
}

// tempPattern names the files of writeTemp.
const tempPattern = ".takumi-key-*.tmp"

// writeTemp leaves a synced, checked key file under a hidden name in dir.
func writeTemp(dir string, text []byte, dress func(*os.File) error) (_ string, err error) {
	file, err := sys.create(dir, tempPattern)
	if err != nil {
		return "", err
	}
	name := file.Name()
	defer func() {
		if err != nil {
			file.Close()
			err = errors.Join(cause(err), remove(name))
		}
	}()
	// The umask may have narrowed CreateTemp's 0600.
	if err := sys.chmod(file, 0o600); err != nil {
		return "", err
	}
	if _, err := sys.write(file, text); err != nil {
		return "", err
	}
	if dress != nil {
		if err := dress(file); err != nil {
			return "", err
		}
	}
	if err := sys.sync(file); err != nil {
		return "", err
	}
	if err := sys.close(file); err != nil {
		return "", err
	}
	back, err := File{Path: name}.ReadSecret(context.Background(), maxSecret)
	defer clear(back)
	if refusal := (*Error)(nil); errors.As(err, &refusal) && refusal.Err == nil {
		return "", fmt.Errorf("the folder cannot hold a key file, for the one just written is refused: %s: %w", refusal.Reason, refusal.Kind)
	} else if err != nil {
		return "", err
	}
	if !bytes.Equal(back, text) {
		return "", errors.New("another key was read back than was written")
	}
	return name, nil
}

// maxSecret bounds a secret that is read back, in bytes.
const maxSecret = 16 << 10

func isMissing(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}
