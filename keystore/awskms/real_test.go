package awskms

import (
	"bytes"
	"errors"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/envelope/slot"
	"github.com/takumi-backup/takumi-backup/internal/testkit/port"
	"github.com/takumi-backup/takumi-backup/keystore"
)

// TestOtherImplementations runs against KMS as others have written it: local-kms
// (github.com/nsmithuk/local-kms), which scripts/test --long installs, and moto_server,
// those that are on the PATH.
func TestOtherImplementations(t *testing.T) {
	t.Run("local-kms", func(t *testing.T) {
		testImplementation(t, true, func(port string) *exec.Cmd {
			cmd := exec.Command("local-kms")
			cmd.Env = append(os.Environ(), "PORT="+port, "KMS_REGION=eu-central-1", "KMS_ACCOUNT_ID=111122223333", "KMS_DATA_PATH="+t.TempDir(), "KMS_SEED_PATH=/nowhere")
			return cmd
		})
	})
	t.Run("moto", func(t *testing.T) {
		testImplementation(t, false, func(port string) *exec.Cmd { return exec.Command("moto_server", "-H", "127.0.0.1", "-p", port) })
	})
}

func testImplementation(t *testing.T, disables bool, command func(port string) *exec.Cmd) {
	serve(t, command)
	admin, err := key(t, firstID).open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	create := func() (arn string) {
		var out struct{ KeyMetadata struct{ Arn string } }
		if err := admin.call(t.Context(), "CreateKey", struct{}{}, &out); err != nil {
			t.Fatal(err)
		}
		return out.KeyMetadata.Arn
	}
	arn, other := create(), create()
	if err := admin.call(t.Context(), "CreateAlias", map[string]string{"AliasName": "alias/backup", "TargetKeyId": arn}, new(struct{})); err != nil && !errors.Is(err, errNoJSON(err)) {
		t.Fatal(err)
	}
	_, id := parts(arn)
	for _, name := range []string{arn, id, "alias/backup"} {
		s, dataKey := wraps(t, key(t, name), slot.ID{1})
		if s.Args[0] != arn {
			t.Errorf("%s names its slot %s, want %s", name, s.Args[0], arn)
		}
		if got, err := key(t, name).Unwrap(t.Context(), slot.ID{1}, s); err != nil || !bytes.Equal(got, dataKey) {
			t.Errorf("%s: %v", name, err)
		}
		if got, err := key(t, name).Unwrap(t.Context(), slot.ID{2}, s); !errors.Is(err, slot.ErrDamaged) {
			t.Errorf("%s, of another backup: %x, %v", name, got, err)
		}
		if _, err := key(t, other).Unwrap(t.Context(), slot.ID{1}, s); !errors.Is(err, slot.ErrNotMine) {
			t.Errorf("%s, with another key: %v", name, err)
		}
	}
	s, _ := wraps(t, key(t, arn), slot.ID{1})
	_, err = key(t, "alias/nothing").Wrap(t.Context(), slot.ID{1}, make([]byte, 32))
	refused(t, err, keystore.ErrNotFound, "check the key and the region")
	if !disables { // moto's keys go on working
		return
	}
	if err := admin.call(t.Context(), "DisableKey", map[string]string{"KeyId": id}, new(struct{})); err != nil && !errors.Is(err, errNoJSON(err)) {
		t.Fatal(err)
	}
	_, err = key(t, arn).Unwrap(t.Context(), slot.ID{1}, s)
	refused(t, err, keystore.ErrRefused, "DisabledException", "aws kms enable-key")
}

// errNoJSON is err, if it is that of an empty answer, as some actions have.
func errNoJSON(err error) error {
	if e := (*answerError)(nil); errors.As(err, &e) && e.status == http.StatusOK {
		return err
	}
	return errors.New("another")
}

// serve starts a server that is on the PATH, and points this package at it.
func serve(t *testing.T, command func(port string) *exec.Cmd) {
	t.Helper()
	number := strconv.Itoa(port.Free(t))
	address := "127.0.0.1:" + number
	cmd := command(number)
	if cmd.Err != nil {
		t.Skipf("the wire contract alone was tried: %v", cmd.Err)
	}
	var output strings.Builder
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
	newServer(t) // for the environment
	t.Setenv("AWS_ENDPOINT_URL_KMS", "http://"+address)
	for deadline := time.Now().Add(5 * time.Minute); ; time.Sleep(100 * time.Millisecond) {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
			return
		}
		select {
		case <-ended:
			t.Fatalf("the server ended: %s", output.String())
		default:
		}
		if time.Now().After(deadline) {
			t.Fatal("the server does not answer")
		}
	}
}
