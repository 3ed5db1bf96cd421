// Package sign makes and checks signatures of backups (docs/FORMAT.md, "The signature"): a
// statement of five lines, and an OpenSSH signature over it, which `ssh-keygen -Y verify`
// checks too.
//
// A statement has two sums. The head binds the data key by salt and commitment of the
// payload: it is checked before a byte is released, partial reads rely on it, and it
// excludes whoever does not know the data key. The payload's sum is checked at the end, and
// excludes those who do know it. Both survive a rewrap.
//
// [Sums] computes them while a backup is written or read, [Sign] makes the file, [Parse]
// reads it, and [Signers.Verify] returns who signed.
package sign

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"hash"
	"strings"
	"time"

	"github.com/hiddeco/sshsig"
	"golang.org/x/crypto/ssh"

	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/stream"
)

const (
	// Suffix ends the name of a backup's signature.
	Suffix = ".sig"
	// Namespace is that of the signatures (PROTOCOL.sshsig).
	Namespace = "takumi-backup"
	// MaxSize bounds a signature's file in bytes.
	MaxSize = 64 << 10

	firstLine  = "takumi-backup/v1 signature"
	timeLayout = "2006-01-02T15:04:05Z"
)

var (
	// ErrMalformed is returned for a file that is not a signature.
	ErrMalformed = errors.New("it is not a signature of a backup")
	// ErrInvalid is returned when the signature is not over the statement.
	ErrInvalid = errors.New("the signature does not fit the statement: one of them was changed")
	// ErrOtherBackup is returned for a statement about another backup.
	ErrOtherBackup = errors.New("the signature is of another backup")
	// ErrPayload is returned when the payload opens but is not the signed one: whoever
	// changed it knew the data key.
	ErrPayload = errors.New("the payload is not the one that was signed, though it opens: somebody who knows its key made another")
)

// Sum is a SHA-256 sum.
type Sum = [sha256.Size]byte

// Statement is what a signature says of a backup.
type Statement struct {
	ID      envelope.ID
	Head    Sum       // of the preamble and the payload's first 56 bytes
	Payload Sum       // of the preamble and the whole payload
	Signed  time.Time // UTC, whole seconds
}

// Text returns the five lines that are signed.
func (s Statement) Text() []byte {
	return fmt.Appendf(nil, "%s\nid %s\nhead %x\npayload %x\nsigned %s\n", firstLine, s.ID, s.Head, s.Payload, s.Signed.Format(timeLayout))
}

// parseStatement accepts only what Text makes.
func parseStatement(text []byte) (Statement, error) {
	var s Statement
	lines := strings.Split(string(text), "\n")
	if len(lines) != 6 {
		return s, ErrMalformed
	}
	for i, field := range []struct {
		word string
		into []byte
	}{{"id ", s.ID[:]}, {"head ", s.Head[:]}, {"payload ", s.Payload[:]}} {
		value, _ := strings.CutPrefix(lines[i+1], field.word)
		if len(value) != 2*len(field.into) {
			return s, ErrMalformed
		}
		if _, err := hex.Decode(field.into, []byte(value)); err != nil {
			return s, ErrMalformed
		}
	}
	var err error
	if s.Signed, err = time.Parse(timeLayout, strings.TrimPrefix(lines[4], "signed ")); err != nil || !bytes.Equal(s.Text(), text) {
		return s, ErrMalformed
	}
	return s, nil
}

// Head returns the head of an opened backup: its preamble, and the payload's salt and
// commitment.
func Head(e *envelope.Envelope, payload [stream.HeaderSize]byte) Sum {
	return sha256.Sum256(append(e.Preamble(), payload[:]...))
}

// CheckHead checks, before anything is released, that the statement is about an opened
// backup. The error is ErrOtherBackup.
func (s Statement) CheckHead(e *envelope.Envelope, payload [stream.HeaderSize]byte) error {
	head := Head(e, payload)
	if s.ID != e.ID || subtle.ConstantTimeCompare(head[:], s.Head[:]) != 1 {
		return ErrOtherBackup
	}
	return nil
}

// CheckPayload checks that the whole payload is the signed one. The error is ErrPayload.
func (s Statement) CheckPayload(payload Sum) error {
	if subtle.ConstantTimeCompare(payload[:], s.Payload[:]) != 1 {
		return ErrPayload
	}
	return nil
}

// Sums computes the sums of a statement from all bytes of a sealed file, in order. The zero
// value is ready; [Sums.Begin] gives it the payload's offset once that is known.
type Sums struct {
	front []byte    // of the file, until Begin
	hash  hash.Hash // of preamble and payload, from Begin on
	id    envelope.ID
	head  []byte // preamble and what there is of the payload's header
	full  int    // length of head
}

// maxFront bounds an envelope and a reader's look-ahead.
const maxFront = 2 * envelope.MaxSize

// Write takes the next bytes of the file. Before Begin it holds them, and fails when they
// are more than can precede a payload.
func (s *Sums) Write(p []byte) (int, error) {
	if s.hash == nil {
		if len(s.front)+len(p) > maxFront {
			return 0, errors.New("summing up a payload that nobody said where it begins")
		}
		s.front = append(s.front, p...)
		return len(p), nil
	}
	s.head = append(s.head, p[:min(len(p), s.full-len(s.head))]...)
	return s.hash.Write(p)
}

// Begin sets the offset of e's payload in the file.
func (s *Sums) Begin(e *envelope.Envelope, start int64) {
	s.id, s.hash, s.head = e.ID, sha256.New(), e.Preamble()
	s.full = len(s.head) + stream.HeaderSize
	s.hash.Write(s.head)
	front := s.front
	s.front = nil
	s.Write(front[min(start, int64(len(front))):]) // a hash takes everything
}

// Payload returns the sum of the payload so far.
func (s *Sums) Payload() Sum { return Sum(s.hash.Sum(nil)) }

// Statement returns the statement about all that was written.
func (s *Sums) Statement(signed time.Time) Statement {
	return Statement{ID: s.id, Head: sha256.Sum256(s.head), Payload: s.Payload(), Signed: signed.UTC().Truncate(time.Second)}
}

// Sign returns a signature file: the statement, and signer's signature over it. ssh-rsa
// keys sign by rsa-sha2-512.
func Sign(s Statement, signer ssh.Signer) ([]byte, error) {
	text := s.Text()
	sig, err := sshsig.Sign(bytes.NewReader(text), signer, sshsig.HashSHA512, Namespace)
	if err != nil {
		return nil, fmt.Errorf("signing the backup: %w", err)
	}
	return append(text, sshsig.Armor(sig)...), nil
}

// Signature is a statement and a valid signature over it by any key; [Signers.Verify]
// decides on trust.
type Signature struct {
	Statement
	Key ssh.PublicKey
}

// Parse reads a signature file and checks the signature. The errors are ErrMalformed and
// ErrInvalid.
func Parse(file []byte) (*Signature, error) {
	begin := bytes.Index(file, []byte("-----BEGIN"))
	if len(file) > MaxSize || begin < 0 {
		return nil, ErrMalformed
	}
	s, err := parseStatement(file[:begin])
	if err != nil {
		return nil, err
	}
	block, rest := pem.Decode(file[begin:])
	if block == nil || block.Type != sshsig.PEMType || len(block.Headers) > 0 || len(rest) > 0 {
		return nil, ErrMalformed
	}
	sig, err := sshsig.ParseSignature(block.Bytes)
	if err != nil {
		return nil, ErrMalformed
	}
	if sig.HashAlgorithm != sshsig.HashSHA512 {
		return nil, fmt.Errorf("%w: its hash is %q, not sha512", ErrMalformed, sig.HashAlgorithm)
	}
	if err := sshsig.Verify(bytes.NewReader(file[:begin]), sig, sig.PublicKey, sshsig.HashSHA512, Namespace); err != nil {
		return nil, ErrInvalid
	}
	return &Signature{s, sig.PublicKey}, nil
}
