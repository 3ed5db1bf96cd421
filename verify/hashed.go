package verify

import (
	"bytes"
	"context"
	"crypto/sha256"
	"io"
	"time"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/internal/store"
)

// hashed is a store that computes the SHA-256 of one file while another reads it, and
// fetches its companions once. It is not safe for concurrent use. end must be called.
type hashed struct {
	store.Store
	path  string
	meter *backup.Meter

	file     *hashedFile // the last one that was opened
	modified time.Time   // when that was changed
	seen     snapshot    // as it was opened
	small    map[string]fetched
}

// fetched is a small file, or why it cannot be had.
type fetched struct {
	text     []byte
	modified time.Time
	err      error
}

type kept struct {
	*bytes.Reader
	modified time.Time
}

func (k kept) Close() error       { return nil }
func (k kept) ModTime() time.Time { return k.modified }

func (h *hashed) fetch(ctx context.Context, path string) fetched {
	f, known := h.small[path]
	if known {
		return f
	}
	obj, err := h.Store.Open(ctx, path)
	if err == nil {
		f.modified = obj.ModTime()
		f.text, err = io.ReadAll(io.LimitReader(obj, envelope.MaxSize+1))
		obj.Close()
	}
	f.err = err
	if h.small == nil {
		h.small = make(map[string]fetched)
	}
	h.small[path] = f
	return f
}

func (h *hashed) snapshot() snapshot {
	s := h.seen
	s.sidecar = string(h.small[h.path+store.SidecarSuffix].text)
	s.detached = string(h.small[h.path+envelope.DetachedSuffix].text)
	return s
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
	if path == h.path+store.SidecarSuffix || path == h.path+envelope.DetachedSuffix {
		f := h.fetch(ctx, path)
		if f.err != nil {
			return nil, f.err
		}
		return kept{bytes.NewReader(f.text), f.modified}, nil
	}
	obj, err := h.Store.Open(ctx, path)
	if path == h.path {
		h.seen = snapshotOf(obj, err)
	}
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

// sum reads the rest of the file, and returns the SHA-256 and size of all of it.
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
