package store_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/internal/store"
)

// kept is a store that keeps what one file was given.
type kept struct {
	store.Store
	store.Writer
	bytes int
	full  error // what Write says once it has so many
	taken error // what Create says
}

func (k *kept) Create(context.Context, string, store.Options) (store.Writer, error) {
	return k, k.taken
}
func (k *kept) Write(p []byte) (int, error) {
	k.bytes += len(p)
	return len(p), k.full
}

// TestLimited: writing takes the time that the limit says, and ends with the context.
func TestLimited(t *testing.T) {
	k := new(kept)
	w, err := store.Limited(k, 100_000).Create(t.Context(), "x", store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if n, err := w.Write(make([]byte, 150_000)); n != 150_000 || err != nil || k.bytes != n {
		t.Fatalf("%d, %v, %d", n, err, k.bytes)
	}
	if took := time.Since(began); took < 400*time.Millisecond { // 100,000 at once, and the others in half a second
		t.Errorf("150,000 bytes at 100,000 a second took %v", took)
	}

	stopped := errors.New("stopped")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(stopped)
	if w, err = store.Limited(k, 1).Create(ctx, "x", store.Options{}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(make([]byte, 1000)); !errors.Is(err, stopped) {
		t.Errorf("%v", err)
	}
}

// TestLimitedKeepsTheFault: what the store says is what the writer says, with what it took.
func TestLimitedKeepsTheFault(t *testing.T) {
	full := errors.New("the disk is full")
	w, err := store.Limited(&kept{full: full}, 1000).Create(t.Context(), "x", store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if n, err := w.Write(make([]byte, 1001)); n != 1000 || err != full {
		t.Errorf("%d, %v", n, err)
	}
	if _, err := store.Limited(&kept{taken: store.ErrExists}, 1000).Create(t.Context(), "x", store.Options{}); err != store.ErrExists {
		t.Error(err)
	}
}
