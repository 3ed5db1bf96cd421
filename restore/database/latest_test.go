package database

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/internal/store/local"
	"github.com/takumi-backup/takumi-backup/keystore"
)

// counted is a folder that counts the bytes that are read of each backup.
type counted struct {
	local.Folder
	read map[string]*atomic.Int64
}

type countedObject struct {
	store.Object
	n *atomic.Int64
}

func (c counted) Open(ctx context.Context, path string) (store.Object, error) {
	o, err := c.Folder.Open(ctx, path)
	if n := c.read[path]; n != nil && err == nil {
		o = countedObject{o, n}
	}
	return o, err
}

func (o countedObject) Read(p []byte) (int, error) {
	n, err := o.Object.Read(p)
	o.n.Add(int64(n))
	return n, err
}

func (o countedObject) ReadAt(p []byte, at int64) (int, error) {
	n, err := o.Object.ReadAt(p, at)
	o.n.Add(int64(n))
	return n, err
}

// TestLatestReadsOnlyWhatItProves: of three backups the newest, of the schema alone, and
// the one before it are each read once, and of the oldest its head alone: what --latest
// costs before the restore reads the backup that was found once more.
func TestLatestReadsOnlyWhatItProves(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	keyFile := filepath.Join(dir, "key")
	if err := keystore.WriteFile(keyFile, kek.Generate()); err != nil {
		t.Fatal(err)
	}
	ring := keystore.NewRing(keystore.File{Path: keyFile})
	defer ring.Close()
	to, err := ring.Recipients(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	rows := make([]byte, 0, 1<<20)
	for random := rand.New(rand.NewPCG(1, 2)); len(rows) < 1<<19; {
		rows = fmt.Appendf(rows, "%d\n", random.Uint64())
	}
	const head = "--\n-- PostgreSQL database dump\n--\n\nCREATE TABLE public.t (\n    id text\n);\n\n"
	const tail = "\n--\n-- PostgreSQL database dump complete\n--\n\n"
	full := head + "COPY public.t (id) FROM stdin;\n" + string(rows) + "\\.\n\n" + tail
	padding := strings.Repeat("-- a comment of some length, so that there is something to read\n", 10_000)
	place := counted{read: make(map[string]*atomic.Int64)}
	var made []*backup.Made
	for n, dump := range []string{full, full, head + padding + tail} {
		job := backup.Job{
			Source: backup.From(strings.NewReader(dump)), Created: time.Now().Add(time.Duration(n-3) * time.Hour), Recipients: to, Store: place,
			Kind: backup.KindDatabase, To: backup.Dest{Root: filepath.Join(dir, "store"), DBName: "shop"},
		}
		m, err := job.Run(t.Context(), backup.Observer{})
		if err != nil {
			t.Fatal(err)
		}
		made = append(made, m)
		place.read[m.Path] = new(atomic.Int64)
	}
	passed := 0
	o := backup.Options{Keys: ring, Warn: func(string, ...any) { passed++ }}
	found, contents, err := Latest(t.Context(), place, filepath.Join(dir, "store"), "shop", o, false)
	if err != nil || found == nil || found.Path != made[1].Path || contents == nil || !contents.Rows || passed != 1 {
		t.Fatalf("%+v, %+v, %d, %v", found, contents, passed, err)
	}
	const heads = 64 << 10 // List reads the envelope of each, and Prove once more
	for n, m := range made {
		whole := m.Size
		if n == 0 {
			whole = 0
		}
		if got := place.read[m.Path].Load(); got < whole || got > whole+heads {
			t.Errorf("of backup %d, of %d bytes, %d were read", n, m.Size, got)
		}
	}
	if found, _, err := Latest(t.Context(), place, filepath.Join(dir, "store"), "other", o, false); found != nil || err == nil {
		t.Errorf("of a database without backups: %v, %v", found, err)
	} else if _, hint := fail.Of(err); !strings.Contains(hint, "DB_NAME") {
		t.Errorf("the hint is %q", hint)
	}
	h, err := backup.Open(t.Context(), place, found.Path, o)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if err := h.Unpack(io.Discard); err != nil {
		t.Fatal(err)
	}
	if got := place.read[found.Path].Load(); got > 2*found.Size+heads {
		t.Errorf("the backup of %d bytes was read %d times over", found.Size, got/found.Size)
	}
}
