package replicate

import (
	"context"
	"errors"
	"fmt"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/internal/parallel"
	"github.com/takumi-backup/takumi-backup/internal/store"
)

// Batch copies the backups of the store From to the store To.
type Batch struct {
	Options
	From, To string
	Workers  int // copy this many at a time
	DryRun   bool
	Meter    *backup.Meter // counts what is copied
}

// Observer follows a batch. All functions must be set.
type Observer struct {
	Planned func(bytes int64) // that are to be copied
	// Copied is called on any goroutine after each try, before Done.
	Copied func(i Item, err error)
	// Done gets each backup in order. Its first error is Run's; later backups are copied
	// but not reported.
	Done func(t *Tally, i Item, r store.Result, err error) error
}

// Tally counts the outcomes. First is the first failure's error.
type Tally struct {
	Items, Copied, Same, Failed int
	First                       error
}

// Run copies what [Plan] finds, the backups of a chain in order. A failed backup is not an
// error of Run.
func (c Batch) Run(ctx context.Context, obs Observer) (t Tally, err error) {
	items, err := Plan(ctx, c.From, c.To, c.Options)
	if err != nil {
		return t, fmt.Errorf("comparing the stores: %w", err)
	}
	var total int64
	for _, i := range items {
		if i.Err == nil && !i.stays() {
			total += i.Backup.Size
		}
	}
	t.Items = len(items)
	obs.Planned(total)
	type outcome struct {
		result store.Result
		err    error
	}
	var links Links
	var fault error
	for _, wave := range Waves(items) {
		var lost []Item
		err = parallel.Each(ctx, c.Workers, len(wave), func(ctx context.Context, n int) (o outcome) {
			i := items[wave[n]]
			if c.DryRun || i.Err == nil && i.stays() {
				return outcome{err: i.Err}
			}
			if o.err = links.Check(i); o.err != nil {
				return o
			}
			o.result, o.err = One(ctx, i, c.Options, c.Meter.Add)
			if ctx.Err() != nil {
				o.err = context.Cause(ctx)
			}
			obs.Copied(i, o.err)
			return o
		}, func(n int, o outcome) {
			i := items[wave[n]]
			switch {
			case o.err != nil:
				if !errors.As(o.err, new(signatureFault)) {
					lost = append(lost, i)
				}
				if t.Failed++; t.First == nil {
					t.First = o.err
				}
			case i.stays():
				t.Same++
			default:
				t.Copied++
			}
			if done := obs.Done(&t, i, o.result, o.err); fault == nil {
				fault = done
			}
		})
		for _, i := range lost { // for the waves behind this one
			links.Failed(i)
		}
		if err != nil {
			return t, err
		}
	}
	if !c.DryRun {
		c.Memory.compact()
	}
	return t, fault
}

func (i *Item) stays() bool { return i.Action == Nothing || i.Action == Kept }
