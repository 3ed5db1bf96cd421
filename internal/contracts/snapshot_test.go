package contracts_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"github.com/takumi-backup/takumi-backup/internal/contracts"
)

// project makes a folder of files by their paths.
func project(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for path, content := range files {
		path = filepath.Join(dir, path)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func snapshotOf(dir string) contracts.Snapshot {
	return contracts.Snapshot{
		Dir:      dir,
		Metadata: contracts.Metadata{Network: "local", Time: time.Date(2026, 11, 23, 3, 4, 5, 6, time.FixedZone("CET", 3600))},
		State:    &contracts.State{Version: 1, Network: "local", Note: "nobody was asked"},
	}
}

func TestSnapshot(t *testing.T) {
	dir := project(t, map[string]string{
		"out/A.sol/A.json": "{}", "src/ü.sol": "contract", "script/d.sh": "#!/bin/sh", "lib/x/y.sol": "", "broadcast/run.json": "{}", "foundry.lock": "l", "remappings.txt": "r", ".gitmodules": "g", "cache/x": "", "foundry.toml": "[profile]",
		"interfaces/deploy.json": "{}", "interfaces/other.json": "{}", "elsewhere/T.sol": "test",
	})
	// What is taken may be a link itself; what is in it stays one.
	for link, target := range map[string]string{"test": "elsewhere", "src/up": "../..", "interfaces/metadata.json": "other.json"} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Join(dir, "script/d.sh"), 0o750); err != nil {
		t.Fatal(err)
	}
	archive := contracts.Open(t.Context(), snapshotOf(dir))
	defer archive.Close()
	var got []string
	for r := tar.NewReader(archive); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		words := fmt.Sprintf("%s %c %s", h.Name, h.Typeflag, h.Linkname)
		if !strings.HasSuffix(h.Name, contracts.MetadataName) && !strings.HasSuffix(h.Name, contracts.StateName) {
			words += string(content)
		}
		got = append(got, strings.TrimPrefix(words, "snapshot_20261123_020405/"))
	}
	want := []string{" 5 ", "snapshot_metadata.json 0 ", "contract_state.json 0 ",
		"out/ 5 ", "out/A.sol/ 5 ", "out/A.sol/A.json 0 {}", "src/ 5 ", "src/up 2 ../..", "src/ü.sol 0 contract", "test/ 5 ", "test/T.sol 0 test",
		"script/ 5 ", "script/d.sh 0 #!/bin/sh", "lib/ 5 ", "lib/x/ 5 ", "lib/x/y.sol 0 ", "broadcast/ 5 ", "broadcast/run.json 0 {}", "foundry.toml 0 [profile]", "foundry.lock 0 l", "remappings.txt 0 r", ".gitmodules 0 g", "interfaces/metadata.json 0 {}", "interfaces/deploy.json 0 {}"}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestSnapshotFails(t *testing.T) {
	large := strings.Repeat("x", 1<<20)
	open := func(ctx context.Context, dir string) io.ReadCloser {
		archive := contracts.Open(ctx, snapshotOf(dir))
		// The head of the large file has come by then.
		if _, err := io.ReadFull(archive, make([]byte, 64<<10)); err != nil && err != io.ErrUnexpectedEOF && !errors.Is(err, contracts.ErrEmpty) {
			t.Fatal(err)
		}
		return archive
	}
	for name, change := range map[string]func(path string) error{
		"shrinks": func(path string) error { return os.Truncate(path, 70<<10) },
		"grows":   func(path string) error { return os.Truncate(path, 2<<20) },
		"is written over": func(path string) error {
			return errors.Join(os.WriteFile(path, []byte(strings.Repeat("y", 1<<20)), 0o600), os.Chtimes(path, time.Time{}, time.Unix(1, 0)))
		},
	} {
		dir := project(t, map[string]string{"out/big.json": large})
		archive := open(t.Context(), dir)
		if err := change(filepath.Join(dir, "out/big.json")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, archive); err == nil || !strings.Contains(err.Error(), "changed while it was read") {
			t.Errorf("a file that %s: %v", name, err)
		}
		archive.Close()
	}

	archive := contracts.Open(t.Context(), snapshotOf(t.TempDir()))
	if _, err := io.Copy(io.Discard, archive); !errors.Is(err, contracts.ErrEmpty) {
		t.Errorf("an empty folder: %v", err)
	}
	archive.Close()

	before := runtime.NumGoroutine()
	why := errors.New("stopped")
	ctx, stop := context.WithCancelCause(t.Context())
	dir := project(t, map[string]string{"out/big.json": large})
	stopped, left := open(ctx, dir), open(t.Context(), dir)
	stop(why)
	if _, err := io.Copy(io.Discard, stopped); !errors.Is(err, why) {
		t.Errorf("stopped: %v", err)
	}
	stopped.Close()
	left.Close() // in the middle, and again
	left.Close()
	// A goroutine that has said its last word is counted until the scheduler
	// has taken it away.
	after := runtime.NumGoroutine()
	for deadline := time.Now().Add(time.Minute); after > before && time.Now().Before(deadline); after = runtime.NumGoroutine() {
		time.Sleep(time.Millisecond)
	}
	if after > before {
		t.Errorf("%d goroutines, %d before", after, before)
	}
}

// bytesOf makes an archive of names and contents, in this order.
func bytesOf(t testing.TB, entries ...string) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for i := 0; i < len(entries); i += 2 {
		h := &tar.Header{Name: entries[i], Mode: 0o600, Size: int64(len(entries[i+1]))}
		if strings.HasSuffix(h.Name, "/") {
			h.Typeflag = tar.TypeDir
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, entries[i+1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestReadState(t *testing.T) {
	const top, good = "snapshot_20261123_020405/", `{"version":1,"network":"x"}`
	made := contracts.Open(t.Context(), snapshotOf(project(t, map[string]string{"foundry.toml": ""})))
	defer made.Close()
	whole, err := io.ReadAll(made)
	if err != nil {
		t.Fatal(err)
	}
	var huge bytes.Buffer
	if err := tar.NewWriter(&huge).WriteHeader(&tar.Header{Name: top + contracts.StateName, Size: contracts.MaxState + 1}); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		archive []byte
		found   bool
		want    error
	}{
		"made here":       {whole, true, nil},
		"alone":           {bytesOf(t, top+contracts.StateName, good, top+"out/", ""), true, nil},
		"further down":    {bytesOf(t, top, "", top+"out/", "", top+contracts.StateName, good), false, nil},
		"another place":   {bytesOf(t, top, "", top+"out/"+contracts.StateName, good), false, nil},
		"no snapshot":     {bytesOf(t, "uploads/a", "b"), false, nil},
		"nothing in it":   {bytesOf(t), false, nil},
		"no bytes":        {nil, false, nil},
		"no tar":          {bytes.Repeat([]byte("no tar "), 1000), false, nil},
		"cut in its head": {whole[:700], false, nil},
		"another version": {bytesOf(t, top+contracts.StateName, `{"version":2}`), false, contracts.ErrState},
		"no JSON":         {bytesOf(t, top+contracts.StateName, `{"version"`), false, contracts.ErrState},
		"a bad hash":      {bytesOf(t, top+contracts.StateName, `{"version":1,"block":{"hash":"0x12"}}`), false, contracts.ErrState},
		"too large":       {huge.Bytes(), false, contracts.ErrState},
	} {
		state, all, err := contracts.ReadState(iotest.OneByteReader(bytes.NewReader(tc.archive)))
		if !errors.Is(err, tc.want) || (state != nil) != tc.found {
			t.Errorf("%s: %+v, %v", name, state, err)
		}
		if got, err := io.ReadAll(all); err != nil || !bytes.Equal(got, tc.archive) {
			t.Errorf("%s: of %d bytes %d come out, %v", name, len(tc.archive), len(got), err)
		}
	}
	broken := errors.New("damaged")
	if _, _, err := contracts.ReadState(io.MultiReader(bytes.NewReader(whole[:700]), iotest.ErrReader(broken))); !errors.Is(err, broken) {
		t.Errorf("a source that fails: %v", err)
	}
}

// TestReadStateBounded: an archive without end, made to fill the memory, is given
// up soon.
func TestReadStateBounded(t *testing.T) {
	long := bytesOf(t, "snapshot_1/x", strings.Repeat("n", 1<<19))
	long = long[:512+1<<19]
	long[156] = tar.TypeGNULongName // one such header may follow another
	copy(long[148:156], "        ")
	sum := 0
	for _, c := range long[:512] {
		sum += int(c)
	}
	copy(long[148:156], fmt.Sprintf("%06o\x00 ", sum))
	for name, again := range map[string][]byte{
		"folders": bytesOf(t, "snapshot_1/", "")[:512],
		"names":   long,
	} {
		src := bytes.NewReader(bytes.Repeat(again, 16<<20/len(again)))
		state, all, err := contracts.ReadState(src)
		if state != nil || err != nil || src.Size()-int64(src.Len()) > 5<<20 {
			t.Errorf("%s: %v, %v, %d bytes were read", name, state, err, src.Size()-int64(src.Len()))
		}
		if n, err := io.Copy(io.Discard, all); n != src.Size() || err != nil {
			t.Errorf("%s: %d bytes come out, %v", name, n, err)
		}
	}
}

func TestRevision(t *testing.T) {
	commit, other := strings.Repeat("1a", 20), strings.Repeat("2b", 32)
	for name, tc := range map[string]struct {
		files map[string]string
		want  contracts.Revision
		fails bool
	}{
		"a branch":      {map[string]string{".git/HEAD": "ref: refs/heads/a/b\n", ".git/refs/heads/a/b": commit + "\n"}, contracts.Revision{Commit: commit, Branch: "a/b"}, false},
		"SHA-256":       {map[string]string{".git/HEAD": other}, contracts.Revision{Commit: other}, false},
		"detached":      {map[string]string{".git/HEAD": commit + "\n"}, contracts.Revision{Commit: commit}, false},
		"packed":        {map[string]string{".git/HEAD": "ref: refs/heads/m\n", ".git/packed-refs": "# pack-refs with: peeled\n" + other + " refs/heads/x\n" + commit + " refs/heads/m\n^" + other + "\n"}, contracts.Revision{Commit: commit, Branch: "m"}, false},
		"no commit yet": {map[string]string{".git/HEAD": "ref: refs/heads/m\n"}, contracts.Revision{Branch: "m"}, false},
		"a worktree": {map[string]string{"w/.git": "gitdir: ../main/.git/worktrees/w\n", "main/.git/worktrees/w/HEAD": "ref: refs/heads/m\n",
			"main/.git/worktrees/w/commondir": "../..\n", "main/.git/refs/heads/m": commit, "w/contracts/x": ""}, contracts.Revision{Commit: commit, Branch: "m"}, false},
		"no HEAD":          {map[string]string{".git/config": ""}, contracts.Revision{}, true},
		"an empty HEAD":    {map[string]string{".git/HEAD": ""}, contracts.Revision{}, true},
		"no commit's name": {map[string]string{".git/HEAD": strings.ToUpper(commit)}, contracts.Revision{}, true},
		"out of .git":      {map[string]string{".git/HEAD": "ref: refs/heads/../../../secret", "secret": commit}, contracts.Revision{}, true},
		"absolute":         {map[string]string{".git/HEAD": "ref: /etc/hostname"}, contracts.Revision{}, true},
		"another content":  {map[string]string{".git/HEAD": "ref: refs/heads/m", ".git/refs/heads/m": "PASSWORD=1"}, contracts.Revision{}, true},
		"a .git of words":  {map[string]string{".git": "elsewhere"}, contracts.Revision{}, true},
	} {
		dir := project(t, tc.files)
		if _, err := os.Stat(filepath.Join(dir, "w/contracts")); err == nil {
			dir = filepath.Join(dir, "w/contracts")
		}
		got, err := contracts.ReadRevision(dir)
		if got != tc.want || (err != nil) != tc.fails || err != nil && strings.Contains(err.Error(), "PASSWORD") {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

// TestPipes: a named pipe in the place of a file of git makes nobody wait.
func TestPipes(t *testing.T) {
	for _, name := range []string{".git", ".git/HEAD", ".git/packed-refs"} {
		dir := project(t, map[string]string{".git/HEAD": "ref: refs/heads/m\n"})
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Mkfifo(filepath.Join(dir, name), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := contracts.ReadRevision(dir); err == nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
