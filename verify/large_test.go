package verify

import (
	"context"
	"fmt"
	"iter"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/internal/store/local"
	"github.com/takumi-backup/takumi-backup/stream/pack"
)

// crowd is a place with very many backups, all of which have the same bytes.
type crowd struct {
	local.Folder
	one  string
	n    int
	not  backup.Shard // none of them is in it
	heap uint64       // when the backups are known, and nothing else is yet
}

func (p *crowd) Walk(context.Context, string, bool) iter.Seq2[store.Backup, error] {
	return func(yield func(store.Backup, error) bool) {
		for i, n := 0, 0; n < p.n; i++ {
			path := filepath.Join(filepath.Dir(p.one), fmt.Sprintf("database/takumi_db_20261123_%06d.sql.zst.enc", i))
			if p.not.Has(path) {
				continue
			}
			if n++; !yield(store.Backup{Path: path, Size: 100}, nil) {
				return
			}
		}
	}
}

func (p *crowd) Files(context.Context, string) iter.Seq2[store.Backup, error] {
	p.heap = heap()
	return func(func(store.Backup, error) bool) {}
}

func (p *crowd) Open(ctx context.Context, _ string) (store.Object, error) {
	return p.Folder.Open(ctx, p.one)
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestForeign: of the backups of other shards little is kept. It is not parallel:
// it measures memory.
func TestForeign(t *testing.T) {
	key := kek.Generate()
	path := put(t, []byte("words"), "stream", "x", pack.None, key)
	shard := backup.Shard{Index: 1, Count: 2}
	place := &crowd{one: path, n: 10_000, not: shard}
	j := &Job{Options: Options{Place: place, Level: Checksum}, Paths: []string{filepath.Dir(path)}, Shard: shard}
	before := heap()
	if r := run(t, j); r.Backups.Len() != 0 {
		t.Fatal(r.Backups.Len())
	}
	each := (float64(place.heap) - float64(before)) / float64(place.n)
	t.Logf("%.0f bytes for each backup of another shard", each)
	if each > 300 {
		t.Error("more than 300")
	}
}

// TestLongSeries: the time that comparing takes grows as the number of backups does.
func TestLongSeries(t *testing.T) {
	t.Parallel()
	const n = 50_000
	j := &Job{now: time.Now(), MaxAge: map[string]time.Duration{"": time.Hour}}
	r := &Report{Backups: new(List)}
	id := envelope.ID{}.String()
	for i := range n {
		b := Backup{Path: fmt.Sprintf("s3://b/%d.enc", i), ID: id, Kind: "stream", Series: "x", Size: 100, Created: j.now.Add(-time.Duration(i) * time.Second)}
		if i < 2 {
			b.Size = []int64{10, 50}[i]
		}
		r.Backups.add(&b, false)
	}
	r.Backups.sort()
	began := time.Now()
	j.compare(r)
	if took := time.Since(began); took > time.Minute { // quadratic, it took minutes
		t.Errorf("%v for %d backups", took, n)
	}
	first, second := r.Backups.at(0), r.Backups.at(1)
	if !first.has(Small) || second.Findings != nil {
		t.Error(asJSON(first), asJSON(second))
	}
}

// TestListKeeps: a list gives back what was put into it, however ids and hashes are written.
func TestListKeeps(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 23, 3, 0, 0, 0, time.UTC)
	id, sum := strings.Repeat("0a", 16), strings.Repeat("f1", 32)
	var want []Backup
	for _, texts := range [][2]string{{id, sum}, {"", ""}, {strings.ToUpper(id), strings.ToUpper(sum)}, {id[1:], sum[2:]}, {sum, id}, {"x" + id[1:], sum[:63] + "x"}} {
		want = append(want, Backup{Path: "/a/" + texts[0] + ".enc", ID: texts[0], SHA256: texts[1], Kind: "database", Name: "n", Series: "n", Size: 7, Created: at, Proven: Auth, ProvenAt: at, Seconds: 1.25, KeyIDs: []string{"k"}})
	}
	n := 0
	for i, got := range ListOf(want...).All() {
		if n++; !reflect.DeepEqual(*got, want[i]) {
			t.Errorf("%+v\nwant %+v", *got, want[i])
		}
	}
	if n != len(want) {
		t.Errorf("%d of %d", n, len(want))
	}
}

// TestFindingsAreShared: what is found of many backups takes little room, and what is done
// to the findings of one is not done to those of others.
func TestFindingsAreShared(t *testing.T) {
	t.Parallel()
	old, chunk := Finding{Severity: Warning, Code: PastRetention, Message: "it is old"}, int64(1)
	l := ListOf(make([]Backup, 100)...)
	for i := range 100 {
		l.find(i)
	}
	if len(l.found) != 0 {
		t.Errorf("%d backups without findings have some", len(l.found))
	}
	for i := range 100 {
		l.find(i, old)
	}
	if len(l.shared) != 1 || &l.found[0][0] != &l.found[99][0] {
		t.Errorf("%d findings are held", len(l.shared))
	}
	l.find(3, Finding{Code: Small})
	l.find(4, Finding{Code: Damaged, Chunk: &chunk})
	changed := l.at(5)
	changed.Findings[0].Message = "changed"
	for i, want := range map[int]int{2: 1, 3: 2, 4: 2, 5: 1, 6: 1} {
		if b := l.at(i); len(b.Findings) != want || b.Findings[0] != old {
			t.Errorf("%d: %+v", i, b.Findings)
		}
	}
}
