package verify

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// Level is how much of a backup is proved. Each level includes those before it.
type Level int

const (
	// None proves nothing.
	None Level = iota
	// Checksum compares the file with its sidecar. It needs no key, and does not notice a
	// change of both.
	Checksum
	// Auth decrypts and authenticates every chunk.
	Auth
	// Content also unpacks everything and checks that it is a whole one of its kind.
	Content
	// Restore also brings it back to life, and compares that with the manifest.
	Restore
)

var levels = []string{"none", "checksum", "auth", "content", "restore"}

// String returns the level's name.
func (l Level) String() string { return levels[l] }

// ParseLevel reads the name of a level but none.
func ParseLevel(name string) (Level, error) {
	if i := slices.Index(levels, name); i > 0 {
		return Level(i), nil
	}
	return None, fmt.Errorf("%q is not a level: it can be checksum, auth, content or restore", name)
}

// MarshalText writes the level's name.
func (l Level) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// UnmarshalText reads the name of any level.
func (l *Level) UnmarshalText(text []byte) error {
	i := slices.Index(levels, string(text))
	if i < 0 {
		return fmt.Errorf("%q is not a level", text)
	}
	*l = Level(i)
	return nil
}

// Severity says what must not be from what should not.
type Severity string

// The severities.
const (
	Error   Severity = "error"
	Warning Severity = "warning"
)

// Code is a kind of finding, and part of the report's schema.
type Code string

// The errors.
const (
	Damaged        Code = "damaged"
	Truncated      Code = "truncated"
	Altered        Code = "altered-envelope"
	Trailing       Code = "trailing-bytes"
	NotSealed      Code = "not-sealed"
	Newer          Code = "newer-format"
	SidecarDiffers Code = "sidecar-differs"
	Replaced       Code = "replaced"      // whole and authentic, but another backup belongs there; a warning when only the name says so
	Doubtful       Code = "doubtful"      // whole and authentic, but made for a retired key, or late to appear
	Unsigned       Code = "unsigned"      // where signers are asked for
	Anonymous      Code = "anonymous"     // it opens for a public recipient, and signers are not asked for
	BadSignature   Code = "bad-signature" // by nobody who is trusted, or of something else
	NoKey          Code = "no-key"
	Unreadable     Code = "unreadable" // the store does not give it
	Archived       Code = "archived"   // it has to be fetched back before it can be read
	TooOld         Code = "too-old"    // with --max-age: the newest backup of a series is too old, or its last one
	NotRestorable  Code = "not-restorable"
	Differs        Code = "differs-from-manifest"
	BrokenChain    Code = "broken-chain"  // what an increment needs is missing, bad or another
	NotRehearsed   Code = "not-rehearsed" // nothing is said against the backup
)

// The warnings.
const (
	SidecarMissing Code = "sidecar-missing"
	SideFile       Code = "side-file" // a crash, or a rewrap, left it
	Plaintext      Code = "plaintext"
	Small          Code = "small"
	PastRetention  Code = "past-retention"
	Future         Code = "future"
	Permissions    Code = "permissions"
	KeyOverdue     Code = "key-overdue"
	Incomplete     Code = "incomplete" // sealed as it was, with --guard=off
)

// Finding is something that was found wrong.
type Finding struct {
	Severity Severity `json:"severity"`
	Code     Code     `json:"code"`
	// Path is what it was found on, unless a backup of the report.
	Path    string `json:"path,omitempty"`
	Message string `json:"message"`
	Advice  string `json:"advice,omitempty"` // what to do about it
	// Chunk is the number of the damaged chunk, and Offset its place in the file, in bytes.
	Chunk  *int64 `json:"chunk,omitempty"`
	Offset *int64 `json:"offset,omitempty"`

	cause error // of which the message was made; nil where there was none
}

// Backup is the result for one backup. Its envelope is a claim below Auth.
type Backup struct {
	Path    string    `json:"path"`
	Size    int64     `json:"size"`
	ID      string    `json:"id,omitempty"`
	Kind    string    `json:"kind,omitempty"`
	Name    string    `json:"name,omitempty"`
	Series  string    `json:"series,omitempty"` // the name without its time: backups of one thing share it
	Created time.Time `json:"created,omitzero"`
	KeyIDs  []string  `json:"key_ids,omitempty"` // of its slots
	KeyID   string    `json:"key_id,omitempty"`  // of the key that opened it
	SHA256  string    `json:"sha256,omitempty"`  // of the file as it was read

	// Checked means that this run checked the backup; if not, Proven and ProvenAt are of
	// the last run that did, and Why is why it was left out.
	Checked  bool      `json:"checked"`
	Why      string    `json:"why_not_checked,omitempty"`
	Proven   Level     `json:"proven"`
	ProvenAt time.Time `json:"proven_at,omitzero"`
	Seconds  float64   `json:"seconds,omitempty"`
	Content  int64     `json:"content_bytes,omitempty"` // unpacked
	// Unjudged is why nobody knows whether the unpacked content is complete.
	Unjudged string    `json:"unjudged,omitempty"`
	Findings []Finding `json:"findings,omitempty"`

	etag string // of the object on S3
	// unread means that the envelope, and so the id, could not be read.
	unread bool
}

// Worst returns the worst severity among the findings, or "". A rehearsal that was
// impossible is an error of the run and here just a warning.
func (b *Backup) Worst() Severity { return worst(b.Findings) }

func worst(findings []Finding) (s Severity) {
	for _, f := range findings {
		if f.Severity == Error && f.Code != NotRehearsed {
			return Error
		}
		s = Warning
	}
	return s
}

// Key is the state of a key that the program knows of.
type Key struct {
	ID           string    `json:"id"`
	Provider     string    `json:"provider,omitempty"`
	Activated    time.Time `json:"activated,omitzero"`
	NextRotation time.Time `json:"next_rotation,omitzero"`
	Overdue      bool      `json:"overdue"`
}

// Schema is the version of a report's form. It changes when readers of the former would be
// misled.
const Schema = 1

// Report is what a run of verify found.
type Report struct {
	Schema      int       `json:"schema"`
	Program     string    `json:"program"`
	Host        string    `json:"host"`
	Started     time.Time `json:"started"`
	Finished    time.Time `json:"finished"`
	Roots       []string  `json:"roots"`
	Level       Level     `json:"level"`
	Shard       string    `json:"shard,omitempty"` // "2/5", or "" for the whole
	Interrupted bool      `json:"interrupted"`     // it ended before all was done
	Backups     *List     `json:"backups"`         // newest first
	Findings    []Finding `json:"findings,omitempty"`
	Keys        []Key     `json:"keys,omitempty"`
	// Checkpoint is the signed state of the audit log, when there is one.
	Checkpoint json.RawMessage `json:"checkpoint,omitempty"`
}
