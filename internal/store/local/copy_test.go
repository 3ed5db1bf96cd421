package local

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/takumi-backup/takumi-backup/internal/store"
)

// copying begins to replace a backup by the same behind another head.
func copying(t *testing.T, seen io.Writer) (path string, r store.Replacement, err error) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "x.enc")
	saveOld(t, path)
	if r, err = (Folder{}).Replace(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Abort() })
	if _, err := r.Write(newContent[:13000]); err != nil {
		t.Fatal(err)
	}
	return path, r, r.CopyFrom(t.Context(), 4096, seen)
}

// What has no room is known before anything is copied, and shared blocks need none.
func TestCopyNeedsRoom(t *testing.T) {
	var copied bool
	full := func(s *system) {
		s.free = func(*os.File) (int64, bool) { return int64(len(content)) - 4097, true }
		s.share = func(*os.File, int64, *os.File, int64, int64) error { return syscall.EOPNOTSUPP }
		s.copy = func(*os.File, *os.File, int64) (int64, error) { copied = true; return 0, syscall.ENOSPC }
	}
	withSys(t, full)
	path, r, err := copying(t, io.Discard)
	if !errors.Is(err, syscall.ENOSPC) || !store.IsStoreFault(err) || copied {
		t.Errorf("error %v; it was copied: %v", err, copied)
	}
	if _, again := r.Finish(); again != err {
		t.Errorf("Finish: %v, want the error of the copy", again)
	}
	if err := r.Abort(); err != nil {
		t.Error(err)
	}
	checkBackup(t, path, content)
	wantFiles(t, filepath.Dir(path), "x.enc", "x.enc.sha256")

	withSys(t, func(s *system) {
		full(s)
		s.share = func(to *os.File, at int64, from *os.File, off, size int64) error {
			_, err := io.Copy(io.NewOffsetWriter(to, at), io.NewSectionReader(from, off, size))
			return err
		}
	})
	var seen bytes.Buffer
	path, r, err = copying(t, &seen)
	if err == nil {
		_, err = r.Finish()
	}
	if err == nil {
		err = r.Swap(t.Context())
	}
	if err != nil || copied || !bytes.Equal(seen.Bytes(), content[4096:]) {
		t.Errorf("error %v; it was copied: %v; %d bytes were seen", err, copied, seen.Len())
	}
	checkBackup(t, path, newContent)
}

// Nothing is made of a file that became shorter meanwhile, and what its reader
// refuses ends the copy.
func TestCopyIsWhole(t *testing.T) {
	enough, real := errors.New("enough"), sys
	withSys(t, func(s *system) {
		s.copy = func(*os.File, *os.File, int64) (int64, error) { return 0, io.EOF }
	})
	if _, _, err := copying(t, io.Discard); !errors.Is(err, store.ErrChanged) {
		t.Errorf("cut: %v, want ErrChanged", err)
	}
	withSys(t, func(s *system) { *s = real })
	if _, _, err := copying(t, refusing{enough}); !errors.Is(err, enough) {
		t.Errorf("refused: %v", err)
	}
}

type refusing struct{ err error }

func (r refusing) Write([]byte) (int, error) { return 0, r.err }
