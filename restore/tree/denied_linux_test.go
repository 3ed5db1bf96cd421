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

var denied = map[string][]uint32{
	"mode": {unix.SYS_FCHMOD, unix.SYS_FCHMODAT, unix.SYS_FCHMODAT2},
	"time": {unix.SYS_UTIMENSAT},
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
func deny(calls ...uint32) error {
	filter := []unix.SockFilter{{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS}} // the number of the call
	for i, call := range calls {
		filter = append(filter, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: uint8(len(calls) - i), K: call})
	}
	filter = append(filter,
		unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
		unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EIO)})
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
		"the tree": {{Name: "./", Typeflag: tar.TypeDir, Mode: 0o700}},
		"a folder": {{Name: "d/", Typeflag: tar.TypeDir, Mode: 0o700}},
		"a file":   {{Name: "f", Typeflag: tar.TypeReg, Mode: 0o600}},
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
