package backup_test

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/backup/members"
	"github.com/takumi-backup/takumi-backup/backup/prune"
	"github.com/takumi-backup/takumi-backup/backup/rekey"
	"github.com/takumi-backup/takumi-backup/backup/replicate"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/envelope/slot"
	"github.com/takumi-backup/takumi-backup/keystore"
)

// TestChainModel: whatever nights, prune, replicate, rewrap, reencrypt and lost states do
// in whatever order, each backup that is left in a store restores what was there in its
// night, and the newest one is left. With TAKUMI_TEST_LONG 10,000 runs, else 25.
func TestChainModel(t *testing.T) {
	runs := 25
	if os.Getenv("TAKUMI_TEST_LONG") != "" {
		runs = 10000
	}
	if testing.Short() {
		runs = 20
	}
	var total counts
	for seed := range runs {
		m := newModel(t, uint64(seed))
		for range 6 + m.rand.IntN(6) {
			m.step()
		}
		if m.whole(); t.Failed() {
			t.Fatalf("seed %d, after %q", seed, m.log)
		}
		total.add(m.counts)
		m.end()
	}
	t.Logf("%d runs: %+v", runs, total)
	if total.Increments == 0 || total.Deleted == 0 || total.Copied == 0 || total.Rekeyed == 0 {
		t.Errorf("the runs have not met everything: %+v", total)
	}
}

type counts struct{ Fulls, Increments, Deleted, Copied, Rekeyed, Restored int }

func (c *counts) add(d counts) {
	c.Fulls += d.Fulls
	c.Increments += d.Increments
	c.Deleted += d.Deleted
	c.Copied += d.Copied
	c.Rekeyed += d.Rekeyed
	c.Restored += d.Restored
}

type model struct {
	*nights
	counts
	rand   *rand.Rand
	base   string
	copies string
	keys   []*kek.Key
	want   map[string]map[string]string // by the name in the label
	newest string
	log    []string
	files  int
}

func newModel(t *testing.T, seed uint64) *model {
	base, err := os.MkdirTemp("", "model")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(base) })
	m := &model{rand: rand.New(rand.NewPCG(seed, 3)), base: base, copies: base + "/copies", want: make(map[string]map[string]string)}
	for _, dir := range []string{"/dir", "/root", "/state", "/copies"} {
		if err := os.Mkdir(base+dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	first := kek.Generate()
	m.keys = []*kek.Key{first}
	m.nights = &nights{t: t, dir: base + "/dir", root: base + "/root", state: base + "/state", key: first,
		wait: time.Duration(m.rand.IntN(2)) * tick, every: time.Duration(1+m.rand.IntN(9)) * 24 * time.Hour, now: time.Now().Add(-100 * 24 * time.Hour)}
	m.place = newNights(t).place
	m.ring()
	return m
}

func (m *model) end() {
	m.open.Keys.Close()
	os.RemoveAll(m.base)
}

// ring has all keys.
func (m *model) ring() {
	if m.open.Keys != nil {
		m.open.Keys.Close()
	}
	var sources []keystore.Source
	for i, k := range m.keys {
		path := fmt.Sprintf("%s/key%d", m.base, i)
		if !exists(path) {
			m.must(keystore.WriteFile(path, k))
		}
		sources = append(sources, keystore.File{Path: path})
	}
	m.open.Keys = keystore.NewRing(sources...)
}

func (m *model) must(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatalf("%v, after %q", err, m.log)
	}
}

// step does one thing.
func (m *model) step() {
	switch n := m.rand.IntN(12); {
	case n < 6 || m.newest == "":
		m.log = append(m.log, "night")
		m.change()
		m.must(m.try(m.place))
		m.newest = m.made.Name
		m.want[m.newest] = describe(m.t, m.dir)
		if m.made.Kind == backup.KindIncrement {
			m.Increments++
		} else {
			m.Fulls++
		}
	case n == 6 || n == 7:
		root := []string{m.root, m.copies}[m.rand.IntN(2)]
		p := prune.Policy{Last: m.rand.IntN(3), Weekly: m.rand.IntN(3), Kinds: []string{backup.KindUploads}}
		m.log = append(m.log, fmt.Sprintf("prune %s %+v", filepath.Base(root), p))
		r, err := prune.Run(m.t.Context(), m.place, root, prune.Options{Policy: p, Open: m.open, Apply: true,
			Done: func(_ *backup.Backup, _ prune.Decision, err error) error { return err }})
		m.must(err)
		m.Deleted += r.Deleted
	case n == 8 || n == 9:
		m.log = append(m.log, "replicate")
		m.replicate()
	case n == 10:
		m.log = append(m.log, "rekey")
		m.rekey()
	default:
		m.log = append(m.log, "the state is lost")
		m.must(os.RemoveAll(m.state + "/uploads"))
	}
}

// change edits a few files.
func (m *model) change() {
	for range 1 + m.rand.IntN(4) {
		m.files++
		path := filepath.Join(m.dir, fmt.Sprint(m.rand.IntN(4)), fmt.Sprint(m.rand.IntN(4)))
		m.must(os.MkdirAll(filepath.Dir(path), 0o700))
		switch m.rand.IntN(6) {
		case 0:
			m.must(os.RemoveAll(filepath.Dir(path)))
		case 1:
			if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
				m.must(err)
			}
		case 2:
			_ = os.Rename(path, path+"r")
		case 3:
			_ = os.Link(path, path+"l")
		default:
			m.must(os.WriteFile(path, []byte(fmt.Sprintf("%d%0*d", m.files, m.files, 0)), 0o600))
		}
	}
	m.must(os.WriteFile(m.dir+"/always", nil, 0o600))
}

func (m *model) replicate() {
	o := replicate.Options{Place: m.place, ReplaceOthers: m.rand.IntN(2) == 0}
	if m.rand.IntN(2) == 0 {
		o.NewerThan = time.Now().Add(-time.Duration(m.rand.IntN(60)) * time.Millisecond)
	}
	items, err := replicate.Plan(m.t.Context(), m.root, m.copies, o)
	m.must(err)
	var links replicate.Links
	stop := m.rand.IntN(8) // it may be stopped between any two
	for _, wave := range replicate.Waves(items) {
		for _, i := range wave {
			if items[i].Action == replicate.Nothing || items[i].Action == replicate.Kept {
				continue
			}
			if stop--; stop == 0 {
				return
			}
			err := links.Check(items[i])
			if err == nil {
				_, err = replicate.One(m.t.Context(), items[i], o, func(int) {})
			}
			if errors.Is(err, replicate.ErrOther) || errors.Is(err, replicate.ErrLink) { // re-encrypted since
				links.Failed(items[i])
				continue
			}
			m.must(err)
			m.Copied++
		}
	}
}

// rekey changes the key of some backups of one store, by a rewrap or a re-encryption.
func (m *model) rekey() {
	fresh := kek.Generate()
	m.keys = append(m.keys, fresh)
	m.ring()
	if m.rand.IntN(2) == 0 {
		m.key = fresh // nights are for the new one
	}
	o := rekey.Options{Store: m.place, StateDir: m.base + "/locks", From: m.open.Keys, To: slot.Recipients(fresh), Meter: new(backup.Meter)}
	m.must(os.MkdirAll(o.StateDir, 0o700))
	list, err := backup.List(m.t.Context(), m.place, m.root, m.open)
	m.must(err)
	back := keystore.NewRing(keystore.File{Path: fmt.Sprintf("%s/key%d", m.base, len(m.keys)-1)})
	defer back.Close()
	whole := m.rand.IntN(2) == 0
	for i := range list {
		if m.rand.IntN(3) == 0 {
			continue
		}
		if whole {
			_, err = rekey.Reencrypt(m.t.Context(), list[i].Path, rekey.ReencryptOptions{ReadBack: back, Options: o})
		} else {
			_, err = rekey.Rewrap(m.t.Context(), list[i].Path, rekey.RewrapOptions{Options: o})
		}
		m.must(err)
		m.Rekeyed++
	}
}

// whole restores everything that there is.
func (m *model) whole() {
	found := false
	for _, root := range []string{m.root, m.copies} {
		list, err := backup.List(m.t.Context(), m.place, root, m.open)
		m.must(err)
		for i := range list {
			b := &list[i]
			found = found || root == m.root && b.Name == m.newest
			got, err := m.listing(b.Path)
			if err != nil || !maps.Equal(got, m.want[b.Name]) {
				m.t.Errorf("%s: %v\n got %v\nwant %v", b.Path, err, got, m.want[b.Name])
			}
			m.Restored++
		}
	}
	if !found && m.newest != "" {
		m.t.Errorf("the newest backup, %s, is gone", m.newest)
	}
}

// listing reads the tree of a backup as tar would unpack it.
func (m *model) listing(path string) (map[string]string, error) {
	h, err := backup.OpenAt(m.t.Context(), m.place, path, m.open)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	a, err := h.Members(m.t.Context())
	if err != nil {
		return nil, err
	}
	src, err := a.Whole()
	if err != nil {
		return nil, err
	}
	all := make(map[string]string)
	for r := tar.NewReader(src); ; {
		h, err := r.Next()
		if err == io.EOF {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		name := members.Clean(h.Name)
		switch content, err := io.ReadAll(r); {
		case err != nil:
			return nil, err
		case h.Typeflag == tar.TypeLink:
			first, there := all[members.Clean(h.Linkname)]
			if !there {
				return nil, fmt.Errorf("%s leads to %s, which is not there", name, h.Linkname)
			}
			all[name] = first
		case h.Typeflag == tar.TypeDir:
			all[name] = "a folder"
		default:
			all[name] = string(content)
		}
	}
}

func describe(t *testing.T, dir string) map[string]string {
	all := make(map[string]string)
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if all[rel] = "a folder"; err == nil && !d.IsDir() {
			var content []byte
			content, err = os.ReadFile(path)
			all[rel] = string(content)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
