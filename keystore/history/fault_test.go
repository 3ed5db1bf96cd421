package history

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/keystore"
)

// everyCall calls before ahead of each call of s, and fails the call when before
// does. A write that fails has written half.
func (s *system) everyCall(before func(op string) error) {
	real := *s
	s.mkdir = func(dir string) error { return errors.Join(before("mkdir"), real.mkdir(dir)) }
	s.open = func(path string, flags int, mode fs.FileMode) (*os.File, error) {
		if err := before("open " + filepath.Base(path)); err != nil {
			return nil, &fs.PathError{Op: "open", Path: path, Err: err}
		}
		return real.open(path, flags, mode)
	}
	s.lock = func(f *os.File) error { return errors.Join(before("lock"), real.lock(f)) }
	s.read = func(f *os.File, limit int64) ([]byte, error) {
		text, err := real.read(f, limit)
		if fault := before("read"); fault != nil {
			return text[:len(text)/2], fault
		}
		return text, err
	}
	s.create = func(path string) (file, error) {
		if err := before("create"); err != nil {
			return nil, err
		}
		f, err := real.create(path)
		return failing{f, before}, err
	}
}

// failing is a file whose calls can fail.
type failing struct {
	file
	before func(string) error
}

func (f failing) Write(p []byte) (int, error) {
	if err := f.before("write"); err != nil {
		n, _ := f.file.Write(p[:len(p)/2])
		return n, err
	}
	return f.file.Write(p)
}

func (f failing) Commit() (store.Result, error) {
	if err := f.before("commit"); err != nil {
		return store.Result{}, err
	}
	return f.file.Commit()
}

// TestEveryFailure lets each call that changes the history fail in turn. It is then as
// it was, in memory and on disk, with nothing beside it, and the next run succeeds.
func TestEveryFailure(t *testing.T) {
	const opened = "mkdir,open keys.lock,lock,open keys.json,read,"
	const saved = "create,write,commit"
	for _, tc := range []struct {
		name, calls string
		change      func(h *History, v *vault) error
	}{
		{"rotate", opened + saved + "," + saved, func(h *History, v *vault) error {
			_, err := Rotate(t.Context(), h, v, Options{Now: today.Add(time.Hour)})
			return err
		}},
		{"end", opened + saved, func(h *History, v *vault) error {
			_, err := h.End(v.current(), today.Add(time.Hour), time.Hour)
			return err
		}},
		{"clear", opened + saved, func(h *History, v *vault) error { return h.Clear(v.keys[0].ID(), today.Add(time.Hour)) }},
		{"put", opened + saved + "," + saved, func(h *History, v *vault) error {
			_, err := Put(t.Context(), h, v, v.keys[0], Options{Now: today.Add(time.Hour), Replace: true})
			return err
		}},
		{"add", opened + saved, func(h *History, _ *vault) error {
			src := keystore.File{Path: filepath.Join(filepath.Dir(h.Path()), "key")}
			_, err := Add(t.Context(), h, src, false, Options{Now: today.Add(time.Hour)})
			return err
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			want := strings.Split(tc.calls, ",")
			for point := 0; point <= len(want); point++ {
				dir, v := filepath.Join(t.TempDir(), "state"), newVault(1)
				mustRotate(t, dir, v, Options{})
				if err := keystore.WriteFile(filepath.Join(dir, "key"), v.keys[len(v.keys)-1]); err != nil {
					t.Fatal(err)
				}
				before, err := os.ReadFile(filepath.Join(dir, FileName))
				if err != nil {
					t.Fatal(err)
				}
				records := read(t, dir).Records()
				made, err := changeFailing(t, dir, point, func(h *History) error {
					err := tc.change(h, v)
					if err != nil && !slices.Equal(h.Records(), records) {
						t.Errorf("call %d: the history has %v", point, h.Records())
					}
					return err
				})
				after, readErr := os.ReadFile(filepath.Join(dir, FileName))
				if readErr != nil {
					t.Fatal(readErr)
				}
				if point == len(want) {
					if err != nil || !slices.Equal(made, want) || bytes.Equal(before, after) {
						t.Fatalf("calls %q, want %q; %v", made, want, err)
					}
					continue
				}
				if !errors.Is(err, syscall.EIO) || !slices.Equal(made, want[:point+1]) {
					t.Errorf("call %d, %q: %v", point, made, err)
				}
				// By its second save a rotation has written down what it is about to do.
				if second := point > strings.Count(opened+saved, ","); !second && !bytes.Equal(before, after) {
					t.Errorf("call %d, %q: the file is\n%s", point, made, after)
				}
				if entries, err := os.ReadDir(dir); err != nil || len(entries) != 3 {
					t.Errorf("call %d, %q: %v, %v", point, made, entries, err)
				}
				if _, err := changeFailing(t, dir, -1, func(h *History) error { return tc.change(h, v) }); err != nil {
					t.Errorf("call %d, %q: the next run: %v", point, made, err)
				}
			}
		})
	}
}

// changeFailing opens the history and changes it while call number point fails, and
// returns the calls up to that.
func changeFailing(t *testing.T, dir string, point int, change func(*History) error) (made []string, err error) {
	real := sys
	defer func() { sys = real }()
	sys.everyCall(func(op string) error {
		if made = append(made, op); len(made)-1 == point {
			return syscall.EIO
		}
		return nil
	})
	h, err := Open(dir)
	if err != nil {
		return made, err
	}
	defer h.Close()
	err = change(h)
	return made, err
}
