package prune_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/backup"
	. "github.com/takumi-backup/takumi-backup/backup/prune"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/envelope/slot"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/internal/store/local"
	"github.com/takumi-backup/takumi-backup/keystore"
	"github.com/takumi-backup/takumi-backup/stream/pack"
)

// shelf is a store in a folder, of backups that were made so many days ago.
type shelf struct {
	*testing.T
	dir    string
	key    *kek.Key
	ring   *keystore.Ring
	o      Options
	read   []int         // the ages of the backups that were proved
	gone   []int         // and of those that were deleted
	faults map[int]error // by age
}

func newShelf(t *testing.T, ages ...int) *shelf {
	material := kek.Generate().Bytes()
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, []byte(hex.EncodeToString(material)), 0o600); err != nil {
		t.Fatal(err)
	}
	key, err := kek.New(material)
	if err != nil {
		t.Fatal(err)
	}
	s := &shelf{T: t, dir: t.TempDir(), key: key, ring: keystore.NewRing(keystore.File{Path: path})}
	t.Cleanup(s.ring.Close)
	for _, age := range ages {
		s.put(age, s.name(age), s.name(age))
	}
	s.o = Options{Policy: Policy{Within: day, Monthly: 6, Kinds: kinds}, Open: backup.Options{Keys: s.ring}, Apply: true}
	return s
}

var noon = time.Now().UTC().Truncate(24 * time.Hour).Add(-12 * time.Hour)

func (s *shelf) name(age int) string {
	return "takumi_db_" + noon.AddDate(0, 0, -age).Format("20060102_150405") + ".sql.zst"
}

func (s *shelf) put(age int, file, label string) {
	j := backup.Job{
		Source: backup.From(bytes.NewReader(make([]byte, 100_000))), Unguarded: true, Kind: backup.KindDatabase, Name: label,
		Created: noon.AddDate(0, 0, -age), Pack: pack.Options{Codec: pack.None}, Recipients: slot.Recipients(s.key),
		Store: local.Folder{}, To: backup.Dest{Path: filepath.Join(s.dir, file+backup.Suffix)},
	}
	if _, err := j.Run(s.Context(), backup.Observer{}); err != nil {
		s.Fatal(err)
	}
}

func (s *shelf) damage(age, at int) {
	path := filepath.Join(s.dir, s.name(age)+backup.Suffix)
	content, err := os.ReadFile(path)
	if err != nil {
		s.Fatal(err)
	}
	content[at] ^= 1
	if err := os.WriteFile(path, content, 0o600); err != nil {
		s.Fatal(err)
	}
}

func ageOf(b *backup.Backup) int { return int(noon.Sub(b.Created).Hours()) / 24 }

func (s *shelf) run() *Result {
	s.Helper()
	s.read, s.gone, s.faults = nil, nil, make(map[int]error)
	s.o.Prove = func(ctx context.Context, b *backup.Backup) error {
		s.read = append(s.read, ageOf(b))
		return backup.Prove(ctx, local.Folder{}, b.Path, s.o.Open)
	}
	s.o.Done = func(b *backup.Backup, d Decision, err error) error {
		s.faults[ageOf(b)] = b.Err
		if d.Action == Delete && err == nil {
			s.gone = append(s.gone, ageOf(b))
		}
		return err
	}
	r, err := Run(s.Context(), local.Folder{}, s.dir, s.o)
	if err != nil {
		s.Fatal(err)
	}
	return r
}

// TestMonthlyDamaged: of a month whose newest backup is damaged, the newest that opens
// is kept.
func TestMonthlyDamaged(t *testing.T) {
	august := time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)
	age := func(day int) int { return int(noon.Sub(august.AddDate(0, 0, day-1)).Hours()) / 24 }
	s := newShelf(t, 0, age(1), age(2), age(31))
	s.damage(age(31), 50_000)
	r := s.run()
	if !r.Damaged || !slices.Equal(s.gone, []int{age(1)}) {
		t.Errorf("deleted %v of %d, %d and %d", s.gone, age(1), age(2), age(31))
	}
	if r.Kept != 2 || r.Ignored != 1 || r.Deleted != 1 || r.Freed < 100_000 || r.Freed > 110_000 || r.Read < 300_000 {
		t.Errorf("counted %+v", r)
	}
}

// TestWrongKey: where no key opens a backup nothing goes, and it is said; where one does all
// is well.
func TestWrongKey(t *testing.T) {
	s, other := newShelf(t, 0, 100), newShelf(t)
	s.o.Policy = Policy{Last: 1, Kinds: kinds}
	s.o.Open.Keys = other.ring
	r := s.run()
	if err := r.Err(); len(s.gone) > 0 || r.Ignored != 2 || r.Claimed == nil || err == nil || !strings.Contains(err.Error(), "no backup opens with the keys at hand") {
		t.Errorf("deleted %v, %+v, %v", s.gone, r, err)
	}
	s.o.Open.Keys = s.ring
	if r := s.run(); !slices.Equal(s.gone, []int{100}) || r.Claimed != nil || r.Err() != nil || !strings.HasPrefix(r.Words(true), "1 kept, 0 left alone, 1 deleted (") {
		t.Errorf("deleted %v, %q, %v", s.gone, r.Words(true), r.Err())
	}
}

// TestSidecarCounts: a file that is not what its sidecar says is no reason to delete.
func TestSidecarCounts(t *testing.T) {
	s := newShelf(t, 0, 100, 200)
	s.o.Policy = Policy{Last: 1, Kinds: kinds}
	path := filepath.Join(s.dir, s.name(0)+backup.Suffix+".sha256")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	digit := byte('0')
	if text[0] == digit {
		digit = '1'
	}
	text[0] = digit
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if r := s.run(); !r.Damaged || !slices.Equal(s.gone, []int{200}) {
		t.Errorf("deleted %v", s.gone)
	}
}

// TestDoubtful: what is in doubt is never deleted, nor does anything go for it.
func TestDoubtful(t *testing.T) {
	s := newShelf(t, 0, 100, 200)
	s.o.Policy = Policy{Last: 1, Kinds: kinds}
	late := errors.New("sealed for a key that was rotated out")
	s.o.Open.Doubt = func(b *backup.Backup, id kek.ID) error {
		if id != s.key.ID() {
			t.Errorf("opened with %s", id)
		}
		if ageOf(b) == 0 {
			return late
		}
		return nil
	}
	if r := s.run(); !r.Damaged || !slices.Equal(s.gone, []int{200}) {
		t.Errorf("deleted %v", s.gone)
	}
	if err := s.faults[0]; err == nil || err.Error() != late.Error() {
		t.Errorf("%v", err)
	}

	s = newShelf(t, 100, 200)
	s.o.Policy = Policy{Last: 1, Kinds: kinds}
	s.put(0, s.name(0), strings.Replace(s.name(0), "takumi", "hr", 1))
	if r := s.run(); !r.Damaged || !slices.Equal(s.gone, []int{200}) {
		t.Errorf("under another's name: deleted %v", s.gone)
	}
}

// TestBudget: what may not be read lets nothing go, and what is remembered is not
// read.
func TestBudget(t *testing.T) {
	s := newShelf(t, 0, 100, 200)
	s.o.Policy, s.o.MaxRead = Policy{Last: 2, Kinds: kinds}, 150_000
	if r := s.run(); !r.Unread || len(s.gone) > 0 || !slices.Equal(s.read, []int{0}) {
		t.Errorf("read %v, deleted %v", s.read, s.gone)
	}
	s.o.Remembered = func(b *backup.Backup) (whole, bad bool) { return ageOf(b) == 0, false }
	if r := s.run(); r.Unread || !slices.Equal(s.read, []int{100}) || !slices.Equal(s.gone, []int{200}) || r.Read == 0 {
		t.Errorf("read %v, deleted %v", s.read, s.gone)
	}

	s = newShelf(t, 0, 100, 200)
	s.o.Policy = Policy{Last: 1, Kinds: kinds}
	s.o.Remembered = func(b *backup.Backup) (whole, bad bool) { return false, ageOf(b) == 0 }
	if r := s.run(); !r.Damaged || !slices.Equal(s.gone, []int{200}) {
		t.Errorf("remembered as bad: deleted %v", s.gone)
	}
	s.o.Apply = false
	if s.run(); len(s.gone) > 0 {
		t.Errorf("a dry run deletes %v", s.gone)
	}
}

// TestGroups: what decides of one another is in one group, and of all other groups each
// can be pruned alone.
func TestGroups(t *testing.T) {
	at := time.Date(2026, 11, 1, 2, 0, 0, 0, time.UTC)
	var roll backup.Roll
	put := func(path, kind, name string, hours int) {
		b := backup.Backup{Backup: store.Backup{Path: path}}
		b.Kind, b.Name, b.Created = kind, name, at.Add(time.Duration(hours)*time.Hour)
		roll.Add(&b)
	}
	put("/s/database/a_db_20261101_020000.sql.zst.enc", "database", "a_db_20261101_020000.sql.zst", 0)
	put("/s/database/a_db_20261101_020000.manifest.json.zst.enc", "manifest", "a_db_20261101_020000.manifest.json.zst", 0)
	put("/s/database/a_db_20261102_020000.dump.enc", "database", "a_db_20261102_020000.dump", 24)
	put("/s/database/b_db_20261101_030000.sql.zst.enc", "database", "b_db_20261101_030000.sql.zst", 1)
	put("/s/other/a_db_20261101_020000.sql.zst.enc", "database", "a_db_20261101_020000.sql.zst", 2)
	put("/s/uploads/u_20261101_020000.0123456789abcdef-0.tar.enc", "uploads", "u_20261101_020000.0123456789abcdef-0.tar", 3)
	put("/s/uploads/new_20261102_020000.0123456789abcdef-1.tar.enc", "uploads-increment", "new_20261102_020000.0123456789abcdef-1.tar", 4)
	put("/s/uploads/bad.enc", "", "", 0)
	roll.SortNewest()
	var got []string
	for _, group := range Groups(&roll) {
		var names []string
		for _, i := range group {
			names = append(names, store.Base(roll.At(int(i)).Path)[:5])
		}
		got = append(got, strings.Join(names, " "))
	}
	slices.Sort(got)
	if want := []string{"a_db_", "a_db_ a_db_ a_db_", "b_db_", "bad.e", "u_202 new_2"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestBefore: what Before or Done says ends the run, before or after a deletion.
func TestBefore(t *testing.T) {
	stop := errors.New("nobody reads what is printed")
	for _, tc := range []struct {
		before, done error
		apply        bool
		left         int
	}{
		{stop, nil, true, 3},
		{nil, stop, true, 2},
		{stop, nil, false, 3},
		{nil, nil, true, 1},
	} {
		s := newShelf(t, 0, 100, 200)
		s.o.Policy, s.o.Apply = Policy{Last: 1, Kinds: kinds}, tc.apply
		s.o.Before = func(*backup.Backup) error { return tc.before }
		s.o.Done = func(_ *backup.Backup, d Decision, _ error) error {
			if d.Action == Delete {
				return tc.done
			}
			return nil
		}
		_, err := Run(t.Context(), local.Folder{}, s.dir, s.o)
		if left := len(entries(t, s.dir)) / 2; left != tc.left || (err != nil) != (left > 1 && tc.apply) || err != nil && !errors.Is(err, stop) {
			t.Errorf("%+v: %d are left, %v", tc, left, err)
		}
	}
}
