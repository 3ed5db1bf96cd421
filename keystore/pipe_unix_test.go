//go:build unix

package keystore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
)

const pipedKey = "b7f6e3d0c92b7f4488d1530e6ab7c4f95d2e9a01b8c3764f1e0dd7a2935b8c6e"

func fifo(t *testing.T, mode uint32) File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, os.FileMode(mode)); err != nil {
		t.Fatal(err)
	}
	return File{path}
}

// TestPipes: a key comes through a pipe, once, and is had again and again.
func TestPipes(t *testing.T) {
	named := fifo(t, 0o600)
	go os.WriteFile(named.Path, []byte(pipedKey+"\n"), 0)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	fmt.Fprintln(w, pipedKey)
	w.Close()
	substituted := File{fmt.Sprintf("/dev/fd/%d", r.Fd())}
	for _, f := range []File{named, substituted} {
		var first kek.ID
		for range 3 {
			key, err := f.Load(t.Context())
			if err != nil {
				t.Fatalf("%v: %v", f, err)
			}
			if first == "" {
				first = key.ID()
			}
			if key.ID() != first {
				t.Errorf("%v: another key came", f)
			}
			key.Wipe()      // the one that is remembered must not be this
			if f == named { // and is not to be replaced
				w, err := os.OpenFile(f.Path, os.O_RDWR, 0)
				if err != nil {
					t.Fatal(err)
				}
				defer w.Close()
				fmt.Fprint(w, sampleHex+strings.Repeat("\n", maxText))
			}
		}
	}
}

func TestPipesRefused(t *testing.T) {
	defer func(was time.Duration) { pipePatience = was }(pipePatience)
	pipePatience = 10 * time.Millisecond
	for _, tc := range []struct {
		mode uint32
		want string
	}{{0o600, "nothing was written to it"}, {0o644, "mode is 0644"}} {
		_, err := fifo(t, tc.mode).Load(t.Context())
		if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%o: %v", tc.mode, err)
		}
	}
}

// TestPipeCancelled: a writer that never comes, or writes nothing, does not hold up
// who was told to stop.
func TestPipeCancelled(t *testing.T) {
	for _, written := range []bool{false, true} {
		f := fifo(t, 0o600)
		if written {
			w, err := os.OpenFile(f.Path, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer w.Close()
		}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(50*time.Millisecond, cancel)
		if _, err := f.Load(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("%v: %v", written, err)
		}
	}
}
