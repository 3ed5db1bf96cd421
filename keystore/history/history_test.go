package history

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
)

const goodKey = `{"id": "0123456789abcdef", "provider": "file:/etc/key", "activated": "2026-01-02T03:04:05Z"}`

func document1(keys string) string { return `{"version": 1, "keys": [` + keys + `]}` }

func TestParse(t *testing.T) {
	retired := strings.Replace(goodKey, "}", `, "retired": "2026-02-02T03:04:05Z", "destroy_after": "2026-03-02T03:04:05Z"}`, 1)
	placed := strings.Replace(goodKey, "{", `{"place": "https://vault:8200/key", `, 1)
	const rotation = `{"version": 1, "keys": [], "rotations_begun":
		[{"provider": "vault:a/b", "old": "0123456789abcdef", "new": "0123456789abcdee", "begun": "2026-01-02T03:04:05Z"}]}`
	other := strings.Replace(goodKey, "0123", "9999", 1)
	for name, text := range map[string]string{
		"no key":              document1(""),
		"a key":               document1(goodKey),
		"one after the other": document1(retired + "," + other),
		"two places":          document1(goodKey + "," + strings.Replace(goodKey, "/etc", "/opt", 1)),
		"two of one name":     document1(goodKey + "," + placed),
		"lost from sight":     document1(strings.Replace(goodKey, "activated", "retired", 1) + "," + other),
		"a rotation":          rotation,
		"a change":            strings.Replace(rotation, `"old"`, `"place": "https://vault:8200/a", "command": "store", "old"`, 1),
	} {
		if _, err := parse([]byte(text)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, text := range map[string]string{
		"empty":             "",
		"half":              document1(goodKey)[:40],
		"zeros":             strings.Repeat("\x00", 100),
		"something behind":  document1(goodKey) + "{}",
		"a list":            "[]",
		"null":              "null",
		"no version":        `{"keys": []}`,
		"version 0":         `{"version": 0, "keys": []}`,
		"no keys":           `{"version": 1}`,
		"a further field":   `{"version": 1, "keys": [], "secret": 1}`,
		"field in a key":    document1(strings.Replace(goodKey, "{", `{"x": 1, `, 1)),
		"short id":          document1(strings.Replace(goodKey, "0123", "012", 1)),
		"upper-case id":     document1(strings.Replace(goodKey, "abcdef", "ABCDEF", 1)),
		"no URI":            document1(strings.Replace(goodKey, "file:", "", 1)),
		"terminal sequence": document1(strings.Replace(goodKey, "/etc", `\u001b[2J`, 1)),
		"no time":           document1(strings.Replace(goodKey, "2026-01-02", "yesterday", 1)),
		"half retired":      document1(strings.Replace(goodKey, "activated", "destroy_after", 1)),
		"no place":          document1(strings.Replace(goodKey, "{", `{"place": "nowhere", `, 1)),
		"twice in a place":  document1(placed + "," + strings.Replace(placed, "/etc", "/opt", 1)),
		"unknown command":   strings.Replace(rotation, `"old"`, `"command": "shred", "old"`, 1),
		"twice":             document1(retired + "," + goodKey),
		"two current keys":  document1(goodKey + "," + other),
		"rotation in place": `{"version": 1, "keys": [], "rotations_begun": [{"provider": "a:b", "old": "0123456789abcdef", "new": "0123456789abcdef", "begun": "2026-01-02T03:04:05Z"}]}`,
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, FileName)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(dir); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "to fix") {
			t.Errorf("%s: %v", name, err)
		}
		// And it is left as it is.
		if _, err := rotateDamaged(t, dir); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
		if left, err := os.ReadFile(path); err != nil || string(left) != text {
			t.Errorf("%s: now it holds %q, %v", name, left, err)
		}
	}
}

func rotateDamaged(t *testing.T, dir string) (*Result, error) {
	h, err := Open(dir)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	return Rotate(t.Context(), h, newVault(1), Options{})
}

func TestNewerVersion(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, FileName), []byte(`{"version": 2, "whatever": true}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir); err == nil || errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "upgrade") {
		t.Errorf("got %v", err)
	}
}

func TestNotAFile(t *testing.T) {
	for name, put := range map[string]func(path string) error{
		"folder":     func(path string) error { return os.Mkdir(path, 0o700) },
		"named pipe": func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"huge":       func(path string) error { return errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, 1<<40)) },
	} {
		dir := t.TempDir()
		if err := put(filepath.Join(dir, FileName)); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(dir); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOneAtATime(t *testing.T) {
	dir := t.TempDir()
	h := open(t, dir)
	if _, err := Open(dir); !errors.Is(err, ErrBusy) {
		t.Errorf("got %v, want ErrBusy", err)
	}
	read(t, dir) // who only looks is not kept out
	h.Close()
	h.Close()
	open(t, dir)
}

// as runs a test as a user, whose system folder and root's home are in a folder of
// its own, which it returns.
func as(t *testing.T, id int) string {
	t.Helper()
	system, home, euid := systemDir, homeOf, uid
	t.Cleanup(func() { systemDir, homeOf, uid = system, home, euid })
	dir := t.TempDir()
	systemDir = filepath.Join(dir, "var")
	homeOf = func(int) string { return filepath.Join(dir, "root") }
	uid = func() int { return id }
	return dir
}

func TestDir(t *testing.T) {
	me := os.Geteuid()
	for _, tc := range []struct {
		uid             int
		xdg, home, want string
	}{
		{1234, "/var/state", "/home/me", "/var/state/takumi-backup"},
		{0, "/var/state", "/home/me", "/var/state/takumi-backup"},
		{1234, "", "/home/me", "/home/me/.local/state/takumi-backup"},
		{0, "", "/home/me", "SYSTEM"},
		{1234, "", "", "SYSTEM"},
		{1234, "state", "/home/me", ""},
		{1234, "", "home", ""},
	} {
		as(t, tc.uid)
		t.Setenv("XDG_STATE_HOME", tc.xdg)
		t.Setenv("HOME", tc.home)
		if tc.want == "SYSTEM" {
			tc.want = systemDir
		}
		if got, err := Dir(); got != tc.want || (err == nil) != (tc.want != "") {
			t.Errorf("%+v: got %q, %v", tc, got, err)
		}
	}
	// A file in the place of the system's folder holds nothing.
	as(t, me)
	t.Setenv("XDG_STATE_HOME", "")
	t.Setenv("HOME", "/home/me")
	if err := os.WriteFile(systemDir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := Dir(); me != 0 && got != "/home/me/.local/state/takumi-backup" || isMine(systemDir) || err != nil {
		t.Errorf("with a file in the system's place: %q, %v", got, err)
	}
	// Who owns the system's folder has the state there, but for what an earlier
	// version left in the home, which stays. So it is for root.
	for _, id := range []int{me, 0} {
		home := filepath.Join(as(t, id), "root")
		former := filepath.Join(home, homeDir)
		t.Setenv("XDG_STATE_HOME", "")
		t.Setenv("HOME", home)
		for _, dir := range []string{systemDir, former} {
			if err := os.MkdirAll(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			if got, err := Dir(); got != systemDir || err != nil {
				t.Errorf("user %d, with %s: %q, %v", id, dir, got, err)
			}
		}
		if err := os.WriteFile(filepath.Join(former, FileName), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := Dir(); me == id && got != former || err != nil {
			t.Errorf("user %d, with a former one: %q, %v", id, got, err)
		}
	}
}

func TestOthers(t *testing.T) {
	home := as(t, 1234)
	t.Setenv("XDG_STATE_HOME", "")
	t.Setenv("HOME", home)
	dir, err := Dir()
	if err != nil {
		t.Fatal(err)
	}
	for _, with := range []string{systemDir, dir} {
		if got := Others(dir); len(got) != 0 {
			t.Errorf("before there is one in %s: %q", with, got)
		}
		elsewhere(t, with, kek.Generate())
	}
	if got := Others(dir); !slices.Equal(got, []string{systemDir}) {
		t.Errorf("from the home: %q", got)
	}
	if got := Others(systemDir); !slices.Contains(got, dir) {
		t.Errorf("from the system's: %q", got)
	}
	former := filepath.Join(home, "root", homeDir)
	elsewhere(t, former, kek.Generate())
	t.Setenv("HOME", "")
	if got := Others(systemDir); !slices.Equal(got, []string{former}) {
		t.Errorf("without $HOME: %q", got)
	}
	t.Setenv("XDG_STATE_HOME", "/explicit")
	if got := Others(dir); len(got) != 0 {
		t.Errorf("where it is said: %q", got)
	}
}

func TestCheckOutside(t *testing.T) {
	dir := t.TempDir()
	if err := os.Symlink("store", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "store"), 0o700); err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(dir, "store")
	for state, good := range map[string]bool{"state": true, "store": false, "store/a/b": false, "link/x": false, "store2": true} {
		if err := CheckOutside(filepath.Join(dir, state), root); (err == nil) != good {
			t.Errorf("%s: %v", state, err)
		}
	}
}

func TestNeeded(t *testing.T) {
	const old, older, current, paper = kek.ID("0000000000000001"), kek.ID("0000000000000002"), kek.ID("0000000000000003"), kek.ID("0000000000000004")
	past, future := today.Add(-time.Hour), today.Add(time.Hour)
	h := &History{doc: document{Keys: []Record{
		{ID: older, Provider: "a:1", Retired: past, DestroyAfter: past},
		{ID: old, Provider: "a:1", Retired: past, DestroyAfter: future},
		{ID: current, Provider: "a:1", Activated: past},
	}}}
	sealed := func(ids ...kek.ID) Backup { return Backup{Path: "/b", Keys: ids} }
	for name, tc := range map[string]struct {
		backups []Backup
		needed  [3]int // older, old, current
		destroy [3]bool
	}{
		"no backup":                    {},
		"all of them new":              {backups: []Backup{sealed(current)}, needed: [3]int{0, 0, 1}, destroy: [3]bool{true, false, false}},
		"a very old one":               {backups: []Backup{sealed(older), sealed(current)}, needed: [3]int{1, 0, 1}},
		"with a new slot":              {backups: []Backup{sealed(older, current)}, needed: [3]int{0, 0, 1}, destroy: [3]bool{true, false, false}},
		"for two that are retired":     {backups: []Backup{sealed(older, old)}, needed: [3]int{1, 1, 0}},
		"for one that nobody knows":    {backups: []Backup{sealed(older, paper)}, needed: [3]int{1, 0, 0}},
		"a slot that is twice":         {backups: []Backup{sealed(older, older)}, needed: [3]int{1, 0, 0}},
		"one that cannot be read":      {backups: []Backup{sealed(current), {Path: "/c", Err: errInjected}}, needed: [3]int{0, 0, 1}},
		"a bad envelope next to it":    {backups: []Backup{{Path: "/c", Keys: []kek.ID{current}, Err: errInjected}}, needed: [3]int{0, 0, 1}},
		"nothing that needs a key":     {backups: []Backup{sealed()}, destroy: [3]bool{true, false, false}},
		"one for a stranger alone too": {backups: []Backup{sealed(paper)}, destroy: [3]bool{true, false, false}},
	} {
		for n, j := range h.Judge(tc.backups, today) {
			if j.NeededBy != tc.needed[n] || j.MayBeDestroyed != tc.destroy[n] {
				t.Errorf("%s: key %d is needed by %d, destroy: %v", name, n, j.NeededBy, j.MayBeDestroyed)
			}
			if (j.WhyNot == "") != (j.MayBeDestroyed || j.Live()) {
				t.Errorf("%s: key %d: why not: %q", name, n, j.WhyNot)
			}
		}
	}
	// Its time has come a moment later.
	if j := h.Judge([]Backup{sealed(current)}, future)[1]; !j.MayBeDestroyed {
		t.Errorf("got %+v", j)
	}
	// A key that is retired in one place and current in another.
	h.doc.Keys = append(h.doc.Keys, Record{ID: older, Provider: "b:2"})
	if j := h.Judge([]Backup{sealed(current)}, future)[0]; j.MayBeDestroyed || !strings.Contains(j.WhyNot, "b:2") {
		t.Errorf("got %+v", j)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(document1(goodKey)))
	f.Add([]byte(`{"version": 1, "keys": [], "rotations_begun": [{"provider": "a:b", "old": "0123456789abcdef", "new": "0123456789abcdee", "begun": "2026-01-02T03:04:05Z"}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		doc, err := parse(text)
		if err != nil {
			return
		}
		// Whatever is read can be written and read again.
		dir := t.TempDir()
		h := open(t, dir)
		if err := h.save(doc); err != nil {
			t.Fatal(err)
		}
		if got := read(t, dir); len(got.doc.Keys) != len(doc.Keys) || len(got.doc.Intents) != len(doc.Intents) {
			t.Errorf("read back %+v", got.doc)
		}
	})
}
