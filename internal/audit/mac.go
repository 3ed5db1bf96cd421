package audit

import (
	"bytes"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/takumi-backup/takumi-backup/internal/fail"
)

// Each record has a MAC under its own key (Schneier and Kelsey, "Secure Audit Logs to
// Support Computer Forensics", 1999): the next key is derived from it, and it is wiped when
// the record is on disk. An intruder finds only the next record's key, from which no former
// one can be derived.

const (
	macSize = sha256.Size

	// Labels of HKDF-Expand (RFC 5869) with SHA-256.
	firstLabel = "takumi-backup/v1 audit first record key"
	nextLabel  = "takumi-backup/v1 audit next record key"
	macLabel   = "takumi-backup/v1 audit record MAC"

	macField = `,"mac":"` // the last field of a line, which covers the rest
	macEnd   = `"}`

	// maxAhead bounds how far the log may be ahead of the key after a crash.
	maxAhead = 4096
)

// FirstKey is the first key of MACs. Kept off the host, it proves them.
type FirstKey struct {
	ID     string // names it in the log
	Secret []byte // 32 uniformly random bytes
}

// forward is the key of record number step, from 0 where MACs begin.
type forward struct {
	id   string // of the first key
	step uint64
	key  [macSize]byte
}

func (f FirstKey) forward() *forward {
	k := &forward{id: f.ID}
	expand(k.key[:], f.Secret, firstLabel)
	return k
}

func (k *forward) next() {
	var key [macSize]byte
	expand(key[:], k.key[:], nextLabel)
	k.key = key
	clear(key[:])
	k.step++
}

func (k *forward) wipe() { clear(k.key[:]) }

// mac covers the line up to its field.
func (k *forward) mac(body []byte) []byte {
	var key [macSize]byte
	defer clear(key[:])
	expand(key[:], k.key[:], macLabel)
	h := hmac.New(sha256.New, key[:])
	h.Write(body)
	return h.Sum(nil)
}

func (k *forward) sign(line []byte) []byte {
	body := bytes.TrimSuffix(line, []byte("}\n"))
	return fmt.Appendf(bytes.Clone(body), "%s%x%s\n", macField, k.mac(body), macEnd)
}

func (k *forward) holds(line []byte) bool {
	body, mac := splitMAC(line)
	return mac != nil && hmac.Equal(mac, k.mac(body))
}

// splitMAC splits a line into the covered part and the MAC, nil without one.
func splitMAC(line []byte) (body, mac []byte) {
	line = bytes.TrimSuffix(line, []byte("\n"))
	at := len(line) - len(macField) - hex.EncodedLen(macSize) - len(macEnd)
	if at < 0 || !bytes.HasPrefix(line[at:], []byte(macField)) || !bytes.HasSuffix(line, []byte(macEnd)) {
		return line, nil
	}
	mac = make([]byte, macSize)
	if _, err := hex.Decode(mac, line[at+len(macField):len(line)-len(macEnd)]); err != nil {
		return line, nil
	}
	return line[:at], mac
}

// expand needs no Extract, because key is uniformly random.
func expand(dst, key []byte, label string) {
	out, err := hkdf.Expand(sha256.New, key, label, len(dst))
	if err != nil {
		panic(err) // no more than 255 hashes were asked for
	}
	copy(dst, out)
	clear(out)
}

// Epoch is a part of a log with MACs from one first key.
type Epoch struct {
	KeyID   string `json:"key_id"`
	File    string `json:"file"` // where it begins
	Line    int    `json:"line"`
	Records int    `json:"records"`
	Proved  bool   `json:"proved"` // with the first key
	Handed  bool   `json:"handed"` // begun with the key of the epoch before, if any

	next uint64 // step of the next record
}

// ErrFirstKey is returned for MACs of a first key that was not given.
var ErrFirstKey = fail.New(fail.Key, "give the first key of each part with --first-key", "their first key is missing")

var (
	errMAC     = errors.New("its MAC does not hold: it was changed or added by somebody who had no key for it")
	errNoMAC   = errors.New("it carries no MAC, and records before it do: it was added or changed")
	errUnbegun = errors.New("it carries a MAC, and no record before it begins them: what was before it is gone")
	errStep    = errors.New("its step is not the next one: it was moved or added")
)

// macs checks the MACs of a log with the given first keys, and without them that no step is
// missing.
type macs struct {
	first []FirstKey
	key   *forward // of the next record, or nil
	over  string   // the first key that the last record names as the next
	loose error    // the last record has no MAC, so one that begins them anew must follow
}

func (m *macs) check(s *State, name string, n int, line []byte, r *Record) error {
	_, mac := splitMAC(line)
	carries := r.Step != nil && mac != nil
	begins := r.Outcome == Keyed && r.Operation == OperationAudit
	if m.loose != nil && !begins {
		return m.loose
	}
	switch {
	case begins && (!carries || *r.Step != 0 || len(r.KeyIDs) != 1):
		return errStep
	case begins:
		m.begin(s, Epoch{KeyID: r.KeyIDs[0], File: name, Line: n})
	case len(s.Epochs) == 0 && (r.Step != nil || mac != nil):
		return errUnbegun
	case len(s.Epochs) == 0:
		s.Plain++
		return nil
	case !carries && r.Outcome == Mended: // a crash tore the beginning
		m.loose = &BrokenError{name, n, errNoMAC}
		return nil
	case !carries:
		return errNoMAC
	}
	e := &s.Epochs[len(s.Epochs)-1]
	if *r.Step > e.next {
		if n := *r.Step - e.next; n > 1 {
			return fmt.Errorf("%d records before it are gone: %w", n, ErrCut)
		}
		return fmt.Errorf("1 record before it is gone: %w", ErrCut)
	}
	if *r.Step < e.next {
		return errStep
	}
	if m.key != nil {
		if !m.key.holds(line) {
			return errMAC
		}
		m.key.next()
	}
	e.next++
	e.Records++
	if m.over = ""; r.Outcome == Rekeyed && r.Operation == OperationAudit && len(r.KeyIDs) == 1 {
		m.over = r.KeyIDs[0]
	}
	return nil
}

func (m *macs) begin(s *State, e Epoch) {
	m.wipe()
	m.loose = nil
	e.Handed = len(s.Epochs) == 0 || m.over == e.KeyID
	for _, f := range m.first {
		if f.ID == e.KeyID {
			m.key, e.Proved = f.forward(), true
		}
	}
	s.Epochs = append(s.Epochs, e)
}

func (m *macs) wipe() {
	if m.key != nil {
		m.key.wipe()
	}
	m.key = nil
}

// complete checks, when first keys were given, that all MACs were checked and every key was
// used.
func (m *macs) complete(s *State) error {
	if m.loose != nil || len(m.first) == 0 {
		return m.loose
	}
	for _, f := range m.first {
		met := false
		for _, e := range s.Epochs {
			met = met || e.KeyID == f.ID
		}
		if !met {
			return fmt.Errorf("%s holds no record that began with first key %s: %w", s.Dir, f.ID, ErrCut)
		}
	}
	for _, e := range s.Epochs {
		if !e.Proved {
			return fmt.Errorf("from %s, line %d, on, %d records carry MACs of first key %s: %w", e.File, e.Line, e.Records, e.KeyID, ErrFirstKey)
		}
	}
	return nil
}
