package source

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"testing/iotest"
	"time"
)

var errStopped = errors.New("stopped by the test")

func newPipe(t testing.TB) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return r, w
}

func newInput(t testing.TB, ctx context.Context, file *os.File) *Input {
	t.Helper()
	in, err := Stdin(ctx, file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close() })
	return in
}

func randomBytes(n int) []byte {
	p := make([]byte, n)
	rand.Read(p)
	return p
}

// wantCause runs read, cancels, and wants the cause although nothing came to read.
func wantCause(t *testing.T, cancel context.CancelCauseFunc, read func([]byte) (int, error)) {
	t.Helper()
	type result struct {
		n   int
		err error
	}
	done := make(chan result)
	go func() {
		n, err := read(make([]byte, 1<<20))
		done <- result{n, err}
	}()
	select {
	case res := <-done:
		t.Fatalf("Read returned %d, %v before there was anything to return", res.n, res.err)
	case <-time.After(50 * time.Millisecond):
	}
	cancel(errStopped)
	var res result
	select {
	case res = <-done:
	case <-time.After(time.Minute):
		t.Fatal("Read does not return")
	}
	if res.n != 0 || res.err != errStopped {
		t.Errorf("Read returned %d, %v; want the cause", res.n, res.err)
	}
	if n, err := read(make([]byte, 1)); n != 0 || err != errStopped {
		t.Errorf("the next Read returned %d, %v; want the cause again", n, err)
	}
}

func TestStdinPipe(t *testing.T) {
	want := randomBytes(5<<20 + 17)
	r, w := newPipe(t)
	go func() {
		w.Write(want)
		w.Close()
	}()
	got, err := io.ReadAll(newInput(t, t.Context(), r))
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("read %d bytes, error %v; want %d", len(got), err, len(want))
	}
}

func TestStdinFile(t *testing.T) {
	want := randomBytes(100000)
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, want, 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := iotest.TestReader(newInput(t, t.Context(), file), want); err != nil {
		t.Error(err)
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		t.Errorf("the file did not stay open: %v", err)
	}
}

func TestStdinWithoutEnd(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	zero, err := os.Open("/dev/zero")
	if err != nil {
		t.Fatal(err)
	}
	defer zero.Close()
	in := newInput(t, ctx, zero)
	if n, err := in.Read(make([]byte, 10)); n != 10 || err != nil {
		t.Errorf("Read returned %d, %v", n, err)
	}
	cancel(errStopped)
	if n, err := in.Read(make([]byte, 10)); n != 0 || err != errStopped {
		t.Errorf("Read returned %d, %v; want the cause", n, err)
	}
}

func TestSilentStdin(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	r, _ := newPipe(t)
	wantCause(t, cancel, newInput(t, ctx, r).Read)
}

// A shell may hand down a non-blocking standard input.
func TestNonBlockingStdin(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	r, w := newPipe(t)
	in := newInput(t, ctx, r)
	if err := syscall.SetNonblock(in.fd, true); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(50*time.Millisecond, func() { w.Write([]byte("late")) })
	p := make([]byte, 10)
	if n, err := in.Read(p); string(p[:n]) != "late" || err != nil {
		t.Errorf("Read returned %q, %v", p[:n], err)
	}
	wantCause(t, cancel, in.Read)
}

func TestStdinError(t *testing.T) {
	dir, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	_, err = newInput(t, t.Context(), dir).Read(make([]byte, 1))
	if want := "read standard input: is a directory"; err == nil || err.Error() != want {
		t.Errorf("error %q, want %q", err, want)
	}
}

func TestStdinClose(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	r, _ := newPipe(t)
	in := newInput(t, ctx, r)
	for range 2 {
		if err := in.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := in.Read(make([]byte, 1)); err != os.ErrClosed {
		t.Errorf("Read after Close: %v", err)
	}
	cancel(errStopped)
}

func BenchmarkStdin(b *testing.B) {
	zero, err := os.Open("/dev/zero")
	if err != nil {
		b.Fatal(err)
	}
	defer zero.Close()
	in := newInput(b, b.Context(), zero)
	p := make([]byte, 64<<10)
	b.SetBytes(int64(len(p)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := in.Read(p); err != nil {
			b.Fatal(err)
		}
	}
}
