package shares_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/takumi-backup/takumi-backup/envelope/kek"
	"github.com/takumi-backup/takumi-backup/keystore/paper"
)

// python returns a Python that scripts/recover.py runs with, Debian's own first.
func python(t *testing.T) string {
	t.Helper()
	if os.Getenv("TAKUMI_TEST_INTEGRATION") != "1" {
		t.Skip("set TAKUMI_TEST_INTEGRATION=1, as scripts/test does, to run scripts/recover.py")
	}
	for _, name := range []string{"/usr/bin/python3", "python3"} {
		if exec.Command(name, "-c", "import cryptography").Run() == nil {
			return name
		}
	}
	t.Fatal("no Python with its package cryptography: apt-get install python3-cryptography")
	return ""
}

func write(t *testing.T, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestRecoverFromPaper opens a published backup with its key, and with shares of
// it, as somebody types them who has recover.py alone.
func TestRecoverFromPaper(t *testing.T) {
	exe := python(t)
	vector, err := os.ReadFile("../../docs/vectors/example")
	if err != nil {
		t.Fatal(err)
	}
	_, sealed, _ := bytes.Cut(vector, []byte("\n\n"))
	backup := write(t, "example.enc", sealed)
	published := func(name string) string {
		text, err := os.ReadFile("../paper/testdata/" + name)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	all := strings.SplitAfter(published("shares.txt"), "\n")
	share := func(n int) string { return strings.Join(all[7*(n-1):7*n], "") }
	key := published("key.txt")
	for _, c := range []struct {
		name, text, says string
	}{
		{"key", key, ""},
		{"key, typed loosely", strings.NewReplacer("0", "o", " ", "-", "\n", "\r\n\n").Replace(strings.ToLower(key)), ""},
		{"key, from its code", "page/1\n" + strings.ReplaceAll(key, "\n", "/"), ""},
		{"shares", share(5) + "\nthe next\n" + share(1) + strings.ToLower(share(3)), ""},
		{"all shares", published("shares.txt"), ""},
		{"two shares", share(5) + share(1), "neither a key nor enough shares"},
		{"a share twice", share(5) + share(1) + share(1), "one share is there twice"},
		{"a share and the key", share(5) + key, "neither a key nor enough shares"},
		{"mistyped", share(5) + strings.Replace(share(1), "\n4 ", "\n4 X", 1) + share(3), "key or share 2, line 4 is mistyped"},
		{"cut", share(5) + share(1)[:150], "key or share 2, line 4 is mistyped"},
		{"nothing", "", "neither a key nor enough shares"},
	} {
		cmd := exec.Command(exe, "-B", "../../scripts/recover.py", "--written", write(t, "typed.txt", []byte(c.text)), backup)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if c.says == "" {
			if err != nil || string(out) != "CREATE TABLE badge (id int);\n" {
				t.Errorf("%s: %q, %v: %s", c.name, out, err, stderr.Bytes())
			}
			continue
		}
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 4 || !strings.Contains(stderr.String(), c.says) || len(out) != 0 {
			t.Errorf("%s: %q, %v: %s", c.name, out, err, stderr.Bytes())
		}
	}
}

// TestRecoverAgrees splits random keys in many ways; recover.py restores them.
func TestRecoverAgrees(t *testing.T) {
	exe := python(t)
	args := []string{"-B", "-c", `import sys; sys.path.insert(0, "../../scripts"); import recover
for path in sys.argv[1:]: print(recover.read_written(path).hex())`}
	var want strings.Builder
	for range 20 {
		key := kek.Generate()
		n := 2 + rand.IntN(20)
		threshold := 2 + rand.IntN(n-1)
		blocks := split(t, key, n, threshold)
		rand.Shuffle(n, func(i, j int) { blocks[i], blocks[j] = blocks[j], blocks[i] })
		var text []byte
		for _, b := range blocks[:threshold] {
			text = append(text, b.Text()...)
		}
		args = append(args, write(t, "shares", text), write(t, "key", paper.NewKey(key).Compact()))
		fmt.Fprintf(&want, "%[1]x\n%[1]x\n", key.Bytes())
	}
	out, err := exec.Command(exe, args...).CombinedOutput()
	if err != nil || string(out) != want.String() {
		t.Errorf("%v: %s", err, out)
	}
}
