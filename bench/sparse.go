package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/stream"
)

// farSize is what is read from the middle of the huge backup.
const farSize = 1 << 20

// farOffset is where in a packed stream of that size farSize bytes are read.
func farOffset(size int64) int64 { return size / 2 / stream.ChunkSize * stream.ChunkSize }

// hugeBackup returns a sealed file of size zero bytes that takes up next to
// nothing: everything is sealed as always, but only the envelope, the first
// chunks, the wanted ones and the last are written, and the rest is a hole. It
// is made once.
func (b *bench) hugeBackup(size int64) (string, error) {
	key, err := (&task{Key: b.key}).loadKey()
	if err != nil {
		return "", err
	}
	defer key.Wipe()
	// Another key, another file.
	path := filepath.Join(b.cache, fmt.Sprintf("huge-%d-%s.enc", size, key.ID()))
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	progress("making a sparse backup of %s", sizeText(size))
	f, err := os.CreateTemp(b.cache, "huge-*")
	if err != nil {
		return "", err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if err := sealSparse(f, size, key); err != nil {
		return "", err
	}
	if err := f.Sync(); err != nil {
		return "", err
	}
	return path, os.Rename(f.Name(), path)
}

func sealSparse(f *os.File, size int64, key *kek.Key) error {
	// Room for the envelope, the header and the tags of every chunk before.
	const slack = 1 << 20
	wanted := farOffset(size)
	dst := &holes{file: f, keep: [][2]int64{
		{0, slack},
		{stream.SealedSize(wanted) - slack, stream.SealedSize(wanted+farSize) + slack},
		{stream.SealedSize(size) - slack, 1 << 62},
	}}
	buffered := bufio.NewWriterSize(dst, 1<<20)
	w, err := envelope.NewWriter(context.Background(), buffered, envelope.Label{Created: time.Now(), Kind: "stream", Name: "huge", Codec: "none"}, key)
	if err != nil {
		return err
	}
	if _, err := w.ReadFrom(io.LimitReader(zeros{}, size)); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return buffered.Flush()
}

// holes writes the pieces that touch a kept range, and passes over the others.
type holes struct {
	file *os.File
	off  int64
	keep [][2]int64
}

func (h *holes) Write(p []byte) (int, error) {
	begin, end := h.off, h.off+int64(len(p))
	h.off = end
	for _, k := range h.keep {
		if begin < k[1] && end > k[0] {
			return h.file.WriteAt(p, begin)
		}
	}
	return len(p), nil
}
