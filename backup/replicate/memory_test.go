package replicate_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/backup/replicate"
	"github.com/takumi-backup/takumi-backup/envelope"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/internal/store/local"
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
			spoilt[at] ^= 1
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
