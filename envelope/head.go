package envelope

import (
	"errors"
	"fmt"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/stream"
)

// head is what stands before a payload.
type head struct {
	own  *Envelope // nil when it has no good form
	err  error     // why
	size int64     // in bytes
}

// head judges what [parse] gave. The error says that there is no payload to
// look for.
func (o Options) head(own *Envelope, err error) (head, error) {
	if own != nil {
		return head{own: own, size: int64(len(own.text))}, nil
	}
	if o.Detached == nil || !isForm(err) {
		return head{}, err
	}
	return head{err: err, size: int64(len(o.Detached.text))}, nil
}

// fault is the error of a backup of which err is found out: when no data key was
// found and it has no good envelope of its own, that is what is wrong with it.
func (h head) fault(err error, keyFound bool) error {
	if h.own != nil || keyFound {
		return err
	}
	return fmt.Errorf("%w; nor does it open with the envelope beside it: %v", h.err, err)
}

// open looks for further keys and opens the backup with what there is.
func (h head) open(opts Options, keys []*kek.Key, try func(dataKey, preamble []byte) error) (Opened, error) {
	keys, fault := opts.find(h.own, keys)
	if fault != nil && len(keys) == 0 {
		return Opened{}, fmt.Errorf("looking for a key: %w", fault)
	}
	var o Opened
	var err error
	keyFound := false // and what is wrong is the payload
	join := func(dataKey, preamble []byte) error {
		err := try(dataKey, preamble)
		keyFound = keyFound || err != nil && !errors.Is(err, stream.ErrCommitment)
		return err
	}
	if h.own != nil {
		o, err = openEither(h.own, opts, keys, join)
	} else {
		o, err = opts.Detached.open(opts.Rescue, keys, join)
	}
	if fault != nil && errors.As(err, new(*WrongKeyError)) {
		err = fmt.Errorf("%w; and not all keys could be had: %w", err, fault)
	}
	if err != nil {
		err = h.fault(err, keyFound)
	}
	return o, err
}
