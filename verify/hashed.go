package verify

import (
	"context"
	"crypto/sha256"
	"io"
	"time"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/internal/store"
)

// hashed is a place that computes the SHA-256 of one of its files while another
// reads it. It is not safe for concurrent use. end has to be called.
type hashed struct {
	store.Store
	path  string
	meter *backup.Meter

	file     *hashedFile // the last one that was opened
	modified time.Time   // when that was changed
}

// hashedFile stays open until its sum is known, whatever its reader does.
type hashedFile struct {
	store.Object
	hash *store.HashReader
}

func (f *hashedFile) Read(p []byte) (int, error) { return f.hash.Read(p) }
func (f *hashedFile) Close() error               { return nil }

// Open is that of the place.
func (h *hashed) Open(ctx context.Context, path string) (store.Object, error) {
	obj, err := h.Store.Open(ctx, path)
	if err != nil || path != h.path {
		return obj, err
	}
	h.end()
	var src io.Reader = obj
	if h.meter != nil {
		src = h.meter.Metered(obj)
	}
	h.modified = obj.ModTime()
	h.file = &hashedFile{Object: obj, hash: store.NewHashReader(src)}
	return h.file, nil
}

// sum reads what is left of the file, and returns the SHA-256 and the size of
// all of it.
func (h *hashed) sum(ctx context.Context) (sum [sha256.Size]byte, size int64, err error) {
	if h.file == nil {
		if _, err := h.Open(ctx, h.path); err != nil {
			return sum, 0, err
		}
	}
	defer h.end()
	if err := drain(h.file); err != nil {
		return sum, h.file.Size(), err
	}
	return h.file.hash.Sum(), h.file.Size(), nil
}

// end closes the file and ends the goroutine of its hash.
func (h *hashed) end() {
	if h.file != nil {
		h.file.hash.Sum()
		h.file.Object.Close()
		h.file = nil
	}
}
