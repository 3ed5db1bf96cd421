package backup_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/internal/store/local"
	"github.com/takumi-backup/takumi-backup/internal/testkit/many"
	storetest "github.com/takumi-backup/takumi-backup/internal/testkit/store"
	"github.com/takumi-backup/takumi-backup/stream/pack"
)

// TestRollHoldsWhatListReturns: packed or not, a list has the same backups in the same order,
// good, damaged, misnamed and unreadable ones.
func TestRollHoldsWhatListReturns(t *testing.T) {
	h, root := newHeld(t), t.TempDir()
	if err := many.Fill(t.Context(), root, h.key, 40, time.Now()); err != nil {
		t.Fatal(err)
	}
	good := sealed(t, "takumi_db_20261123_020000.sql", time.Date(2026, 11, 23, 2, 0, 0, 0, time.UTC), h.key)
	put(t, filepath.Join(root, "uploads", "takumi_db_20261123_020000.sql.enc"), good)
	put(t, filepath.Join(root, "other name.enc"), good)
	put(t, filepath.Join(root, "hr_db_20261123_020000.sql.enc"), good)
	put(t, filepath.Join(root, "cut.enc"), good[:len(good)-1])
	put(t, filepath.Join(root, "a", "none.enc"), []byte("no backup"))
	put(t, filepath.Join(root, "b", "none.enc"), []byte("no backup"))
	list, err := backup.List(t.Context(), local.Folder{}, root, h.Options)
	if err != nil {
		t.Fatal(err)
	}
	roll, err := backup.Gather(t.Context(), local.Folder{}, root, h.Options, nil)
	if err != nil || roll.Len() != len(list) || len(list) != 46 {
		t.Fatalf("%d of %d, %v", roll.Len(), len(list), err)
	}
	class := func(err error) fail.Class { c, _ := fail.Of(err); return c }
	words := func(err error) string { return fmt.Sprint(err) }
	for i, got := range roll.All() {
		want := list[i]
		if words(got.Err) != words(want.Err) || words(got.Doubt) != words(want.Doubt) || class(got.Err) != class(want.Err) {
			t.Errorf("%s: %v, %v, want %v, %v", want.Path, got.Err, got.Doubt, want.Err, want.Doubt)
		}
		got.Err, got.Doubt, want.Err, want.Doubt = nil, nil, nil, nil
		if !got.ModTime.Equal(want.ModTime) {
			t.Errorf("%s: %v, want %v", want.Path, got.ModTime, want.ModTime)
		}
		got.ModTime = want.ModTime
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%+v\nwant %+v", got, want)
		}
	}
	if n := roll.ShortID(); n < 8 || n > 12 {
		t.Errorf("%d digits tell the ids apart", n)
	}
}

// TestRollOfABucket: a path with a query is the same again.
func TestRollOfABucket(t *testing.T) {
	var roll backup.Roll
	paths := []string{"s3://bucket/p/a b.enc?profile=x&endpoint=https://h/", "s3://bucket/%3Fx.enc", "plain?a/b.enc", "x.enc"}
	for _, path := range paths {
		roll.Add(&backup.Backup{Backup: store.Backup{Path: path}, State: backup.Bad, Err: fmt.Errorf("reading %s: %w", path, store.ErrArchived)})
	}
	for i, b := range roll.All() {
		if b.Path != paths[i] || b.Err.Error() != "reading "+paths[i]+": "+store.ErrArchived.Error() || !b.Archived() {
			t.Errorf("%+v", b)
		}
	}
}

// TestManifestPath: a manifest is next to its dump, and at its server.
func TestManifestPath(t *testing.T) {
	for path, want := range map[string]string{
		"/b/x.sql.zst.enc":                     "/b/x.manifest-2.json.gz.enc",
		"x.dump.enc":                           "x.manifest-2.json.gz.enc",
		"s3://b/d/x.sql.gz.enc":                "s3://b/d/x.manifest-2.json.gz.enc",
		"s3://b/x.enc?profile=a.sql":           "s3://b/x.manifest-2.json.gz.enc?profile=a.sql",
		"s3://b/x.sql.enc?endpoint=https://h/": "s3://b/x.manifest-2.json.gz.enc?endpoint=https://h/",
	} {
		if got := backup.ManifestPath(path, 2, pack.Gzip); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
}

// TestRollIsSmall: a million backups have to fit into 256 MiB with all else.
func TestRollIsSmall(t *testing.T) {
	const n = 50_000
	var roll backup.Roll
	before := heap()
	for i := range n {
		at := time.Unix(int64(1790000000+i), 0).UTC()
		name := fmt.Sprintf("tenant%04d_db_%s.sql", i%1000, at.Format("20060102_150405"))
		b := backup.Backup{Backup: store.Backup{Path: "/var/backups/takumi/database/" + name + ".zst.enc", Size: 900, ModTime: at, Sidecar: true}, State: backup.Claimed}
		b.Err = fmt.Errorf("%s: wrong key", b.Path)
		b.Created, b.Kind, b.Name, b.Codec = at, "database", name, "zstd"
		roll.Add(&b)
	}
	roll.SortNewest()
	each := (heap() - before) / n
	if each > 140 {
		t.Errorf("a backup takes %d bytes, want 140 at most", each)
	}
	t.Logf("a backup takes %d bytes", each)
	if b := roll.At(0); b.Created.Unix() != 1790000000+n-1 {
		t.Errorf("the first is %+v", b)
	}
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestFindID: the beginning of an id finds its backup, and no other.
func TestFindID(t *testing.T) {
	h, root := newHeld(t), t.TempDir()
	if err := many.Fill(t.Context(), root, h.key, 20, time.Now()); err != nil {
		t.Fatal(err)
	}
	list, err := backup.List(t.Context(), local.Folder{}, root, backup.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ids := make(map[string]string)
	for _, b := range list {
		ids[b.Path] = b.ID.String()
	}
	nothing := func(store.Backup) string { return "" }
	all := func(b store.Backup) string { return ids[b.Path] }
	stale := func(b store.Backup) string { return list[0].ID.String() }
	for _, b := range list {
		for _, digits := range []int{12, 32} {
			for name, known := range map[string]func(store.Backup) string{"nothing": nothing, "all": all, "stale": stale} {
				read := 0
				place := &storetest.Faulty{Store: local.Folder{}, Before: func(op, path string) error {
					if op == "open" {
						read++
					}
					return nil
				}}
				if path, err := backup.FindID(t.Context(), place, root, b.ID.String()[:digits], known); path != b.Path || err != nil {
					t.Errorf("%s: %q, %v", b.ID, path, err)
				}
				if few := read < len(list); few != (name == "all") {
					t.Errorf("where %s is remembered %d files are opened", name, read)
				}
			}
		}
	}
	if _, err := backup.FindID(t.Context(), local.Folder{}, root, "ffffffffffffffffffffffffffffffff", all); !errors.Is(err, backup.ErrNoID) {
		t.Errorf("%v", err)
	}
	if _, err := backup.FindID(t.Context(), local.Folder{}, root, "", all); !errors.Is(err, backup.ErrManyIDs) {
		t.Errorf("%v", err)
	}
	for text, is := range map[string]bool{"abcd": true, "abc": false, "ABCD": false, "abcg": false, "x.enc": false, "0123456789abcdef0123456789abcdef0": false} {
		if backup.IsIDPrefix(text) != is {
			t.Errorf("%s: %v", text, !is)
		}
	}
	if !slices.IsSortedFunc(list, backup.NewestFirst) {
		t.Error("the list is not sorted")
	}
}
