package replicate_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/backup/replicate"
	places "github.com/takumi-backup/takumi-backup/backup/store"
	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/internal/store"
	"github.com/takumi-backup/takumi-backup/internal/store/local"
	s3test "github.com/takumi-backup/takumi-backup/internal/testkit/s3"
	storetest "github.com/takumi-backup/takumi-backup/internal/testkit/store"
	"github.com/takumi-backup/takumi-backup/keystore"
)

// TestWhichWasRewrapped: whether a backup or its copy was rewrapped goes by what the
// copy was given and by what the keys at hand open, and by the clocks only where
// neither says it.
func TestWhichWasRewrapped(t *testing.T) {
	mine := sealed(t, 10_000)
	first, second := besides(t, mine, 1), besides(t, mine, 2)
	firstWhole := append(bytes.Clone(first), mine[len(first):]...)
	material := bytes.Repeat([]byte("0123456789abcdef"), 2) // of sealed
	for _, tc := range []struct {
		name   string
		forget bool
		key    []byte
		change func(t *testing.T, from, to string)
		want   replicate.Action
	}{
		{name: "there, and the backup was touched", change: func(t *testing.T, from, to string) {
			keep(t, to, firstWhole)
			ago(t, from, -time.Hour)
		}, want: replicate.Kept},
		{name: "beside, there, and the backup was touched", change: func(t *testing.T, from, to string) {
			write(t, to+envelope.DetachedSuffix, first)
			ago(t, from, -time.Hour)
		}, want: replicate.Kept},
		{name: "here, by a clock that is behind", change: func(t *testing.T, from, to string) {
			keep(t, from, firstWhole)
			ago(t, from, 24*time.Hour)
		}, want: replicate.Replace},
		{name: "both, here later", change: func(t *testing.T, from, to string) {
			keep(t, to, firstWhole)
			write(t, from+envelope.DetachedSuffix, second)
			ago(t, to, time.Hour)
		}, want: replicate.Replace},
		{name: "nobody remembers", forget: true, change: func(t *testing.T, from, to string) {
			keep(t, to, firstWhole)
			ago(t, from, -time.Hour)
		}, want: replicate.Replace},
		{name: "nobody remembers, and the copy alone opens", forget: true, key: material, change: func(t *testing.T, from, to string) {
			keep(t, from, firstWhole)
			ago(t, from, -time.Hour)
		}, want: replicate.Kept},
		{name: "nobody remembers, and both open", forget: true, key: material, change: func(t *testing.T, from, to string) {
			write(t, to+envelope.DetachedSuffix, first)
			ago(t, from, -time.Hour)
		}, want: replicate.Envelope},
		{name: "the slot of the envelope there is whole, and here it is not", key: material, change: func(t *testing.T, from, to string) {
			spoilt := bytes.Clone(mine)
			at := bytes.Index(spoilt, []byte("\nslot ")) + 60
			spoilt[at] = map[bool]byte{true: 'B', false: 'A'}[spoilt[at] == 'A'] // and it stays base64
			keep(t, from, spoilt)
			ago(t, from, -time.Hour)
		}, want: replicate.Kept},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			state := filepath.Join(dir, "state")
			here, there := filepath.Join(dir, "here"), filepath.Join(dir, "there")
			from, to := filepath.Join(here, "x.enc"), filepath.Join(there, "x.enc")
			keep(t, from, mine)
			plan := func() (replicate.Item, replicate.Options) {
				o := replicate.Options{Place: local.Folder{}}
				if !tc.forget {
					var err error
					if o.Memory, err = replicate.OpenMemory(state); err != nil {
						t.Fatal(err)
					}
				}
				if tc.key != nil {
					o.Keys = keystore.NewRing(material32(tc.key))
					t.Cleanup(o.Keys.Close)
				}
				items, err := replicate.Plan(t.Context(), here, there, o)
				if err != nil || len(items) != 1 {
					t.Fatalf("%+v, %v", items, err)
				}
				return items[0], o
			}
			i, o := plan()
			if _, err := replicate.One(t.Context(), i, o, func(int) {}); err != nil || o.Memory.Fault() != nil {
				t.Fatal(err, o.Memory.Fault())
			}
			tc.change(t, from, to)
			if i, _ := plan(); i.Action != tc.want || i.Err != nil {
				t.Errorf("%s, %v; want %s", i.Action, i.Err, tc.want)
			}
		})
	}
}

// TestRewrappedMeanwhile: a copy that is rewrapped between the plan and its turn is left
// alone, and the next plan keeps it.
func TestRewrappedMeanwhile(t *testing.T) {
	t.Parallel()
	mine := sealed(t, 10_000)
	first, second := besides(t, mine, 1), besides(t, mine, 2)
	whole := func(e []byte) []byte { return append(bytes.Clone(e), mine[len(e):]...) }
	for action, change := range map[replicate.Action]func(from string){
		replicate.Replace:  func(from string) { keep(t, from, whole(second)) },
		replicate.Envelope: func(from string) { write(t, from+envelope.DetachedSuffix, second) },
	} {
		for name, meanwhile := range map[string]func(to string){
			"itself": func(to string) { keep(t, to, whole(first)) },
			"beside": func(to string) { write(t, to+envelope.DetachedSuffix, first) },
		} {
			dir := t.TempDir()
			here, there := filepath.Join(dir, "here"), filepath.Join(dir, "there")
			from, to := filepath.Join(here, "x.enc"), filepath.Join(there, "x.enc")
			keep(t, from, mine)
			keep(t, to, mine)
			change(from)
			for _, path := range []string{from, from + envelope.DetachedSuffix} {
				if _, err := os.Stat(path); err == nil {
					ago(t, path, time.Hour)
				}
			}
			ago(t, to, 2*time.Hour)
			plan := func() replicate.Item {
				items, err := replicate.Plan(t.Context(), here, there, replicate.Options{Place: local.Folder{}})
				if err != nil || len(items) != 1 {
					t.Fatalf("%+v, %v", items, err)
				}
				return items[0]
			}
			i := plan()
			if i.Action != action {
				t.Fatalf("%s, and not %s", i.Action, action)
			}
			meanwhile(to)
			want, _ := os.ReadFile(to)
			if _, err := replicate.One(t.Context(), i, replicate.Options{Place: local.Folder{}}, func(int) {}); !errors.Is(err, store.ErrChanged) {
				t.Errorf("%s, %s: %v", action, name, err)
			}
			got, _ := os.ReadFile(to)
			beside, _ := os.ReadFile(to + envelope.DetachedSuffix)
			if !bytes.Equal(got, want) || (name == "beside") != bytes.Equal(beside, first) || len(beside) > 0 && name != "beside" {
				t.Errorf("%s, %s: the copy has changed", action, name)
			}
			if i := plan(); i.Action != replicate.Kept {
				t.Errorf("%s, %s: then %s", action, name, i.Action)
			}
		}
	}
}

// TestSourceRewrappedMeanwhile: a backup that is rewrapped while it is sent is not called
// damaged, in a bucket as in a folder, whether its sidecar comes late or is there already.
func TestSourceRewrappedMeanwhile(t *testing.T) {
	m := s3test.NewMemory()
	s3test.Serve(t, m)
	bucket, err := places.Open("s3://bucket", places.S3Options{})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, at := range map[string]struct {
		store.Store
		root string
		put  func(name string, content []byte)
	}{
		"folder": {local.Folder{}, dir, func(name string, content []byte) {
			path := filepath.Join(dir, name)
			write(t, path+".new", content) // a new file, as a rewrap makes it
			if err := os.Rename(path+".new", path); err != nil {
				t.Error(err)
			}
		}},
		"bucket": {bucket, "s3://bucket", func(name string, content []byte) { m.Put("bucket", name, content) }},
	} {
		for _, size := range []int{10_000, 300_000} {
			mine := sealed(t, size)
			first := besides(t, mine, 1)
			rewrapped := append(bytes.Clone(first), mine[len(first):]...)
			line := func(of []byte) []byte { return []byte(store.FormatSidecar(sha256.Sum256(of), "x.enc")) }
			from := at.root + "/from/x.enc"
			for when, step := range map[string]func(op, path string, opened int){
				"after it was opened": func(op, path string, _ int) {
					if op == "open" && path == from+store.SidecarSuffix {
						at.put("from/x.enc", rewrapped)
						at.put("from/x.enc.sha256", line(rewrapped))
					}
				},
				"before, and its sidecar after": func(op, path string, opened int) {
					if op == "open" && path == from && opened == 2 {
						at.put("from/x.enc", rewrapped)
					}
					if op == "write" {
						at.put("from/x.enc.sha256", line(rewrapped))
					}
				},
			} {
				at.put("from/x.enc", mine)
				at.put("from/x.enc.sha256", line(mine))
				opened := 0
				place := &storetest.Faulty{Store: at.Store, Before: func(op, path string) error {
					if op == "open" && path == from {
						opened++
					}
					step(op, path, opened)
					return nil
				}}
				i := replicate.Item{Backup: store.Backup{Path: from, Size: int64(len(mine)), Sidecar: true}, To: at.root + "/to/x.enc", Action: replicate.Copy}
				if _, err := replicate.One(t.Context(), i, replicate.Options{Place: place}, func(int) {}); !errors.Is(err, store.ErrChanged) {
					t.Errorf("%s, %d bytes, %s: %v", name, size, when, err)
				}
			}
		}
	}
}

// TestMemoryFails: what cannot be remembered keeps no backup from being copied, and a
// line that a crash cut costs itself.
func TestMemoryFails(t *testing.T) {
	dir := t.TempDir()
	state, from, to := filepath.Join(dir, "state"), filepath.Join(dir, "here", "x.enc"), filepath.Join(dir, "there", "x.enc")
	keep(t, from, sealed(t, 100))
	copyIt := func() *replicate.Memory {
		m, err := replicate.OpenMemory(state)
		if err != nil {
			t.Fatal(err)
		}
		o := replicate.Options{Place: local.Folder{}, Memory: m}
		items, err := replicate.Plan(t.Context(), filepath.Dir(from), filepath.Dir(to), o)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := replicate.One(t.Context(), items[0], o, func(int) {}); err != nil {
			t.Fatal(err)
		}
		return m
	}
	if err := os.WriteFile(state, nil, 0o600); err != nil { // in the place of the folder
		t.Fatal(err)
	}
	if m, err := replicate.OpenMemory(state); err == nil {
		t.Errorf("a file for a folder: %v", m)
	}
	if err := os.Remove(state); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(state, replicate.MemoryName), []byte("{\"to\":\"a\",\"envelopes\":\"b\"}\n{\"to\":\"c"))
	if m := copyIt(); m.Fault() != nil {
		t.Error(m.Fault())
	}
	text, err := os.ReadFile(filepath.Join(state, replicate.MemoryName))
	if err != nil || !strings.Contains(string(text), "\n{\"to\":\""+to+"\"") {
		t.Errorf("%q, %v", text, err)
	}
}

// material32 is a source of a key.
type material32 []byte

func (m material32) Load(context.Context) (*kek.Key, error) { return kek.New(m) }
func (material32) String() string                           { return "test:key" }

// TestCompacted: a memory that is mostly of what was rewrapped again, or is in neither
// store any more, is rewritten; what is of use stays, and of others all of it.
func TestCompacted(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name       string
		lines, old int // of other places, and of a copy that is gone
		change     func(t *testing.T, o *replicate.Batch)
		want       int // lines that are left, with that of the copy
	}{
		{"mostly dead", 20, 1000, nil, 21},
		{"small", 20, 900, nil, 921},
		{"mostly of use", 1000, 900, nil, 1901},
		{"a dry run", 20, 1000, func(_ *testing.T, c *replicate.Batch) { c.DryRun = true }, 1020},
		{"a copy that is not mounted", 20, 1000, func(t *testing.T, c *replicate.Batch) {
			if err := os.RemoveAll(c.To); err != nil {
				t.Fatal(err)
			}
		}, 1021},
		{"what the source still has", 20, 1000, func(t *testing.T, c *replicate.Batch) {
			for n := range 1000 {
				write(t, filepath.Join(c.From, fmt.Sprintf("old%d.enc", n)), nil)
			}
			c.NewerThan = time.Now().Add(time.Hour)
		}, 1020},
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, replicate.MemoryName)
		c := replicate.Batch{From: filepath.Join(dir, "from"), To: filepath.Join(dir, "to"), Workers: 1, Meter: new(backup.Meter)}
		c.Place = local.Folder{}
		keep(t, filepath.Join(c.From, "x.enc"), sealed(t, 100))
		keep(t, filepath.Join(c.To, "other.enc"), sealed(t, 100))
		var text bytes.Buffer
		add := func(n int, name string) {
			for n := range n {
				fmt.Fprintf(&text, `{"to":"%s/%s%d.enc","envelopes":"%d"}`+"\n", dir, name, n, n)
			}
		}
		add(tc.lines, "elsewhere/")
		add(tc.old, "to/old")
		write(t, path, text.Bytes())
		if tc.change != nil {
			tc.change(t, &c)
		}
		var err error
		if c.Memory, err = replicate.OpenMemory(dir); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Run(t.Context(), replicate.Observer{Planned: func(int64) {}, Copied: func(replicate.Item, error) {},
			Done: func(*replicate.Tally, replicate.Item, store.Result, error) error { return nil }}); err != nil || c.Memory.Fault() != nil {
			t.Fatal(tc.name, err, c.Memory.Fault())
		}
		left, err := os.ReadFile(path)
		if n := bytes.Count(left, []byte("\n")); err != nil || n != tc.want {
			t.Errorf("%s: %d lines are left, want %d, %v", tc.name, n, tc.want, err)
		}
		for n := range tc.lines {
			if !bytes.Contains(left, fmt.Appendf(nil, `elsewhere/%d.enc","envelopes":"%d"`, n, n)) {
				t.Fatalf("%s: what is of another place is lost", tc.name)
			}
		}
		if tc.want%10 == 1 && !bytes.Contains(left, []byte(c.To+"/x.enc")) {
			t.Errorf("%s: the copy is not remembered", tc.name)
		}
	}
}
