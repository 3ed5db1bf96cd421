package rotation

import (
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/internal/testkit/port"
)

// TestRealBackends kills runs at every step next to real servers: the Vault that
// TEST_VAULT_ADDR names, as scripts/vault-dev run sets it, and moto_server where it is
// on PATH. The servers of this project's own are in TestKilledAtEveryStep.
func TestRealBackends(t *testing.T) {
	if os.Getenv("TAKUMI_TEST_INTEGRATION") != "1" {
		t.Skip("set TAKUMI_TEST_INTEGRATION=1, as scripts/test does, to run this test")
	}
	ran := 0
	if addr := os.Getenv("TEST_VAULT_ADDR"); addr != "" {
		ran++
		t.Run("vault", func(t *testing.T) {
			t.Setenv("VAULT_ADDR", addr)
			t.Setenv("VAULT_TOKEN", "root")
			killAtEveryStep(t, newBench(t, "vault:secret/"+newID()+"/staging", nil))
		})
	}
	if program, err := exec.LookPath("moto_server"); err == nil {
		ran++
		t.Run("moto_server", func(t *testing.T) {
			t.Setenv("AWS_ENDPOINT_URL", startMoto(t, program))
			for name, value := range map[string]string{"AWS_REGION": "eu-central-1", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null"} {
				t.Setenv(name, value)
			}
			killAtEveryStep(t, newBench(t, "aws-secrets-manager:takumi/staging/"+newID(), nil))
		})
	}
	t.Logf("%d real servers", ran)
}

func startMoto(t *testing.T, program string) string {
	t.Helper()
	number := strconv.Itoa(port.Free(t))
	cmd := exec.Command(program, "-H", "127.0.0.1", "-p", number)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }) // it has nothing to keep
	address := "http://127.0.0.1:" + number
	for until := time.Now().Add(5 * time.Minute); time.Now().Before(until); time.Sleep(100 * time.Millisecond) {
		if resp, err := http.Get(address + "/moto-api/"); err == nil {
			resp.Body.Close()
			return address
		}
	}
	t.Fatal("moto_server does not answer")
	return ""
}
