package setup

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/takumi-backup/takumi-backup/internal/config"
)

// typed makes text what a person types, and the end of it Ctrl-D.
func typed(t *testing.T, text string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "typed")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	was := os.Stdin
	var err error
	if os.Stdin, err = os.Open(path); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Stdin.Close(); os.Stdin = was })
}

// TestAsked: each answer goes where it belongs, an empty one takes what was found or is
// usual, a wrong number of holders is asked again, and Ctrl-D ends it before anything is
// written.
func TestAsked(t *testing.T) {
	type answers struct {
		databases, uploads, contracts, stores []string
		shares, threshold                     int
	}
	for name, tc := range map[string]struct {
		typed, given string
		want         answers
		said, err    string
	}{
		"all": {
			typed: "one two\n/srv/u\n/srv/c\n/b\ns3://off/site\n5/3\n",
			want:  answers{[]string{"one", "two"}, []string{"/srv/u"}, []string{"/srv/c"}, []string{"/b", "s3://off/site"}, 5, 3},
		},
		"usual": {
			typed: "one\n\n\n\n\n\n",
			want:  answers{databases: []string{"one"}, stores: []string{"/usual"}},
		},
		"a flag answers": {
			given: "database uploads contracts also shares", typed: "/b\n",
			want: answers{stores: []string{"/b"}},
		},
		"wrong holders": {
			given: "database uploads contracts also", typed: "/b\nfive\n2/3\n3/1\n300/2\n5/0\n3/2x\n 3 / 2 \n",
			want: answers{stores: []string{"/b"}, shares: 3, threshold: 2},
			said: `"five" is not as 5/3`,
		},
		"no holders":               {given: "database uploads contracts also", typed: "/b\nfive\nnone\n", want: answers{stores: []string{"/b"}}},
		"Ctrl-D at once":           {err: "nothing was done"},
		"Ctrl-D at the last":       {typed: "one\n\n\n/b\n\n", err: "nothing was done"},
		"Ctrl-D in place of 5/3":   {given: "database uploads contracts also", typed: "/b\n9\n", err: "nothing was done"},
		"Ctrl-D after half a word": {given: "database uploads contracts also shares", typed: "/b", want: answers{stores: []string{"/b"}}},
	} {
		t.Run(name, func(t *testing.T) {
			typed(t, tc.typed)
			var said bytes.Buffer
			c := &Installation{
				Conf:   config.Environment([]string{"BACKUP_DIR=/usual", "DB_HOST=" + t.TempDir(), "DB_USER=nobody"}),
				Given:  func(flag string) bool { return strings.Contains(tc.given, flag) },
				Stderr: &said,
			}
			err := c.find(t.Context())
			if err != nil || tc.err != "" {
				if err == nil || tc.err == "" || !strings.Contains(err.Error(), tc.err) {
					t.Fatalf("%v, want %q\n%s", err, tc.err, &said)
				}
				return
			}
			got := answers{c.Databases, c.Uploads, c.Contracts, c.Stores, c.Shares, c.Threshold}
			for _, list := range []*[]string{&got.databases, &got.uploads, &got.contracts} {
				if len(*list) == 0 {
					*list = nil
				}
			}
			if !reflect.DeepEqual(got, tc.want) || !strings.Contains(said.String(), tc.said) {
				t.Errorf("%+v, want %+v\n%s", got, tc.want, &said)
			}
			if file := c.File(); len(got.databases) > 0 && file.Check() != nil {
				t.Errorf("the settings of these answers: %v", file.Check())
			}
		})
	}
}

// TestStoresHaveNames: any number of copies has names of its own.
func TestStoresHaveNames(t *testing.T) {
	file := Choice{Stores: []string{"/a", "/b", "/c", "/d"}, KeyFile: "/k", Databases: []string{"one"}}.File()
	if err := file.Check(); err != nil {
		t.Error(err)
	}
}

// TestKitOfALostKey: a kit that may be the only copy of a key is not taken for that of a new
// one, which nobody would have a copy of.
func TestKitOfALostKey(t *testing.T) {
	for _, name := range []string{"recovery-kit.pdf", "shares"} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		c := &Installation{Dir: dir, Choice: Choice{KeyFile: filepath.Join(dir, "backup.key")}, Stderr: new(bytes.Buffer)}
		if _, err := c.makeKey(t.Context()); err == nil || !strings.Contains(err.Error(), name+" is there") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestSharesOfAStoppedSplit: pages of some of the shares would be a kit that gives no key.
func TestSharesOfAStoppedSplit(t *testing.T) {
	dir := t.TempDir()
	c := &Installation{Dir: dir, Choice: Choice{KeyFile: filepath.Join(dir, "backup.key")}, Shares: 3, Threshold: 2, Stderr: new(bytes.Buffer)}
	for _, name := range []string{"backup.key", "shares/share-1-of-3-abcdefgh.txt", "shares/share-2-of-3-abcdefgh.txt"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.makeKey(t.Context()); err == nil || !strings.Contains(err.Error(), "2 of the 3 shares") {
		t.Error(err)
	}
}

// TestRefusedBeforeItBegins: what would end init half-way, or put backups where nobody looks
// for them, is found before anything is written, so that better answers can follow.
func TestRefusedBeforeItBegins(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	folder := t.TempDir()
	for want, c := range map[string]*Installation{
		"looking for the databases":    {Choice: Choice{Databases: []string{"one"}}, Store: filepath.Join(folder, "store")},
		"it names no place":            {Choice: Choice{Uploads: []string{folder}}, Store: "http://bucket"},
		"~ is not expanded":            {Choice: Choice{Uploads: []string{folder}}, Store: "~/store"},
		"looking at what is to be":     {Choice: Choice{Uploads: []string{folder + "/missing"}}, Store: filepath.Join(folder, "store")},
		"store[1] has the url":         {Choice: Choice{Uploads: []string{folder}}, Store: filepath.Join(folder, "store"), Also: []string{filepath.Join(folder, "store")}},
		"making a folder of the store": {Choice: Choice{Uploads: []string{folder}}, Store: "/dev/null/store"},
	} {
		c.Yes, c.RunAs, c.Dir, c.Stderr = true, "root", filepath.Join(t.TempDir(), "settings"), new(bytes.Buffer)
		c.Conf = config.Environment([]string{"DB_HOST=" + t.TempDir(), "DB_USER=nobody"})
		c.Given = func(flag string) bool { return true }
		if _, err := c.Run(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
		if _, err := os.Stat(filepath.Join(c.Dir, "backup.toml")); err == nil {
			t.Errorf("%s: the settings are there, and refuse others", want)
		}
	}
}

// TestWriteGoesOn: settings that are there are no reason to leave out what a stop has left
// undone.
func TestWriteGoesOn(t *testing.T) {
	dir := t.TempDir()
	c := &Installation{Dir: dir, settings: filepath.Join(dir, "backup.toml"), Choice: Choice{Stores: []string{filepath.Join(dir, "store")}, Uploads: []string{dir}}}
	for range 2 {
		if err := c.write(); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(filepath.Join(dir, "store")); err != nil {
			t.Fatalf("the store was not made: %v", err)
		}
	}
}
