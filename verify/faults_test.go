package verify

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/stream/pack"
)

// seeded is a fault that was put into a store.
type seeded struct {
	kind string
	// One of primary has to be found, and only those and the others may.
	primary, others []Code
	at              int64 // where in the file, or -1
	// byMemory says that only who knew the store before can see it: everything
	// in the store agrees.
	byMemory bool
}

type visibility int

const (
	never visibility = iota
	sometimes
	always
)

// faultKind changes backup b of a store that is otherwise as it was.
type faultKind struct {
	name     string
	checksum visibility // to who looks at the sidecars and envelopes alone, and has no key
	do       func(t *testing.T, s *testStore, b *good, rng *rand.Rand) seeded
}

func differs(primary ...Code) seeded {
	return seeded{primary: primary, others: []Code{SidecarDiffers}, at: -1}
}

// envelopeRot is what damage in the envelope can look like: of the slot's type or
// the key's id it makes the slot of a key that nobody knows.
var envelopeRot = []Code{Altered, Damaged, NotSealed, Truncated, NoKey}

func rot(s *good, at int64) seeded {
	f := differs(Damaged)
	if at < s.head {
		f = differs(envelopeRot...)
	}
	f.at = at
	return f
}

var faultKinds = []faultKind{
	{"bit rot in the payload", always, func(t *testing.T, _ *testStore, b *good, rng *rand.Rand) seeded {
		at := b.head + rng.Int64N(int64(len(b.data))-b.head)
		write(t, b.path, flipped(b.data, at, rng))
		return rot(b, at)
	}},
	{"bit rot in the envelope", always, func(t *testing.T, _ *testStore, b *good, rng *rand.Rand) seeded {
		at := rng.Int64N(b.head)
		write(t, b.path, flipped(b.data, at, rng))
		return rot(b, at)
	}},
	{"bit rot in the sidecar", always, func(t *testing.T, _ *testStore, b *good, rng *rand.Rand) seeded {
		write(t, b.path+store.SidecarSuffix, flipped(b.sidecar, rng.Int64N(int64(len(b.sidecar)-1)), rng))
		return seeded{primary: []Code{SidecarDiffers}, at: -1}
	}},
	{"bit rot, and a sidecar for it", never, func(t *testing.T, _ *testStore, b *good, rng *rand.Rand) seeded {
		at := b.head + rng.Int64N(int64(len(b.data))-b.head)
		bad := flipped(b.data, at, rng)
		write(t, b.path, bad)
		write(t, b.path+store.SidecarSuffix, sidecarOf(bad, b.path))
		return seeded{primary: []Code{Damaged}, at: at}
	}},
	{"truncation", always, func(t *testing.T, _ *testStore, b *good, rng *rand.Rand) seeded {
		size := rng.Int64N(int64(len(b.data)))
		write(t, b.path, b.data[:size])
		switch {
		case size < 64:
			return differs(NotSealed, Truncated)
		case size < b.head+56:
			return differs(Truncated)
		}
		return differs(Truncated, Damaged) // damaged only with the words "cut short"; see check
	}},
	{"a swapped sidecar", always, func(t *testing.T, s *testStore, b *good, rng *rand.Rand) seeded {
		write(t, b.path+store.SidecarSuffix, s.other(b, rng).sidecar)
		return seeded{primary: []Code{SidecarDiffers}, at: -1}
	}},
	{"a swapped file", always, func(t *testing.T, s *testStore, b *good, rng *rand.Rand) seeded {
		write(t, b.path, s.other(b, rng).data)
		return seeded{primary: []Code{SidecarDiffers}, others: []Code{Replaced, Small}, at: -1}
	}},
	{"a swapped file and a sidecar for it", sometimes, func(t *testing.T, s *testStore, b *good, rng *rand.Rand) seeded {
		of := s.other(b, rng)
		write(t, b.path, of.data)
		write(t, b.path+store.SidecarSuffix, sidecarOf(of.data, b.path))
		// The names of what --name named say nothing of the file's.
		return seeded{primary: []Code{Replaced}, others: []Code{Small}, at: -1, byMemory: stampOf(of.label.Name) == ""}
	}},
	{"sealed for a key that is not at hand", never, func(t *testing.T, _ *testStore, b *good, _ *rand.Rand) seeded {
		bad := seal(t, b.content, b.label, pack.Codec(b.label.Codec), kek.Generate())
		write(t, b.path, bad)
		write(t, b.path+store.SidecarSuffix, sidecarOf(bad, b.path))
		return seeded{primary: []Code{NoKey}, at: -1}
	}},
	{"a deleted sidecar", always, func(t *testing.T, _ *testStore, b *good, _ *rand.Rand) seeded {
		if err := os.Remove(b.path + store.SidecarSuffix); err != nil {
			t.Fatal(err)
		}
		return seeded{primary: []Code{SidecarMissing}, at: -1}
	}},
	{"an older version in its place", always, func(t *testing.T, s *testStore, b *good, _ *rand.Rand) seeded {
		older := b.label
		older.Created = older.Created.AddDate(0, 0, -30)
		if older.Name != stampless(older.Name) {
			older.Name = stampless(older.Name) + "_" + older.Created.Format("20060102_150405") + older.Name[strings.LastIndexByte(older.Name, '_')+7:]
		}
		bad := seal(t, b.content, older, pack.Codec(b.label.Codec), s.keys...)
		write(t, b.path, bad)
		write(t, b.path+store.SidecarSuffix, sidecarOf(bad, b.path))
		return seeded{primary: []Code{Replaced}, at: -1}
	}},
	{"zero-filled blocks", always, func(t *testing.T, _ *testStore, b *good, rng *rand.Rand) seeded {
		const block = 512
		at := rng.Int64N(int64(len(b.data))) / block * block
		bad := bytes.Clone(b.data)
		clear(bad[at:min(at+block*(1+rng.Int64N(8)), int64(len(bad)))])
		write(t, b.path, bad)
		f := rot(b, at)
		f.at = max(at, b.head)
		return f
	}},
	{"foreign bytes behind it", always, func(t *testing.T, _ *testStore, b *good, rng *rand.Rand) seeded {
		write(t, b.path, append(bytes.Clone(b.data), make([]byte, 1+rng.IntN(5000))...))
		return differs(Trailing)
	}},
}

func flipped(data []byte, at int64, rng *rand.Rand) []byte {
	bad := bytes.Clone(data)
	bad[at] ^= 1 << rng.IntN(8)
	return bad
}

// stampless cuts a name where its time begins.
func stampless(name string) string {
	if at := stamp.FindStringIndex(name); at != nil {
		return name[:at[0]]
	}
	return name
}

// other returns a backup that is not b.
func (s *testStore) other(b *good, rng *rand.Rand) *good {
	for {
		if o := &s.backups[rng.IntN(len(s.backups))]; o.path != b.path {
			return o
		}
	}
}

// check says what is wrong with what was found of a seeded fault.
func (f seeded) check(b *Backup, remembered bool) error {
	codes := codesOf(b.Findings)
	if f.byMemory && !remembered {
		return nil
	}
	if !slices.ContainsFunc(codes, func(c Code) bool { return slices.Contains(f.primary, c) }) {
		return fmt.Errorf("found %v, want one of %v", codes, f.primary)
	}
	for _, found := range b.Findings {
		if found.Code == Small && !remembered {
			continue // next to one that was swapped, which only the memory shows
		}
		if !slices.Contains(f.primary, found.Code) && !slices.Contains(f.others, found.Code) {
			return fmt.Errorf("found %v, which it is not (%s)", found.Code, found.Message)
		}
		if found.Advice == "" {
			return fmt.Errorf("%v has no advice", found.Code)
		}
		if found.Code == Damaged && found.Chunk != nil && f.at >= 0 && (f.at < *found.Offset || f.at >= *found.Offset+16400) {
			return fmt.Errorf("%s; it is at byte %d", found.Message, f.at)
		}
		if f.kind == "truncation" && found.Code == Damaged && (remembered || !strings.Contains(found.Message, "cut short")) {
			return fmt.Errorf("it was cut, not damaged: %s", found.Message)
		}
		if found.Code == NoKey && slices.Contains(f.others, SidecarDiffers) && !strings.Contains(found.Message, "damaged too") {
			return fmt.Errorf("it does not say that the slots may be damaged: %s", found.Message)
		}
	}
	return nil
}

// TestSeededFaults puts faults into a store of 40 good backups of all kinds, one
// into each, again and again, and wants every one found, under its name, and
// nothing else. What the checksum alone shows is counted next to that.
func TestSeededFaults(t *testing.T) {
	t.Parallel()
	s := newTestStore(t)
	rng := rand.New(rand.NewPCG(3, 4))
	memory := t.TempDir()
	for _, level := range []Level{Checksum, Auth, Content} {
		j := s.job(level)
		if level == Content {
			j.Memory, _ = OpenMemory(memory)
		}
		r := run(t, j)
		if len(r.Findings) > 0 || r.Backups.Len() != len(s.backups) {
			t.Errorf("%v: %d backups, %v", level, r.Backups.Len(), r.Findings)
		}
		for _, b := range r.Backups.All() {
			if len(b.Findings) > 0 || b.Proven != level || !b.Checked || b.ProvenAt.IsZero() {
				t.Errorf("false alarm at level %v: %s", level, asJSON(b))
			}
		}
	}
	rounds := 2
	if os.Getenv("TAKUMI_TEST_LONG") != "" {
		rounds = 10
	}
	type count struct{ seeded, seen int }
	byChecksum := make(map[string]*count)
	total := 0
	for round := range rounds {
		s.restore(t)
		faults := make(map[string]seeded)
		for i := range s.backups {
			kind := faultKinds[total%len(faultKinds)]
			f := kind.do(t, s, &s.backups[i], rng)
			f.kind = kind.name
			faults[s.backups[i].path] = f
			total++
		}
		j := s.job(Content)
		if round%2 == 1 {
			j.Memory, _ = OpenMemory(memory)
		}
		for path, b := range byPath(run(t, j)) {
			if err := faults[path].check(b, j.Memory != nil); err != nil {
				t.Errorf("round %d: %s: %s: %v", round, faults[path].kind, path, err)
			}
		}
		j = s.job(Checksum)
		j.Keys = nil
		for path, b := range byPath(run(t, j)) {
			kind := faults[path].kind
			if byChecksum[kind] == nil {
				byChecksum[kind] = new(count)
			}
			byChecksum[kind].seeded++
			if len(b.Findings) > 0 {
				byChecksum[kind].seen++
			}
		}
	}
	for _, kind := range faultKinds {
		c := byChecksum[kind.name]
		t.Logf("checksum without a key: %d of %d: %s", c.seen, c.seeded, kind.name)
		if kind.checksum == always && c.seen < c.seeded || kind.checksum == never && c.seen > 0 {
			t.Errorf("checksum sees %d of %d of %s", c.seen, c.seeded, kind.name)
		}
	}
	t.Logf("%d faults, all found by level content", total)
}
