package local

import (
	"io/fs"
	"os"
	"syscall"
	"testing"
)

// Fate is what becomes of a system call.
type Fate int

const (
	Proceed Fate = iota
	Refuse       // it fails with EIO, and nothing happens
	Tear         // so does a write, but half of it happens
)

// Interpose lets fate decide over every call of this package that changes a folder
// or makes a change durable, until the test ends. No call brings anything to the
// disk, for speed: what a loss of power leaves is not what is tested. Such tests are
// not parallel.
func Interpose(t testing.TB, fate func(op string) Fate) {
	real := sys
	t.Cleanup(func() { sys = real })
	refused := func(op string) error {
		if fate(op) == Proceed {
			return nil
		}
		return syscall.EIO
	}
	sys.open = func(path string, flags int, mode fs.FileMode) (*os.File, error) {
		if err := refused("open"); err != nil {
			return nil, err
		}
		return real.open(path, flags, mode)
	}
	sys.lock = func(f *os.File) error { return cmpOr(refused("lock"), func() error { return real.lock(f) }) }
	sys.chmod = func(f *os.File, m fs.FileMode) error {
		return cmpOr(refused("chmod"), func() error { return real.chmod(f, m) })
	}
	sys.write = func(f *os.File, p []byte) (n int, err error) {
		switch fate("write") {
		case Proceed:
			return real.write(f, p)
		case Tear:
			n, _ = real.write(f, p[:len(p)/2])
		}
		return n, syscall.EIO
	}
	sys.copy = func(to, from *os.File, n int64) (int64, error) {
		switch fate("copy") {
		case Proceed:
			return real.copy(to, from, n)
		case Tear:
			n, _ := real.copy(to, from, n/2)
			return n, syscall.EIO
		}
		return 0, syscall.EIO
	}
	sys.sync = func(*os.File) error { return refused("sync") }
	sys.renameNew = func(from, to string) error {
		return cmpOr(refused("rename"), func() error { return real.renameNew(from, to) })
	}
	sys.rename = func(from, to string) error {
		return cmpOr(refused("replace"), func() error { return real.rename(from, to) })
	}
	sys.remove = func(path string) error { return cmpOr(refused("remove"), func() error { return real.remove(path) }) }
	sys.syncDir = func(string) error { return refused("sync folder") }
}
