package index_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/takumi-backup/takumi-backup/stream/pack/index"
)

const header = `{"v":1,"format":"tar","size":0}`

func key(i int) []byte  { return fmt.Appendf(nil, "folder %03d/file %06d", i/1000, i) }
func line(i int) []byte { return fmt.Appendf(nil, `{"p":%q,"t":"f","o":%d}`, key(i), i*7919) }

// write makes an index of the lines in this order, with duplicates of some keys.
func write(t testing.TB, order []int, o index.Options) []byte {
	t.Helper()
	w, err := index.NewWriter([]byte(header), o)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	for _, i := range order {
		if err := w.Add(key(i), line(i)); err != nil {
			t.Fatal(err)
		}
	}
	content, err := w.Finish()
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(content)
	if err != nil || int64(len(b)) != content.Size {
		t.Fatalf("%d bytes of %d: %v", len(b), content.Size, err)
	}
	return b
}

func reader(t testing.TB, content []byte) (*index.Reader, *counting) {
	t.Helper()
	src := &counting{ReaderAt: bytes.NewReader(content)}
	r, err := index.NewReader(src, int64(len(content)))
	if err != nil {
		t.Fatal(err)
	}
	return r, src
}

type counting struct {
	io.ReaderAt
	mu           sync.Mutex
	calls, bytes int
}

func (c *counting) ReadAt(p []byte, off int64) (int, error) {
	c.mu.Lock()
	c.calls, c.bytes = c.calls+1, c.bytes+len(p)
	c.mu.Unlock()
	return c.ReaderAt.ReadAt(p, off)
}

func all(t testing.TB, r *index.Reader) [][]byte {
	t.Helper()
	var lines [][]byte
	for line, err := range r.All() {
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, bytes.Clone(line))
	}
	return lines
}

// TestSortedWhateverFits: memory and order change nothing in the lines.
func TestSortedWhateverFits(t *testing.T) {
	for _, n := range []int{0, 1, 30_000} {
		order := rand.Perm(n)
		for _, memory := range []int{0, 1 << 20, 100 << 10} {
			dir := t.TempDir()
			r, _ := reader(t, write(t, order, index.Options{Memory: memory, Dir: dir}))
			lines := all(t, r)
			if len(lines) != n {
				t.Fatalf("%d lines of %d", len(lines), n)
			}
			for i, got := range lines {
				if !bytes.Equal(got, line(i)) {
					t.Fatalf("line %d is %s", i, got)
				}
			}
			if h, err := r.Header(); err != nil || string(h) != header {
				t.Errorf("header %s, %v", h, err)
			}
			if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		}
	}
}

// TestEqualKeysStayInOrder: also when they are spilled.
func TestEqualKeysStayInOrder(t *testing.T) {
	w, err := index.NewWriter([]byte(header), index.Options{Memory: 2000, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	for i := range 500 {
		if err := w.Add([]byte{'a' + byte(i%3)}, fmt.Appendf(nil, "%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	content, err := w.Finish()
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(content)
	if err != nil {
		t.Fatal(err)
	}
	r, _ := reader(t, b)
	var want [][]byte
	for k := range 3 {
		for i := k; i < 500; i += 3 {
			want = append(want, fmt.Appendf(nil, "%d", i))
		}
	}
	if got := all(t, r); !slices.EqualFunc(got, want, bytes.Equal) {
		t.Errorf("%s", got)
	}
}

// TestRangeReadsFewFrames: one key costs the frame it is in, or two.
func TestRangeReadsFewFrames(t *testing.T) {
	const n = 100_000
	content := write(t, rand.Perm(n), index.Options{Dir: t.TempDir()})
	r, src := reader(t, content)
	if src.calls > 3 {
		t.Errorf("opening takes %d reads", src.calls)
	}
	for _, i := range []int{0, 1, n / 3, n - 1, n + 5} {
		src.calls, src.bytes = 0, 0
		found := 0
		for got, err := range r.Range(key(i), key(i)) {
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Equal(got, line(i)) {
				found++
			}
		}
		if want := map[bool]int{true: 1}[i < n]; found != want || src.calls > 2 || src.bytes > len(content)/2 {
			t.Errorf("key %d: found %d, %d reads, %d of %d bytes", i, found, src.calls, src.bytes, len(content))
		}
	}
	// A folder is a range, and ends in the middle of a frame.
	found := 0
	for got, err := range r.Range([]byte("folder 042/"), []byte("folder 0420")) {
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(got, []byte("folder 042/")) {
			found++
		}
	}
	if found != 1000 {
		t.Errorf("%d entries of the folder", found)
	}
	last := 0
	for range r.Range(key(n-10), nil) {
		last++
	}
	if last < 10 || last > n/4 {
		t.Errorf("%d lines to the end", last)
	}
}

func TestRefusesLines(t *testing.T) {
	w, err := index.NewWriter([]byte(header), index.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	for name, tc := range map[string]struct{ key, line []byte }{
		"no key":      {nil, []byte("x")},
		"a long key":  {make([]byte, index.MaxKey+1), []byte("x")},
		"a long line": {[]byte("k"), make([]byte, index.MaxFrame)},
		"a line feed": {[]byte("k"), []byte("a\nb")},
	} {
		if err := w.Add(tc.key, tc.line); !errors.Is(err, index.ErrLine) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := w.Add(make([]byte, index.MaxKey), make([]byte, index.MaxFrame-1)); err != nil {
		t.Errorf("the longest: %v", err)
	}
	if _, err := w.Finish(); err != nil {
		t.Fatal(err)
	}
	if err := w.Add([]byte("k"), []byte("late")); err == nil {
		t.Error("a line is added to what is finished")
	}
	full, err := index.NewWriter([]byte(header), index.Options{Memory: 10, Dir: filepath.Join(t.TempDir(), "missing")})
	if err != nil {
		t.Fatal(err)
	}
	first := full.Add([]byte("k"), []byte("line"))
	if second := full.Add([]byte("k"), []byte("line")); first == nil || second != first {
		t.Errorf("without a place for the temporary file: %v, then %v", first, second)
	}
	if _, err := full.Finish(); err != first {
		t.Errorf("and it is finished: %v", err)
	}
}

func TestMalformed(t *testing.T) {
	good := write(t, rand.Perm(60_000), index.Options{})
	size := len(good)
	footer := size - 20
	put := func(b []byte, at int, change func(uint32) uint32) []byte {
		binary.LittleEndian.PutUint32(b[at:], change(binary.LittleEndian.Uint32(b[at:])))
		return b
	}
	plus := func(n uint32) func(uint32) uint32 { return func(v uint32) uint32 { return v + n } }
	directory := footer - int(binary.LittleEndian.Uint32(good[footer:]))
	for name, spoil := range map[string]func([]byte) []byte{
		"empty":               func(b []byte) []byte { return nil },
		"cut":                 func(b []byte) []byte { return b[:size-1] },
		"cut in front":        func(b []byte) []byte { return b[1:] },
		"intro":               func(b []byte) []byte { b[4]++; return b },
		"size":                func(b []byte) []byte { return put(b, footer+8, plus(1)) },
		"more frames":         func(b []byte) []byte { return put(b, footer+4, plus(1)) },
		"a billion frames":    func(b []byte) []byte { return put(b, footer+4, plus(1e9)) },
		"longer directory":    func(b []byte) []byte { return put(b, footer, plus(1)) },
		"endless directory":   func(b []byte) []byte { return put(b, footer, func(uint32) uint32 { return 1<<32 - 1 }) },
		"no directory":        func(b []byte) []byte { return put(b, footer, func(uint32) uint32 { return 0 }) },
		"longer frame":        func(b []byte) []byte { return put(b, directory, plus(1)) },
		"longer key":          func(b []byte) []byte { return put(b, directory+4, plus(1)) },
		"endless key":         func(b []byte) []byte { return put(b, directory+4, func(uint32) uint32 { return 1<<32 - 1 }) },
		"keys out of order":   func(b []byte) []byte { b[directory+8+8] = 0xff; return b },
		"a byte of the frame": func(b []byte) []byte { b[100] ^= 1; return b },
	} {
		bad := spoil(bytes.Clone(good))
		r, err := index.NewReader(bytes.NewReader(bad), int64(len(bad)))
		if err == nil {
			for _, err = range r.All() {
				if err != nil {
					break
				}
			}
		}
		if !errors.Is(err, index.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzReader(f *testing.F) {
	f.Add(write(f, []int{2, 0, 1}, index.Options{}))
	f.Add(write(f, nil, index.Options{}))
	f.Fuzz(func(t *testing.T, content []byte) {
		r, err := index.NewReader(bytes.NewReader(content), int64(len(content)))
		if err != nil {
			return
		}
		for line, err := range r.Range([]byte("f"), []byte("g")) {
			if err == nil && bytes.IndexByte(line, '\n') >= 0 {
				t.Fatalf("a line with a line feed: %q", line)
			}
		}
	})
}
