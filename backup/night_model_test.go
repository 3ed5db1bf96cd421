package backup_test

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/backup"
	"github.com/takumi-backup/takumi-backup/backup/members"
	"github.com/takumi-backup/takumi-backup/backup/prune"
	"github.com/takumi-backup/takumi-backup/backup/rekey"
	"github.com/takumi-backup/takumi-backup/backup/replicate"
	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/envelope/slot"
	"github.com/takumi-backup/takumi-backup/internal/fail"
	"github.com/takumi-backup/takumi-backup/internal/store/local"
	"github.com/takumi-backup/takumi-backup/keystore"
)

// TestChainModel: whatever nights, prune, replicate, rewrap, reencrypt, retired keys, lost
// states and kills do in whatever order, each backup that is left in a store restores what
// was there in its night, the newest one is left, and damage is never content. 15 runs; 300
// in a long run, 10,000 with TAKUMI_TEST_LONG=full, or as many as it says.
func TestChainModel(t *testing.T) {
	if os.Getenv(childEnv) != "" {
		t.Skip("it is the parent of this one")
	}
	runs := 15
	if long := os.Getenv("TAKUMI_TEST_LONG"); long != "" {
		runs = 300
		if n, err := strconv.Atoi(long); err == nil && n > 1 {
			runs = n
		} else if long == "full" {
			runs = 10_000
		}
		if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
			t.Setenv("TMPDIR", "/dev/shm") // syncing costs nothing there
		}
	}
	var total counts
	for seed := range runs {
		m := newModel(t, uint64(seed))
		for range 6 + m.rand.IntN(6) {
			m.step()
		}
		m.whole()
		if m.damaged(); t.Failed() {
			t.Fatalf("seed %d, after %q", seed, m.log)
		}
		total.add(m.counts)
		m.end()
	}
	t.Logf("%d runs: %+v", runs, total)
	if total.Increments == 0 || total.Deleted == 0 || total.Copied == 0 || total.Rekeyed == 0 || runs >= 100 && (total.Retired == 0 || total.Killed == 0) {
		t.Errorf("the runs have not met everything: %+v", total)
	}
}

type counts struct{ Fulls, Increments, Deleted, Copied, Rekeyed, Retired, Killed, Survived, Restored, Damaged int }

func (c *counts) add(d counts) {
	c.Fulls += d.Fulls
	c.Increments += d.Increments
	c.Deleted += d.Deleted
	c.Copied += d.Copied
	c.Rekeyed += d.Rekeyed
	c.Retired += d.Retired
	c.Killed += d.Killed
	c.Survived += d.Survived
	c.Restored += d.Restored
	c.Damaged += d.Damaged
}

type model struct {
	*nights
	counts
	rand   *rand.Rand
	base   string
	copies string
	keys   []*kek.Key                   // nil where it was retired
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
		path := m.keyFile(i)
		if k == nil {
			continue
		}
		if !exists(path) {
			m.must(keystore.WriteFile(path, k))
		}
		sources = append(sources, keystore.File{Path: path})
	}
	m.open.Keys = keystore.NewRing(sources...)
}

func (m *model) keyFile(i int) string { return fmt.Sprintf("%s/key%d", m.base, i) }

func (m *model) must(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatalf("%v, after %q", err, m.log)
	}
}

// step does one thing, one time in ten in a process that is killed meanwhile.
func (m *model) step() {
	what := []string{"night", "night", "night", "night", "night", "prune", "prune", "replicate", "replicate", "rekey", "retire", "lose"}[m.rand.IntN(12)]
	if m.newest == "" {
		what = "night"
	}
	m.log = append(m.log, what)
	switch what {
	case "lose":
		m.must(os.RemoveAll(m.state + "/uploads"))
		return
	case "retire":
		m.retire()
		return
	case "night":
		m.change()
	case "rekey":
		m.keys = append(m.keys, kek.Generate())
		m.ring()
		if m.rand.IntN(2) == 0 {
			m.key = m.keys[len(m.keys)-1] // nights are for the new one
		}
	}
	if m.rand.IntN(10) == 0 {
		m.killed(what)
		return
	}
	m.do(what)
	if what == "night" {
		m.newest = m.made.Name
		m.want[m.newest] = describe(m.t, m.dir)
		if m.made.Kind == backup.KindIncrement {
			m.Increments++
		} else {
			m.Fulls++
		}
	}
}

func (m *model) do(what string) {
	switch what {
	case "night":
		m.must(m.try(m.place))
	case "prune":
		root := []string{m.root, m.copies}[m.rand.IntN(2)]
		p := prune.Policy{Last: m.rand.IntN(3), Weekly: m.rand.IntN(3), Kinds: []string{backup.KindUploads}}
		r, err := prune.Run(m.t.Context(), m.place, root, prune.Options{Policy: p, Open: m.open, Apply: true,
			Done: func(_ *backup.Backup, _ prune.Decision, err error) error { return err }})
		m.must(err)
		m.Deleted += r.Deleted
	case "replicate":
		m.replicate()
	case "rekey":
		m.rekey()
	}
}

// childEnv is set in the process of a step that is killed: what it does, the seed of that,
// the number of keys, which of them nights are for, and when it ends, in microseconds.
const childEnv = "TAKUMI_TEST_MODEL_CHILD"

// killed does something in a process of its own that is killed. What a night has left in
// the store is a backup like any other.
func (m *model) killed(what string) {
	current := slices.Index(m.keys, m.key)
	cmd := exec.Command(os.Args[0], "-test.run", "^TestModelChild$")
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d %d %d %d %d %d %s", childEnv, what, m.rand.Uint64(), len(m.keys), current, m.rand.IntN(60_000),
		m.now.UnixNano(), m.every, m.base))
	out, err := cmd.CombinedOutput()
	m.now = m.now.Add(24 * time.Hour)
	switch {
	case err == nil:
		m.Survived++
	case cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL:
		m.Killed++
	default:
		m.t.Fatalf("%v, %s, after %q", err, out, m.log)
	}
	m.log = append(m.log, "killed")
	if what != "night" {
		return
	}
	list, err := backup.List(m.t.Context(), m.place, m.root, m.open)
	m.must(err)
	for i := range list {
		if m.want[list[i].Name] == nil {
			m.newest = list[i].Name
			m.want[m.newest] = describe(m.t, m.dir)
		}
	}
}

// TestModelChild is the process that TestChainModel kills.
func TestModelChild(t *testing.T) {
	var what, base string
	var seed uint64
	var keys, current, after int
	var now, every int64
	if os.Getenv(childEnv) == "" {
		return
	}
	if _, err := fmt.Sscan(os.Getenv(childEnv), &what, &seed, &keys, &current, &after, &now, &every, &base); err != nil {
		t.Fatal(err)
	}
	m := &model{rand: rand.New(rand.NewPCG(seed, 4)), base: base, copies: base + "/copies"}
	m.nights = &nights{t: t, dir: base + "/dir", root: base + "/root", state: base + "/state", every: time.Duration(every), now: time.Unix(0, now), place: local.Folder{}}
	for i := range keys {
		k, err := keystore.File{Path: m.keyFile(i)}.Load(t.Context())
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		m.keys = append(m.keys, k)
	}
	m.key = m.keys[current]
	m.ring()
	time.AfterFunc(time.Duration(after)*time.Microsecond, func() { syscall.Kill(os.Getpid(), syscall.SIGKILL) })
	m.do(what)
}

// retire forgets a key, as key retire does it: when every backup opens without it.
func (m *model) retire() {
	i := m.rand.IntN(len(m.keys))
	retired := m.keys[i]
	if retired == nil || retired == m.key {
		return
	}
	m.keys[i] = nil
	m.ring()
	for _, root := range []string{m.root, m.copies} {
		list, err := backup.List(m.t.Context(), m.place, root, m.open)
		m.must(err)
		if slices.ContainsFunc(list, func(b backup.Backup) bool { return b.State != backup.Authentic }) {
			m.keys[i] = retired
			m.ring()
			return
		}
	}
	m.must(os.Remove(m.keyFile(i)))
	m.Retired++
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
	fresh := m.keys[len(m.keys)-1]
	if fresh == nil {
		return
	}
	o := rekey.Options{Store: m.place, StateDir: m.base + "/locks", From: m.open.Keys, To: slot.Recipients(fresh), Meter: new(backup.Meter)}
	m.must(os.MkdirAll(o.StateDir, 0o700))
	back := keystore.NewRing(keystore.File{Path: m.keyFile(len(m.keys) - 1)})
	defer back.Close()
	whole, all := m.rand.IntN(2) == 0, m.rand.IntN(2) == 0
	for _, root := range []string{m.root, m.copies} {
		if root == m.copies && !all {
			break
		}
		list, err := backup.List(m.t.Context(), m.place, root, m.open)
		m.must(err)
		for i := range list {
			if !all && m.rand.IntN(3) == 0 {
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
}

// damaged changes a byte in the middle of a backup: whatever needs it fails with an error
// that says so, and gives nothing else.
func (m *model) damaged() {
	list, err := backup.List(m.t.Context(), m.place, m.root, m.open)
	m.must(err)
	if len(list) == 0 {
		return
	}
	path := list[m.rand.IntN(len(list))].Path
	good, err := os.ReadFile(path)
	m.must(err)
	bad := slices.Clone(good)
	bad[len(bad)-len(bad)/4] ^= 1
	m.must(os.WriteFile(path, bad, 0o600))
	for i := range list {
		got, err := m.listing(list[i].Path)
		if class, _ := fail.Of(err); err == nil && !maps.Equal(got, m.want[list[i].Name]) || err != nil && class != fail.Damaged {
			m.t.Errorf("with damage in %s, %s: %v, %v", path, list[i].Path, got, err)
		}
		if err != nil {
			m.Damaged++
		}
	}
	m.must(os.WriteFile(path, good, 0o600))
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
