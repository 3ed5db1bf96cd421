package s3store_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/internal/store"
	s3store "github.com/takumi-backup/takumi-backup/internal/store/s3"
)

// changes are the two ways to change a backup of more than one part.
var changes = map[string]func(ctx context.Context, f *fixture, path string, now []byte) error{
	"Overwrite": func(ctx context.Context, f *fixture, path string, now []byte) error {
		o, err := f.Open(ctx, path)
		if err != nil {
			return err
		}
		defer o.Close()
		return f.Overwrite(ctx, path, o, now[:1000], sha256.Sum256(now))
	},
	"Replace": func(ctx context.Context, f *fixture, path string, now []byte) error {
		r, err := f.Replace(ctx, path)
		if err != nil {
			return err
		}
		if _, err = r.Write(now); err == nil {
			_, err = r.Finish()
		}
		if err == nil {
			err = r.Swap(ctx)
		}
		return errors.Join(err, r.Abort())
	},
}

// Any answer to a change can get lost, and the change is made all the same.
func TestChangeLostAnswers(t *testing.T) {
	t.Parallel()
	f, p := behind(t, s3store.Small(s3store.Quick(s3store.Options{PartSize: 5 * mib}), 5*mib, 5*mib, 10*mib, 5*mib))
	was := random(11 * mib)
	for name, change := range changes {
		path := f.root + "/" + name + ".enc"
		mustSave(t, f, path, was)
		for lost, done := 0, false; !done; lost += scaled(3, 1) {
			now := append(random(1000), was[1000:]...)
			var fired atomic.Bool
			p.Before(loseAnswer(p, p.Requests()+lost+1, &fired, f.server.Endpoint()))
			if err := change(t.Context(), f, path, now); err != nil {
				t.Fatalf("%s, answer %d: %v", name, lost, err)
			}
			p.Before(nil)
			wantBackup(t, f, path, now)
			done = !fired.Load()
		}
	}
	if _, err := f.Sweep(t.Context(), f.root, -time.Hour, false); err != nil {
		t.Error(err)
	}
	f.wantKeys(t, "Overwrite.enc", "Overwrite.enc.sha256", "Replace.enc", "Replace.enc.sha256")
}

// Of two changes of one backup that were begun alike, one is made.
func TestChangedMeanwhile(t *testing.T) {
	t.Parallel()
	f := fresh(t, s3store.Quick(s3store.Options{PartSize: 5 * mib}))
	was := random(8*mib + 1)
	for name, change := range changes {
		path := f.root + "/" + name + ".enc"
		mustSave(t, f, path, was)
		o, err := f.Open(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		defer o.Close()
		now := append(random(1000), was[1000:]...)
		if err := change(t.Context(), f, path, now); err != nil {
			t.Fatal(err)
		}
		wants(t, f.Overwrite(t.Context(), path, o, was[:1000], sha256.Sum256(was)), store.ErrChanged)
		wantBackup(t, f, path, now)
	}
}
