//go:build !race

package s3store_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	s3store "github.com/takumi-backup/takumi-backup/internal/store/s3"
)

// Parts that grow take no more memory than small ones.
func TestMemory(t *testing.T) {
	t.Parallel()
	f := fresh(t, s3store.Options{})
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, "upload", f.root+"/x.enc")
	cmd.Env = append(f.server.Env(), childEnv+"=upload", partsEnv+"=200") // ten parts of 8 MiB, then segments
	cmd.Stdin = endless(160 * mib)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	// What the kernel tells of a child that has ended includes this process.
	_, peak, _ := strings.Cut(string(out), "VmHWM:")
	var rss int
	if _, err := fmt.Sscan(peak, &rss); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	if rss /= 1024; rss >= 200 {
		t.Errorf("%d MiB resident", rss)
	} else {
		t.Logf("%d MiB resident", rss)
	}
	f.wantKeys(t, "x.enc", "x.enc.sha256")
}
