package envelope_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/stream"
)

// notary is a Witness that refuses at the beginning or at the end.
type notary struct {
	begin, end error
	seen       []string
}

func (n *notary) Begin(e *envelope.Envelope, start int64, payload [stream.HeaderSize]byte) error {
	n.seen = append(n.seen, fmt.Sprintf("%s, %d, %x", e.ID, start, payload))
	return n.begin
}

func (n *notary) End() error {
	n.seen = append(n.seen, "end")
	return n.end
}

// TestWitness: who knows more of a backup sees what opened before any of it comes out, and
// has the last word, once.
func TestWitness(t *testing.T) {
	sealed := seal(t, label, "message", keyA)
	e, err := envelope.Parse(bytes.NewReader(sealed))
	if err != nil {
		t.Fatal(err)
	}
	begun := fmt.Sprintf("%s, %d, %x", e.ID, envelope.Unit, sealed[envelope.Unit:envelope.Unit+stream.HeaderSize])
	refused := errors.New("it is signed by nobody")
	for name, tc := range map[string]struct {
		n    notary
		want error
		seen []string
	}{
		"content":           {notary{}, nil, []string{begun, "end"}},
		"refuses to begin":  {notary{begin: refused}, refused, []string{begun}},
		"refuses the whole": {notary{end: refused}, refused, []string{begun, "end"}},
	} {
		for how, read := range map[string]func(r *envelope.Reader) (string, error){
			"Read": func(r *envelope.Reader) (string, error) { got, err := io.ReadAll(r); return string(got), err },
			"WriteTo": func(r *envelope.Reader) (string, error) {
				var got strings.Builder
				_, err := r.WriteTo(&got)
				return got.String(), err
			},
		} {
			n, got := tc.n, ""
			r, err := envelope.Open(t.Context(), bytes.NewReader(sealed), envelope.Options{Witness: &n}, keyA)
			if err == nil {
				if got, err = read(r); len(n.seen) == 2 {
					if _, again := read(r); again != err {
						t.Errorf("%s, %s: then %v", name, how, again)
					}
				}
			}
			if err != tc.want || !slices.Equal(n.seen, tc.seen) || (got == "message") != (len(tc.seen) == 2) {
				t.Errorf("%s, %s: %q, %v, seen %q", name, how, got, err, n.seen)
			}
		}
	}
}
