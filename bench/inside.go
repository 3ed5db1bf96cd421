package main

import (
	"bufio"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"io"
	"os"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/keystore"
	"github.com/takumi-backup/takumi-backup/stream/pack"
)

// sealByLibrary seals input as takumi-backup does, but packed by klauspost/compress.
// It runs in a process of its own: the system counts the memory of the process that
// starts a program as the program's, so that bench itself stays small.
func sealByLibrary(key keystore.File, input, path string) error {
	ctx := context.Background()
	held, err := key.Load(ctx)
	if err != nil {
		return err
	}
	in, err := os.Open(input)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(path)
	if err != nil {
		return err
	}
	defer out.Close()
	file := bufio.NewWriterSize(out, 1<<20)
	sealed, err := envelope.NewWriter(ctx, file, envelope.Label{Created: time.Now(), Kind: "stream", Name: "library", Codec: "zstd"}, held)
	if err != nil {
		return err
	}
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithSingleSegment(true), zstd.WithAllLitEntropyCompression(true))
	if err != nil {
		return err
	}
	block := make([]byte, pack.DefaultBlockSize)
	for {
		n, err := io.ReadFull(in, block)
		if n > 0 {
			if _, err := sealed.Write(enc.EncodeAll(block[:n], nil)); err != nil {
				return err
			}
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			break
		}
		if err != nil {
			return err
		}
	}
	if err := sealed.Close(); err != nil {
		return err
	}
	return file.Flush()
}

// gcmSpeed is how many bytes of chunks AES-256-GCM seals in a second on one core: the most
// of some tries, since others can only slow it down.
func gcmSpeed() (most float64) {
	block, _ := aes.NewCipher(make([]byte, 32))
	aead, _ := cipher.NewGCM(block)
	chunk, nonce := make([]byte, 16<<10), make([]byte, aead.NonceSize())
	out := make([]byte, 0, len(chunk)+aead.Overhead())
	for range 20 {
		const chunks = 1000
		began := time.Now()
		for range chunks {
			aead.Seal(out, nonce, chunk, nil)
		}
		most = max(most, chunks*float64(len(chunk))/time.Since(began).Seconds())
	}
	return most
}
