package jsonlines

import (
	"cmp"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// TestCut: what a crash leaves of a line costs that line, and no other.
func TestCut(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "state", "lines")
	read := func() (lines []string, whole int64) {
		whole, err := Read(path, func(n int, line []byte) error {
			if lines = append(lines, strings.TrimSpace(string(line))); n != len(lines) {
				t.Errorf("line %d is the %dth", n, len(lines))
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return lines, whole
	}
	if _, err := Read(path, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	for n := range 2 {
		if err := Append(path, n); err != nil {
			t.Fatal(err)
		}
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.WriteString(`"half`); err != nil || file.Close() != nil {
		t.Fatal(err)
	}
	if lines, whole := read(); !slices.Equal(lines, []string{"0", "1"}) || whole != 4 {
		t.Errorf("%q, %d", lines, whole)
	}
	if err := Append(path, strings.Repeat("x", maxLine)); err != nil {
		t.Fatal(err)
	}
	if err := Append(path, 2); err != nil {
		t.Fatal(err)
	}
	if lines, _ := read(); !slices.Equal(lines, []string{"0", "1", `"half`, "", "2"}) {
		t.Errorf("%.40q", lines)
	}
	stop := errors.New("stop")
	if whole, err := Read(path, func(int, []byte) error { return stop }); err != stop || whole != 0 {
		t.Errorf("%d, %v", whole, err)
	}
}

// TestRewrite lets each call of a rewrite fail in turn, as a kill does. The former lines or
// the new ones are there then, whole, and the next one succeeds.
func TestRewrite(t *testing.T) {
	real := sys
	defer func() { sys = real }()
	read := func(path string) (lines []string) {
		_, err := Read(path, func(_ int, line []byte) error {
			lines = append(lines, strings.TrimSpace(string(line)))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return lines
	}
	dead := errors.New("dead")
	for point := range 6 {
		path := filepath.Join(t.TempDir(), "lines")
		for n := range 3 {
			if err := Append(path, n); err != nil {
				t.Fatal(err)
			}
		}
		calls := 0
		fails := func() error {
			if calls++; calls > point {
				return dead
			}
			return nil
		}
		sys.create = func(path string, flags int, mode fs.FileMode) (*os.File, error) {
			if err := fails(); err != nil {
				return nil, err
			}
			return real.create(path, flags, mode)
		}
		sys.write = func(f *os.File, text []byte) (int, error) {
			if err := fails(); err != nil {
				n, _ := f.Write(text[:len(text)/2])
				return n, err
			}
			return f.Write(text)
		}
		sys.sync = func(f *os.File) error { return cmp.Or(fails(), f.Sync()) }
		sys.rename = func(from, to string) error {
			if err := fails(); err != nil {
				return err
			}
			return real.rename(from, to)
		}
		sys.syncDir = func(dir string) error { return cmp.Or(fails(), real.syncDir(dir)) }
		keep := func() ([]any, error) { return []any{"<2>"}, nil }
		err := Rewrite(path, keep)
		want := []string{"0", "1", "2"}
		if point > 3 { // the rename was done
			want = []string{`"<2>"`}
		}
		if got := read(path); !slices.Equal(got, want) || (err == nil) != (point == 5) || err != nil && !errors.Is(err, dead) {
			t.Errorf("call %d: %q, %v", point, got, err)
		}
		sys = real
		if err := os.WriteFile(path+".new", []byte("what a kill leaves\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(Rewrite(path, keep), Append(path, 3)); err != nil {
			t.Error(err)
		}
		if got := read(path); !slices.Equal(got, []string{`"<2>"`, "3"}) {
			t.Errorf("call %d, and again: %q", point, got)
		}
		if all, err := os.ReadDir(filepath.Dir(path)); err != nil || len(all) != 1 {
			t.Errorf("call %d: left are %v, %v", point, all, err)
		}
	}
	path := filepath.Join(t.TempDir(), "lines")
	if err := errors.Join(Append(path, 1), Rewrite(path, func() ([]any, error) { return nil, dead })); !errors.Is(err, dead) || len(read(path)) != 1 {
		t.Error(err)
	}
}

// TestRewriteWhileAdding: what is added while others rewrite is not lost.
func TestRewriteWhileAdding(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lines")
	read := func() (lines []any) {
		_, err := Read(path, func(_ int, line []byte) error {
			lines = append(lines, json.RawMessage(slices.Clone(line)))
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		return lines
	}
	const writers, each = 4, 25
	var writing, rewriting sync.WaitGroup
	for n := range writers {
		writing.Go(func() {
			for i := range each {
				if err := Append(path, n*each+i); err != nil {
					t.Error(err)
				}
			}
		})
	}
	ended := make(chan struct{})
	for range 2 {
		rewriting.Go(func() {
			for {
				select {
				case <-ended:
					return
				default:
				}
				if err := Rewrite(path, func() ([]any, error) { return read(), nil }); err != nil && !errors.Is(err, fs.ErrNotExist) {
					t.Error(err)
				}
			}
		})
	}
	writing.Wait()
	close(ended)
	rewriting.Wait()
	found := make(map[string]bool)
	for _, line := range read() {
		found[strings.TrimSpace(string(line.(json.RawMessage)))] = true
	}
	if len(found) != writers*each {
		t.Errorf("%d lines of %d", len(found), writers*each)
	}
}
