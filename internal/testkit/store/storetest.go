// Package storetest holds what every store.Store has to do alike. Only tests
// import it: each place's own call [Run].
package storetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"slices"
	"sync"
	"testing"

	"github.com/takumi-backup/takumi-backup/internal/store"
)

// Run tests a place. fresh returns a root in it, without a slash at its end, that
// is empty and may not be there yet, for each of the tests.
func Run(t *testing.T, p store.Store, fresh func(t *testing.T) string) {
	for name, test := range map[string]func(*suite){
		"Create": (*suite).create, "Exists": (*suite).exists, "Abort": (*suite).abort, "Plain": (*suite).plain,
		"Race": (*suite).race, "Read": (*suite).read, "Walk": (*suite).walk, "Stat": (*suite).stat, "Remove": (*suite).remove,
		"Put": (*suite).put, "Beside": (*suite).beside, "CopyFrom": (*suite).copyFrom, "Replace": (*suite).replace, "Context": (*suite).context,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(&suite{t, p, fresh(t)})
		})
	}
}

type suite struct {
	*testing.T
	p    store.Store
	root string
}

var backup = store.Options{Sidecar: true, Parents: true}

// content is n bytes that are the same every time.
func content(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(n)}).Read(b)
	return b
}

const large = 8<<20 + 11 // more than one part of a bucket's

func (s *suite) save(path string, content []byte, o store.Options) error {
	s.Helper()
	w, err := s.p.Create(s.Context(), path, o)
	if err != nil {
		return err
	}
	defer w.Abort()
	for piece := range slices.Chunk(content, 1<<20) {
		if _, err := w.Write(piece); err != nil {
			return err
		}
	}
	result, err := w.Commit()
	if err != nil {
		return err
	}
	want := store.Result{Path: path, Size: int64(len(content))}
	if o.Sidecar {
		want.SHA256 = sumOf(content)
	}
	if result != want {
		s.Errorf("got %+v, want %+v", result, want)
	}
	return w.Abort() // does nothing
}

func (s *suite) mustSave(path string, content []byte) {
	s.Helper()
	if err := s.save(path, content, backup); err != nil {
		s.Fatal(err)
	}
}

func (s *suite) load(path string) []byte {
	s.Helper()
	o, err := s.p.Open(s.Context(), path)
	if err != nil {
		s.Fatal(err)
	}
	defer o.Close()
	b, err := io.ReadAll(o)
	if err != nil || o.Size() != int64(len(b)) {
		s.Fatalf("%d bytes of %d: %v", len(b), o.Size(), err)
	}
	return b
}

// holds checks a file, and a backup's sidecar.
func (s *suite) holds(file string, want []byte, sidecar bool) {
	s.Helper()
	if got := s.load(file); !bytes.Equal(got, want) {
		s.Errorf("%s: the %d bytes read differ from the %d written", file, len(got), len(want))
	}
	if !sidecar {
		return
	}
	sum := sha256.Sum256(want)
	if got := string(s.load(file + store.SidecarSuffix)); got != store.FormatSidecar(sum, path.Base(file)) {
		s.Errorf("sidecar %q", got)
	}
}

func sumOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func (s *suite) wants(err, target error) {
	s.Helper()
	if !errors.Is(err, target) {
		s.Errorf("got %v, want %v", err, target)
	}
}

// files checks what is under the root, whatever its name.
func (s *suite) files(want ...string) {
	s.Helper()
	var got []string
	for b, err := range s.p.Walk(s.Context(), s.root, true) {
		if err != nil {
			s.Fatal(err)
		}
		got = append(got, b.Path[len(s.root)+1:])
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		s.Errorf("%q are there, want %q", got, want)
	}
}

func (s *suite) create() {
	for name, size := range map[string]int{"empty.enc": 0, "one.enc": 1, "deep/er/large.enc": large} {
		s.mustSave(s.root+"/"+name, content(size))
		s.holds(s.root+"/"+name, content(size), true)
	}
	for _, bad := range []string{s.root + "/", s.root + `/a\b.enc`} {
		_, err := s.p.Create(s.Context(), bad, backup)
		s.wants(err, store.ErrName)
	}
}

func (s *suite) exists() {
	file := s.root + "/x.enc"
	s.mustSave(file, content(100))
	s.wants(s.save(file, content(200), backup), store.ErrExists)
	s.wants(s.save(file, content(200), store.Options{}), store.ErrExists)
	w, err := store.CreateUnique(s.Context(), s.p, func(n int) string { return s.root + []string{"", "/x.enc", "/x-2.enc"}[n] }, backup)
	if err != nil {
		s.Fatal(err)
	}
	defer w.Abort()
	if result, err := w.Commit(); err != nil || result.Path != s.root+"/x-2.enc" {
		s.Errorf("got %+v, %v", result, err)
	}
	s.holds(file, content(100), true)
}

func (s *suite) abort() {
	s.mustSave(s.root+"/other.enc", nil)
	for _, size := range []int{0, 10, large} {
		w, err := s.p.Create(s.Context(), s.root+"/x.enc", backup)
		if err != nil {
			s.Fatal(err)
		}
		if _, err := w.Write(content(size)); err != nil {
			s.Fatal(err)
		}
		if err := errors.Join(w.Abort(), w.Abort()); err != nil {
			s.Error(err)
		}
		if _, err := w.Write([]byte("more")); err == nil {
			s.Error("written after Abort")
		}
		if _, err := w.Commit(); err == nil {
			s.Error("committed after Abort")
		}
	}
	s.files("other.enc", "other.enc.sha256")
}

func (s *suite) plain() {
	file, o := s.root+"/state.json", store.Options{Replace: true, Parents: true}
	for _, text := range []string{"one", "two"} {
		if err := s.save(file, []byte(text), o); err != nil {
			s.Fatal(err)
		}
		s.holds(file, []byte(text), false)
	}
	s.files("state.json")
}

// Of many writers of one name exactly one wins, and its backup is whole.
func (s *suite) race() {
	s.mustSave(s.root+"/other.enc", nil)
	const writers = 8
	errs := make([]error, writers)
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			w, err := s.p.Create(s.Context(), s.root+"/x.enc", backup)
			if err == nil {
				defer w.Abort()
				_, _ = w.Write(content(i + 1))
				_, err = w.Commit()
			}
			errs[i] = err
		})
	}
	wg.Wait()
	won := -1
	for i, err := range errs {
		switch {
		case err == nil && won >= 0:
			s.Errorf("writers %d and %d have both won", won, i)
		case err == nil:
			won = i
		case !errors.Is(err, store.ErrExists) && !errors.Is(err, store.ErrBusy):
			s.Error(err)
		}
	}
	if won < 0 {
		s.Fatal("nobody won")
	}
	s.holds(s.root+"/x.enc", content(won+1), true)
	s.files("other.enc", "other.enc.sha256", "x.enc", "x.enc.sha256")
}

func (s *suite) read() {
	file, want := s.root+"/x.enc", content(large)
	s.mustSave(file, want)
	o, err := s.p.Open(s.Context(), file)
	if err != nil {
		s.Fatal(err)
	}
	defer o.Close()
	for _, r := range [][2]int{{0, 10}, {65530, 20}, {65536, 1}, {large - 5, 5}, {1 << 20, 7 << 20}} {
		got := make([]byte, r[1])
		if n, err := o.ReadAt(got, int64(r[0])); n != r[1] || err != nil && err != io.EOF || !bytes.Equal(got, want[r[0]:r[0]+r[1]]) {
			s.Errorf("%d bytes at %d: %d, %v", r[1], r[0], n, err)
		}
	}
	if n, err := o.ReadAt(make([]byte, 10), large-3); n != 3 || err != io.EOF {
		s.Errorf("at the end: %d, %v", n, err)
	}
	if n, err := o.ReadAt(make([]byte, 10), large); n != 0 || err != io.EOF {
		s.Errorf("behind the end: %d, %v", n, err)
	}
	_, err = s.p.Open(s.Context(), s.root+"/missing.enc")
	s.wants(err, fs.ErrNotExist)
}

func (s *suite) walk() {
	for _, name := range []string{"a/x.enc", "a/x.enc-1.enc", "b.enc"} {
		s.mustSave(s.root+"/"+name, content(10))
	}
	for _, name := range []string{"a/bare.enc", "readme.txt", "a/x.enc.envelope"} {
		if err := s.save(s.root+"/"+name, content(3), store.Options{}); err != nil {
			s.Fatal(err)
		}
	}
	got := map[string]bool{}
	for b, err := range s.p.Walk(s.Context(), s.root, false) {
		if err != nil {
			s.Fatal(err)
		}
		got[b.Path[len(s.root)+1:]] = b.Sidecar
		if b.ModTime.IsZero() || b.Size > 10 || store.IsRemote(b.Path) == (b.ETag == "") {
			s.Errorf("got %+v", b)
		}
	}
	want := map[string]bool{"a/x.enc": true, "a/x.enc-1.enc": true, "b.enc": true, "a/bare.enc": false}
	if len(got) != len(want) {
		s.Errorf("got %v, want %v", got, want)
	}
	for name, sidecar := range want {
		if has, ok := got[name]; !ok || has != sidecar {
			s.Errorf("%s: found %v, sidecar %v, want %v", name, ok, has, sidecar)
		}
	}
	for range s.p.Walk(s.Context(), s.root, false) {
		break // and nothing goes on
	}
}

func (s *suite) stat() {
	file := s.root + "/d/x.enc"
	s.mustSave(file, content(10))
	if b, isRoot, err := s.p.Stat(s.Context(), file); err != nil || isRoot || b.Path != file || b.Size != 10 || !b.Sidecar {
		s.Errorf("got %+v, %v, %v", b, isRoot, err)
	}
	if _, isRoot, err := s.p.Stat(s.Context(), s.root+"/d"); err != nil || !isRoot {
		s.Errorf("got %v, %v", isRoot, err)
	}
	_, _, err := s.p.Stat(s.Context(), s.root+"/missing.enc")
	s.wants(err, fs.ErrNotExist)
}

// found is what Walk finds at path.
func (s *suite) found(path string) store.Backup {
	s.Helper()
	for b, err := range s.p.Walk(s.Context(), s.root, false) {
		if err != nil {
			s.Fatal(err)
		}
		if b.Path == path {
			return b
		}
	}
	s.Fatalf("%s is not there", path)
	return store.Backup{}
}

func (s *suite) remove() {
	file, other := s.root+"/x.enc", s.root+"/x.enc2.enc"
	s.mustSave(file, content(10))
	s.mustSave(other, content(11))
	for _, suffix := range []string{".envelope", ".note"} {
		if err := s.p.Put(s.Context(), file, suffix, nil, []byte("beside")); err != nil {
			s.Fatal(err)
		}
	}
	b := s.found(file)
	changed := b
	changed.Size++
	s.wants(s.p.Remove(s.Context(), changed, ".envelope"), store.ErrChanged)
	if err := s.p.Remove(s.Context(), b, ".envelope", ".never"); err != nil {
		s.Fatal(err)
	}
	s.files("x.enc.note", "x.enc2.enc", "x.enc2.enc.sha256")
	s.wants(s.p.Remove(s.Context(), b), store.ErrChanged)
	s.mustSave(file, content(12)) // the name is free
}

// What belongs to a backup changes only from what its writer has seen.
func (s *suite) put() {
	file := s.root + "/x.enc"
	s.mustSave(file, content(10))
	put := func(was, now []byte) error { return s.p.Put(s.Context(), file, ".envelope", was, now) }
	one, two := []byte("one"), []byte("another")
	s.wants(put(one, two), store.ErrChanged)
	for _, step := range [][2][]byte{{nil, one}, {one, two}} {
		if err := put(step[0], step[1]); err != nil {
			s.Fatal(err)
		}
		s.holds(file+".envelope", step[1], false)
		s.wants(put(nil, one), store.ErrChanged)
		s.wants(put([]byte("on"), one), store.ErrChanged)
		s.wants(put([]byte("onesie"), nil), store.ErrChanged)
		s.holds(file+".envelope", step[1], false)
	}
	for range 2 {
		if err := put(two, nil); err != nil {
			s.Fatal(err)
		}
	}
	s.files("x.enc", "x.enc.sha256")
	s.holds(file, content(10), true)
}

// Of many that change the same from the same, one does.
func (s *suite) beside() {
	file := s.root + "/x.enc"
	w, err := s.p.Create(s.Context(), file, backup)
	if err != nil {
		s.Fatal(err)
	}
	defer w.Abort()
	w.Beside(".envelope", []byte("first"))
	if _, err := w.Commit(); err != nil {
		s.Fatal(err)
	}
	s.holds(file, nil, true)
	s.holds(file+".envelope", []byte("first"), false)
	won := make(chan string, 8)
	var wg sync.WaitGroup
	for i := range cap(won) {
		wg.Go(func() {
			text := fmt.Sprint("writer ", i)
			err := s.p.Put(s.Context(), file, ".envelope", []byte("first"), []byte(text))
			if err == nil {
				won <- text
			} else if !errors.Is(err, store.ErrChanged) && !errors.Is(err, store.ErrBusy) {
				s.Error(err)
			}
		})
	}
	wg.Wait()
	if len(won) != 1 {
		s.Fatalf("%d have won", len(won))
	}
	s.holds(file+".envelope", []byte(<-won), false)
	if w, err = s.p.Create(s.Context(), s.root+"/y.enc", backup); err != nil {
		s.Fatal(err)
	}
	w.Beside(".envelope", []byte("first"))
	if err := w.Abort(); err != nil {
		s.Error(err)
	}
	s.files("x.enc", "x.enc.envelope", "x.enc.sha256")
}

// A file that is the old one behind another head.
func (s *suite) copyFrom() {
	for _, size := range []int{5000, large} {
		for _, head := range []int{0, 50, 4096, 8192} {
			file, was := fmt.Sprintf("%s/%d-%d.enc", s.root, size, head), content(size)
			s.mustSave(file, was)
			r, err := s.p.Replace(s.Context(), file)
			if err != nil {
				s.Fatal(err)
			}
			defer r.Abort()
			now := append(bytes.Repeat([]byte("h"), head), was[4096:]...)
			var seen bytes.Buffer
			if _, err = r.Write(now[:head]); err == nil {
				err = r.CopyFrom(s.Context(), 4096, &seen)
			}
			if err != nil {
				s.Fatal(err)
			}
			if !bytes.Equal(seen.Bytes(), was[4096:]) {
				s.Errorf("%s: %d bytes were seen", file, seen.Len())
			}
			if result, err := r.Finish(); err != nil || result.Size != int64(len(now)) || result.SHA256 != sumOf(now) {
				s.Fatalf("%+v, %v", result, err)
			}
			s.holds(file, was, true)
			s.readsBack(r, now)
			if err := r.Swap(s.Context()); err != nil {
				s.Fatal(err)
			}
			s.holds(file, now, true)
		}
	}
	// Another file has taken the name, before the copying and after.
	for _, late := range []bool{false, true} {
		file, was := fmt.Sprintf("%s/%v.enc", s.root, late), content(large)
		s.mustSave(file, was)
		r, err := s.p.Replace(s.Context(), file)
		if err != nil {
			s.Fatal(err)
		}
		defer r.Abort()
		copied := func() error { return r.CopyFrom(s.Context(), 4096, io.Discard) }
		if late {
			if err := copied(); err != nil {
				s.Fatal(err)
			}
			if _, err := r.Finish(); err != nil {
				s.Fatal(err)
			}
			copied = func() error { return r.Swap(s.Context()) }
		}
		s.exchange(file, content(large+1))
		s.wants(copied(), store.ErrChanged)
		if err := r.Abort(); err != nil {
			s.Error(err)
		}
		s.holds(file, content(large+1), true)
	}
}

// exchange puts another backup in the place of one, as who does not know of others.
func (s *suite) exchange(file string, now []byte) {
	s.Helper()
	if err := s.p.Remove(s.Context(), s.found(file)); err != nil {
		s.Fatal(err)
	}
	if store.IsRemote(file) {
		s.mustSave(file, now)
		return
	}
	line := store.FormatSidecar(sha256.Sum256(now), path.Base(file)) // the name is reserved
	if err := errors.Join(os.WriteFile(file, now, 0o600), os.WriteFile(file+store.SidecarSuffix, []byte(line), 0o600)); err != nil {
		s.Fatal(err)
	}
}

func (s *suite) replace() {
	file := s.root + "/x.enc"
	was := content(1000)
	s.mustSave(file, was)
	for _, size := range []int{70, large} {
		r := s.begin(file, size)
		if err := r.Abort(); err != nil {
			s.Error(err)
		}
		s.holds(file, was, true)
		s.files("x.enc", "x.enc.sha256")

		r, now := s.begin(file, size), content(size)
		s.holds(file, was, true)
		if err := r.Swap(s.Context()); err != nil {
			s.Fatal(err)
		}
		if err := r.Abort(); err != nil {
			s.Error(err)
		}
		s.holds(file, now, true)
		s.files("x.enc", "x.enc.sha256")
		was = now
	}
	file = s.root + "/y.enc"
	s.mustSave(file, was)
	r := s.begin(file, 10)
	if err := s.p.Remove(s.Context(), s.found(file)); err != nil {
		s.Fatal(err)
	}
	s.wants(r.Swap(s.Context()), store.ErrChanged)
	if err := r.Abort(); err != nil {
		s.Error(err)
	}
	s.files("x.enc", "x.enc.sha256")
	_, err := s.p.Replace(s.Context(), s.root+"/missing.enc")
	s.wants(err, fs.ErrNotExist)
}

// begin writes what is to take the place of file, and proves it.
func (s *suite) begin(file string, size int) store.Replacement {
	s.Helper()
	r, err := s.p.Replace(s.Context(), file)
	if err != nil {
		s.Fatal(err)
	}
	if _, err := r.Write(content(size)); err != nil {
		s.Fatal(err)
	}
	if result, err := r.Finish(); err != nil || result.Size != int64(size) || result.SHA256 != sumOf(content(size)) {
		s.Fatalf("%+v, %v", result, err)
	}
	s.readsBack(r, content(size))
	return r
}

// readsBack reads what is to take a file's place, in order and from two points.
func (s *suite) readsBack(r store.Replacement, want []byte) {
	s.Helper()
	o, err := r.Open(s.Context())
	if err != nil {
		s.Fatal(err)
	}
	defer o.Close()
	if got, err := io.ReadAll(o); err != nil || !bytes.Equal(got, want) || o.Size() != int64(len(want)) {
		s.Fatalf("%d bytes of %d were read back: %v", len(got), len(want), err)
	}
	for _, at := range []int{0, len(want) / 2, max(0, len(want)-20)} {
		got := make([]byte, 10)
		n, err := o.ReadAt(got, int64(at))
		if rest := want[at:min(len(want), at+10)]; err != nil && err != io.EOF || !bytes.Equal(got[:n], rest) {
			s.Errorf("%d bytes at %d: %v", n, at, err)
		}
	}
}

func (s *suite) context() {
	file := s.root + "/x.enc"
	s.mustSave(file, content(large))
	over := errors.New("over")
	ctx, cancel := context.WithCancelCause(s.Context())
	o, err := s.p.Open(ctx, file)
	if err != nil {
		s.Fatal(err)
	}
	defer o.Close()
	cancel(over)
	_, err = io.ReadAll(o)
	s.wants(err, over)
	_, err = o.ReadAt(make([]byte, 1), 1<<20)
	s.wants(err, over)
	for _, err = range s.p.Walk(ctx, s.root, false) {
	}
	s.wants(err, over)
	_, err = s.p.Replace(ctx, file)
	s.wants(err, over)
	s.wants(s.p.Put(ctx, file, ".envelope", nil, []byte("x")), over)
	s.files("x.enc", "x.enc.sha256")
}
