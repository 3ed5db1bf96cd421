package source

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestPipesAreLarge(t *testing.T) {
	r, _ := newPipe(t)
	in := newInput(t, t.Context(), r)
	c := start(t, t.Context(), "exec sleep 100")
	conn, err := c.out.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	conn.Control(func(fd uintptr) {
		for _, fd := range []int{in.fd, int(fd)} {
			size, err := unix.FcntlInt(uintptr(fd), unix.F_GETPIPE_SZ, 0)
			if err != nil || size != pipeSize {
				// Beyond a limit per user the kernel refuses; that is not a fault.
				t.Logf("a pipe of %d bytes, error %v; want %d", size, err, pipeSize)
			}
		}
	})
}

// A child must get a blocking standard output whatever we read with.
func TestChildWritesBlocking(t *testing.T) {
	c := start(t, t.Context(), "grep ^flags: /proc/self/fdinfo/1")
	p := make([]byte, 100)
	n, err := c.Read(p)
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(p[:n]))
	if len(fields) != 2 {
		t.Fatalf("read %q", p[:n])
	}
	flags := 0
	for _, digit := range fields[1] {
		flags = flags*8 + int(digit-'0')
	}
	if flags&unix.O_NONBLOCK != 0 {
		t.Errorf("the child's standard output is non-blocking: flags %o", flags)
	}
}
