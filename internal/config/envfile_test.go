package config_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/takumi-backup/takumi-backup/internal/config"
)

func known(name string) bool { return len(name) == 1 }

func TestParse(t *testing.T) {
	const text = `# a comment
A=plain/path:1@%+,.=-

export B='it "costs" $5 \n & more # not a comment'
 C="two words; 'three'"
D=
E=''
`
	want := map[string]string{
		"A": "plain/path:1@%+,.=-", "B": `it "costs" $5 \n & more # not a comment`, "C": "two words; 'three'", "D": "", "E": "",
	}
	got, err := config.Parse(strings.NewReader(text), known)
	if err != nil || len(got) != len(want) {
		t.Fatalf("%v, %v", got, err)
	}
	for _, v := range got {
		if v.Value != want[v.Name] {
			t.Errorf("%s is %q, want %q", v.Name, v.Value, want[v.Name])
		}
		// A shell takes it for the same.
		shell, err := exec.Command("sh", "-c", text+"\nprintf %s \"$"+v.Name+`"`).Output()
		if err != nil || string(shell) != v.Value {
			t.Errorf("%s is %q to a shell, %v", v.Name, shell, err)
		}
	}
}

func TestRefused(t *testing.T) {
	for text, line := range map[string]int{
		"A":                               1,
		"A = b":                           1,
		"A: b":                            1,
		"1=b":                             1,
		"\n\nAB=unknown":                  3,
		"A=1\nB=2\nA=1":                   3,
		"A=$HOME":                         1,
		"A=$(id)":                         1,
		"A=`id`":                          1,
		"A=two words":                     1,
		"A=b # comment":                   1,
		"A=b;id":                          1,
		"A=~/x":                           1,
		"A=a*":                            1,
		`A=a\b`:                           1,
		`A="$HOME"`:                       1,
		`A="a"b"`:                         1,
		`A='a'b'`:                         1,
		`A='a`:                            1,
		`A='`:                             1,
		"A=1\r\n":                         1,
		"A=\x00":                          1,
		"A=\xff":                          1,
		"#" + strings.Repeat("x", 70_000): 1,
		strings.Repeat("#\n", 40_000):     config.MaxSize/2 + 1,
	} {
		_, err := config.Parse(strings.NewReader(text), known)
		syntax, ok := errors.AsType[*config.SyntaxError](err)
		if !ok || syntax.Line != line {
			t.Errorf("%.20q: %v, want line %d", text, err, line)
		}
		if strings.Contains(text, "HOME") && strings.Contains(err.Error(), "HOME") {
			t.Errorf("%q: the error shows the value: %v", text, err)
		}
	}
}

func TestRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "conf")
	if err := os.WriteFile(path, []byte("A=1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := config.Read(path, known); err != nil || len(got) != 1 {
		t.Errorf("%v, %v", got, err)
	}
	for _, mode := range []os.FileMode{0o640, 0o604, 0o620} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := config.Read(path, known); !errors.Is(err, config.ErrOpen) {
			t.Errorf("%o: %v", mode, err)
		}
	}
	if _, err := config.Read(filepath.Dir(path), known); err == nil {
		t.Error("a folder was read")
	}
	if _, err := config.Read(path+"x", known); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
}

// TestDelivered: settings in memory that root hands to a group, as Kubernetes
// mounts them, and root reads a service's own.
func TestDelivered(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to give files to other users")
	}
	memory, err := os.MkdirTemp("/dev/shm", "config")
	if err != nil {
		t.Skip("there is no /dev/shm")
	}
	t.Cleanup(func() { os.RemoveAll(memory) })
	for _, tc := range []struct {
		dir  string
		mode os.FileMode
		uid  int
		good bool
	}{{memory, 0o440, 0, true}, {t.TempDir(), 0o440, 0, false}, {t.TempDir(), 0o600, 12345, true}, {t.TempDir(), 0o640, 12345, false}} {
		path := filepath.Join(tc.dir, "conf")
		if err := errors.Join(os.WriteFile(path, []byte("A=1\n"), 0o600), os.Chown(path, tc.uid, 0), os.Chmod(path, tc.mode)); err != nil {
			t.Fatal(err)
		}
		if _, err := config.Read(path, known); (err == nil) != tc.good || err != nil && !errors.Is(err, config.ErrOpen) {
			t.Errorf("%+v: %v", tc, err)
		}
	}
}
