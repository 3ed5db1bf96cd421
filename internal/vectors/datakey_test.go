package vectors

import (
	"bytes"
	"encoding/base64"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
)

var ageSlot = regexp.MustCompile(`(?m)^slot age \S+ (\S+)$`)

// TestRecoverWithAge: the rescue reader goes on with what age gives for a slot. Debian's
// age, the older one, knows X25519 recipients; a hybrid one wants 1.3, where it is there.
func TestRecoverWithAge(t *testing.T) {
	t.Parallel()
	interpreter := python(t)
	all, err := published()
	if err != nil {
		t.Fatal(err)
	}
	for _, program := range []string{"/usr/bin/age", "age"} {
		for _, v := range all {
			if v.name != "slot-age" && v.name != "slot-age-hybrid" && v.name != "slot-age-of-another-backup" {
				continue
			}
			identity, file := filepath.Join(t.TempDir(), "identity"), filepath.Join(t.TempDir(), "backup")
			if err := errors.Join(os.WriteFile(identity, []byte(v.identity+"\n"), 0o600), os.WriteFile(file, v.file, 0o600)); err != nil {
				t.Fatal(err)
			}
			wrapped, err := base64.StdEncoding.DecodeString(string(ageSlot.FindSubmatch(v.file)[1]))
			if err != nil {
				t.Fatal(err)
			}
			age := exec.Command(program, "-d", "-i", identity)
			age.Stdin = bytes.NewReader(wrapped)
			held, err := age.Output()
			if err != nil {
				if v.name == "slot-age-hybrid" {
					t.Logf("%s opens no post-quantum slot", program)
					continue
				}
				t.Fatalf("%s, %s: %v", program, v.name, err)
			}
			recover := func(held []byte) ([]byte, int) {
				cmd := exec.CommandContext(t.Context(), interpreter, "-B", recoverScript, "--data-key-from", "-", file)
				cmd.Stdin = bytes.NewReader(held)
				out, err := cmd.Output()
				if err != nil && !errors.As(err, new(*exec.ExitError)) {
					t.Fatal(err)
				}
				return out, cmd.ProcessState.ExitCode()
			}
			got, code := recover(held)
			if v.name == "slot-age-of-another-backup" {
				if code != exitCodes[wrongKey] || len(got) > 0 {
					t.Errorf("%s: exit code %d, %d bytes", v.name, code, len(got))
				}
				continue
			}
			if code != 0 || digestOf(got) != v.released {
				t.Errorf("%s: exit code %d, %d bytes", v.name, code, len(got))
			}
			if got, code := recover(held[16:]); code != 0 || digestOf(got) != v.released {
				t.Errorf("%s, the data key alone: exit code %d, %d bytes", v.name, code, len(got))
			}
			held[47] ^= 1
			if got, code := recover(held); code != exitCodes[damaged] || len(got) > 0 {
				t.Errorf("%s, another data key: exit code %d, %d bytes", v.name, code, len(got))
			}
			if got, code := recover(held[:40]); code != 4 || len(got) > 0 {
				t.Errorf("%s, 40 bytes: exit code %d, %d bytes", v.name, code, len(got))
			}
		}
	}
}
