package chain_test

import (
	"archive/tar"
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/takumi-backup/takumi-backup/internal/contracts"
	"github.com/takumi-backup/takumi-backup/internal/testkit/chain"
)

// program builds takumi-backup.
func program(t testing.TB) func(want int, args ...string) (stdout, stderr string) {
	t.Helper()
	dir := t.TempDir()
	exe := filepath.Join(dir, "takumi-backup")
	build := exec.Command("go", "build", "-o", exe, "./cmd/takumi-backup")
	build.Dir = "../../.." // the program as it is, with the versions of its own module
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	key := filepath.Join(t.TempDir(), "key")
	var material [32]byte
	rand.Read(material[:])
	if err := os.WriteFile(key, []byte(hex.EncodeToString(material[:])), 0o600); err != nil {
		t.Fatal(err)
	}
	env := []string{"XDG_STATE_HOME=" + t.TempDir(), "PATH=" + os.Getenv("PATH"), "BACKUP_ENCRYPTION_KEY_FILE=" + key, "BACKUP_ROOT=" + filepath.Join(dir, "store")}
	return func(want int, args ...string) (string, string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), exe)
		for len(args) > 0 && strings.Contains(args[0], "=") {
			cmd.Env, args = append(cmd.Env, args[0]), args[1:]
		}
		cmd.Args, cmd.Env, cmd.Dir = append(cmd.Args, args...), append(cmd.Env, env...), dir
		var stdout, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		err := cmd.Run()
		if got := cmd.ProcessState.ExitCode(); got != want {
			t.Errorf("%v: %v\n%s", args, err, &stderr)
		}
		return strings.TrimSpace(stdout.String()), stderr.String()
	}
}

// TestProgram deploys, snapshots, restores and compares, and then puts another
// contract in the place of the first.
func TestProgram(t *testing.T) {
	run := program(t)
	c := chain.Start(t)
	inPlace := map[[32]byte][32]byte{implementation: {12: 0xaa, 31: 1}, {31: 3}: {31: 42}}
	proxy := c.Deploy(t, runtimeCode, inPlace)
	fromStart(t, run, c.URL, proxy, func() string {
		// The chain of whoever answers for that URL: another code at the address.
		return liar(t, c.URL, lie{"eth_getCode", 0, func(any) any { return "0x602b5f5260205ff3" }})
	}, func() string {
		other := chain.Start(t)
		other.Mine(1)
		other.Pay(t, proxy, 1)
		return other.URL
	})
}

// fromStart makes a snapshot of a contract at address on the node at url,
// restores it, and compares it with the chain, with a node that lies, and with
// another chain of the same id.
func fromStart(t *testing.T, run func(int, ...string) (string, string), url, address string, lying, other func() string) {
	t.Helper()
	dir := project(t, map[string]string{
		"interfaces/metadata.json": fmt.Sprintf(`{"chains":[{"name":"local","contracts":{"SkillProfile":%q}}]}`, address),
		"src/SkillProfile.sol":     "contract SkillProfile {}",
	})
	// An API key in the URL is told to the node, and to nobody else.
	const secret = "topsecretapikey"
	made, said := run(0, "NETWORK=local", "RPC_URL_LOCAL="+url+"/?key="+secret, "backup", "contracts", dir, "--slot", "SkillProfile:3", "--block", "latest")
	if !strings.Contains(said, "verified 1 accounts of local at block ") {
		t.Errorf("backup says %s", said)
	}
	to := filepath.Join(t.TempDir(), "restored")
	if out, _ := run(0, "restore", "contracts", made, "--to", to, "--rpc-url", url, "--strict"); out != to {
		t.Errorf("restore prints %q", out)
	}
	found, err := filepath.Glob(filepath.Join(to, "snapshot_*", contracts.StateName))
	if err != nil || len(found) != 1 {
		t.Fatalf("%q, %v", found, err)
	}
	data, err := os.ReadFile(found[0])
	if err != nil {
		t.Fatal(err)
	}
	if content, _ := run(0, "open", made); strings.Contains(made+said+content, secret) {
		t.Error("the API key is in what was printed, or in the snapshot")
	}
	state := new(contracts.State)
	if err := json.Unmarshal(data, state); err != nil {
		t.Fatal(err)
	}
	if err := state.Verify(); err != nil {
		t.Error(err)
	}
	if a := state.Accounts[0]; !bytes.Equal(a.Code, runtimeCode) || a.Names[0] != "SkillProfile" || a.Proxy.Implementation != (contracts.Address{0: 0xaa, 19: 1}) ||
		a.Slots[3].Value != (contracts.Hash{31: 42}) {
		t.Errorf("the state has %+v", a)
	}

	again := filepath.Join(t.TempDir(), "again")
	if _, said := run(1, "restore", "contracts", made, "--to", again, "--rpc-url", lying()); !strings.Contains(said, "do not fit together") {
		t.Errorf("of a node that lies, restore says %s", said)
	}
	if _, said := run(3, "NETWORK=local", "backup", "contracts", dir, "--rpc-url", lying(), "-o", "lie.enc"); !strings.Contains(said, "do not fit together") {
		t.Errorf("of a node that lies, backup says %s", said)
	}
	there := other()
	if _, said := run(0, "restore", "contracts", made, "--to", again, "--yes", "--rpc-url", there); !strings.Contains(said, "SkillProfile: the code hash was "+contracts.Keccak(runtimeCode).String()) ||
		!strings.Contains(said, "SkillProfile: the implementation was ") {
		t.Errorf("of another contract, restore says %s", said)
	}
	out, _ := run(1, "restore", "contracts", made, "--to", again, "--yes", "--strict", "--json", "--rpc-url", there)
	var told struct {
		Comparison struct{ Differences []contracts.Difference }
	}
	if err := json.Unmarshal([]byte(out), &told); err != nil || len(told.Comparison.Differences) < 2 || told.Comparison.Differences[0].Address.String() != state.Accounts[0].Address.String() {
		t.Errorf("%s: %v", out, err)
	}

	// A snapshot whose state was changed before it was sealed.
	changed := archive(t, "snapshot_20261123_020405/"+contracts.StateName, strings.Replace(string(data), "602a5f52", "602b5f52", 1))
	forged := filepath.Join(t.TempDir(), "forged.tar")
	if err := os.WriteFile(forged, changed, 0o600); err != nil {
		t.Fatal(err)
	}
	scratch := t.TempDir()
	drill := []string{"HOME=" + t.TempDir(), "drill", "--scratch-dir", scratch, "--json"}
	if out, _ := run(0, drill...); !strings.Contains(out, "the code, slots and proofs of 1 accounts, with the header of block ") {
		t.Errorf("drill prints %s", out)
	}
	sealed := filepath.Join(t.TempDir(), "forged.enc")
	run(0, "seal", "--kind", "contracts", "-o", sealed, "--", "cat", forged)
	if _, said := run(1, append(drill, filepath.Dir(sealed))...); !strings.Contains(said, "not what was backed up") || !strings.Contains(said, "its code has the hash") {
		t.Errorf("of a forged state, drill says %s", said)
	}
	if left, err := os.ReadDir(scratch); err != nil || len(left) != 0 {
		t.Errorf("drill leaves %v, %v", left, err)
	}
	if _, said := run(1, "restore", "contracts", sealed, "--to", again, "--yes"); !strings.Contains(said, "its code has the hash") {
		t.Errorf("of a forged state, restore says %s", said)
	}
}

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

// archive makes a tar archive of one file.
func archive(t testing.TB, name, content string) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: int64(len(content))}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}
