package audit

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/fsutil"
)

// ErrSignature is returned for a checkpoint that was changed or signed by another key.
var ErrSignature = fail.New(fail.Damaged, "keep the log as it is, and find out who could write it; audit show shows what is proved", "the signature of the checkpoint does not hold")

// CheckpointName is the usual file name of a checkpoint.
const CheckpointName = "checkpoint.json"

// maxCheckpoint bounds the size of a checkpoint.
const maxCheckpoint = 64 << 10

// Labels separate the key and the signature from all other uses.
const (
	keyLabel  = "takumi-backup/v1 audit checkpoint Ed25519 seed"
	signLabel = "takumi-backup/v1 audit checkpoint\n"
)

// Checkpoint is a signed record of how far a log had come. Kept out of reach of the log's
// writers, it shows what was cut off or rewritten since.
type Checkpoint struct {
	Time      time.Time `json:"time"`
	Host      string    `json:"host"`
	File      string    `json:"file"`  // the name of the last file
	Lines     int       `json:"lines"` // of all files
	Hash      string    `json:"hash"`  // of the last line
	PublicKey PublicKey `json:"public_key"`
	Signature []byte    `json:"signature"`
}

// PublicKey is the key of checkpoints: ed25519: and unpadded base64url.
type PublicKey string

const publicPrefix = "ed25519:"

func (p PublicKey) key() (ed25519.PublicKey, error) {
	text, ok := strings.CutPrefix(string(p), publicPrefix)
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if !ok || err != nil || len(raw) != ed25519.PublicKeySize {
		return nil, fmt.Errorf("not a public key: one begins with %s, as audit checkpoint --public-key prints it", publicPrefix)
	}
	return raw, nil
}

// ParsePublicKey reads a public key. The error does not repeat the text, which may be
// secret.
func ParsePublicKey(text string) (PublicKey, error) {
	_, err := PublicKey(text).key()
	return PublicKey(text), err
}

// signer derives the signing key from 32 uniformly random bytes, so that a key that also
// seals backups, which it should not, is not weakened.
func signer(key []byte) (ed25519.PrivateKey, error) {
	seed, err := hkdf.Key(sha256.New, key, nil, keyLabel, ed25519.SeedSize)
	if err != nil {
		return nil, fmt.Errorf("deriving the key that signs: %w", err)
	}
	defer clear(seed)
	return ed25519.NewKeyFromSeed(seed), nil
}

// PublicOf returns the public key for a key of [Sign].
func PublicOf(key []byte) (PublicKey, error) {
	private, err := signer(key)
	if err != nil {
		return "", err
	}
	defer clear(private)
	return public(private), nil
}

func public(private ed25519.PrivateKey) PublicKey {
	return PublicKey(publicPrefix + base64.RawURLEncoding.EncodeToString(private.Public().(ed25519.PublicKey)))
}

// Sign verifies the log in dir, with a former checkpoint if any, and returns a checkpoint
// of its end, signed with a key derived from key. The errors are those of [Verify].
func Sign(ctx context.Context, dir string, former *Checkpoint, key []byte) (*Checkpoint, error) {
	s, err := Verify(ctx, dir, Proof{Checkpoint: former})
	if err != nil {
		return nil, err
	}
	private, err := signer(key)
	if err != nil {
		return nil, err
	}
	defer clear(private)
	c := &Checkpoint{
		Time: time.Now().UTC().Truncate(time.Second), Host: Host(), File: s.File, Lines: s.Lines, Hash: s.Hash, PublicKey: public(private),
	}
	text, err := c.signed()
	if err != nil {
		return nil, err
	}
	c.Signature = ed25519.Sign(private, text)
	return c, nil
}

func (c Checkpoint) signed() ([]byte, error) {
	c.Signature = nil
	text, err := json.Marshal(c)
	return append([]byte(signLabel), text...), err
}

// CheckSignature checks that trusted signed the checkpoint, or with "" the key that it
// names, which anybody may have made. The error wraps ErrSignature.
func (c *Checkpoint) CheckSignature(trusted PublicKey) error {
	if trusted != "" && trusted != c.PublicKey {
		return fmt.Errorf("%w: another key signed it", ErrSignature)
	}
	key, err := c.PublicKey.key()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrSignature, err)
	}
	text, err := c.signed()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrSignature, err)
	}
	if !ed25519.Verify(key, text, c.Signature) {
		return ErrSignature
	}
	return nil
}

// ReadCheckpoint reads a checkpoint without checking its signature.
func ReadCheckpoint(src io.Reader) (*Checkpoint, error) {
	text, err := io.ReadAll(io.LimitReader(src, maxCheckpoint+1))
	if err != nil {
		return nil, fmt.Errorf("reading the checkpoint: %w", err)
	}
	if len(text) > maxCheckpoint {
		return nil, fmt.Errorf("not a checkpoint: it has more than %d bytes", maxCheckpoint)
	}
	var c Checkpoint
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&c); err != nil {
		return nil, fmt.Errorf("not a checkpoint: %w", err)
	}
	return &c, nil
}

// CheckpointAt reads the checkpoint at path and checks that trusted signed it.
func CheckpointAt(path string, trusted PublicKey) (*Checkpoint, error) {
	if path == "-" {
		return nil, os.ErrNotExist
	}
	f, err := fsutil.OpenRegular(path)
	if err != nil {
		return nil, fmt.Errorf("reading the checkpoint: %w", err)
	}
	defer f.Close()
	c, err := ReadCheckpoint(f)
	if err == nil {
		err = c.CheckSignature(trusted)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

// Advance signs how far the log in dir has come, from the checkpoint at path on, or from
// the one next to the log. Nothing is signed when the log is not what either of them saw.
func Advance(ctx context.Context, dir, path string, key []byte, warn func(format string, args ...any)) (*Checkpoint, error) {
	known, err := PublicOf(key)
	if err != nil {
		return nil, err
	}
	former, err := CheckpointAt(path, known)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("proving the checkpoint that is there: %w", err)
	}
	beside, err := CheckpointAt(filepath.Join(dir, CheckpointName), known)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		warn("the checkpoint next to the log was passed over: %v", err)
	}
	if former != nil && beside != nil {
		if _, err := Verify(ctx, dir, Proof{Checkpoint: beside}); err != nil {
			return nil, err
		}
	}
	return Sign(ctx, dir, cmp.Or(former, beside), key)
}
