package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func firstKey(n byte) FirstKey {
	return FirstKey{ID: fmt.Sprintf("%016x", n), Secret: testKey(n)}
}

// keyedLog is a log with two plain records, and MACs of first key 1 behind them.
func keyedLog(t testing.TB) (l *Log, key string) {
	t.Helper()
	l = testLog(t, november)
	l.mustAppend(t, Record{Operation: "seal", User: "ann"}, Record{Operation: "open", User: "ann"})
	key = filepath.Join(t.TempDir(), "state", "key")
	l.begin(t, 1, key)
	return l, key
}

func (l *Log) begin(t testing.TB, n byte, key string) {
	t.Helper()
	if err := l.Init(t.Context(), firstKey(n), key); err != nil {
		t.Fatal(err)
	}
}

// proves checks what a log is against first keys.
func (l *Log) proves(t testing.TB, want error, keys ...byte) State {
	t.Helper()
	var p Proof
	for _, n := range keys {
		p.FirstKeys = append(p.FirstKeys, firstKey(n))
	}
	s, err := Verify(t.Context(), l.dir, p)
	if !errors.Is(err, want) || want == nil && err != nil {
		t.Fatalf("first keys %v: %v, want %v", keys, err, want)
	}
	return s
}

// rewrite puts lines in the place of a log's only file, and computes anew what
// needs no key: each Prev.
func (l *Log) rewrite(t testing.TB, lines [][]byte) {
	t.Helper()
	prev := origin
	var text []byte
	for _, line := range lines {
		r, err := parse(line)
		if err != nil {
			t.Fatal(err)
		}
		line = bytes.Replace(line, []byte(`"prev":"`+r.Prev), []byte(`"prev":"`+prev), 1)
		text, prev = append(text, line...), hashOf(line)
	}
	writeFile(t, filepath.Join(l.dir, fileOf(november)), text)
}

// TestRewrittenChain: whoever can write the log and computes the chain anew, but
// had no key when a record was written, cannot drop, change, move or add it.
func TestRewrittenChain(t *testing.T) {
	t.Parallel()
	l, _ := keyedLog(t)
	for i := range 5 {
		l.mustAppend(t, Record{Operation: "seal", User: "ann", Path: fmt.Sprint(i)}, Record{Operation: "prune", User: "bob"})
	}
	whole := l.lines(t)
	if s := l.proves(t, nil, 1); s.Lines != 13 || s.Plain != 2 || len(s.Epochs) != 1 || s.Epochs[0].Records != 11 || !s.Epochs[0].Proved {
		t.Fatalf("%+v", s)
	}
	if s := l.proves(t, nil); s.Epochs[0].Proved {
		t.Error("proved without a key")
	}
	l.rewrite(t, whole)
	l.proves(t, nil, 1)
	for i, line := range whole {
		user := bytes.Replace(line, []byte(`"user":"`), []byte(`"user":"x`), 1)
		before, after := whole[:i:i], whole[i+1:]
		forged := map[string][][]byte{
			"dropped": slices.Concat(before, after),
			"changed": slices.Concat(before, [][]byte{user}, after),
			"doubled": slices.Concat(before, [][]byte{line, line}, after),
			"added":   slices.Concat(before, [][]byte{line, bytes.Clone(whole[0])}, after),
			"cut":     before,
		}
		if len(after) > 0 {
			forged["moved"] = slices.Concat(before, [][]byte{after[0], line}, after[1:])
		}
		for name, lines := range forged {
			if i == 0 && name == "cut" {
				continue // nothing is left, and the key says so: below
			}
			l.rewrite(t, lines)
			if s, err := Verify(t.Context(), l.dir, Proof{FirstKeys: []FirstKey{firstKey(1)}}); err == nil {
				t.Errorf("line %d %s: %+v", i+1, name, s)
			}
		}
	}
	// All MACs are taken away, or all that was before the key came.
	var plain [][]byte
	for _, line := range whole {
		r, _ := parse(line)
		if r.Step, r.MAC = nil, ""; r.Outcome != Keyed {
			line, _ = r.line()
			plain = append(plain, line)
		}
	}
	l.rewrite(t, plain)
	l.proves(t, ErrCut, 1)
	l.rewrite(t, whole[3:])
	l.proves(t, errUnbegun, 1)
	// Without the first key the host knows how far its own had come.
	l.rewrite(t, whole[:9])
	l.proves(t, ErrCut)
	writeFile(t, filepath.Join(l.dir, fileOf(november)), nil)
	l.proves(t, ErrCut)
}

// TestStolenKey: with the host's key nothing that was written before is forged,
// and one that was cut off before leaves a gap.
func TestStolenKey(t *testing.T) {
	t.Parallel()
	l, path := keyedLog(t)
	for range 4 {
		l.mustAppend(t, Record{Operation: "seal", User: "ann"})
	}
	whole := l.lines(t)
	stolen := readFile(t, path)
	for _, secret := range [][]byte{firstKey(1).Secret, func() []byte { k := firstKey(1).forward(); return k.key[:] }()} {
		if bytes.Contains(stolen, secret) {
			t.Fatal("a former key is in the file")
		}
	}
	l.rewrite(t, whole[:5])
	l.mustAppend(t, Record{Operation: "seal", User: "eve"}) // with the key that is there
	l.proves(t, ErrCut, 1)
	l.proves(t, ErrCut)
}

// TestNewFirstKey: MACs begin anew under another first key, which the former one
// hands over to; all of them are needed, and a foreign one is none.
func TestNewFirstKey(t *testing.T) {
	t.Parallel()
	l, former := keyedLog(t)
	l.mustAppend(t, Record{Operation: "seal"})
	key := filepath.Join(filepath.Dir(former), "second")
	l.begin(t, 2, key)
	l.mustAppend(t, Record{Operation: "seal"})
	if _, err := os.Stat(former); !errors.Is(err, fs.ErrNotExist) {
		t.Error("the former key is there: ", err)
	}
	s := l.proves(t, nil, 2, 1)
	if len(s.Epochs) != 2 || !s.Epochs[1].Handed || !s.Epochs[1].Proved || s.Epochs[0].Records != 3 || s.Epochs[1].Records != 2 {
		t.Errorf("%+v", s.Epochs)
	}
	l.proves(t, ErrFirstKey, 1)
	l.proves(t, ErrFirstKey, 2)
	l.proves(t, ErrCut, 1, 2, 3)

	// The key was lost: nothing is appended until another one begins.
	os.Remove(key)
	if err := l.Append(t.Context(), Record{}); !errors.Is(err, ErrKey) {
		t.Error(err)
	}
	l.begin(t, 3, key)
	if s := l.proves(t, nil, 1, 2, 3); s.Epochs[2].Handed {
		t.Errorf("%+v", s.Epochs)
	}
}

// TestForeignKeyFile: what the log names as the place of its key is neither read
// nor wiped when it is none.
func TestForeignKeyFile(t *testing.T) {
	t.Parallel()
	l, _ := keyedLog(t)
	victim := filepath.Join(t.TempDir(), "victim")
	for _, size := range []int{10, keyFile} {
		content := bytes.Repeat([]byte("v"), size)
		writeFile(t, victim, content)
		text, _ := json.Marshal(place{victim, firstKey(1).ID})
		writeFile(t, filepath.Join(l.dir, placeName), text)
		if err := l.Append(t.Context(), Record{}); !errors.Is(err, ErrKey) {
			t.Error(err)
		}
		if err := l.Init(t.Context(), firstKey(2), filepath.Join(t.TempDir(), "key")); err == nil {
			t.Error("began")
		}
		if got := readFile(t, victim); !bytes.Equal(got, content) {
			t.Error("it was changed")
		}
	}
}

// TestKeyModes: nobody else reads the key, nor is one that others could read used.
func TestKeyModes(t *testing.T) {
	t.Parallel()
	l, key := keyedLog(t)
	if info, err := os.Stat(key); err != nil || info.Mode().Perm() != 0o600 {
		t.Error(info, err)
	}
	if err := os.Chmod(key, 0o640); err != nil {
		t.Fatal(err)
	}
	if err := l.Append(t.Context(), Record{}); !errors.Is(err, ErrKey) || !strings.Contains(err.Error(), "others could read it") {
		t.Error(err)
	}
}

// TestForgedTail: a record that this host did not write is noticed by the next
// append, also when it claims a step far ahead.
func TestForgedTail(t *testing.T) {
	t.Parallel()
	for _, ahead := range []uint64{0, 5, maxAhead, 1 << 62} {
		l, _ := keyedLog(t)
		l.mustAppend(t, Record{Operation: "seal"})
		lines := l.lines(t)
		last, _ := parse(lines[len(lines)-1])
		step := *last.Step + 1 + ahead
		line, _ := Record{Operation: "seal", Prev: hashOf(lines[len(lines)-1]), Step: &step, MAC: strings.Repeat("0", 2*macSize)}.line()
		l.rewrite(t, append(lines, line))
		if err := l.Append(t.Context(), Record{}); !errors.Is(err, ErrKey) {
			t.Errorf("%d ahead: %v", ahead, err)
		}
	}
}

// killed stands for the end of the process.
type killed struct{}

// dying lets a log die at its n-th write or sync, from 0, of which some bytes of
// the write are still done. It returns whether it did.
func dying(l *Log, n, some int, work func()) (died bool) {
	write, sync, calls := l.write, l.sync, 0
	step := func() bool { calls++; return calls-1 == n }
	l.write = func(f *os.File, text []byte, at int64) error {
		if step() {
			if some < len(text) {
				text = text[:some]
			}
			write(f, text, at)
			panic(killed{})
		}
		return write(f, text, at)
	}
	l.sync = func(f *os.File) error {
		if step() {
			panic(killed{})
		}
		return sync(f)
	}
	defer func() {
		l.write, l.sync = write, sync
		if r := recover(); r != nil {
			if _, died = r.(killed); !died {
				panic(r)
			}
		}
	}()
	work()
	return false
}

// TestKilledBetweenSteps: a process that dies at any write or sync of an append
// loses no record that was told to be written, repeats none, and the key goes on.
func TestKilledBetweenSteps(t *testing.T) {
	t.Parallel()
	for _, some := range []int{0, 1, 40, 700, 1 << 20} {
		for n := 0; ; n++ {
			l, _ := keyedLog(t)
			l.mustAppend(t, Record{Operation: "seal", Detail: "0"})
			died := dying(l, n, some, func() {
				l.mustAppend(t, Record{Operation: "seal", Detail: "1"}, Record{Operation: "seal", Detail: "2"})
			})
			died = dying(l, n, some, func() { l.mustAppend(t, Record{Operation: "seal", Detail: "3"}) }) || died
			l.mustAppend(t, Record{Operation: "seal", Detail: "4"})
			l.proves(t, nil, 1)
			var details []string
			err := Read(t.Context(), l.dir, func(e Entry) error {
				if e.Operation == "seal" && e.Detail != "" {
					details = append(details, e.Detail)
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			once := slices.Compact(slices.Clone(details))
			if !slices.IsSorted(details) || len(once) != len(details) || details[0] != "0" || details[len(details)-1] != "4" || !died && len(details) != 5 {
				t.Errorf("died at %d after %d bytes: %q", n, some, details)
			}
			if !died {
				if n < 6 {
					t.Errorf("only %d steps were tried", n)
				}
				break
			}
		}
	}
}

// TestKilledInit: what a crash leaves of the beginning goes on without MACs, or
// with them from the record that begins them; and Init can be called again.
func TestKilledInit(t *testing.T) {
	t.Parallel()
	for _, again := range []bool{false, true} {
		for n := 0; ; n++ {
			l := testLog(t, november)
			l.mustAppend(t, Record{Operation: "seal"})
			state := t.TempDir()
			keys := []byte{1}
			if again {
				l.begin(t, 3, filepath.Join(state, "3"))
				keys = append(keys, 3)
			}
			died := dying(l, n, 50, func() { l.begin(t, 1, filepath.Join(state, "1")) })
			l.mustAppend(t, Record{Operation: "seal"})
			s := l.proves(t, nil)
			if began := len(s.Epochs) == len(keys); began {
				l.proves(t, nil, keys...)
			} else if !died {
				t.Fatalf("%+v", s)
			}
			l.begin(t, 2, filepath.Join(state, "2"))
			l.mustAppend(t, Record{Operation: "seal"})
			keys = []byte{2}
			for _, e := range s.Epochs {
				keys = append(keys, e.KeyID[len(e.KeyID)-1]-'0')
			}
			l.proves(t, nil, keys...)
			if !died {
				break
			}
		}
	}
}

// TestFailedAdvance: an error while the key goes on is an error of the append, and
// the record counts once.
func TestFailedAdvance(t *testing.T) {
	t.Parallel()
	l, _ := keyedLog(t)
	sync, calls := l.sync, 0
	l.sync = func(f *os.File) error {
		if calls++; calls > 1 {
			return os.ErrClosed
		}
		return sync(f)
	}
	if err := l.Append(t.Context(), Record{Operation: "seal"}); !errors.Is(err, os.ErrClosed) {
		t.Error(err)
	}
	l.sync = sync
	l.mustAppend(t, Record{Operation: "open"})
	if s := l.proves(t, nil, 1); s.Epochs[0].Records != 3 {
		t.Errorf("%+v", s)
	}
}
