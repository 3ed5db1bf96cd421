package backup_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/internal/guard"
	"github.com/takumi-backup/takumi-backup/stream/pack"
)

var key = kek.Generate()

func options(codec pack.Codec) backup.SealOptions {
	return backup.SealOptions{
		Label: envelope.Label{Created: time.Now(), Kind: backup.Stream, Name: "stdin"},
		Keys:  []*kek.Key{key}, Pack: pack.Options{Codec: codec}, Meter: new(backup.Meter), Stop: func(error) {},
	}
}

func TestSealAndUnseal(t *testing.T) {
	message := bytes.Repeat([]byte("line of a dump\n"), 200_000)
	for _, codec := range []pack.Codec{pack.None, pack.Gzip, pack.Zstd} {
		for _, want := range [][]byte{nil, message} {
			var sealed bytes.Buffer
			o := options(codec)
			e, err := backup.Seal(t.Context(), &sealed, bytes.NewReader(want), o)
			if err != nil || o.Meter.In() != int64(len(want)) || o.Meter.Out() != int64(sealed.Len()) || e.Codec != string(codec) {
				t.Fatalf("%s: %v, %d in, %d out", codec, err, o.Meter.In(), o.Meter.Out())
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

func TestPack(t *testing.T) {
	want := bytes.Repeat([]byte("line of a dump\n"), 200_000)
	var packed, got bytes.Buffer
	o := options(pack.Zstd)
	if err := backup.Pack(&packed, bytes.NewReader(want), o); err != nil || o.Meter.In() != int64(len(want)) || o.Meter.Out() != int64(packed.Len()) {
		t.Fatalf("%v, %d in, %d out", err, o.Meter.In(), o.Meter.Out())
	}
	r, err := pack.NewReader(&packed, pack.Zstd)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := got.ReadFrom(r); err != nil || !bytes.Equal(got.Bytes(), want) {
		t.Errorf("%d bytes, %v", got.Len(), err)
	}
	full := errors.New("disk full")
	if err := backup.Pack(failAfter{new(int), full}, bytes.NewReader(make([]byte, 40<<20)), options(pack.None)); !errors.Is(err, full) {
		t.Errorf("got %v", err)
	}
}

// TestFullSinkStopsASilentSource: the source says nothing, and would for ever.
func TestFullSinkStopsASilentSource(t *testing.T) {
	full := errors.New("disk full")
	ctx, stop := context.WithCancelCause(t.Context())
	src := io.MultiReader(bytes.NewReader(make([]byte, 40<<20)), readerFunc(func([]byte) (int, error) {
		<-ctx.Done()
		return 0, context.Cause(ctx)
	}))
	o := options(pack.None)
	o.Stop = stop
	if _, err := backup.Seal(t.Context(), failAfter{new(int), full}, src, o); !errors.Is(err, full) {
		t.Errorf("got %v", err)
	}
}

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
