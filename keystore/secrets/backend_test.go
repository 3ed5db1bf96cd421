package secrets_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/takumi-backup/takumi-backup/internal/fail"
	secretkit "github.com/takumi-backup/takumi-backup/internal/testkit/secrets"
	"github.com/takumi-backup/takumi-backup/keystore"
	"github.com/takumi-backup/takumi-backup/keystore/awssm"
	"github.com/takumi-backup/takumi-backup/keystore/secrets"
)

func put(t *testing.T) func(path, text string) {
	return func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func open(t *testing.T, spec string) secrets.Store {
	t.Helper()
	b, err := secrets.Open(spec, secrets.Options{Environment: "staging"})
	if err != nil {
		t.Fatal(err)
	}
	return b.(secrets.Store)
}

// stores are the backends that are written whole, each with what it now holds.
func stores(t *testing.T, test func(t *testing.T, spec string, server *secretkit.Server)) {
	t.Run("aws", func(t *testing.T) {
		test(t, "aws-secrets-manager:takumi/staging/jwt", secretkit.AWS(t, "takumi/staging/jwt"))
	})
	t.Run("vault", func(t *testing.T) {
		test(t, "vault:secret/takumi/staging", secretkit.Vault(t, "takumi/staging"))
	})
	t.Run("kubernetes", func(t *testing.T) {
		c := secretkit.Kubernetes(t, "takumi-jwt-secrets", filepath.Join(t.TempDir(), "kubeconfig"), put(t))
		test(t, "kubernetes:takumi/takumi-jwt-secrets", c.Server)
	})
	t.Run("dotenv", func(t *testing.T) {
		test(t, "dotenv:"+filepath.Join(t.TempDir(), ".env"), nil)
	})
}

func read(t *testing.T, s secrets.Store) *secrets.Document {
	t.Helper()
	d, err := s.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestStoresReadWhatWasWrittenAndRefuseTheSecondWriter(t *testing.T) {
	stores(t, func(t *testing.T, spec string, _ *secretkit.Server) {
		s := open(t, spec)
		first, second := read(t, s), read(t, s)
		if len(first.Fields) != 0 || first.State != "" {
			t.Fatalf("an empty place holds %v", first)
		}
		first.Fields["A"], first.Fields["B"], first.State = "one+/=", "two words & <more>", `{"id":"x"}`
		if err := s.Write(t.Context(), first); err != nil {
			t.Fatal(err)
		}
		second.Fields["A"] = "other"
		if err := s.Write(t.Context(), second); !errors.Is(err, secrets.ErrConflict) {
			t.Errorf("the second writer got %v", err)
		}
		d := read(t, s)
		if !maps.Equal(d.Fields, first.Fields) || d.State != first.State {
			t.Errorf("read %v %q", d.Fields, d.State)
		}
		delete(d.Fields, "A")
		d.State = ""
		if err := s.Write(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		if err := s.Write(t.Context(), d); !errors.Is(err, secrets.ErrConflict) {
			t.Errorf("a document that was written once got %v", err)
		}
		if d = read(t, s); len(d.Fields) != 1 || d.State != "" {
			t.Errorf("read %v %q", d.Fields, d.State)
		}
	})
}

// Of many that change a document at once, each either wins or hears of it, and no
// change is lost.
func TestStoresLoseNoWriter(t *testing.T) {
	stores(t, func(t *testing.T, spec string, _ *secretkit.Server) {
		s := open(t, spec)
		d := read(t, s)
		d.Fields["FIRST"] = "x"
		if err := s.Write(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for i := range 5 {
			wg.Go(func() {
				for {
					d, err := s.Read(context.Background())
					if err == nil {
						d.Fields[fmt.Sprint("N", i)] = "x"
						err = s.Write(context.Background(), d)
					}
					if err == nil {
						return
					}
					if !errors.Is(err, secrets.ErrConflict) {
						t.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		if d := read(t, s); len(d.Fields) != 6 {
			t.Errorf("fields %v", d.Fields)
		}
	})
}

const mixed = `{"A":"a","L":[1,2],"N":null,"NUMBER":12345678901234567890.10,"O":{"x":null},"T":true}`

// What is not text stays as it is in a secret, null too.
func TestOtherFieldsStay(t *testing.T) {
	change := func(t *testing.T, s secrets.Store) {
		t.Helper()
		d := read(t, s)
		if len(d.Fields) != 1 || d.Fields["A"] != "a" {
			t.Errorf("read %v", d.Fields)
		}
		d.Fields["A"] = "b"
		if err := s.Write(t.Context(), d); err != nil {
			t.Fatal(err)
		}
	}
	want := strings.Replace(mixed, `"a"`, `"b"`, 1)
	t.Run("aws", func(t *testing.T) {
		secretkit.AWS(t, "x")
		src, err := keystore.Parse("awssm:x", awssm.Scheme(awssm.Options{}))
		if err != nil {
			t.Fatal(err)
		}
		raw := src.(*awssm.Secret)
		if err := raw.WriteText(t.Context(), []byte(mixed), ""); err != nil {
			t.Fatal(err)
		}
		change(t, open(t, "aws-secrets-manager:x"))
		if got, _, err := raw.ReadText(t.Context()); err != nil || string(got) != want {
			t.Errorf("now %s, %v", got, err)
		}
	})
	t.Run("vault", func(t *testing.T) {
		server := secretkit.Vault(t, "x")
		asked := func(method, body string) string {
			req, err := http.NewRequestWithContext(t.Context(), method, server.URL+"/v1/secret/data/x", strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("X-Vault-Token", "t")
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			var answer struct {
				Data struct{ Data json.RawMessage }
			}
			if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
				t.Fatal(err)
			}
			return string(answer.Data.Data)
		}
		asked(http.MethodPut, `{"options":{"cas":0},"data":`+mixed+`}`)
		change(t, open(t, "vault:secret/x"))
		if got := asked(http.MethodGet, ""); got != want {
			t.Errorf("now %s", got)
		}
	})
	t.Run("dotenv", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), ".env")
		put(t)(path, "# why\nexport A='a b'\n\nB=2\n")
		s := open(t, "dotenv:"+path)
		d := read(t, s)
		if d.Fields["A"] != "a b" {
			t.Errorf("A is %q", d.Fields["A"])
		}
		d.Fields["A"], d.Fields["C"] = "it's", "3"
		if err := s.Write(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		text, _ := os.ReadFile(path)
		if want := "# why\nexport A=\"it's\"\n\nB=2\nC=3\n"; string(text) != want {
			t.Errorf("the file is %q", text)
		}
		if info, _ := os.Stat(path); info.Mode().Perm() != 0o600 {
			t.Errorf("mode %v", info.Mode())
		}
	})
}

func TestOpenRefuses(t *testing.T) {
	for _, c := range []struct{ spec, environment, want string }{
		{"env", "production", "production refuses"}, {"dotenv:/x", "production", "production refuses"},
		{"", "staging", "no secrets backend"}, {"consul", "staging", "not a secrets backend"},
		{"dotenv", "staging", "dotenv:PATH"}, {"vault:", "staging", "no place"}, {"kubernetes:a/b/c", "staging", "NAMESPACE/NAME"},
	} {
		_, err := secrets.Open(c.spec, secrets.Options{Environment: c.environment})
		if class, _ := fail.Of(err); err == nil || class != fail.Usage || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s in %s: %v", c.spec, c.environment, err)
		}
	}
}

func TestFilesAreReadAsDockerAndSystemdLeaveThem(t *testing.T) {
	dir := t.TempDir()
	put(t)(filepath.Join(dir, "DB_PASSWORD"), "one\n")
	put(t)(filepath.Join(dir, "jwt_secret"), "two")
	m := manager(t, "file:"+dir)
	for name, want := range map[string]string{"DB_PASSWORD": "one", "JWT_SECRET": "two"} {
		if v, err := m.Required(t.Context(), name); err != nil || v.Reveal() != want {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := os.Chmod(filepath.Join(dir, "jwt_secret"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := manager(t, "file:"+dir).Required(t.Context(), "JWT_SECRET"); err == nil {
		t.Error("a file that others may read is read")
	}
}

func manager(t *testing.T, spec string) *secrets.Manager {
	t.Helper()
	b, err := secrets.Open(spec, secrets.Options{Environment: "staging"})
	if err != nil {
		t.Fatal(err)
	}
	return secrets.NewManager(b)
}

func TestAWSHasOneSecretForEachName(t *testing.T) {
	server := secretkit.AWS(t, "")
	one := open(t, "aws-secrets-manager:takumi/staging/A") // made as JSON, read as text
	d := read(t, one)
	d.Fields["k"] = "v"
	if err := one.Write(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	m := manager(t, "aws-secrets-manager")
	got, err := m.Many(t.Context(), "A", "B")
	if err != nil || got["A"].Reveal() != `{"k":"v"}` || got["B"].IsSet() {
		t.Errorf("%v", err)
	}
	if !strings.Contains(strings.Join(server.Asked(), "\n"), "GetSecretValue") {
		t.Error(server.Asked())
	}
}

// counting counts requests, and holds them until it is let go.
type counting struct {
	calls atomic.Int32
	gate  chan struct{}
	err   error
}

func (c *counting) String() string { return "counting" }
func (c *counting) Fetch(_ context.Context, names []string) (map[string]string, error) {
	c.calls.Add(1)
	<-c.gate
	found := make(map[string]string)
	for _, n := range names {
		if n != "NONE" {
			found[n] = "value of " + n
		}
	}
	return found, c.err
}

func TestManagerAsksOnceForManyCallers(t *testing.T) {
	c := &counting{gate: make(chan struct{})}
	m := secrets.NewManager(c)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if v, err := m.Required(t.Context(), "A"); err != nil || v.Reveal() != "value of A" {
				t.Error(err)
			}
		})
	}
	for c.calls.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	close(c.gate)
	wg.Wait()
	if n := c.calls.Load(); n > 20 || n < 1 {
		t.Errorf("%d requests", n)
	}
	before := c.calls.Load()
	if _, err := m.Required(t.Context(), "A"); err != nil || c.calls.Load() != before {
		t.Error("what is cached is asked for again")
	}
	if _, err := m.Required(t.Context(), "NONE"); !errors.Is(err, secrets.ErrMissing) {
		t.Errorf("a missing one: %v", err)
	}
	if v, err := m.Optional(t.Context(), "NONE"); err != nil || v.IsSet() {
		t.Errorf("an optional one: %v", err)
	}
}

func TestManagerFailsFastAndCachesNoFailure(t *testing.T) {
	c := &counting{gate: make(chan struct{}), err: errors.New("down")}
	close(c.gate)
	m := secrets.NewManager(c)
	for range 2 {
		if _, err := m.Optional(t.Context(), "A"); err == nil {
			t.Error("an optional secret hides that the backend is down")
		}
	}
	c.err = nil
	if _, err := m.Required(t.Context(), "A"); err != nil {
		t.Error(err)
	}
}

func TestValueNeverPrints(t *testing.T) {
	v := secrets.NewValue("canary-canary")
	encoded, _ := json.Marshal(map[string]any{"v": v, "p": &v})
	text := fmt.Sprintf("%v %s %d %x %q %+v %#v %v %s", v, v, v, v, v, v, v, []secrets.Value{v}, encoded)
	if strings.Contains(text, "canary") || strings.Contains(text, fmt.Sprintf("%x", "canary")) {
		t.Error(text)
	}
}

// An answer that was lost is looked for, and no error repeats a value.
func TestLostAnswers(t *testing.T) {
	stores(t, func(t *testing.T, spec string, server *secretkit.Server) {
		if server == nil {
			return
		}
		s := open(t, spec)
		d := read(t, s)
		d.Fields["A"] = "canary-canary"
		lose := atomic.Int32{}
		server.Hook(nil, func(r *http.Request) bool { return r.Method != http.MethodGet && lose.Add(1) == 1 })
		err := s.Write(t.Context(), d)
		if err != nil && strings.Contains(err.Error(), "canary") {
			t.Error(err)
		}
		if got := read(t, s).Fields["A"]; got != "canary-canary" {
			t.Errorf("A is %q after %v", got, err)
		}
	})
}
