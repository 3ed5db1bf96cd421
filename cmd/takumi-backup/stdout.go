package main

import (
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"os"
	"path/filepath"
	"strings"

	"github.com/takumi-backup/takumi-backup/internal/store"
)

// stdoutTarget sends the sealed bytes to standard output. It hashes them only
// when a sidecar is asked for, and writes that only after a good end.
type stdoutTarget struct {
	stdout
	sidecar string
	hash    hash.Hash // nil without a sidecar
	size    int64
}

func newStdoutTarget(sidecar string) *stdoutTarget {
	t := &stdoutTarget{stdout: stdout{os.Stdout}, sidecar: sidecar}
	if sidecar != "" {
		t.hash = sha256.New()
	}
	return t
}

func (t *stdoutTarget) Write(p []byte) (int, error) {
	n, err := t.stdout.Write(p)
	if t.hash != nil {
		t.hash.Write(p[:n])
	}
	t.size += int64(n)
	return n, err
}

func (t *stdoutTarget) Commit() (store.Result, error) {
	r := store.Result{Size: t.size}
	if t.hash == nil {
		return r, nil
	}
	sum := [sha256.Size]byte(t.hash.Sum(nil))
	r.SHA256 = hex.EncodeToString(sum[:])
	f, err := store.Create(t.sidecar, store.Options{})
	if err != nil {
		return store.Result{}, err
	}
	defer f.Abort()
	name := strings.TrimSuffix(filepath.Base(t.sidecar), store.SidecarSuffix)
	if _, err := f.Write([]byte(store.FormatSidecar(sum, name))); err != nil {
		return store.Result{}, err
	}
	if _, err := f.Commit(); err != nil {
		return store.Result{}, err
	}
	return r, nil
}

// Abort has nothing to take back: what went out is cut short, and does not open.
func (t *stdoutTarget) Abort() error { return nil }
