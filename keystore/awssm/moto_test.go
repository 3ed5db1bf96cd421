package awssm_test

import (
	"context"
	"io"
	"net/http"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/internal/testkit/port"
)

// startMoto starts moto_server on a free port of this machine, and returns its
// address, or "" when it is not installed.
func startMoto(t *testing.T) string {
	t.Helper()
	program, err := exec.LookPath("moto_server")
	if err != nil {
		return ""
	}
	number := strconv.Itoa(port.Free(t))
	var output strings.Builder
	cmd := exec.Command(program, "-H", "127.0.0.1", "-p", number)
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { cmd.Wait(); close(ended) }()
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-ended
	})
	address := "http://127.0.0.1:" + number
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	for tick := time.NewTicker(100 * time.Millisecond); ; {
		select {
		case <-ended:
			t.Fatalf("moto_server ended: %s", output.String())
		case <-ctx.Done():
			t.Fatal("moto_server does not answer")
		case <-tick.C:
		}
		if resp, err := http.Get(address + "/moto-api/"); err == nil {
			io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			return address
		}
	}
}
