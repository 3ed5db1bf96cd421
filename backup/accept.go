package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/keystore"
)

// accept judges what a key has opened at path: by its id, its holder and its name.
func (o Options) accept(path string, opened *envelope.Opened) error {
	e := opened.Envelope
	if o.Opened != nil {
		o.Opened(opened)
	}
	if o.ID != (envelope.ID{}) && e.ID != o.ID {
		return fmt.Errorf("%s: the backup that was verified has id %s, and the file now has %s: %w", path, o.ID, e.ID, store.ErrChanged)
	}
	err := Misnamed(path, e.Name)
	if err != nil && o.Named {
		return fmt.Errorf("%s: %w; nothing was changed", path, err)
	}
	if err != nil {
		o.warn("%s: %v", path, err)
	}
	return nil
}

// doubts warns of what is odd about a backup that is read all the same. beside is why the
// envelope next to it cannot be read.
func (o Options) doubts(path string, opened *envelope.Opened, beside error) {
	if o.Signers == nil && !o.Unsigned && Anonymous(opened.Holder) {
		o.warn("%s: %v", path, ErrAnonymous)
	}
	for _, passed := range passedOver(beside, opened) {
		o.warn("%s%s was passed over: %v", path, envelope.DetachedSuffix, passed)
	}
	if opened.Altered != nil {
		o.warn("%s: %v; opened because of --rescue", path, opened.Altered)
	}
}

func silent(string, ...any) {}

func (o Options) warn(format string, args ...any) {
	if o.Warn != nil {
		o.Warn(format, args...)
	}
}

// OpenInput opens a backup that comes in order, as on standard input, and closes it when
// that fails; see [Open]. What has a signature next to it comes in a file.
func OpenInput(ctx context.Context, src io.ReadCloser, o Options) (_ *Handle, err error) {
	defer func() {
		if err != nil {
			src.Close()
		}
	}()
	if o.keyless() {
		return nil, keystore.ErrNone
	}
	if o.Signers != nil {
		return nil, fail.Usagef("a backup on standard input has no signature next to it: give --signers and the file")
	}
	var in io.Reader = src
	if o.Meter != nil {
		in = o.Meter.Metered(src)
	}
	r, err := envelope.Open(ctx, in, envelope.Options{Rescue: o.Rescue, Find: o.find})
	if err == nil {
		err = o.vouched(r.Holder)
	}
	f := &Handle{Reader: r, Object: input{src}}
	if err == nil {
		err = o.accept("-", &r.Opened)
	}
	if err != nil {
		return nil, fmt.Errorf("opening -: %w", err)
	}
	o.doubts("-", &r.Opened, nil)
	return f, nil
}

// input is an Object of unknown size, read in order alone.
type input struct{ io.ReadCloser }

func (input) Size() int64                       { return -1 }
func (input) ModTime() time.Time                { return time.Time{} }
func (input) ReadAt([]byte, int64) (int, error) { return 0, errors.ErrUnsupported }
