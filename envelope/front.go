package envelope

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/takumi-backup/takumi-backup/internal/parallel"
	"github.com/takumi-backup/takumi-backup/stream"
)

// front is what a file has before its payload.
type front struct {
	text   []byte    // the beginning of the file, as far as read
	own    *Envelope // nil when it has no good form
	err    error     // why
	rescue *Envelope // the part of it for a rescue, or nil
	starts []int64   // where the payload may begin, the likeliest first
}

// readFront reads an envelope. After an error there is no payload to look for.
func readFront(src io.Reader, o Options) (*front, error) {
	f := new(front)
	f.own, f.text, f.err = parse(src)
	if f.err != nil && !isForm(f.err) {
		return nil, f.err
	}
	switch {
	case f.own != nil:
		f.starts = []int64{int64(len(f.own.text))}
	case o.Detached != nil:
		f.starts = []int64{int64(len(o.Detached.text))}
	}
	if o.Rescue {
		if err := f.salvage(src); err != nil {
			return nil, err
		}
	}
	if f.own == nil && o.Detached == nil && f.rescue == nil {
		return nil, f.err
	}
	return f, nil
}

// fill reads to the end of the last head that a payload may have. A shorter file is not an
// error.
func (f *front) fill(src io.Reader) error {
	end := stream.HeaderSize + int64(len(f.text))
	for _, start := range f.starts {
		end = max(end, start+stream.HeaderSize)
	}
	have := len(f.text)
	text := append(f.text, make([]byte, end-int64(have))...)
	n, err := parallel.ReadFull(src, text[have:])
	f.text = text[:have+n]
	if err != nil && err != io.EOF {
		return fmt.Errorf("reading the head of the payload: %w", err)
	}
	return nil
}

// fault is the error for a backup with err: when no data key was found and its own envelope
// is malformed, the latter.
func (f *front) fault(err error, keyFound bool) error {
	if f.own != nil || keyFound {
		return err
	}
	if f.rescue != nil {
		return fmt.Errorf("%w; nor can it be rescued: %v", f.err, err)
	}
	return fmt.Errorf("%w; nor does it open with the envelope next to it: %v", f.err, err)
}

// open looks for identities until one opens the backup. try joins a data key with the
// payload at start, and returns stream.ErrCommitment when they do not fit.
func (f *front) open(ctx context.Context, opts Options, identities []Identity, try func(start int64, dataKey, preamble []byte) error) (Opened, error) {
	var opened Opened
	keyFound := false // and what is wrong is the payload
	s := &session{ctx: ctx, identities: identities, join: func(dataKey, preamble []byte) error {
		err := stream.ErrCommitment
		for _, start := range f.starts {
			if err = try(start, dataKey, preamble); !errors.Is(err, stream.ErrCommitment) {
				opened.Start = start
				keyFound = keyFound || err != nil
				break
			}
		}
		return err
	}}
	defer s.wipe()
	o, err := s.openLazily(opts, f)
	if err != nil {
		return Opened{}, f.fault(err, keyFound)
	}
	o.Start = opened.Start
	return o, nil
}
