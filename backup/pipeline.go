package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/stream/pack"
	"github.com/takumi-backup/takumi-backup/stream/pack/index"
)

// Meter counts the bytes in and out. Another goroutine may read it at any time.
type Meter struct{ in, out atomic.Int64 }

// In returns the bytes read so far.
func (m *Meter) In() int64 { return m.in.Load() }

// Out returns the bytes written so far.
func (m *Meter) Out() int64 { return m.out.Load() }

type meteredReader struct {
	io.Reader
	n *atomic.Int64
}

func (r meteredReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	r.n.Add(int64(n))
	return n, err
}

// sink counts the written bytes, and ends the source when writing fails: a source that
// waits for an hour would hide a full disk that long.
type sink struct {
	io.Writer
	n    *atomic.Int64
	stop context.CancelCauseFunc
	err  error
}

func (s *sink) Write(p []byte) (int, error) {
	n, err := s.Writer.Write(p)
	s.n.Add(int64(n))
	if err != nil && s.err == nil {
		s.err = err
		s.stop(err)
	}
	return n, err
}

// Seal packs src and writes the sealed backup to dst, which stays open; the label's Codec
// is that of o. After an error the bytes in dst do not open.
func Seal(ctx context.Context, dst io.Writer, src io.Reader, label envelope.Label, o pack.Options, to ...envelope.Recipient) (*envelope.Envelope, error) {
	return seal(ctx, dst, src, nil, label, o, to, nil, new(pack.Proof))
}

// indexer makes the index of a source at its end; nil for none.
type indexer func(size int64) (*index.Content, error)

func seal(ctx context.Context, dst io.Writer, src io.Reader, ix indexer, label envelope.Label, o pack.Options, to []envelope.Recipient, begun func(*envelope.Envelope), proof *pack.Proof) (*envelope.Envelope, error) {
	label.Codec = string(o.Codec)
	sealed, err := envelope.NewWriter(ctx, dst, label, to...)
	if err != nil {
		return nil, err
	}
	if begun != nil {
		begun(sealed.Envelope())
	}
	if err := packTo(sealed, src, ix, o, proof); err != nil {
		return nil, err
	}
	if err := sealed.Close(); err != nil {
		return nil, err
	}
	return sealed.Envelope(), nil
}

// seal is Seal for a job. When dst fails, stop ends even a blocked Read of src with that
// error, and dst's error is returned.
func (j Job) seal(ctx context.Context, dst *target, src io.Reader, ix indexer, m *Meter, stop context.CancelCauseFunc, proof *pack.Proof) (*envelope.Envelope, error) {
	out := &sink{Writer: dst, n: &m.out, stop: stop}
	label := envelope.Label{Created: j.Created, Kind: j.Kind, Name: dst.name}
	var file io.Writer = out
	var begun func(*envelope.Envelope)
	sums := &summing{Writer: out}
	if j.Signer != nil {
		file, begun = sums, func(e *envelope.Envelope) { sums.Begin(e, int64(len(e.Bytes()))) }
	}
	e, err := seal(ctx, file, meteredReader{src, &m.in}, ix, label, j.Pack, j.Recipients, begun, proof)
	if out.err != nil {
		return nil, out.err
	}
	if err != nil || j.Signer == nil {
		return e, err
	}
	return e, sums.sign(dst.Sink.(signable), j.Signer)
}

// pack is seal without the sealing.
func (j Job) pack(dst io.Writer, src io.Reader, ix indexer, m *Meter, stop context.CancelCauseFunc, proof *pack.Proof) error {
	out := &sink{Writer: dst, n: &m.out, stop: stop}
	if err := packTo(out, meteredReader{src, &m.in}, ix, j.Pack, proof); out.err == nil {
		return err
	}
	return out.err
}

func packTo(dst io.Writer, src io.Reader, ix indexer, o pack.Options, proof *pack.Proof) error {
	packed, err := pack.NewWriter(dst, o)
	if err != nil {
		return err
	}
	defer packed.Abort()
	size, err := packed.ReadFrom(src)
	if err != nil {
		return err
	}
	if ix != nil {
		// A backup without its index is complete, only slower to search.
		content, err := ix(size)
		if errors.Is(err, errIndexNeeded) {
			return err
		}
		if err == nil && content.Size <= pack.MaxIndex {
			if err := packed.WriteIndex(content, content.Size); err != nil {
				return err
			}
		}
	}
	err = packed.Close()
	*proof = packed.Proof()
	return err
}

// Unseal writes the original or the packed bytes of an open backup to dst. All of them are
// authentic only when it returns nil; until then dst has an authentic prefix.
func Unseal(dst io.Writer, r *envelope.Reader, packed bool, m *Meter) error {
	out := &sink{Writer: dst, n: &m.out, stop: func(error) {}}
	var err error
	if packed {
		_, err = r.WriteTo(out)
	} else {
		var plain *pack.Reader
		if plain, err = pack.NewReader(r, pack.Codec(r.Envelope.Codec)); err == nil {
			_, err = plain.WriteTo(out)
		}
	}
	if err != nil && out.err == nil {
		return fmt.Errorf("opening the payload: %w", err)
	}
	return err
}

// Add counts n bytes more that went in.
func (m *Meter) Add(n int) { m.in.Add(int64(n)) }

// Metered returns src, counted by m.
func (m *Meter) Metered(src io.Reader) io.Reader { return meteredReader{src, &m.in} }

type meteredAt struct {
	io.ReaderAt
	m *Meter
}

func (r meteredAt) ReadAt(p []byte, at int64) (int, error) {
	n, err := r.ReaderAt.ReadAt(p, at)
	r.m.Add(n)
	return n, err
}
