package rekey

import (
	"bufio"
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/guard"
	"github.com/takumi-backup/takumi-backup/internal/store"
)

const (
	// IVSuffix ends the name of a file with the IV of another, encrypted by a key and not
	// by a passphrase.
	IVSuffix  = ".iv"
	tagSuffix = ".tag"

	gcmIV = 12
	// maxGCM bounds a file of AES-256-GCM, in bytes: it is in memory twice, because nothing
	// counts before its tag.
	maxGCM = 1 << 30
)

var (
	// ErrKey is returned when no key opens a file that was encrypted by a key.
	ErrKey = fail.New(fail.Key, "name the key of the file with --from", "it does not decrypt to a dump or an archive: no key fits, or the IV is another file's")
	// ErrNoKey is returned for such a file when there is no key.
	ErrNoKey = errors.New("it is encrypted under a key, with its IV next to it, and there is no key")

	errIV = errors.New("the IV next to it has neither 16 bytes (CBC) nor 12 (GCM), raw or in hex")
)

// beside reads a small file next to another, raw or in hex; nil if missing.
func beside(ctx context.Context, st store.Store, path string) ([]byte, error) {
	file, err := st.Open(ctx, path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, 256))
	if err != nil {
		return nil, err
	}
	if raw, err := hex.DecodeString(string(bytes.TrimSpace(text))); err == nil && len(raw) > 0 {
		return raw, nil
	}
	return text, nil
}

// keyed opens the output of `openssl enc -aes-256-cbc -K KEY -iv IV`, by an IV of 16 bytes,
// or raw AES-256-GCM (NIST SP 800-38D), by one of 12: its tag follows the content or is in
// NAME.tag. It returns nil without an IV next to the file.
func keyed(ctx context.Context, file store.Object, src *bufio.Reader, path string, o ImportOptions) (io.Reader, error) {
	iv, err := beside(ctx, o.Store, store.Beside(path, IVSuffix))
	if err != nil || iv == nil {
		return nil, err
	}
	if len(iv) != aes.BlockSize && len(iv) != gcmIV {
		return nil, &LegacyDamageError{errIV}
	}
	keys, err := o.From.Current(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoKey, err)
	}
	if len(iv) == gcmIV {
		tag, err := beside(ctx, o.Store, store.Beside(path, tagSuffix))
		if err != nil {
			return nil, err
		}
		return openGCM(src, file.Size(), iv, tag, keys)
	}
	if file.Size()%aes.BlockSize != 0 {
		return nil, &LegacyDamageError{errCut}
	}
	return openCBC(src, iv, keys)
}

func openCBC(src *bufio.Reader, iv []byte, keys []*kek.Key) (io.Reader, error) {
	head, err := src.Peek(guard.SniffLen)
	if err != nil && err != io.EOF {
		return nil, err
	}
	head = head[:len(head)/aes.BlockSize*aes.BlockSize]
	plain := make([]byte, len(head))
	for _, key := range keys {
		block, err := aes.NewCipher(key.Bytes())
		if err != nil {
			return nil, err
		}
		cipher.NewCBCDecrypter(block, iv).CryptBlocks(plain, head)
		if guard.Sniff(plain) != guard.Unknown {
			return newCBC(src, block, iv), nil
		}
	}
	return nil, ErrKey
}

func openGCM(src io.Reader, size int64, iv, tag []byte, keys []*kek.Key) (io.Reader, error) {
	if size > maxGCM {
		return nil, fmt.Errorf("it has %d bytes, and of AES-256-GCM %d can be read: decrypt it with the tool that made it, and seal the content", size, maxGCM)
	}
	sealed, err := io.ReadAll(src)
	if err != nil {
		return nil, err
	}
	sealed = append(sealed, tag...)
	for _, key := range keys {
		block, err := aes.NewCipher(key.Bytes())
		if err != nil {
			return nil, err
		}
		aead, err := cipher.NewGCM(block)
		if err != nil {
			return nil, err
		}
		if plain, err := aead.Open(nil, iv, sealed, nil); err == nil {
			return bytes.NewReader(plain), nil
		}
	}
	return nil, ErrKey
}
