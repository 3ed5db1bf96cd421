package main

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestNightsOfOthers: files of 50 KB that don't pack, of which a hundredth changes each
// night, next to restic, borg and GNU tar in turns. There are 20,000, with
// TAKUMI_TEST_LONG=full 100,000, or as many as it says, and fewer where the disk has no
// room for five times their size.
func TestNightsOfOthers(t *testing.T) {
	needIntegration(t)
	long := os.Getenv("TAKUMI_TEST_LONG")
	if long == "" {
		t.Skip("set TAKUMI_TEST_LONG=1, as scripts/test --long does, to run this test: it writes gigabytes")
	}
	b := measured(t)
	b.patience = time.Hour
	files := 20_000
	if n, err := strconv.Atoi(long); err == nil && n >= 1000 {
		files = n
	} else if long == "full" {
		files = 100_000
	}
	var disk unix.Statfs_t
	if err := unix.Statfs(b.dir, &disk); err != nil {
		t.Fatal(err)
	}
	files = min(files, int(disk.Bavail)*int(disk.Bsize)/5/averageFile)
	f := &nightly{T: t, dir: b.path("tree"), random: rand.NewChaCha8([32]byte{1})}
	for range files {
		f.write(f.made)
		f.made++
	}

	b.env = append(b.env, "RESTIC_PASSWORD=x", "RESTIC_CACHE_DIR="+b.path("cache"), "BORG_PASSPHRASE=x", "BORG_BASE_DIR="+b.path("borg-home"), "HOME="+b.path(""))
	b.shell(`restic -q init -r restic; borg init -e repokey borg; mkdir tar`)
	tools := []*nightTool{
		{name: program, made: "store", script: `"$0" backup uploads tree --incremental --full-every 30d -q`},
		{name: "restic", made: "restic", script: `restic -q -r restic backup tree`},
		{name: "borg", made: "borg", script: `borg create borg::$1 tree`},
		{name: "GNU tar", made: "tar", script: `tar --listed-incremental=tar/state -c -f tar/$1 tree; sync tar/$1`},
	}
	const nights = 7
	for night := range nights {
		if night > 0 {
			f.change(night)
		}
		for i := range tools {
			tools[(i+night)%len(tools)].back(b, night)
		}
		if night == 0 { // takes room, and is not needed
			b.shell(`: > tar/0`)
			tools[len(tools)-1].size = 0
		}
	}
	ours, restic := tools[0], tools[1]
	t.Logf("%d files, %.1f GB, of which %d change each night", files, float64(f.bytes)/1e9, files/100)
	for _, tool := range tools {
		t.Logf("%-14s the first %6.1f s, %6.1f s of processors, %8.1f MB; then each night %v, %8.2f MB; against restic %.2f times the time, %.2f the processors, %.2f the bytes", tool.name,
			tool.first.wall[0], tool.first.cpu[0], tool.firstBytes/1e6, &tool.then, medianOf(tool.bytes)/1e6,
			quotient(tool.then.wall, restic.then.wall), quotient(tool.then.cpu, restic.then.cpu), quotient(tool.bytes, restic.bytes))
	}
	if q := quotient(ours.bytes, restic.bytes); q > 1.3 {
		t.Errorf("a night takes %.2f times restic's bytes, want 1.3 at most", q)
	}
	if q := quotient(ours.then.wall, restic.then.wall); files >= 10_000 && q > 1 {
		t.Errorf("a night takes %.2f times restic's time, want 1 at most", q)
	}
}

const averageFile = 50 << 10

// nightly is a folder of files that don't pack.
type nightly struct {
	*testing.T
	dir    string
	made   int // names so far
	bytes  int
	random *rand.ChaCha8
}

func (f *nightly) path(i int) string {
	return filepath.Join(f.dir, fmt.Sprintf("%x/%02x", i*7919>>6&0xf, i*7919&0x3f), fmt.Sprintf("%06d.jpg", i))
}

// write writes a file of up to twice the average.
func (f *nightly) write(i int) {
	f.Helper()
	content := make([]byte, f.random.Uint64()%(2*averageFile))
	f.random.Read(content)
	f.bytes += len(content)
	if err := os.MkdirAll(filepath.Dir(f.path(i)), 0o755); err != nil {
		f.Fatal(err)
	}
	writeFile(f, f.path(i), content)
}

// change changes a hundredth: seven of ten are written anew, two come, and one goes.
func (f *nightly) change(night int) {
	f.Helper()
	for i := range f.made / 100 {
		switch old := i*100 + night; {
		case i%10 < 7:
			f.write(old)
		case i%10 < 9:
			f.write(f.made)
			f.made++
		default:
			if err := os.Remove(f.path(old)); err != nil {
				f.Fatal(err)
			}
		}
	}
}

// nightTool is one way to back the folder up each night.
type nightTool struct {
	name, script, made string // for sh; $0 is this program, and $1 the night
	size               float64
	firstBytes         float64
	first, then        timings
	bytes              []float64 // that each night but the first adds
}

func (n *nightTool) back(b *sandbox, night int) {
	b.Helper()
	began := time.Now()
	r := b.start(b.command("sh", "-euc", n.script, b.exe, strconv.Itoa(night))).exits(0)
	before := n.size
	n.size = float64(sizeOf(b, b.path(n.made)))
	if night == 0 {
		n.first.add(began, r)
		n.firstBytes = n.size
		return
	}
	n.then.add(began, r)
	n.bytes = append(n.bytes, n.size-before)
}

// sizeOf is the sum of the sizes of all files below dir.
func sizeOf(t testing.TB, dir string) (sum int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			var info fs.FileInfo
			if info, err = d.Info(); err == nil {
				sum += info.Size()
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

func medianOf(values []float64) float64 {
	v := slices.Sorted(slices.Values(values))
	return v[len(v)/2]
}

// quotient is the median of the quotients of each night.
func quotient(a, b []float64) float64 {
	q := make([]float64, len(a))
	for i := range a {
		q[i] = a[i] / b[i]
	}
	return medianOf(q)
}
