//go:build !race

// The race detector makes sync.Pool, which the libraries use, forget at random.
// scripts/test runs this package without it too, in both FIPS modes.

package pack_test

import (
	"bytes"
	"io"
	"testing"

	"github.com/takumi-backup/takumi-backup/stream/pack"
)

// TestSteadyStateAllocatesNothing compares a stream with a longer one: what is
// allocated must not grow with the blocks. The seek table does, by a few
// doublings, and so does what the libraries take the first time round.
func TestSteadyStateAllocatesNothing(t *testing.T) {
	const short, long = 64 * block, 512 * block
	plain := dump(long)
	check := func(name string, work func(n int)) {
		t.Helper()
		a := testing.AllocsPerRun(2, func() { work(short) })
		b := testing.AllocsPerRun(2, func() { work(long) })
		if perBlock := (b - a) / ((long - short) / block); perBlock > 0.1 {
			t.Errorf("%s: %.0f allocations for %d blocks, %.0f for %d", name, a, short/block, b, long/block)
		}
	}
	for _, codec := range []pack.Codec{pack.None, pack.Gzip, pack.Zstd} {
		o := pack.Options{Codec: codec, Level: pack.Fastest, BlockSize: block}
		check(string(codec)+", Write", func(n int) {
			w, _ := pack.NewWriter(onlyWriter{io.Discard}, o)
			w.Write(plain[:n])
			w.Close()
		})
		check(string(codec)+", ReadFrom", func(n int) {
			w, _ := pack.NewWriter(onlyWriter{io.Discard}, o)
			w.ReadFrom(onlyReader{bytes.NewReader(plain[:n])})
			w.Close()
		})
		sealed := map[int][]byte{short: packed(t, o, plain[:short], false), long: packed(t, o, plain, false)}
		for name, unpack := range map[string]func(*pack.Reader){
			"Read":    func(r *pack.Reader) { io.Copy(onlyWriter{io.Discard}, onlyReader{r}) },
			"WriteTo": func(r *pack.Reader) { r.WriteTo(onlyWriter{io.Discard}) },
		} {
			check(string(codec)+", "+name, func(n int) {
				r, _ := pack.NewReader(bytes.NewReader(sealed[n]), codec)
				unpack(r)
			})
		}
	}
}
