package replicate_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/backup/replicate"
	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/internal/store/local"
	storetest "github.com/takumi-backup/takumi-backup/internal/testkit/store"
)

// TestEveryFailure lets each call to the stores fail in turn. A copy that is said to be
// made is all that the source has; after a failure there is the former copy or the new
// one, whole, and the next run makes the rest.
func TestEveryFailure(t *testing.T) {
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		t.Setenv("TMPDIR", "/dev/shm") // syncing costs nothing there
	}
	mine := sealed(t, 10_000)
	first, second := besides(t, mine, 1), besides(t, mine, 2)
	rewrapped := append(bytes.Clone(first), mine[len(first):]...)
	signer := newSigner(t)
	for name, set := range map[string]func(t *testing.T, from, to string){
		"signed": func(t *testing.T, from, to string) {
			keep(t, from, mine)
			signed(t, from, signer)
		},
		"signed later": func(t *testing.T, from, to string) {
			keep(t, from, mine)
			keep(t, to, mine)
			signed(t, from, signer)
		},
		"kept": func(t *testing.T, from, to string) {
			keep(t, from, mine)
			ago(t, from, time.Hour)
			keep(t, to, rewrapped)
		},
		"kept beside": func(t *testing.T, from, to string) {
			keep(t, from, mine)
			ago(t, from, time.Hour)
			keep(t, to, mine)
			write(t, to+envelope.DetachedSuffix, second)
		},
		"kept, as the backup is damaged": func(t *testing.T, from, to string) {
			keep(t, from, append(bytes.Clone(rewrapped[:len(rewrapped)-1]), rewrapped[len(rewrapped)-1]^1))
			keep(t, to, mine)
			ago(t, to, time.Hour)
		},
		"new": func(t *testing.T, from, to string) {
			keep(t, from, mine)
			write(t, from+envelope.DetachedSuffix, second)
		},
		"rewrapped": func(t *testing.T, from, to string) {
			keep(t, from, rewrapped)
			keep(t, to, mine)
			write(t, to+envelope.DetachedSuffix, second)
			ago(t, to, time.Hour)
			ago(t, to+envelope.DetachedSuffix, time.Hour)
		},
		"rewrapped beside": func(t *testing.T, from, to string) {
			keep(t, from, mine)
			write(t, from+envelope.DetachedSuffix, second)
			keep(t, to, mine)
			write(t, to+envelope.DetachedSuffix, first)
			ago(t, to, time.Hour)
			ago(t, to+envelope.DetachedSuffix, time.Hour)
		},
	} {
		t.Run(name, func(t *testing.T) {
			var want error
			if strings.HasSuffix(name, "damaged") {
				want = replicate.ErrPayload
			}
			for point, more := 0, true; more; point++ {
				dir := t.TempDir()
				from, to := filepath.Join(dir, "from", "x.enc"), filepath.Join(dir, "to", "x.enc")
				set(t, from, to)
				before, _ := os.ReadFile(to)
				source := from // of what is there in the end
				if strings.HasPrefix(name, "kept") {
					source = filepath.Join(dir, "kept", "x.enc")
					for _, suffix := range suffixes {
						if content, err := os.ReadFile(to + suffix); err == nil {
							write(t, source+suffix, content)
						}
					}
				}
				var failed string
				calls := 0
				place := &storetest.Faulty{Store: local.Folder{}, Before: func(op, path string) error {
					if calls++; calls-1 == point {
						failed = op + " " + filepath.Base(filepath.Dir(path)) + "/" + filepath.Base(path)
						return &store.Error{Op: op, Path: path, Err: syscall.EIO}
					}
					return nil
				}}
				err := runAll(t, place, dir)
				more = failed != ""
				what := fmt.Sprintf("call %d, %s", point, failed)
				if n := place.Left(); n != 0 {
					t.Errorf("%s: %d files are left open", what, n)
				}
				if !errors.Is(err, want) && (!more || !errors.Is(err, syscall.EIO)) {
					t.Errorf("%s: %v", what, err)
				}
				after, _ := os.ReadFile(to)
				if mine, _ := os.ReadFile(source); err != nil && !bytes.Equal(after, before) && !bytes.Equal(after, mine) {
					t.Errorf("%s: the copy has %d bytes of neither", what, len(after))
				}
				if err != nil {
					if err := runAll(t, &storetest.Faulty{Store: local.Folder{}, Before: func(string, string) error { return nil }}, dir); !errors.Is(err, want) {
						t.Errorf("%s: the next run: %v", what, err)
					}
				}
				for _, suffix := range suffixes {
					want, _ := os.ReadFile(source + suffix)
					if got, _ := os.ReadFile(to + suffix); !bytes.Equal(got, want) {
						t.Errorf("%s: success was said, and x.enc%s differs", what, suffix)
					}
				}
			}
		})
	}
}

var suffixes = []string{"", store.SidecarSuffix, envelope.DetachedSuffix, store.SignatureSuffix}

// runAll is a replicate, and its first error.
func runAll(t *testing.T, place store.Store, dir string) error {
	t.Helper()
	memory, err := replicate.OpenMemory(filepath.Join(dir, "state"))
	if err != nil {
		t.Fatal(err)
	}
	o := replicate.Options{Place: place, Memory: memory}
	items, err := replicate.Plan(t.Context(), filepath.Join(dir, "from"), filepath.Join(dir, "to"), o)
	for _, i := range items {
		if err == nil {
			_, err = replicate.One(t.Context(), i, o, func(int) {})
		}
	}
	return err
}

// TestEveryFailureOfAChain lets each call fail in turn while one increment is copied. It is
// there with what it needs or not at all, and a success is that it is there.
func TestEveryFailureOfAChain(t *testing.T) {
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		t.Setenv("TMPDIR", "/dev/shm") // syncing costs nothing there
	}
	name := func(n int) string { return fmt.Sprintf("u_20261101_02000%d.0123456789abcdef-%d.tar.enc", n, n) }
	mine := sealed(t, 100)
	for _, newer := range []bool{false, true} {
		for point, more := 0, true; more; point++ {
			dir := t.TempDir()
			c := replicate.Batch{From: filepath.Join(dir, "from", name(1)), To: filepath.Join(dir, "to"), Workers: 1, Meter: new(backup.Meter)}
			for n := range 3 {
				keep(t, filepath.Join(dir, "from", name(n)), mine)
				ago(t, filepath.Join(dir, "from", name(n)), time.Duration(3-n)*time.Hour)
			}
			last := 1
			if newer {
				c.From, c.NewerThan, last = filepath.Join(dir, "from"), time.Now().Add(-90*time.Minute), 2
			}
			failed, calls := "", 0
			c.Place = &storetest.Faulty{Store: local.Folder{}, Before: func(op, path string) error {
				if calls++; calls-1 == point {
					failed = op + " " + filepath.Base(path)
					return &store.Error{Op: op, Path: path, Err: syscall.EIO}
				}
				return nil
			}}
			tally, err := c.Run(t.Context(), replicate.Observer{Planned: func(int64) {}, Copied: func(replicate.Item, error) {},
				Done: func(*replicate.Tally, replicate.Item, store.Result, error) error { return nil }})
			more = failed != ""
			there := 0 // how many from the first on
			for n := range 3 {
				if _, err := os.Stat(filepath.Join(c.To, name(n)+store.SidecarSuffix)); err == nil {
					if there++; there != n+1 {
						t.Errorf("newer %v, call %d, %s: number %d is there without the one before it", newer, point, failed, n)
					}
				}
			}
			if err == nil && tally.Failed == 0 && there != last+1 {
				t.Errorf("newer %v, call %d, %s: success was said, and %d are there", newer, point, failed, there)
			}
			if err == nil && tally.Failed == 0 && tally.First != nil || !more && (err != nil || tally.Copied != last+1) {
				t.Errorf("newer %v, call %d, %s: %+v, %v", newer, point, failed, tally, err)
			}
		}
	}
}
