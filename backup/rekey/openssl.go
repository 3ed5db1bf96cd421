package rekey

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/pbkdf2"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"github.com/takumi-backup/takumi-backup/internal/parallel"
)

const (
	saltedMagic = "Salted__"
	saltedHead  = len(saltedMagic) + 8

	// DefaultIterations is what openssl enc takes with -pbkdf2 and without -iter.
	DefaultIterations = 10000

	cbcBuffer = 256 << 10 // a multiple of a block
)

var (
	errCut     = errors.New("it ends in the middle of a block")
	errPadding = errors.New("its last block is not padded as openssl pads")
)

// cbcReader decrypts the output of `openssl enc -aes-256-cbc -pbkdf2`. It is not
// authenticated; only a wrong padding is noticed.
type cbcReader struct {
	src   io.Reader
	mode  cipher.BlockMode
	buf   []byte // the last block is held back until it is known not to be the final one
	held  int    // bytes of buf that wait, encrypted
	out   []byte
	plain []byte // the part of out that is not yet given out
	err   error
}

// newCBCReader reads the salt and derives the key, as openssl does.
func newCBCReader(src io.Reader, passphrase []byte, iterations int) (*cbcReader, error) {
	head := make([]byte, saltedHead)
	if n, err := parallel.ReadFull(src, head); n < len(head) {
		if err == io.EOF {
			err = errCut
		}
		return nil, err
	}
	keys, err := pbkdf2.Key(sha256.New, string(passphrase), head[len(saltedMagic):], iterations, 32+aes.BlockSize)
	if err != nil {
		return nil, fmt.Errorf("deriving the key: %w", err)
	}
	defer clear(keys)
	block, err := aes.NewCipher(keys[:32])
	if err != nil {
		return nil, err
	}
	return newCBC(src, block, keys[32:]), nil
}

func newCBC(src io.Reader, block cipher.Block, iv []byte) *cbcReader {
	return &cbcReader{src: src, mode: cipher.NewCBCDecrypter(block, iv), buf: make([]byte, cbcBuffer), out: make([]byte, cbcBuffer)}
}

// Read decrypts. Its errors stay.
func (r *cbcReader) Read(p []byte) (int, error) {
	for len(r.plain) == 0 && r.err == nil {
		r.fill()
	}
	if len(r.plain) == 0 {
		return 0, r.err
	}
	n := copy(p, r.plain)
	r.plain = r.plain[n:]
	return n, nil
}

func (r *cbcReader) fill() {
	const last = aes.BlockSize
	n, err := parallel.ReadFull(r.src, r.buf[r.held:])
	n += r.held
	switch {
	case err == nil:
		r.mode.CryptBlocks(r.out, r.buf[:n-last])
		r.plain = r.out[:n-last]
		r.held = copy(r.buf, r.buf[n-last:n])
	case err != io.EOF:
		r.err = err
	case n == 0 || n%last != 0:
		r.err = errCut
	default:
		r.mode.CryptBlocks(r.out, r.buf[:n])
		r.plain, r.err = unpad(r.out[:n])
	}
}

// unpad removes the padding of RFC 5652, section 6.3. With a wrong one it returns all but
// the last block, for its reader to judge.
func unpad(text []byte) ([]byte, error) {
	pad := int(text[len(text)-1])
	bad := pad == 0 || pad > aes.BlockSize
	for _, b := range text[len(text)-min(max(pad, 1), aes.BlockSize):] {
		bad = bad || int(b) != pad
	}
	if bad {
		return text[:len(text)-aes.BlockSize], errPadding
	}
	return text[:len(text)-pad], io.EOF
}
