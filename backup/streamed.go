package backup

import (
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"io"
	"path/filepath"
	"strings"

	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/internal/store/local"
)

// Stream is a [Sink] that sends the sealed bytes to a writer. It hashes them only
// when a sidecar is asked for, and writes that only after a good end.
type Stream struct {
	dst  io.Writer
	size int64
	// All are empty without a sidecar. Its name is taken at once: that it cannot
	// be had is better known before hours of sealing than after.
	sidecar *local.File
	hash    hash.Hash
	name    string // in the sidecar
}

// NewStream returns a Stream to dst, with "" without a sidecar.
func NewStream(dst io.Writer, sidecar string) (*Stream, error) {
	t := &Stream{dst: dst}
	if sidecar == "" {
		return t, nil
	}
	f, err := local.Create(sidecar, store.Options{})
	if err != nil {
		return nil, err
	}
	t.sidecar, t.hash = f, sha256.New()
	t.name = strings.TrimSuffix(filepath.Base(sidecar), store.SidecarSuffix)
	return t, nil
}

// Write sends what it is given.
func (t *Stream) Write(p []byte) (int, error) {
	n, err := t.dst.Write(p)
	if t.hash != nil {
		t.hash.Write(p[:n])
	}
	t.size += int64(n)
	return n, err
}

// Commit writes the sidecar.
func (t *Stream) Commit() (store.Result, error) {
	r := store.Result{Size: t.size}
	if t.hash == nil {
		return r, nil
	}
	sum := [sha256.Size]byte(t.hash.Sum(nil))
	r.SHA256 = hex.EncodeToString(sum[:])
	if _, err := t.sidecar.Write([]byte(store.FormatSidecar(sum, t.name))); err != nil {
		return store.Result{}, err
	}
	if _, err := t.sidecar.Commit(); err != nil {
		return store.Result{}, err
	}
	return r, nil
}

// Abort takes back the sidecar alone: what went out is cut short, and does not
// open.
func (t *Stream) Abort() error {
	if t.sidecar == nil {
		return nil
	}
	return t.sidecar.Abort()
}
