package keystore

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// Where the file system has the better rename, nothing else runs linkNew.
func TestLinkNew(t *testing.T) {
	dir := t.TempDir()
	temp, path := filepath.Join(dir, "temp"), filepath.Join(dir, "key")
	for _, text := range []string{"first", "second"} {
		if err := os.WriteFile(temp, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		err := linkNew(temp, path)
		if wantErr := text == "second"; errors.Is(err, fs.ErrExist) != wantErr {
			t.Errorf("%s: got %v", text, err)
		}
	}
	if text, _ := os.ReadFile(path); string(text) != "first" {
		t.Errorf("the file now holds %q", text)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("got %v, %v", info, err)
	}
}
