package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/takumi-backup/takumi-backup/internal/redact"
)

// Outcome is the state of an operation at the time of its record.
type Outcome string

const (
	Begun   Outcome = "begun"   // about to change something
	Done    Outcome = "done"    // it went well
	Failed  Outcome = "failed"  // it did not
	Stopped Outcome = "stopped" // by a signal
	Mended  Outcome = "mended"  // the log itself: a crash tore the line before
	Keyed   Outcome = "keyed"   // the log itself: MACs begin here, with the named first key
	Rekeyed Outcome = "rekeyed" // the log itself: the next record begins them anew, with the named first key
)

// OperationAudit is for records about the log itself.
const OperationAudit = "audit"

// Record is a line of the log. The log fills in the first group of fields, the command the
// others, as far as known.
type Record struct {
	Time      time.Time `json:"time"`
	Run       string    `json:"run"` // joins the records of one run of the program
	PID       int       `json:"pid"`
	Operation string    `json:"operation"`
	Outcome   Outcome   `json:"outcome"`
	ExitCode  *int      `json:"exit_code,omitempty"` // nil while it is not known
	Error     string    `json:"error,omitempty"`
	DryRun    bool      `json:"dry_run,omitempty"`
	User      string    `json:"user"`
	SudoUser  string    `json:"sudo_user,omitempty"` // who became User, as sudo has it
	Host      string    `json:"host"`
	Version   string    `json:"version"`

	Path     string   `json:"path,omitempty"`  // of the backup, or of what was written
	Paths    []string `json:"paths,omitempty"` // of several that are about to be worked on
	BackupID string   `json:"backup_id,omitempty"`
	Name     string   `json:"name,omitempty"`
	Kind     string   `json:"kind,omitempty"`
	KeyIDs   []string `json:"key_ids,omitempty"`     // that were used, or sealed for
	OldIDs   []string `json:"old_key_ids,omitempty"` // that were replaced
	Keys     []string `json:"keys,omitempty"`        // the providers, as key URIs
	BytesIn  int64    `json:"bytes_in,omitempty"`
	BytesOut int64    `json:"bytes_out,omitempty"`
	Backups  int      `json:"backups,omitempty"` // how many were worked on
	Failures int      `json:"failures,omitempty"`
	Detail   string   `json:"detail,omitempty"` // in words, what no other field says

	// Over is the hash of the last record before a torn part; see [Mended].
	Over string `json:"over,omitempty"`
	// Prev is the SHA-256 of the line before, with its line feed; in a Mended record, that
	// of the torn part.
	Prev string `json:"prev"`
	// Step counts the records with a MAC, from 0 at the Keyed one.
	Step *uint64 `json:"step,omitempty"`
	// MAC, the last field, covers the line before it.
	MAC string `json:"mac,omitempty"`

	// Meter, if set, counts BytesIn and BytesOut. It is not written.
	Meter interface {
		In() int64
		Out() int64
	} `json:"-"`
	// Fault determines Outcome, ExitCode and Error; it is not written.
	Fault error `json:"-"`
}

const (
	// maxLine bounds a line, and the search for the last one.
	maxLine = 256 << 10
	// maxTorn bounds the leftovers of repeated crashes.
	maxTorn = 16 * maxLine

	maxText = 1024 // bytes of a text
	maxPath = 4096
	maxURI  = 256
	maxList = 64 // entries of a list

	maxPaths = 16 << 10 // bytes of all Paths
)

// origin is the hash before the first line.
var origin = strings.Repeat("0", 2*sha256.Size)

func hashOf(line []byte) string {
	sum := sha256.Sum256(line)
	return hex.EncodeToString(sum[:])
}

// Clean returns the record as written: without possible keys, and with texts cut to their
// limits.
func (r Record) Clean() Record {
	for _, text := range []*string{&r.Operation, &r.User, &r.SudoUser, &r.Host, &r.Version, &r.Name, &r.Kind, &r.BackupID, &r.Detail} {
		*text = clean(*text, maxText)
	}
	r.Path = clean(r.Path, maxPath)
	r.Error = redact.Line(clean(r.Error, maxText), maxText)
	r.Keys = r.Keys[:min(len(r.Keys), maxList)]
	keys := make([]string, len(r.Keys))
	for i, uri := range r.Keys {
		keys[i] = clean(uri, maxURI)
	}
	r.Keys = keys
	if paths := cleanPaths(r.Paths); len(paths) < len(r.Paths) {
		r.Paths, r.Detail = paths, fmt.Sprintf("and %d more", len(r.Paths)-len(paths))
	} else {
		r.Paths = paths
	}
	r.KeyIDs = r.KeyIDs[:min(len(r.KeyIDs), maxList)]
	r.OldIDs = r.OldIDs[:min(len(r.OldIDs), maxList)]
	r.Time = r.Time.UTC().Truncate(time.Millisecond)
	return r
}

func (r Record) line() ([]byte, error) {
	r = r.Clean()
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(r); err != nil {
		return nil, fmt.Errorf("writing the record: %w", err)
	}
	if text.Len() > maxLine {
		return nil, fmt.Errorf("the record has %d bytes, and may have %d", text.Len(), maxLine)
	}
	return text.Bytes(), nil
}

// clean removes possible keys from a text, and cuts it.
func clean(text string, most int) string {
	if len(text) > 4*most {
		text = redact.Keys(text[:4*most])
		text = text[:len(text)-min(len(text), 48)] // a key that was cut is not recognized
	}
	text = redact.Keys(text)
	if len(text) <= most {
		return text
	}
	cut := most
	for cut > most-utf8.UTFMax && !utf8.RuneStart(text[cut]) {
		cut-- // not in the middle of a character
	}
	return text[:cut] + "…"
}

func cleanPaths(paths []string) (cleaned []string) {
	size := 0
	for _, path := range paths {
		path = clean(path, maxPath)
		if size += len(path); size > maxPaths || len(cleaned) == maxList {
			break
		}
		cleaned = append(cleaned, path)
	}
	return cleaned
}

func parse(line []byte) (Record, error) {
	var r Record
	dec := json.NewDecoder(bytes.NewReader(line)) // a newer program may write further fields
	if err := dec.Decode(&r); err != nil {
		return r, fmt.Errorf("not a record: %w", err)
	}
	if rest := line[dec.InputOffset():]; len(rest) > 0 && string(rest) != "\n" {
		return r, fmt.Errorf("not a record: %d bytes follow it", len(rest))
	}
	return r, nil
}

// Host is this host's name, or empty.
func Host() string {
	name, err := os.Hostname()
	if err != nil {
		return ""
	}
	return name
}

// IDs are key ids as a record has them.
func IDs[ID ~string](ids ...ID) []string {
	var texts []string
	for _, id := range ids {
		texts = append(texts, string(id))
	}
	return texts
}
