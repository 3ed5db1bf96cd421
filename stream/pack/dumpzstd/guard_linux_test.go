package dumpzstd_test

import (
	"bytes"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/takumi-backup/takumi-backup/stream/pack/dumpzstd"
)

// guarded returns n bytes with memory around them that cannot be read: right behind
// them, or right before them.
func guarded(t *testing.T, n int, before bool) []byte {
	page := unix.Getpagesize()
	size := (n+page-1)/page*page + 2*page
	m, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Munmap(m) })
	for _, edge := range [][]byte{m[:page], m[size-page:]} {
		if err := unix.Mprotect(edge, unix.PROT_NONE); err != nil {
			t.Fatal(err)
		}
	}
	if before {
		return m[page : page+n : page+n]
	}
	return m[size-page-n : size-page : size-page]
}

// Nothing outside the input and the output is touched: after both comes memory
// that cannot be read, and before the input as well.
func TestGuardPages(t *testing.T) {
	page := unix.Getpagesize()
	guarded := func(n int) []byte { return guarded(t, n, false) }
	var e dumpzstd.Encoder
	for name, in := range inputs() {
		src, start := guarded(len(in)), []byte(nil)
		copy(src, in)
		if len(in) > page { // the input begins at the edge
			start = guarded((len(in) + page - 1) / page * page)[:len(in)]
			copy(start, in)
		}
		for way, encode := range ways {
			want := encode(&e, nil, in)
			for _, room := range []int{len(want), len(in) / 2} {
				if got := encode(&e, guarded(room)[:0], src); !bytes.Equal(got, want) {
					t.Errorf("%s, %s: another frame", name, way)
				}
			}
			if start != nil {
				if got := encode(&e, nil, start); !bytes.Equal(got, want) {
					t.Errorf("%s, %s: another frame", name, way)
				}
			}
		}
	}
}

// What the encoder keeps between the steps is not left either, at any edge.
func TestGuardPagesInside(t *testing.T) {
	for name, in := range inputs() {
		if len(in) < 64 || len(in) > 256<<10 {
			continue // these have no step that the others lack
		}
		src := guarded(t, len(in), false)
		copy(src, in)
		for _, any := range []bool{false, true} {
			var want []byte
			dumpzstd.InGo(func() { want = dumpzstd.Sections(func(n int) []byte { return make([]byte, n) }, in, any) })
			for _, before := range []bool{false, true} {
				if got := dumpzstd.Sections(func(n int) []byte { return guarded(t, n, before) }, src, any); !bytes.Equal(got, want) {
					t.Errorf("%s, anywhere %v: other sections", name, any)
				}
			}
		}
	}
}
