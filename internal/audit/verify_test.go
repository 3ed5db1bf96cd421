package audit

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func testKey(first byte) []byte { return append([]byte{first}, make([]byte, 31)...) }

// sealedLog makes a log of n records over three months, its lines, and a checkpoint.
func sealedLog(t testing.TB, n int) (*Log, [][]byte, *Checkpoint) {
	t.Helper()
	l := testLog(t, november)
	l.sync = func(*os.File) error { return nil }
	for month := range 3 {
		at := november.AddDate(0, 0, 31*month)
		l.now = func() time.Time { return at }
		records := make([]Record, n/3)
		for i := range records {
			records[i] = Record{Operation: "seal", Path: fmt.Sprint(month, "/", i)}
		}
		l.mustAppend(t, records...)
	}
	at, err := Sign(t.Context(), l.dir, nil, testKey(1))
	if err != nil {
		t.Fatal(err)
	}
	return l, l.lines(t), at
}

// lines returns all lines of a log.
func (l *Log) lines(t testing.TB) (lines [][]byte) {
	t.Helper()
	names, err := months(l.dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		lines = slices.AppendSeq(lines, bytes.Lines(readFile(t, filepath.Join(l.dir, name))))
	}
	return lines
}

// edits returns what a log becomes by each kind of change at line i, from 0, of
// which the byte at flip is changed. Those in unseen show only with a checkpoint.
func edits(t *testing.T, lines [][]byte, i, flip int) (seen, unseen map[string][][]byte) {
	t.Helper()
	flipped := bytes.Clone(lines[i])
	flipped[flip] ^= 1
	before, after := lines[:i], lines[i+1:]
	seen = map[string][][]byte{
		"doubled":    slices.Concat(before, [][]byte{lines[i], lines[i]}, after),
		"cut within": slices.Concat(before, [][]byte{lines[i][:flip+1]}),
	}
	unseen = map[string][][]byte{"cut": before}
	some := seen
	if len(after) == 0 {
		some = unseen
	} else {
		seen["swapped"] = slices.Concat(before, [][]byte{after[0], lines[i]}, after[1:])
		seen["inserted"] = slices.Concat(before, [][]byte{lines[i], forged(t, lines[i])}, after)
	}
	some["flipped"] = slices.Concat(before, [][]byte{flipped}, after)
	some["deleted"] = slices.Concat(before, after)
	return seen, unseen
}

// forged is a record as the program would write it behind a line.
func forged(t *testing.T, after []byte) []byte {
	t.Helper()
	line, err := Record{Operation: "seal", Prev: hashOf(after)}.line()
	if err != nil {
		t.Fatal(err)
	}
	return line
}

// TestEveryChange: in a short log, every byte is flipped, and every record is
// deleted, doubled, swapped, and cut off; and foreign ones are put in.
func TestEveryChange(t *testing.T) {
	t.Parallel()
	_, lines, at := sealedLog(t, 6)
	dir := t.TempDir()
	verify := func(lines [][]byte, at *Checkpoint) error {
		writeFile(t, filepath.Join(dir, fileOf(november)), bytes.Join(lines, nil))
		_, err := Verify(t.Context(), dir, Proof{Checkpoint: at})
		return err
	}
	if err := verify(lines, at); err != nil {
		t.Fatal(err)
	}
	for i, line := range lines {
		for flip := range len(line) - 1 {
			changed := slices.Clone(lines)
			changed[i] = bytes.Clone(line)
			changed[i][flip] ^= 1
			if verify(changed, at) == nil {
				t.Fatalf("line %d, byte %d flipped: the checkpoint holds", i+1, flip)
			}
			fault := (*BrokenError)(nil)
			if err := verify(changed, nil); i+1 < len(lines) && (!errors.As(err, &fault) || fault.Line < i+1 || fault.Line > i+2) {
				t.Fatalf("line %d, byte %d flipped: %v", i+1, flip, err)
			}
			if flip%23 != i { // the other changes depend little on the byte
				continue
			}
			seen, unseen := edits(t, lines, i, flip)
			for kind, changed := range seen {
				fault := (*BrokenError)(nil)
				if err := verify(changed, nil); !errors.As(err, &fault) || fault.Line < i+1 || fault.Line > i+3 {
					t.Fatalf("line %d, byte %d %s: %v", i+1, flip, kind, err)
				}
			}
			for _, changes := range []map[string][][]byte{seen, unseen} {
				for kind, changed := range changes {
					if verify(changed, at) == nil {
						t.Fatalf("line %d, byte %d %s: the checkpoint holds", i+1, flip, kind)
					}
				}
			}
		}
	}
}

// TestEveryRecord: in a log of 10,000 records, each is flipped at a random byte,
// deleted, doubled, swapped and cut through, and a foreign one is put in. What
// is before is proved only once. By default it is every tenth record.
func TestEveryRecord(t *testing.T) {
	t.Parallel()
	_, lines, _ := sealedLog(t, 9999)
	hash, in := origin, bufio.NewReaderSize(nil, maxLine)
	for i, line := range lines[:len(lines)-1] {
		if i%10 > 0 && os.Getenv("TAKUMI_TEST_LONG") == "" {
			hash = hashOf(line)
			continue
		}
		// The few lines around it are all that a change can be seen in.
		seen, _ := edits(t, lines[i:min(i+3, len(lines))], 0, rand.IntN(len(line)-1))
		for kind, changed := range seen {
			s := &scanner{state: State{Hash: hash, Lines: i}, visit: func(Entry) error { return nil }, in: in}
			err := s.lines(t.Context(), bytes.NewReader(bytes.Join(changed, nil)), "log", false)
			if !errors.As(err, new(*BrokenError)) {
				t.Fatalf("line %d %s: %v", i+1, kind, err)
			}
		}
		hash = hashOf(line)
	}
}

// TestRewritten: a log that was written anew from some record on is whole, but
// not what the checkpoint saw.
func TestRewritten(t *testing.T) {
	t.Parallel()
	_, lines, at := sealedLog(t, 9)
	l := testLog(t, november)
	l.mustAppend(t, make([]Record, len(lines)+3)...)
	l.holds(t, len(lines)+3)
	_, err := Verify(t.Context(), l.dir, Proof{Checkpoint: at})
	if fault := (*BrokenError)(nil); !errors.As(err, &fault) || fault.Line != len(lines) {
		t.Error(err)
	}
}

// TestCheckpoint: it survives its file, holds as the log grows, shows a cut tail,
// and nobody changes it unnoticed.
func TestCheckpoint(t *testing.T) {
	t.Parallel()
	l, lines, at := sealedLog(t, 9)
	text, err := json.Marshal(at)
	if err != nil {
		t.Fatal(err)
	}
	read, err := ReadCheckpoint(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	key, err := PublicOf(testKey(1))
	if err != nil {
		t.Fatal(err)
	}
	other, err := PublicOf(testKey(2))
	if err != nil {
		t.Fatal(err)
	}
	if err := read.CheckSignature(key); err != nil {
		t.Error(err)
	}
	if err := read.CheckSignature(other); !errors.Is(err, ErrSignature) {
		t.Errorf("another key: %v", err)
	}
	for i := range text {
		changed := bytes.Clone(text)
		changed[i] ^= 1
		if c, err := ReadCheckpoint(bytes.NewReader(changed)); err == nil && c.CheckSignature(key) == nil {
			// Letters of either case name the same field.
			if again, err := json.Marshal(c); err != nil || !bytes.Equal(again, text) {
				t.Errorf("byte %d: %s", i, changed)
			}
		}
	}
	l.mustAppend(t, Record{Operation: "open"})
	if _, err := Verify(t.Context(), l.dir, Proof{Checkpoint: read}); err != nil {
		t.Error(err)
	}
	path := filepath.Join(l.dir, l.holds(t, len(lines)+1).File)
	tail := slices.Collect(bytes.Lines(readFile(t, path)))
	writeFile(t, path, bytes.Join(tail[:len(tail)-2], nil))
	if _, err := Verify(t.Context(), l.dir, Proof{Checkpoint: read}); !errors.Is(err, ErrCut) {
		t.Errorf("cut: %v", err)
	}
	if _, err := Sign(t.Context(), l.dir, read, testKey(1)); !errors.Is(err, ErrCut) {
		t.Errorf("signed although cut: %v", err)
	}
	for _, text := range []string{"", "ed25519:", string(key) + "A", string(key)[8:], "8f1c5a0e9d2f4f1c"} {
		if _, err := ParsePublicKey(text); err == nil {
			t.Errorf("%q is a public key", text)
		}
	}
}

// TestGrowing: who reads while others write sees whole lines.
func TestGrowing(t *testing.T) {
	t.Parallel()
	l := testLog(t, november)
	l.mustAppend(t, Record{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 15 {
			l.mustAppend(t, Record{Path: string(make([]byte, 4000))})
		}
	}()
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		if _, err := Verify(t.Context(), l.dir, Proof{}); err != nil {
			t.Fatal(err)
		}
	}
	l.holds(t, 16)
}

// TestJudge: a log is judged by the checkpoint that is named, or else by the one next to
// it, which may be missing unless its signer was named.
func TestJudge(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := New(dir)
	for range 3 {
		if err := l.Append(t.Context(), Record{Operation: "seal"}); err != nil {
			t.Fatal(err)
		}
	}
	key := bytes.Repeat([]byte{7}, 32)
	public, err := PublicOf(key)
	if err != nil {
		t.Fatal(err)
	}
	judged := func(checkpoint string, trusted PublicKey) string {
		j, err := Judge(t.Context(), dir, checkpoint, trusted, nil)
		if j == nil {
			return "refused"
		}
		var text bytes.Buffer
		if err == nil {
			j.WriteProof(&text)
		}
		return fmt.Sprintf("%v %v %v %s", j.Whole, j.Checkpoint != nil, j.Trusted, text.String())
	}
	expect := func(got, want string) {
		t.Helper()
		if !strings.HasPrefix(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	}
	expect(judged("", ""), "true false false without a checkpoint")
	expect(judged("", public), "refused")
	at, err := Sign(t.Context(), dir, nil, key)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(at)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, CheckpointName), text, 0o600); err != nil {
		t.Fatal(err)
	}
	expect(judged("", ""), "true true false the checkpoint of ")
	expect(judged("", public), "true true true the log holds all")
	expect(judged(filepath.Join(dir, "none"), ""), "refused")
	file := filepath.Join(dir, at.File)
	lines, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, lines[:bytes.IndexByte(lines, '\n')+1], 0o600); err != nil {
		t.Fatal(err)
	}
	expect(judged("", public), "false true true ")
}
