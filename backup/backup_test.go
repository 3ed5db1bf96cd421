package backup_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/envelope/slot"
	"github.com/takumi-backup/takumi-backup/internal/guard"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/internal/store/local"
	"github.com/takumi-backup/takumi-backup/stream/pack"
)

var key = kek.Generate()

// kept is a place in memory for one backup.
type kept struct{ bytes.Buffer }

func (k *kept) Commit() (store.Result, error) {
	return store.Result{Path: "-", Size: int64(k.Len())}, nil
}
func (k *kept) Abort() error { return nil }

func job(codec pack.Codec, dst backup.Sink, src io.Reader) backup.Job {
	return backup.Job{
		Source: backup.From(src), Unguarded: true, Created: time.Now(), Pack: pack.Options{Codec: codec},
		Recipients: slot.Recipients(key), To: backup.Dest{Sink: func() (backup.Sink, error) { return dst, nil }},
	}
}

func TestJobAndUnseal(t *testing.T) {
	message := bytes.Repeat([]byte("line of a dump\n"), 200_000)
	for _, codec := range []pack.Codec{pack.None, pack.Gzip, pack.Zstd} {
		for _, want := range [][]byte{nil, message} {
			var sealed kept
			made, err := job(codec, &sealed, bytes.NewReader(want)).Run(t.Context(), backup.Observer{})
			if err != nil || made.In != int64(len(want)) || made.Out != int64(sealed.Len()) || made.Codec != string(codec) ||
				made.Kind != backup.KindStream || made.Name != "stdin" || made.State != backup.Authentic {
				t.Fatalf("%s: %v, %+v", codec, err, made)
			}
			r, err := envelope.Open(t.Context(), &sealed, envelope.Options{}, key)
			if err != nil {
				t.Fatal(err)
			}
			var got bytes.Buffer
			if err := backup.Unseal(&got, r, false, new(backup.Meter)); err != nil || !bytes.Equal(got.Bytes(), want) {
				t.Errorf("%s: %d bytes, %v", codec, got.Len(), err)
			}
		}
	}
}

func TestPlainJob(t *testing.T) {
	want := bytes.Repeat([]byte("line of a dump\n"), 200_000)
	var packed kept
	j := job(pack.Zstd, &packed, bytes.NewReader(want))
	j.Plain, j.Recipients = true, nil
	made, err := j.Run(t.Context(), backup.Observer{})
	if err != nil || made.In != int64(len(want)) || made.Out != int64(packed.Len()) || made.Envelope != nil || made.State != backup.Claimed {
		t.Fatalf("%v, %+v", err, made)
	}
	r, err := pack.NewReader(&packed, pack.Zstd)
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	if _, err := got.ReadFrom(r); err != nil || !bytes.Equal(got.Bytes(), want) {
		t.Errorf("%d bytes, %v", got.Len(), err)
	}
}

func TestFullSinkStopsASilentSource(t *testing.T) {
	full := errors.New("disk full")
	for _, plain := range []bool{false, true} {
		j := job(pack.None, &failing{failAfter: failAfter{new(int), full}}, nil)
		j.Plain = plain
		j.Source = func(ctx context.Context) (io.ReadCloser, error) {
			return io.NopCloser(io.MultiReader(bytes.NewReader(make([]byte, 40<<20)), readerFunc(func([]byte) (int, error) {
				<-ctx.Done()
				return 0, context.Cause(ctx)
			}))), nil
		}
		if _, err := j.Run(t.Context(), backup.Observer{}); !errors.Is(err, full) {
			t.Errorf("got %v", err)
		}
	}
}

// TestJobKeepsNothing: what fails before the backup has its name leaves no file.
func TestJobKeepsNothing(t *testing.T) {
	broken := errors.New("broken")
	for name, change := range map[string]func(*backup.Job, *backup.Observer){
		"the source": func(j *backup.Job, _ *backup.Observer) { j.Source = backup.From(iotest.ErrReader(broken)) },
		"its end": func(j *backup.Job, _ *backup.Observer) {
			j.Source = backup.From(io.MultiReader(strings.NewReader("x"), iotest.ErrReader(broken)))
		},
		"the last check": func(_ *backup.Job, o *backup.Observer) { o.Ready = func() error { return broken } },
	} {
		root := t.TempDir()
		var o backup.Observer
		j := job(pack.Zstd, nil, strings.NewReader("content"))
		j.Store, j.To = local.Folder{}, backup.Dest{Root: root}
		change(&j, &o)
		if _, err := j.Run(t.Context(), o); !errors.Is(err, broken) {
			t.Errorf("%s: %v", name, err)
		}
		for file := range j.Store.Walk(t.Context(), root, false) {
			t.Errorf("%s: %s is there", name, file.Path)
		}
	}
}

type failing struct {
	failAfter
	kept
}

func (f *failing) Write(p []byte) (int, error) { return f.failAfter.Write(p) }

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

type failAfter struct {
	writes *int
	err    error
}

func (f failAfter) Write(p []byte) (int, error) {
	if *f.writes++; *f.writes > 3 {
		return 0, f.err
	}
	return len(p), nil
}

// TestFileNameOfAnyDatabase: whatever PostgreSQL takes for a name, a backup can have one.
func TestFileNameOfAnyDatabase(t *testing.T) {
	for _, database := range []string{"a/b", "\u0085x", "a\x7f", "\x01", "..", "-x", "\xff\xfe", "\u202ex", strings.Repeat("ü", 31)} {
		if err := envelope.CheckName(backup.FileNameOf(database)); err != nil {
			t.Errorf("%q: %v", database, err)
		}
	}
}

func TestFileNames(t *testing.T) {
	at := time.Date(2026, 11, 23, 3, 0, 0, 0, time.FixedZone("CET", 3600))
	for want, tc := range map[string]struct {
		n backup.Naming
		i int
	}{
		"takumi_db_20261123_020000.sql.zst.enc": {backup.Naming{Kind: "database", Format: guard.PlainDump, Codec: pack.Zstd}, 1},
		"skills_db_20261123_020000-2.dump.enc":  {backup.Naming{Kind: "database", DBName: "skills", Format: guard.CustomDump, Codec: pack.None}, 2},
		"nightly_20261123_020000-10.sql.gz.enc": {backup.Naming{Base: "nightly", DBName: "skills", Kind: "database", Format: guard.PlainDump, Codec: pack.Gzip}, 10},
		"uploads_20261123_020000.tar.zst.enc":   {backup.Naming{Kind: "uploads", DBName: "skills", Format: guard.Tar, Codec: pack.Zstd}, 1},
		"stream_20261123_020000.bin.zst.enc":    {backup.Naming{Kind: "stream", Format: guard.Gzip, Codec: pack.Zstd}, 1},
		"takumi_db_20261123_020000.sql.zst":     {backup.Naming{Kind: "database", Format: guard.PlainDump, Codec: pack.Zstd, Plain: true}, 1},
	} {
		tc.n.Time = at
		if got := tc.n.FileName(tc.i); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
