package verify

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/internal/store/local"
	"github.com/takumi-backup/takumi-backup/stream/pack"
)

// counting is a folder that counts how often each file is opened.
type counting struct {
	local.Folder
	opened map[string]int
}

func (c counting) Open(ctx context.Context, path string) (store.Object, error) {
	c.opened[filepath.Base(path)]++
	return c.Folder.Open(ctx, path)
}

// restless is a folder in which somebody is always at work: a file has another time, or
// another head, each time that it is opened.
type restless struct {
	counting
	head bool
}

type restlessFile struct {
	store.Object
	n    int
	head bool
}

func (r restless) Open(ctx context.Context, path string) (store.Object, error) {
	obj, err := r.counting.Open(ctx, path)
	if err != nil {
		return nil, err
	}
	return restlessFile{obj, r.opened[filepath.Base(path)], r.head}, nil
}

func (f restlessFile) ModTime() time.Time {
	if f.head {
		return f.Object.ModTime()
	}
	return time.Unix(int64(f.n), 0)
}

func (f restlessFile) ReadAt(p []byte, at int64) (int, error) {
	n, err := f.Object.ReadAt(p, at)
	if f.head && n > 0 {
		p[n-1] = byte(f.n)
	}
	return n, err
}

// vanishing is a folder in which a file is gone once it was opened.
type vanishing struct{ local.Folder }

func (v vanishing) Open(ctx context.Context, path string) (store.Object, error) {
	obj, err := v.Folder.Open(ctx, path)
	return obj, errors.Join(err, os.Remove(path))
}

// TestLooks: a bad backup is read once more than it changes, but not for ever, and one that
// went away is not bad.
func TestLooks(t *testing.T) {
	t.Parallel()
	key := kek.Generate()
	path := put(t, []byte("content"), backup.KindStream, "x", pack.None, key)
	data := mustRead(t, path)
	write(t, path+envelope.DetachedSuffix, data[:envelope.Unit])
	data[len(data)-1] ^= 1
	write(t, path, data)
	write(t, path+store.SidecarSuffix, sidecarOf(data, path))
	file := filepath.Base(path)
	for name, want := range map[string]int{
		"still": 3, // to read it, to compare its envelope, and to see that it is the same
		"time":  3*looks - 1, "head": 3*looks - 1,
	} {
		count := counting{opened: make(map[string]int)}
		var place store.Store = count
		if name != "still" {
			place = restless{count, name == "head"}
		}
		b := NewChecker(Options{Place: place, Keys: ringOf(key), Level: Auth, pause: time.Millisecond}).One(t.Context(), path)
		if !b.has(Damaged) || count.opened[file] != want {
			t.Errorf("%s: opened %d times, want %d: %s", name, count.opened[file], want, asJSON(b))
		}
	}
	b := NewChecker(Options{Place: vanishing{}, Keys: ringOf(key), Level: Auth, pause: time.Millisecond}).One(t.Context(), path)
	if b.Checked || b.Findings != nil || b.Why != gone {
		t.Errorf("one that went away: %s", asJSON(b))
	}
}

// TestOneOpen: a job for a single file opens it once.
func TestOneOpen(t *testing.T) {
	key := kek.Generate()
	path := put(t, []byte("content"), backup.KindStream, "x", pack.Zstd, key)
	for _, level := range []Level{Checksum, Auth, Content} {
		place := counting{opened: make(map[string]int)}
		j := Job{Options: Options{Place: place, Keys: ringOf(key), Level: level}, Paths: []string{path}}
		r, err := j.Run(t.Context())
		if err != nil || r.Summary().Checked != 1 || r.Summary().Errors != 0 {
			t.Fatalf("%v: %v, %+v", level, err, r)
		}
		if n := place.opened[filepath.Base(path)]; n != 1 {
			t.Errorf("%v: opened %d times", level, n)
		}
	}
}

// TestFewReads: a good backup, its sidecar and its envelope are each opened once.
func TestFewReads(t *testing.T) {
	key := kek.Generate()
	path := put(t, []byte("content"), backup.KindStream, "x", pack.Zstd, key)
	file := filepath.Base(path)
	for _, level := range []Level{Checksum, Auth, Content} {
		place := counting{opened: make(map[string]int)}
		var meter backup.Meter
		b := NewChecker(Options{Place: place, Keys: ringOf(key), Level: level, Meter: &meter}).One(t.Context(), path)
		if b.Worst() == Error {
			t.Fatalf("%v: %+v", level, b.Findings)
		}
		if meter.In() != b.Size || b.Seconds <= 0 {
			t.Errorf("%v: %d of %d bytes in %v seconds", level, meter.In(), b.Size, b.Seconds)
		}
		for _, name := range []string{file, file + ".sha256", file + ".envelope"} {
			if place.opened[name] != 1 {
				t.Errorf("%v: %s was opened %d times", level, name, place.opened[name])
			}
		}
	}
}
