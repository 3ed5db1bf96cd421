package dumpzstd_test

import (
	"bytes"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/takumi-backup/takumi-backup/stream/pack/dumpzstd"
)

// Nothing outside the input and the output is touched: after both comes memory
// that cannot be read, and before the input as well.
func TestGuardPages(t *testing.T) {
	page := unix.Getpagesize()
	guarded := func(n int) []byte {
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
		return m[size-page-n : size-page : size-page]
	}
	var e dumpzstd.Encoder
	for name, in := range inputs() {
		want := e.Encode(nil, in)
		src := guarded(len(in))
		copy(src, in)
		for _, room := range []int{0, len(want), len(in) / 2, len(in) + 64} {
			if got := e.Encode(guarded(room)[:0], src); !bytes.Equal(got, want) {
				t.Errorf("%s: another frame", name)
			}
		}
		if len(in) > page { // the input begins at the edge
			start := guarded((len(in) + page - 1) / page * page)
			copy(start, in)
			if got := e.Encode(nil, start[:len(in)]); !bytes.Equal(got, want) {
				t.Errorf("%s: another frame", name)
			}
		}
	}
}
