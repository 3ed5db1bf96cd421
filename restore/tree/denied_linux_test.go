package tree

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// deniedEnv makes this test binary one that extracts an archive from standard
// input into the folder named behind the comma, while the system refuses the calls
// that are named before it.
const deniedEnv = "TAKUMI_TEST_DENIED"

func init() {
	what, dir, ok := strings.Cut(os.Getenv(deniedEnv), ",")
	if !ok {
		return
	}
	if err := extractDenied(what, dir); err != nil {
		fmt.Println(err)
		if errors.Is(err, syscall.EIO) {
			os.Exit(3)
		}
		os.Exit(1)
	}
	os.Exit(0)
}

// call is one that is refused: with the mode of the archive's entries as its
// argument, so that what is tried out beforehand succeeds, or, at 0, in any case.
type call struct{ number, argument uint32 }

const entryMode = 0o751

var denied = map[string][]call{
	"mode": {{unix.SYS_FCHMOD, 1}, {unix.SYS_FCHMODAT, 2}, {unix.SYS_FCHMODAT2, 2}},
	"time": {{unix.SYS_UTIMENSAT, 0}},
}

func extractDenied(what, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	runtime.LockOSThread()
	if err := deny(denied[what]...); err != nil {
		return fmt.Errorf("setting the filter: %w", err)
	}
	_, err = Extract(context.Background(), root, os.Stdin, Options{NumericOwner: true})
	return err
}

// deny makes these calls fail with EIO in all threads, by a filter of seccomp(2).
func deny(calls ...call) error {
	const load, equal, ret = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, unix.BPF_RET | unix.BPF_K
	refuse := unix.SockFilter{Code: ret, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EIO)}
	var filter []unix.SockFilter
	for _, c := range calls {
		filter = append(filter, unix.SockFilter{Code: load}) // the number of the call
		if c.argument == 0 {
			filter = append(filter, unix.SockFilter{Code: equal, Jf: 1, K: c.number}, refuse)
			continue
		}
		filter = append(filter, unix.SockFilter{Code: equal, Jf: 3, K: c.number},
			unix.SockFilter{Code: load, K: 16 + 8*c.argument}, unix.SockFilter{Code: equal, Jf: 1, K: entryMode}, refuse)
	}
	filter = append(filter, unix.SockFilter{Code: ret, K: unix.SECCOMP_RET_ALLOW})
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&program)))
	if errno != 0 {
		return errno
	}
	return nil
}

// TestDeniedMetadata: a mode or time that cannot be set, of a folder, of the tree
// itself or of a file, is an error and not a restore with other rights.
func TestDeniedMetadata(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	entries := map[string][]tar.Header{
		"the tree": {{Name: "./", Typeflag: tar.TypeDir, Mode: entryMode}},
		"a folder": {{Name: "d/", Typeflag: tar.TypeDir, Mode: entryMode}},
		"a file":   {{Name: "f", Typeflag: tar.TypeReg, Mode: entryMode}},
	}
	for name, headers := range entries {
		var archive bytes.Buffer
		w := tar.NewWriter(&archive)
		for _, h := range headers {
			h.ModTime, h.Uid, h.Gid = at, os.Getuid(), os.Getgid()
			if err := w.WriteHeader(&h); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		for what, want := range map[string]int{"nothing": 0, "mode": 3, "time": 3} {
			t.Run(name+" "+what, func(t *testing.T) {
				t.Parallel()
				cmd := exec.CommandContext(t.Context(), os.Args[0])
				cmd.Env = append(os.Environ(), deniedEnv+"="+what+","+t.TempDir())
				cmd.Stdin = bytes.NewReader(archive.Bytes())
				out, err := cmd.CombinedOutput()
				if code := cmd.ProcessState.ExitCode(); code != want {
					t.Errorf("exit code %d, want %d: %v\n%s", code, want, err, out)
				}
				if want != 0 && !strings.Contains(string(out), "setting the "+what+" of") {
					t.Errorf("%s", out)
				}
			})
		}
	}
}
