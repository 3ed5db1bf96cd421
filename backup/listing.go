package backup

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/envelope/slot"
	"github.com/takumi-backup/takumi-backup/internal/redact"
	"github.com/takumi-backup/takumi-backup/internal/source/tree"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/internal/values"
	"github.com/takumi-backup/takumi-backup/stream"
)

// Listing is what a script is given of a backup.
type Listing struct {
	Path       string        `json:"path"`
	Size       int64         `json:"size"`
	Sidecar    bool          `json:"sidecar"`
	State      string        `json:"state"` // authentic, not checked, archived or bad
	Reason     string        `json:"reason,omitempty"`
	ID         string        `json:"id,omitempty"`
	Created    *time.Time    `json:"created,omitempty"`
	Kind       string        `json:"kind,omitempty"`
	Name       string        `json:"name,omitempty"`
	Series     string        `json:"series,omitempty"`
	Codec      string        `json:"codec,omitempty"`
	KeyIDs     []kek.ID      `json:"key_ids,omitempty"`
	Recipients []slot.Holder `json:"recipients,omitempty"`
	Signer     string        `json:"signer,omitempty"`     // of whom it is signed, where signers are known
	Unjudged   bool          `json:"not_judged,omitempty"` // nobody knows whether the content is complete
}

// Listing describes the backup.
func (b *Backup) Listing() Listing {
	l := Listing{Path: b.Path, Size: b.Size, Sidecar: b.Sidecar, State: b.State.String()}
	if b.Archived() {
		l.State = "archived"
	}
	if err := cmp.Or(b.Err, b.Doubt); err != nil {
		l.Reason = redact.Error(err)
	}
	if b.Readable() {
		l.ID, l.Created, l.Kind, l.Name, l.Codec = b.ID.String(), &b.Created, b.Kind, b.Name, b.Codec
		l.Series, l.KeyIDs, l.Recipients, l.Signer, l.Unjudged = b.Series(), b.Keys, b.Recipients, b.Signer, b.Unjudged()
	}
	return l
}

// Summary is what a script is given of a backup that was made.
type Summary struct {
	Path       string        `json:"path,omitempty"`
	ID         string        `json:"id,omitempty"`
	Kind       string        `json:"kind"`
	Name       string        `json:"name"`
	Codec      string        `json:"codec"`
	KeyIDs     []kek.ID      `json:"key_ids,omitempty"`
	Recipients []slot.Holder `json:"recipients,omitempty"`
	In         int64         `json:"bytes_in"`
	Out        int64         `json:"bytes_out"`
	Seconds    float64       `json:"seconds"`
	SHA256     string        `json:"sha256,omitempty"`
	Proved     bool          `json:"proved"`           // every packed block was unpacked again and compared
	Signer     string        `json:"signer,omitempty"` // the fingerprint of the key that signed it
	// Unjudged says why it is not known whether the content is complete.
	Unjudged string      `json:"unjudged,omitempty"`
	Tree     *tree.Stats `json:"tree,omitempty"` // of a folder
}

// Summary describes what was made in so much time.
func (m *Made) Summary(took time.Duration) Summary {
	s := Summary{
		Path: m.Path, Kind: m.Kind, Name: m.Name, Codec: m.Codec,
		In: m.In, Out: m.Out, Seconds: took.Seconds(), SHA256: m.SHA256, Proved: m.Proof.Frames > 0, Signer: m.Signer, Unjudged: m.Unjudged, Tree: m.Tree,
	}
	if m.Envelope != nil {
		s.ID, s.KeyIDs, s.Recipients = m.ID.String(), m.Keys, m.Recipients
	}
	return s
}

// Words say it to a person. e is nil for a plain file.
func (s Summary) Words(e *envelope.Envelope) string {
	verb, forWhom := "packed", "unencrypted"
	if e != nil {
		verb, forWhom = "sealed", "for "+ForWhom(e)
	}
	words := fmt.Sprintf("%s %s into %s, ratio %s, in %.2f s, %s", verb, values.BytesText(s.In), values.BytesText(s.Out),
		Ratio(s.In, s.Out), s.Seconds, forWhom)
	if s.Tree != nil {
		words += "; " + s.Tree.String()
	}
	if s.Proved {
		words += ", proved"
	}
	if s.Signer != "" {
		words += ", signed by " + s.Signer
	}
	if s.SHA256 != "" {
		words += ", sha256 " + s.SHA256
	}
	return words
}

// Ratio is how much smaller sealing made what it sealed.
func Ratio(plain, sealed int64) string {
	if sealed == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", float64(plain)/float64(sealed))
}

// ForWhom names the holders that an envelope has slots for.
func ForWhom(e *envelope.Envelope) string {
	text := Holders(e.KeyIDs(), e.Recipients())
	if len(e.KeyIDs()) > 0 {
		return "key " + text
	}
	return text
}

// Holders names keys and other holders.
func Holders(keys []kek.ID, others []slot.Holder) string {
	words := make([]string, 0, len(keys)+len(others))
	for _, id := range keys {
		words = append(words, string(id))
	}
	for _, h := range others {
		words = append(words, h.String())
	}
	return strings.Join(words, ", ")
}

// Inspection is what the envelope of a backup claims, and what follows from it.
type Inspection struct {
	Path          string        `json:"path"`
	Format        string        `json:"format"`
	Authenticated bool          `json:"authenticated"` // always false: no key was used
	ID            string        `json:"id"`
	Created       time.Time     `json:"created"`
	Kind          string        `json:"kind"`
	Name          string        `json:"name"`
	Codec         string        `json:"codec"`
	KeyIDs        []kek.ID      `json:"key_ids"`
	Recipients    []slot.Holder `json:"recipients,omitempty"`
	Size          int64         `json:"size"`
	EnvelopeSize  int           `json:"envelope_size"`
	PayloadSize   int64         `json:"payload_size"`
	PackedSize    int64         `json:"packed_size"`
	Chunks        int64         `json:"chunks"`
	Detached      bool          `json:"detached_envelope"`
}

// Inspect reads the envelope of the backup at path, without any key.
func Inspect(ctx context.Context, st store.Store, path string) (*Inspection, error) {
	seen, err := Look(ctx, st, path, Options{})
	if err != nil {
		return nil, err
	}
	if seen.BesideErr != nil { // what it may say is what counts
		return nil, fmt.Errorf("reading %s%s: %w", path, envelope.DetachedSuffix, seen.BesideErr)
	}
	embedded, e := seen.Own, seen.Own
	if seen.Beside != nil {
		e = seen.Beside
	}
	if embedded == nil { // torn; a rewrap in place keeps the length
		embedded = e
	}
	payload := seen.Size - int64(len(embedded.Bytes()))
	packed, err := stream.PlainSize(payload)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &Inspection{
		Path: path, Format: "takumi-backup/v1", ID: e.ID.String(), Created: e.Created, Kind: e.Kind, Name: e.Name, Codec: e.Codec,
		KeyIDs: e.KeyIDs(), Recipients: e.Recipients(), Size: seen.Size, EnvelopeSize: len(embedded.Bytes()), PayloadSize: payload,
		PackedSize: packed, Chunks: packed/stream.ChunkSize + 1, Detached: seen.Beside != nil,
	}, nil
}

// Text is the inspection for a person, in lines.
func (i *Inspection) Text() string {
	rows := [][2]string{
		{"file", fmt.Sprintf("%q", i.Path)},
		{"format", i.Format},
		{"id", i.ID},
		{"created", i.Created.Format(time.RFC3339)},
		{"kind", i.Kind},
		{"name", fmt.Sprintf("%q", i.Name)}, // quoted: a name may hold what confuses a terminal
		{"codec", i.Codec},
		{"opens with key", cmp.Or(Holders(i.KeyIDs, nil), "none")},
		{"size", fmt.Sprintf("%s (%d bytes)", values.BytesText(i.Size), i.Size)},
		{"envelope", fmt.Sprintf("%d bytes", i.EnvelopeSize)},
		{"payload", fmt.Sprintf("%d bytes in %d chunks", i.PayloadSize, i.Chunks)},
		{"packed content", fmt.Sprintf("%d bytes", i.PackedSize)},
	}
	for _, h := range i.Recipients {
		rows = append(rows, [2]string{"opens with", h.String()})
	}
	if i.Detached {
		rows = append(rows, [2]string{"key slots from", "the detached envelope next to the file"})
	}
	rows = append(rows, [2]string{"authenticated", "no: without a key, all this is what the file claims"})
	var text strings.Builder
	for _, row := range rows {
		fmt.Fprintf(&text, "%-15s %s\n", row[0]+":", row[1])
	}
	return text.String()
}
