// Package backup joins the stages of a backup to one whole: source, codec,
// sealed stream and sink, in both directions. Each stage knows nothing of its
// neighbours; this is where they meet.
package backup

import (
	"context"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/envelope/slot"
	"github.com/takumi-backup/takumi-backup/stream/pack"
)

// Meter counts the bytes that went in and came out. Another goroutine may read
// it while the work goes on.
type Meter struct{ in, out atomic.Int64 }

// In returns the bytes read so far.
func (m *Meter) In() int64 { return m.in.Load() }

// Out returns the bytes written so far.
func (m *Meter) Out() int64 { return m.out.Load() }

// meteredReader counts what is read.
type meteredReader struct {
	io.Reader
	n *atomic.Int64
}

func (r meteredReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	r.n.Add(int64(n))
	return n, err
}

// sink counts what is written, and makes the source fail as soon as writing
// does: a source that is silent for an hour would otherwise hide a full disk
// for an hour.
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

// Pack is Seal without the sealing: it writes src to dst packed, and for
// everybody to read. The label and the keys are not used.
func Pack(dst io.Writer, src io.Reader, o SealOptions) error {
	out := &sink{Writer: dst, n: &o.Meter.out, stop: o.Stop}
	packed, err := pack.NewWriter(out, o.Pack)
	if err == nil {
		defer packed.Abort()
		if _, err = packed.ReadFrom(meteredReader{src, &o.Meter.in}); err == nil {
			err = packed.Close()
		}
	}
	if out.err != nil {
		return out.err
	}
	return err
}

// SealOptions say how a backup is made.
type SealOptions struct {
	Label envelope.Label // its Codec is taken from Pack
	Keys  []*kek.Key
	Pack  pack.Options
	Meter *Meter
	// Stop makes src fail with the error it is given, even in the middle of a
	// Read that waits. It is called when dst fails.
	Stop context.CancelCauseFunc
}

// Seal reads src to its end and writes the sealed backup to dst, which stays
// open. With an error, what dst has had is not a backup and does not open. An
// error of dst comes before one that Stop made of it.
func Seal(ctx context.Context, dst io.Writer, src io.Reader, o SealOptions) (*envelope.Envelope, error) {
	out := &sink{Writer: dst, n: &o.Meter.out, stop: o.Stop}
	o.Label.Codec = string(o.Pack.Codec)
	sealed, err := envelope.NewWriter(ctx, out, o.Label, slot.Recipients(o.Keys...)...)
	if err == nil {
		err = sealTo(sealed, meteredReader{src, &o.Meter.in}, o.Pack)
	}
	if out.err != nil {
		return nil, out.err
	}
	if err != nil {
		return nil, err
	}
	return sealed.Envelope(), nil
}

func sealTo(sealed *envelope.Writer, src io.Reader, o pack.Options) error {
	defer sealed.Abort()
	packed, err := pack.NewWriter(sealed, o)
	if err != nil {
		return err
	}
	defer packed.Abort()
	if _, err := packed.ReadFrom(src); err != nil {
		return err
	}
	if err := packed.Close(); err != nil {
		return err
	}
	return sealed.Close()
}

// Unseal writes the content of an opened backup to dst: its original bytes, or
// the packed ones as they are. Only when it returns nil was everything
// authentic; until then dst has an authentic prefix.
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
