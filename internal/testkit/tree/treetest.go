// Package treetest makes and describes folder trees for tests.
package treetest

import (
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// names are what file names can look like.
var names = []string{
	"plain", "two words", "-dash", "\xff\xfe not utf-8", "Grüße", "new\nline", "tab\t", "back\\slash", "quote'\"", "*?[", ".hidden",
	"trailing ", "CASE", "case", "日本語", "$HOME", "%s", "a=b", "#", "~", strings.Repeat("long", 60), strings.Repeat("é", 100),
}

// Make fills dir with a tree that the seed decides, holding every kind of name,
// link, hole and time. As root it has owners and devices as well.
func Make(t testing.TB, dir string, seed uint64) {
	t.Helper()
	m := &maker{T: t, rand: rand.New(rand.NewPCG(seed, 1)), asRoot: os.Geteuid() == 0}
	m.folder(dir, 0)
	for _, do := range m.last {
		do()
	}
}

type maker struct {
	T      testing.TB
	rand   *rand.Rand
	files  []string
	last   []func() // inner folders first
	asRoot bool
}

func (m *maker) must(err error) {
	m.T.Helper()
	if err != nil {
		m.T.Fatal(err)
	}
}

func (m *maker) folder(dir string, depth int) {
	for _, i := range m.rand.Perm(len(names))[:4+m.rand.IntN(5)] {
		path := filepath.Join(dir, names[i])
		if m.rand.IntN(3) == 0 && depth < 4 {
			m.must(os.Mkdir(path, 0o700))
			m.folder(path, depth+1)
			continue
		}
		m.file(path)
	}
	mode := []uint32{0o755, 0o700, 0o500, 0o2775, 0o1777}[m.rand.IntN(5)]
	m.last = append(m.last, func() { m.dress(dir, mode) })
}

func (m *maker) file(path string) {
	switch kind := m.rand.IntN(12); {
	case kind == 0:
		target := []string{"missing", "../../..", "/etc/passwd", ".", "\xff", strings.Repeat("x/", 300)}[m.rand.IntN(6)]
		m.must(os.Symlink(target, path))
		m.dress(path, 0)
	case kind == 1 && len(m.files) > 0:
		m.must(os.Link(m.files[m.rand.IntN(len(m.files))], path))
	case kind == 2:
		m.must(unix.Mkfifo(path, 0o600))
		m.dress(path, 0o640)
	case kind == 3 && m.asRoot:
		m.must(unix.Mknod(path, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))))
		m.dress(path, 0o666)
	default:
		m.content(path)
		m.dress(path, []uint32{0o644, 0o600, 0o400, 0o755, 0o000, 0o4755, 0o2711}[m.rand.IntN(m.modes())])
		m.files = append(m.files, path)
	}
}

// modes is how many of the modes of files can be used: nobody but root reads
// what has none.
func (m *maker) modes() int {
	if m.asRoot {
		return 7
	}
	return 4
}

// content writes one of the shapes of content: nothing, about a block, about
// what is read ahead, large, with holes in all places.
func (m *maker) content(path string) {
	f, err := os.Create(path)
	m.must(err)
	defer f.Close()
	sizes := []int64{0, 1, 511, 512, 513, 4096, 10_000, 65_534, 65_535, 65_536, 65_537, 200_000}
	size := sizes[m.rand.IntN(len(sizes))]
	if m.rand.IntN(100) == 0 {
		size = 3 << 20
	}
	if m.rand.IntN(4) == 0 { // islands in a hole
		for range m.rand.IntN(3) {
			data := m.bytes(m.rand.Int64N(20_000))
			_, err := f.WriteAt(data, m.rand.Int64N(size+1))
			m.must(err)
		}
		info, err := f.Stat()
		m.must(err)
		m.must(f.Truncate(max(size, info.Size())))
		return
	}
	_, err = f.Write(m.bytes(size))
	m.must(err)
}

func (m *maker) bytes(n int64) []byte {
	p := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(m.rand.Uint32())}).Read(p)
	return p
}

// dress sets owner, mode and time.
func (m *maker) dress(path string, mode uint32) {
	if m.asRoot {
		id := []int{0, 1, 65534, 54321, 3_000_000}[m.rand.IntN(5)]
		m.must(os.Lchown(path, id, id))
	}
	if mode != 0 || !m.isLink(path) {
		m.must(unix.Chmod(path, mode))
	}
	when := []time.Time{
		time.Unix(0, 0), time.Unix(-86400, 5), time.Unix(1_700_000_000, 123_456_789), time.Unix(9_999_999_999, 1),
		time.Unix(m.rand.Int64N(2_000_000_000), m.rand.Int64N(1_000_000_000)),
	}[m.rand.IntN(5)]
	ts, err := unix.TimeToTimespec(when)
	m.must(err)
	m.must(unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW))
}

func (m *maker) isLink(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.Mode()&fs.ModeSymlink != 0
}

// Describe returns a line for each file in and under dir, by path: everything
// that a copy has to have in common with it.
func Describe(t testing.TB, dir string) map[string]string {
	t.Helper()
	lines := make(map[string]string)
	first := make(map[uint64]string)
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		rel := strings.TrimPrefix(strings.TrimPrefix(path, dir), "/")
		line := fmt.Sprintf("mode %o, owner %d:%d, time %d.%09d", st.Mode, st.Uid, st.Gid, st.Mtim.Sec, st.Mtim.Nsec)
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			sum, err := hash(path)
			if err != nil {
				return err
			}
			line += fmt.Sprintf(", %d bytes, %x", st.Size, sum)
			if st.Nlink > 1 {
				if first[st.Ino] == "" {
					first[st.Ino] = rel
				}
				line += fmt.Sprintf(", the same as %q", first[st.Ino])
			}
		case unix.S_IFLNK:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			line += fmt.Sprintf(", to %q", target)
		case unix.S_IFCHR, unix.S_IFBLK:
			line += fmt.Sprintf(", device %d", st.Rdev)
		}
		lines[rel] = line
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

func hash(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	h := sha256.New()
	_, err = io.Copy(h, f)
	return h.Sum(nil), err
}

// Compare reports each difference between two descriptions.
func Compare(t testing.TB, got, want map[string]string) {
	t.Helper()
	for _, path := range slices.Sorted(maps.Keys(want)) {
		if got[path] != want[path] {
			t.Errorf("%q:\n got %s\nwant %s", path, got[path], want[path])
		}
	}
	for _, path := range slices.Sorted(maps.Keys(got)) {
		if _, ok := want[path]; !ok {
			t.Errorf("%q should not be there", path)
		}
	}
}
