package verify

import (
	"crypto/sha256"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/takumi-backup/takumi-backup/internal/store"
)

// TestWriting: the command that is advised writes a sidecar, next to a file and
// next to an object.
func TestWriting(t *testing.T) {
	content := []byte("sealed")
	for _, name := range []string{"x.enc", "a & b's.enc"} {
		dir := t.TempDir()
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{file, "s3://bucket/" + name} {
			// Objects of the bucket are files of the folder.
			script := `aws() { case $4 in -) cat "${3#s3://bucket/}" ;; *) cat > "${4#s3://bucket/}" ;; esac; }` + "\n" + writing(path)
			cmd := exec.Command("sh", "-euc", script)
			cmd.Dir = dir
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%s: %v\n%s", writing(path), err, out)
			}
			line, err := os.ReadFile(file + store.SidecarSuffix)
			if want := store.FormatSidecar(sha256.Sum256(content), name); err != nil || string(line) != want {
				t.Errorf("%s writes %q, want %q", writing(path), line, want)
			}
			os.Remove(file + store.SidecarSuffix)
		}
	}
}
