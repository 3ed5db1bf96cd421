//go:build unix

package passfile

import (
	"errors"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/takumi-backup/takumi-backup/keystore"
)

func TestNotAFile(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, kind := range map[string]error{pipe: keystore.ErrRefused, filepath.Dir(pipe): keystore.ErrRefused, pipe + "x": keystore.ErrNotFound} {
		if _, err := (File{path, ask(passphrase)}).Load(t.Context()); !errors.Is(err, kind) {
			t.Errorf("%s: %v", path, err)
		}
	}
}
